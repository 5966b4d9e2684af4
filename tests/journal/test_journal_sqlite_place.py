"""The SQLite journal whose file is not where it was any more, or whose disk cannot be asked."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from interop_engine.core.errors import JournalBroken, JournalFull
from interop_engine.journal.sqlite import writer
from tests.support.journals import HUB, Store, lease_now, message


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store("sqlite", tmp_path / "journal.db")


def removed(place: Path) -> None:
    """As ``rm journal.db*`` does."""
    for each in place.parent.glob("journal.db*"):
        each.unlink()


def replaced(place: Path) -> None:
    """As a copy does that is moved over it."""
    copy = place.with_name("copy")
    copy.write_bytes(place.read_bytes())
    copy.rename(place)


def folder_away(place: Path) -> None:
    """As a disk that is not mounted any more."""
    place.parent.rename(place.parent.with_name("elsewhere"))


@pytest.mark.parametrize("harm", [removed, replaced, folder_away])
@pytest.mark.parametrize("reserve", [0, 1])
async def test_a_file_that_is_not_at_its_place_is_written_no_more(
    tmp_path: Path, harm: Callable[[Path], None], reserve: int
) -> None:
    """What is written to it goes with the process: nothing more is acknowledged, and who waits for work is told."""
    (tmp_path / "var").mkdir()
    store = Store("sqlite", tmp_path / "var" / "journal.db")
    async with store.opened(reserve=reserve) as journal:
        await journal.accept(message(lanes=()))
        waiting = asyncio.ensure_future(journal.lease(HUB, "w"))
        assert await lease_now(journal, HUB) is None
        harm(store.place)
        with pytest.raises(JournalBroken, match="removed or replaced"):
            await asyncio.wait_for(journal.accept(message(lanes=())), 10)
        with pytest.raises(JournalBroken):
            await asyncio.wait_for(waiting, 10)
        assert "removed or replaced" in (await journal.health()).problem


async def test_a_removed_file_is_noticed_where_nothing_arrives(store: Store) -> None:
    """Whoever asks how the journal is hears it."""
    async with store.opened() as journal:
        assert (await journal.health()).problem == ""
        removed(store.place)
        assert "removed or replaced" in (await journal.health()).problem


async def test_a_disk_that_cannot_be_looked_at_fails_the_group_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits is told at once; when the disk answers again so does the journal."""
    stale = OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def refuse(_: object) -> None:
        raise stale

    async with store.opened(reserve=1) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(writer.os, "statvfs", refuse)
            with pytest.raises(JournalFull, match="Stale"):
                await asyncio.wait_for(journal.accept(message(lanes=())), 10)
            assert "Stale" in (await journal.health()).problem
        await journal.accept(message(lanes=()))
        assert (await journal.health()).problem == ""
