"""The tutorial and the how-to pages are true: every command they show is run, and answers what they say it answers."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.support.pages import ROOT, reader

DOCS = ROOT / "docs"
PAGES = [DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
SAMPLES = "hospital/mappings/cases/samples"


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    """From an empty folder to a channel with traffic, a parked message given up, and a second sender."""
    with reader(tmp_path) as page:
        page.follow(DOCS / "tutorial.md")


def test_a_mapping_is_changed_as_the_page_says(tmp_path: Path) -> None:
    """In a site that has had some messages: explain, change, check, test, compare."""
    with reader(tmp_path) as page:
        page.run("interop-engine init hospital")
        page.run("interop-engine run hospital &")
        page.run(f"interop-engine send 127.0.0.1:2575 {SAMPLES}/glucose.hl7 {SAMPLES}/no-order.hl7")
        page.run("interop-engine messages list --project hospital", "…\n… transformed … folder: delivered\n…")
        page.follow(DOCS / "how-to" / "change-a-mapping.md")


def test_the_engine_is_operated_as_the_page_says(tmp_path: Path) -> None:
    """In a site with one message delivered and one parked: look, act, stop, start, reload."""
    with reader(tmp_path) as page:
        page.run("interop-engine init hospital --facility 24001")
        page.run("interop-engine run hospital &")
        page.run(f"interop-engine send 127.0.0.1:2575 {SAMPLES}/glucose.hl7 {SAMPLES}/no-order.hl7")
        page.run("interop-engine messages list --project hospital", "…\n… transformed … folder: delivered\n…")
        page.run("cd hospital")
        page.follow(DOCS / "how-to" / "operate.md")


def test_a_journal_is_encrypted_as_the_page_says(tmp_path: Path) -> None:
    """In a site that had a message while it was in plain, and keys of its own twice; it runs on afterwards."""
    with reader(tmp_path) as page:
        page.run("interop-engine init hospital --facility 24001")
        page.run("interop-engine run hospital &")
        page.run(f"interop-engine send 127.0.0.1:2575 {SAMPLES}/glucose.hl7")
        page.stop()
        page.run("cd hospital")
        for file in ("journal.keys", "journal-2027.keys"):
            page.run(f"""sh -c 'umask 077; echo "{file} $(openssl rand -base64 32)" >> {file}'""")
        page.follow(DOCS / "how-to" / "keep-the-journal.md", without="In PostgreSQL")
        page.run("interop-engine run . &")
        page.run("interop-engine messages list --search patient=BN0000301", "…\n… lab-results …\n…")


@pytest.mark.postgres
def test_a_journal_in_postgresql_is_encrypted_as_the_page_says(tmp_path: Path, postgres: str) -> None:
    """In a site whose journal is a database of its own, which had a message while it was in plain."""
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute("CREATE DATABASE page")
    url = urlsplit(postgres)._replace(path="/page").geturl()
    with reader(tmp_path) as page:
        page.run("interop-engine init hospital --facility 24001")
        engine = tmp_path / "hospital" / "engine.yaml"
        text = re.sub(r"(?m)^  path: var/journal.db.*$", f'  postgres: "{url}"', engine.read_text(encoding="utf-8"))
        engine.write_text(text, encoding="utf-8")
        page.run("interop-engine run hospital &")
        page.run(f"interop-engine send 127.0.0.1:2575 {SAMPLES}/glucose.hl7")
        page.stop()
        page.run("cd hospital")
        page.run("""sh -c 'umask 077; echo "page $(openssl rand -base64 32)" >> journal.keys'""")
        page.follow(DOCS / "how-to" / "keep-the-journal.md", only="In PostgreSQL")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_the_pages_lead_somewhere(page: Path) -> None:
    """Every relative link is a file of the project."""
    links = re.findall(r"\]\(([^):#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
