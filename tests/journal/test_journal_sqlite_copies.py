"""Backup, restore and check of a journal's file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from interop_engine.core.errors import JournalError
from interop_engine.journal import checking
from interop_engine.journal.base import Journal, Selection
from interop_engine.journal.sqlite.copies import back_up, restore, structure
from tests.support.journals import DELIVERED, HUB, LAB, Store, delivery, forwarded, lease, message, settled


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store("sqlite", tmp_path / "journal.db")


def part(copy: Path) -> Path:
    """Where a copy stands until it is whole."""
    return copy.with_name(f"{copy.name}.part")


async def ids(journal: Journal) -> list[str]:
    """Every message."""
    return [row.id for row in await journal.search(Selection(limit=10_000))]


async def test_a_copy_is_of_one_moment_while_the_engine_writes(store: Store, tmp_path: Path) -> None:
    """What is committed meanwhile is not in it, and nothing of before is missing; what is due in it is due again."""
    assert isinstance(store.place, Path)
    copy = tmp_path / "copy.db"
    async with store.opened() as journal:
        waiting = await forwarded(journal, delivery())
        for _ in range(300):
            await journal.accept(replace(message(lanes=()), data=os.urandom(30_000)))
        before = await ids(journal)
        during: list[tuple[int, int]] = []
        writer = apsw.Connection(str(store.place))
        writer.set_busy_timeout(5_000)

        def write(done: int, of: int) -> None:  # another process, so far as SQLite can tell
            writer.execute("INSERT INTO ledger VALUES ('lab', ?, 1)", (f"PID-{len(during)}",))
            during.append((done, of))

        back_up(store.place, copy, write)
        writer.close()
        assert during[-1][0] == during[-1][1]
        await journal.accept(message())
        with pytest.raises(JournalError, match="there already"):
            back_up(store.place, copy)
    assert not part(copy).exists()
    async with Store("sqlite", copy).opened() as restored:
        assert await ids(restored) == before
        assert await restored.unread() == {}
        held = await lease(restored, HUB)
        assert held.delivery is not None
        assert held.delivery.message_id == waiting


async def test_a_copy_takes_the_journals_place(store: Store, tmp_path: Path) -> None:
    """Not under a running engine, not over messages unless they are put aside, and nothing that is no journal."""
    assert isinstance(store.place, Path)
    copy = tmp_path / "copy.db"
    async with store.opened() as journal:
        first = (await journal.accept(message(lanes=()))).id
        back_up(store.place, copy)
        second = (await journal.accept(message(lanes=()))).id
        with pytest.raises(JournalError, match="another engine"):
            restore(copy, store.place, force=True)
    with pytest.raises(JournalError, match="holds messages"):
        restore(copy, store.place)
    nothing = tmp_path / "nothing.db"
    nothing.write_bytes(b"no journal" * 1000)
    with pytest.raises(JournalError, match="no journal"):
        restore(nothing, store.place, force=True)
    aside = restore(copy, store.place, force=True)
    assert aside is not None
    for place, expected in ((store.place, [first]), (aside, [second, first])):
        async with Store("sqlite", place).opened() as journal:
            assert await ids(journal) == expected
    assert restore(copy, tmp_path / "new" / "journal.db") is None


@pytest.mark.parametrize("engine", ["stopped", "killed"])
async def test_at_every_moment_of_a_restore_a_whole_journal_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """Power may fail between any two steps: what starts then finds the journal of before, its log included, or the copy."""
    place, copy = tmp_path / "killed" / "journal.db", tmp_path / "copy.db"
    moments: list[Path] = []

    async with Store("sqlite", tmp_path / "journal.db").opened() as journal:
        first = (await journal.accept(message(lanes=()))).id
        back_up(tmp_path / "journal.db", copy)
        second = (await journal.accept(message(lanes=()))).id
        if engine == "killed":
            shutil.copytree(tmp_path, place.parent)  # with what only the log holds
    if engine == "stopped":
        shutil.copytree(tmp_path, place.parent)

    def watched(step: Callable[..., None]) -> Callable[..., None]:
        def stepped(*args: Any, **given: Any) -> None:
            step(*args, **given)
            moments.append(tmp_path / f"moment-{len(moments)}")
            shutil.copytree(place.parent, moments[-1])

        return stepped

    for name in ("rename", "replace", "link", "unlink"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    aside = restore(copy, place, force=True)
    monkeypatch.undo()
    assert aside is not None
    found = []
    for folder in (*moments, aside.parent):
        async with Store("sqlite", folder / "journal.db").opened() as journal:
            found.append(await ids(journal))
    async with Store("sqlite", aside).opened() as journal:
        assert await ids(journal) == [second, first]
    assert [each for each in found if each not in ([second, first], [first])] == []
    assert found[-1] == [first]


async def test_a_journal_that_is_being_read_is_not_put_aside(store: Store, tmp_path: Path) -> None:
    """Its log may hold what is not in the file, and cannot be brought into it meanwhile."""
    assert isinstance(store.place, Path)
    async with store.opened() as journal:
        await journal.accept(message(lanes=()))
        back_up(store.place, tmp_path / "copy.db")
    async with store.opened(readonly=True) as reading:
        before = await ids(reading)
        with pytest.raises(JournalError, match="being read"):
            restore(tmp_path / "copy.db", store.place, force=True)
        assert await ids(reading) == before


async def test_a_damaged_journal_is_put_aside_as_it_is(store: Store, tmp_path: Path) -> None:
    """With its log: whoever looks into it later has all there was."""
    assert isinstance(store.place, Path)
    async with store.opened() as journal:
        kept = (await journal.accept(message(lanes=()))).id
        back_up(store.place, tmp_path / "copy.db")
    log = store.place.with_name("journal.db-wal")
    store.place.write_bytes(b"damaged" * 1000)
    log.write_bytes(b"a log")
    aside = restore(tmp_path / "copy.db", store.place, force=True)
    assert aside is not None
    assert (aside.read_bytes()[:7], aside.with_name(f"{aside.name}-wal").read_bytes()) == (b"damaged", b"a log")
    assert not log.exists()
    async with store.opened() as journal:
        assert await ids(journal) == [kept]


async def faults(store: Store) -> list[str]:
    """What ``journal check`` finds."""
    assert isinstance(store.place, Path)
    async with store.opened(readonly=True) as journal:
        return structure(store.place) + [each async for each in checking.faults(journal)]


async def test_what_was_edited_is_found(store: Store) -> None:
    """A content that is another, one that cannot be read, one that is gone; a sound journal has nothing to tell."""
    assert isinstance(store.place, Path)
    async with store.opened() as journal:
        changed = (await journal.accept(message("A" * 50, lanes=()))).id
        exchanged = (await journal.accept(message("B" * 50, lanes=()))).id
        other = (await journal.accept(message("C" * 50, lanes=()))).id
        body = delivery(lanes=())
        for _ in range(3):
            await journal.park(await lease(journal, LAB), "x", "y")
        await forwarded(journal, body)
        await settled(journal, DELIVERED)
    assert await faults(store) == []
    file = apsw.Connection(str(store.place))
    place = "(SELECT body FROM messages WHERE id = ?)"
    file.execute(f"UPDATE bodies SET data = CAST(x'42' || substr(data, 2) AS BLOB) WHERE id = {place}", (changed,))
    file.execute(f"UPDATE messages SET body = {place} WHERE id = ?", (other, exchanged))
    file.execute("DELETE FROM bodies WHERE id = (SELECT body FROM deliveries WHERE id = ?)", (body.id,))
    file.close()
    assert await faults(store) == [
        f"delivery {body.id}: its content is missing",
        f"message {exchanged}: its content is another's, or its digest was changed",
        f"message {changed}: it, or its content, is not as it was written",
    ]
