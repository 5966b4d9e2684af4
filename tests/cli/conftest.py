"""What the tests of the operating verbs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from interop_engine.journal import open_journal
from tests.support.operating import SITE, fill


@pytest.fixture
async def site(tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A site's folder with a journal, no engine running, and the ids in it."""
    (tmp_path / "engine.yaml").write_text(SITE % "127.0.0.1:9")
    journal = open_journal(tmp_path / "journal.db")
    await journal.open()
    ids = await fill(journal)
    await journal.close()
    return str(tmp_path), ids
