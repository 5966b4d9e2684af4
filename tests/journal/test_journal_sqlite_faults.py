"""The SQLite journal when things break: killed, full, unreadable, failing to sync, opened twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest

from interop_engine.core.errors import JournalBroken, JournalError, JournalFull
from interop_engine.core.model import Question
from interop_engine.journal import open_journal
from interop_engine.journal.base import DeliveryState, Journal, MessageState, Selection
from interop_engine.journal.sqlite import journal as journal_module
from interop_engine.journal.sqlite import leases, schema, writer
from tests.support.journals import DELIVERED, HUB, LAB, Store, delivery, forwarded, lease, message, sent, settled

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store("sqlite", tmp_path / "journal.db")


@pytest.fixture
async def journal(store: Store) -> AsyncIterator[Journal]:
    """An empty journal."""
    async with store.opened() as opened:
        yield opened


# --- killed -----------------------------------------------------------------------------------------------------------

VICTIM = """
import asyncio, sys
from pathlib import Path
from tests.support.journals import *

async def life(journal, queue):
    while True:
        stored = await journal.accept(message(lanes=(), search=(("patient", "BN1"), ("order", "A1"))))
        sys.stdout.write(f"accepted {stored.id}\\n")
        sys.stdout.flush()
        held = await lease(journal, LAB)
        await journal.forward(held, Forward((delivery(lanes=(), sent=(sent(held.message.id),)), delivery("district", lanes=()))))
        sys.stdout.write(f"forwarded {held.message.id}\\n")
        sys.stdout.flush()

async def main():
    async with Store("sqlite", Path(sys.argv[1])).opened() as journal:
        await asyncio.gather(*(life(journal, queue) for queue in range(8)))

asyncio.run(main())
"""


def killed_after(store: Store, lines: int) -> list[list[str]]:
    """What a process said before it was killed, at the earliest after so many lines: (what, id) pairs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", VICTIM, str(store.place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as victim:
        assert victim.stdout is not None
        said = [victim.stdout.readline().split() for _ in range(lines)]
        victim.send_signal(signal.SIGKILL)
        return said + [words for line in victim.stdout if len(words := line.split()) == 2 and len(words[1]) == 36]


@pytest.mark.parametrize("lines", [1, 40, 333])
async def test_what_was_acknowledged_survives_a_kill(store: Store, lines: int) -> None:
    """SIGKILL under load: each message that was said to be accepted or forwarded is there, whole; none is half there."""
    said = killed_after(store, lines)
    async with store.opened() as journal:
        rows = {row.id: row for row in await journal.search(Selection(limit=100_000))}
        for what, id_ in said:
            assert id_ in rows
            assert what == "accepted" or rows[id_].state == MessageState.TRANSFORMED
        for row in rows.values():
            assert len(row.search) == 2
            assert len(row.deliveries) == (2 if row.state == MessageState.TRANSFORMED else 0)
            await journal.content(row.id)
            known = await journal.known(Question(objects=(row.id,)), ("exchange/hub",))
            assert len(known.sent) == len(row.deliveries) // 2
        states = [row.state for row in rows.values()]
        assert (await journal.totals()).get("lab", {}) == {state: states.count(state) for state in set(states)}


# --- full -------------------------------------------------------------------------------------------------------------


async def limit_pages(journal: Any, pages: int) -> None:
    """As a disk that has so many pages of room."""
    await journal._writer.do(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages}").fetchall())


async def test_a_full_disk_acknowledges_nothing_and_loses_nothing(journal: Journal) -> None:
    """JournalFull while it is full; what was acknowledged stays; with room again it goes on, and health says so."""
    await limit_pages(journal, 60)
    accepted, refused = [], 0
    while refused < 3:
        new = message(os.urandom(3000).hex(), lanes=())
        try:
            accepted.append((await journal.accept(new)).id)
        except JournalFull:
            refused += 1
    assert len(accepted) > 3
    assert (await journal.health()).problem == "The disk is full."
    await limit_pages(journal, 1_000_000)
    accepted.append((await journal.accept(message(lanes=()))).id)
    assert (await journal.health()).problem == ""
    assert {row.id for row in await journal.search(Selection(limit=1000))} == set(accepted)
    assert await journal.totals() == {"lab": {"received": len(accepted)}}
    assert {(await lease(journal, LAB)).message.id for _ in accepted} == set(accepted)  # type: ignore[union-attr]


