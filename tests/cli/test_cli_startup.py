"""What a verb loads before it does anything: an operator asks often, and beside a busy engine."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import sys

from interop_engine.cli.app import app

app(sys.argv[1:], standalone_mode=False)
print(*sys.modules, file=sys.stderr)
"""
_MAPPING = {"interop_engine.config.loader", "interop_engine.mapping", "interop_engine.engine.transform", "fhirpathpy"}
_CLIENT = {"httpx", "interop_engine.cli.api"}
_JOURNAL = {"interop_engine.journal.sqlite", "apsw"}


def loaded(*arguments: str) -> set[str]:
    """The modules that a verb has loaded at its end."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("verb", ["messages list", "messages list --search patient=BN001", "journal check"])
async def test_what_reads_a_journal_compiles_no_mapping(site: tuple[str, dict[str, str]], verb: str) -> None:
    """Neither the mapping compiler nor the engine is loaded, and no HTTP client where nothing is asked over HTTP."""
    folder, _ = site
    found = loaded(*verb.split(), "--project", folder)
    assert found & (_MAPPING | _CLIENT) == set()
    assert "interop_engine.cli.app" in found


async def test_what_acts_compiles_no_mapping(site: tuple[str, dict[str, str]]) -> None:
    """It asks whether an engine runs, and finds none: still no mapping is needed to try a delivery again."""
    folder, ids = site
    assert loaded("messages", "retry", ids["delivery"], "--project", folder) & _MAPPING == set()


def test_help_loads_neither_the_engine_nor_a_client_nor_a_journal() -> None:
    """Also that of the program itself."""
    for words in (["--help"], ["status", "--help"], ["messages", "list", "--help"], ["run", "--help"]):
        assert loaded(*words) & (_MAPPING | _CLIENT | _JOURNAL) == set(), words
