"""The README is true: what it quotes stands in the files, what it links to is there, the verbs it names exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"\]\(([^)]+\.yaml)\)[^`]*```yaml\n(.*?)```", README, re.DOTALL)
LINKS = re.findall(r"\]\(([^):]+)\)", README)
VERBS = re.findall(r"`([a-z]+)(?: [A-Z:…]+)*`", README.split("| verb | does |")[1].split("\n\n")[0])


@pytest.mark.parametrize(("file", "text"), QUOTED)
def test_quoted_files_are_quoted_exactly(file: str, text: str) -> None:
    """A channel or mapping shown is the one that is shipped."""
    assert text in (ROOT / file).read_text(encoding="utf-8")


def test_a_channel_and_a_mapping_are_quoted() -> None:
    """The README shows one of each."""
    assert [file.partition("/")[0] for file, _ in QUOTED] == ["channels", "mappings"]


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_somewhere(link: str) -> None:
    """Every relative link is a file or folder of the project."""
    assert (ROOT / link).exists()


def test_every_page_is_in_the_index() -> None:
    """docs/README.md leads to each page, and nowhere else."""
    docs = ROOT / "docs"
    linked = {(docs / link).resolve() for link in re.findall(r"\]\(([^):#]+\.md)\)", (docs / "README.md").read_text("utf-8"))}
    assert linked == {*docs.rglob("*.md"), ROOT / "README.md"} - {docs / "README.md"}


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_exist(verb: str) -> None:
    """Every verb of the table answers --help."""
    done = subprocess.run([sys.executable, "-m", "interop_engine", verb, "--help"], capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == 0


def test_the_mistake_shown_is_told_so(tmp_path: Path) -> None:
    """The example of ``check`` is what ``check`` prints for that mistake."""
    shown = re.search(r"\$ interop-engine check\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    for name in ("channels", "mappings"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(tmp_path)], check=True)
    (tmp_path / "engine.yaml").write_bytes((ROOT / "engine.yaml").read_bytes())
    mapping = tmp_path / "mappings" / "oru_r01_lab.yaml"
    mapping.write_text(mapping.read_text(encoding="utf-8").replace("effective: OBR-7", "efective: OBR-7"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "interop_engine", "check"]
    done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 1
    assert done.stderr.decode() == shown[1]