async def test_below_the_reserve_nothing_is_accepted_but_work_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reserve of the disk is for what was acknowledged already."""
    free = SimpleNamespace(f_bavail=100, f_frsize=4096)
    async with store.opened(reserve=100 * 4096) as journal:
        monkeypatch.setattr(writer.os, "statvfs", lambda _: free)
        stored = await forwarded(journal, delivery())
        free.f_bavail = 99
        with pytest.raises(JournalFull):
            await journal.accept(message())
        with pytest.raises(JournalFull):
            await journal.replay(stored)
        await settled(journal, DELIVERED)
        assert "Less than" in (await journal.health()).problem
        free.f_bavail = 100
        await journal.accept(message())
        assert (await journal.health()).problem == ""


# --- a disk that fails ------------------------------------------------------------------------------------------------


BASE = apsw.vfs_names()[0]


class FaultyDisk(apsw.VFS):
    """The machine's own disk, whose syncs can be made to fail."""

    def __init__(self) -> None:
        self.failing = False
        super().__init__("faulty", BASE, makedefault=True)

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        """A file of this disk."""
        disk = self

        class File(apsw.VFSFile):
            def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
                if disk.failing:
                    raise apsw.IOError("the disk said no")
                super().xSync(flags)

        return File(BASE, name, flags)


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    """A faulty disk under every database opened meanwhile."""
    disk = FaultyDisk()
    yield disk
    disk.unregister()


async def test_a_failed_sync_is_final_until_a_restart(disk: FaultyDisk, store: Store) -> None:
    """Nothing is acknowledged any more, also when the disk seems well again, and who waits for work is told."""
    async with store.opened() as journal:
        first = await journal.accept(message(lanes=()))
        waiting = asyncio.ensure_future(journal.lease(HUB, "w"))
        disk.failing = True
        with pytest.raises(JournalBroken):
            await journal.accept(message(lanes=()))
        disk.failing = False
        with pytest.raises(JournalBroken):
            await journal.accept(message(lanes=()))
        with pytest.raises(JournalBroken):
            await asyncio.wait_for(waiting, 10)
        with pytest.raises(JournalBroken):
            await journal.lease(LAB, "w")
        assert "restart" in (await journal.health()).problem
    async with store.opened() as journal:
        assert first.id in [row.id for row in await journal.search(Selection())]
        await journal.accept(message(lanes=()))


# --- not as it was written --------------------------------------------------------------------------------------------


def damage(store: Store, statement: str) -> None:
    """Change the file as a faulty disk or a careless person does."""
    with apsw.Connection(str(store.place)) as connection:
        connection.execute(statement)
    connection.close()


async def test_a_changed_message_is_detected_and_parked(store: Store) -> None:
    """It is never handed out; its lane goes on; reading it says what is wrong."""
    async with store.opened() as journal:
        first, second = message(), message()
        await journal.accept(first)
        await journal.accept(second)
    damage(store, "UPDATE bodies SET data = CAST(replace(CAST(data AS TEXT), 'BN1', 'BN2') AS BLOB) WHERE id = 1")
    async with store.opened() as journal:
        assert (await lease(journal, LAB)).message.id == second.id  # type: ignore[union-attr]
        row = await journal.show(first.id)
        assert (row.state, row.code) == (MessageState.PARKED, "journal-corrupt")
        with pytest.raises(JournalBroken):
            await journal.content(first.id)
        assert (await journal.health()).problem == ""


async def test_a_changed_delivery_is_detected_and_parked(store: Store) -> None:
    """The same for what would be sent; a compressed body that cannot be read is one too."""
    async with store.opened() as journal:
        stored = await forwarded(journal, delivery(lanes=()), delivery("district", lanes=()))
    damage(store, "UPDATE bodies SET data = x'00', zipped = 1 WHERE id > 1")
    async with store.opened() as journal:
        waiting = asyncio.ensure_future(journal.lease(HUB, "w"))
        await journal.accept(message(lanes=()))
        assert not waiting.done()
        row = (await journal.show(stored)).deliveries[0]
        assert (row.state, row.code) == (DeliveryState.PARKED, "journal-corrupt")
        with pytest.raises(JournalBroken):
            await journal.body(row.id)
        waiting.cancel()


