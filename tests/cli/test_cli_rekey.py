"""``journal rekey``: what an operator types, is told, and does next."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import psycopg
import pytest
from typer.testing import CliRunner

from interop_engine.cli.app import app
from tests.support.journals import Store, key_file, message
from tests.support.postgres import fresh_journal
from tests.support.small_site import CHANNEL, MAPPING

_PLAIN = 'site: Test\nfacility: "24001"\njournal: {path: journal.db}\nstatus: {listen: "127.0.0.1:0"}\n'


def run(*arguments: str) -> tuple[int, str, str]:
    """A verb, on the site of the test."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site's folder with a journal in plain, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "engine.yaml").write_text(_PLAIN)
    for folder, text in (("channels", CHANNEL.replace("2575", "0")), ("mappings", MAPPING)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.yaml").write_text(text)
    asyncio.run(_receive("sqlite", tmp_path / "journal.db"))
    return tmp_path


async def _receive(adapter: str, place: Path | str) -> None:
    async with Store(adapter, place).opened() as journal:
        await journal.accept(message("CANARY", search=(("patient", "BN1"),)))


def name_keys(site: Path, file: str) -> None:
    """Let engine.yaml name a file of keys."""
    text = _PLAIN.replace("journal.db}", f"journal.db, encrypt: {{keys: {file}}}}}")
    (site / "engine.yaml").write_text(text)


def test_from_plain_and_to_other_keys(site: Path) -> None:
    """Each time the next step is said; until it is taken nothing opens the journal, an engine neither."""
    key_file(site / "one", "a")
    key_file(site / "two", "b")
    code, said, told = run("journal", "rekey", "--keys", "one")
    assert (code, said) == (0, "journal.db is encrypted with the keys of one; the journal before it is journal.db.before-1\n")
    assert ("engine.yaml must name one now" in told, "before-1 holds everything in plain" in told) == (True, True)
    for verb in (("messages", "list"), ("journal", "check"), ("run",), ("journal", "rekey", "--keys", "two")):
        code, _, told = run(*verb)
        assert (code, "The journal is encrypted: engine.yaml must name its keys" in told) == (1, True), verb
    name_keys(site, "one")
    assert (run("journal", "check"))[:2] == (0, "all of it is as it was written\n")
    code, said, told = run("journal", "rekey", "--keys", "two")
    assert (code, "before-2" in said, "before-2 opens with the keys before" in told) == (0, True, True)
    assert (run("run"))[0] == 1
    name_keys(site, "two")
    code, said, _ = run("messages", "list", "--search", "patient=BN1")
    assert (code, "M1" in said) == (0, True)
    code, _, told = run("journal", "rekey", "--keys", "two")
    assert (code, "engine.yaml must name" in told) == (0, False)


def test_what_is_wrong_is_said(site: Path) -> None:
    """A file that others may read, keys that are named too early, a row that does not open: 1, and the journal is as it was."""
    keys = key_file(site / "keys")
    keys.chmod(0o644)
    code, _, told = run("journal", "rekey", "--keys", "keys")
    assert (code, "chmod 600" in told) == (1, True)
    keys.chmod(0o600)
    name_keys(site, "keys")
    code, _, told = run("journal", "rekey", "--keys", "keys")
    assert (code, "before engine.yaml names its keys" in told) == (1, True)
    (site / "engine.yaml").write_text(_PLAIN)
    connection = apsw.Connection("journal.db")
    connection.execute("UPDATE bodies SET digest = x'00'")
    connection.close()
    code, _, told = run("journal", "rekey", "--keys", "keys")
    assert (code, "its digest differs" in told, "the journal was not changed" in told) == (1, True, True)
    assert not list(site.glob("journal.db.[br]*"))


@pytest.mark.postgres
def test_a_database(site: Path, postgres: str) -> None:
    """The same, with a schema that is put aside."""
    url = fresh_journal(postgres, tables=False)
    text = _PLAIN.replace("path: journal.db", f'postgres: "{url}"')
    (site / "engine.yaml").write_text(text)
    key_file(site / "keys")
    asyncio.run(_receive("postgres", url))
    code, said, told = run("journal", "rekey", "--keys", "keys")
    before = said.split()[-1]
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'DROP SCHEMA "{before}" CASCADE')
    assert (code, said) == (0, f"the journal is encrypted with the keys of keys; the journal before it is {before}\n")
    assert ("engine.yaml must name keys now" in told, f'DROP SCHEMA "{before}" CASCADE' in told) == (True, True)
    (site / "engine.yaml").write_text(text.replace('"}', '", encrypt: {keys: keys}}', 1))
    assert (run("journal", "check"))[:2] == (0, "all of it is as it was written\n")


def test_a_database_that_is_not_there(site: Path) -> None:
    """It is said so."""
    (site / "engine.yaml").write_text(_PLAIN.replace("path: journal.db", 'postgres: "postgresql://127.0.0.1:9/journal"'))
    key_file(site / "keys")
    code, _, told = run("journal", "rekey", "--keys", "keys")
    assert (code, "stays as it was" in told) == (1, True)