async def test_a_changed_message_on_a_full_disk_waits_for_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be parked now: the caller is told, others go before it for a while, and then a lease finds it again."""
    monkeypatch.setattr(leases, "_AGAIN", 0)
    async with store.opened() as journal:
        new = message()
        await journal.accept(new)
    damage(store, "UPDATE bodies SET data = x'00' WHERE id = 1")
    async with store.opened() as journal:
        real = journal._writer.do  # type: ignore[attr-defined]

        async def full(*_: object, **__: object) -> None:
            raise JournalFull

        journal._writer.do = full  # type: ignore[attr-defined]
        with pytest.raises(JournalFull):
            await journal.lease(LAB, "w")
        journal._writer.do = real  # type: ignore[attr-defined]
        waiting = asyncio.ensure_future(journal.lease(LAB, "w"))
        await journal.accept(message(lanes=("other",)))
        assert (await waiting).lanes == ("other",)
        assert (await journal.show(new.id)).state == MessageState.PARKED


async def test_changed_knowledge_is_detected(store: Store) -> None:
    """The contents of what was sent carry a checksum."""
    async with store.opened() as journal:
        await forwarded(journal, delivery(sent=(sent(),)))
    connection = apsw.Connection(str(store.place))
    data = bytearray(connection.execute("SELECT data FROM packs").fetchall()[0][0])
    data[-1] ^= 1
    connection.execute("UPDATE packs SET data = ?", (bytes(data),))
    connection.close()
    with pytest.raises(JournalBroken):
        await open_journal(store.place, reserve=0).open()


@pytest.mark.parametrize("large", [False, True])
async def test_a_damaged_file_is_found_when_it_is_opened(store: Store, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    """At once where that is quick; a large one beside the work, and then nothing more is written."""
    async with store.opened() as journal:
        for _ in range(20):
            await journal.accept(message(lanes=()))
    with apsw.Connection(str(store.place)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'messages_control'").fetchall()[0][0]
    connection.close()
    content = bytearray(store.place.read_bytes())
    content[(page - 1) * 4096 + 100 : page * 4096] = bytes(3996)
    store.place.write_bytes(content)
    if not large:
        with pytest.raises(JournalBroken, match="integrity"):
            await open_journal(store.place, reserve=0).open()
        return
    monkeypatch.setattr(journal_module, "_LARGE_FILE", 0)
    async with store.opened() as journal:
        with pytest.raises(JournalBroken, match="integrity"):
            await journal.lease(HUB, "w")
        with pytest.raises(JournalBroken, match="integrity"):
            await journal.accept(message())


async def test_a_large_file_is_checked_beside_the_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound one goes on working, and may be closed while it is checked."""
    monkeypatch.setattr(journal_module, "_LARGE_FILE", 0)
    for _ in range(3):
        async with store.opened() as journal:
            await journal.accept(message(lanes=()))
            assert (await journal.health()).problem == ""


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says " * 100, b""])
async def test_a_file_that_is_no_journal(store: Store, content: bytes) -> None:
    """Refused where it is something else; an empty file becomes a journal."""
    store.place.write_bytes(content)
    if content:
        with pytest.raises(JournalBroken):
            await open_journal(store.place, reserve=0).open()
        assert store.place.read_bytes() == content
    else:
        async with store.opened() as journal:
            await journal.accept(message())


# --- opened twice, or by the wrong one --------------------------------------------------------------------------------


async def test_two_engines_cannot_open_one_journal(store: Store) -> None:
    """The second is refused until the first has closed."""
    async with store.opened():
        with pytest.raises(JournalError, match="another engine"):
            await open_journal(store.place).open()
    async with store.opened() as journal:
        await journal.accept(message())


async def test_a_reader_beside_a_running_engine(store: Store) -> None:
    """It sees what is committed, at once, and can change nothing."""
    async with store.opened() as journal, store.opened(readonly=True) as reader:
        stored = await journal.accept(message())
        assert (await reader.show(stored.id)).state == MessageState.RECEIVED
        assert (await reader.content(stored.id)).control_id == "M1"
        assert await reader.totals() == {"lab": {"received": 1}}
        for asking in (reader.accept(message()), reader.retry("x"), reader.lease(LAB, "w"), reader.discard("x", "y")):
            with pytest.raises(JournalError, match="reading only"):
                await asking


async def test_only_the_owner_may_read_the_file(store: Store) -> None:
    """It holds patients' data; so does its write-ahead log."""
    async with store.opened() as journal:
        await journal.accept(message())
        modes = {path.name: path.stat().st_mode & 0o777 for path in store.place.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert "journal.db-wal" in modes


async def test_a_journal_of_a_newer_engine_is_refused(store: Store) -> None:
    """Rather than written with an older engine's understanding."""
    async with store.opened():
        pass
    damage(store, f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    with pytest.raises(JournalError, match="newer engine"):
        await open_journal(store.place).open()


async def test_an_old_sqlite_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 3.51.3 two connections could corrupt the write-ahead log."""
    monkeypatch.setattr(schema.apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(JournalError, match="can corrupt"):
        await open_journal(store.place).open()


async def test_closing_commits_what_is_queued_and_tells_who_waits(store: Store) -> None:
    """Twice is harmless; afterwards everything is refused, and no write-ahead log is left."""
    journal = open_journal(store.place, reserve=0)
    await journal.open()
    accepting = [asyncio.ensure_future(journal.accept(message(lanes=()))) for _ in range(20)]
    waiting = asyncio.ensure_future(journal.lease(HUB, "w"))
    await asyncio.sleep(0)
    await journal.close()
    await journal.close()
    ids = {(await each).id for each in accepting}
    with pytest.raises(JournalError):
        await waiting
    with pytest.raises(JournalError):
        await journal.accept(message())
    assert sorted(path.name for path in store.place.parent.iterdir()) == ["journal.db", "journal.db.lock"]
    async with store.opened() as journal:
        assert {row.id for row in await journal.search(Selection())} == ids


@pytest.mark.parametrize(("url", "path"), [("sqlite:///var/lib/a%20b/j.db", "/var/lib/a b/j.db"), ("var/j.db", "var/j.db")])
def test_a_journal_is_named_by_path_or_url(url: str, path: str) -> None:
    """Both say the same; other schemes are refused by name."""
    assert open_journal(url)._path == Path(path)  # type: ignore[attr-defined]
    with pytest.raises(JournalError, match="redis"):
        open_journal("redis://localhost")
