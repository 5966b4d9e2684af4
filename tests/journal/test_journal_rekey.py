"""A journal that is encrypted, or given other keys, as it stands: it knows and does what it did, and shows nothing of before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest

from interop_engine.core.errors import JournalBroken, JournalError, JournalFull
from interop_engine.core.model import Park, Question
from interop_engine.journal import checking
from interop_engine.journal.base import Forward, Selection
from interop_engine.journal.keys import read_keys
from interop_engine.journal.sqlite import sentstate, tablecopy
from interop_engine.journal.sqlite.copies import structure
from interop_engine.journal.sqlite.rekeying import rekey
from tests.support.disk import FailingDisk
from tests.support.filled import LANE, NAME, NUMBER, PATIENT, QUESTION, fill, seen
from tests.support.journals import (
    DELIVERED,
    HUB,
    LAB,
    Store,
    delivery,
    forwarded,
    key_file,
    lease,
    message,
    sent,
    settled,
)

WAYS = ["from plain", "from other keys"]


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """The keys that a journal is to have: the newest of them writes."""
    return key_file(tmp_path / "new.keys", "c", "d")


@pytest.fixture(params=WAYS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty journal, in plain or with keys."""
    keys = {} if request.param == "from plain" else {"keys": key_file(tmp_path / "old.keys", "a", "b")}
    return Store("sqlite", tmp_path / "journal.db", keys)


async def rekeyed(store: Store, new: Path, progress: Callable[[int, int], None] = lambda _done, _of: None) -> tuple[Store, Path]:
    """The journal with its new keys, and what was put aside."""
    assert isinstance(store.place, Path)
    old = store.options.get("keys")
    before = await rekey(store.place, None if old is None else read_keys(old), read_keys(new), progress)
    return Store("sqlite", store.place, {"keys": new}), before


def files(store: Store) -> list[str]:
    """What stands at the journal's place and beside it."""
    assert isinstance(store.place, Path)
    return sorted(each.name for each in store.place.parent.glob("journal.db*"))


async def faults(store: Store) -> list[str]:
    """What ``journal check`` finds."""
    assert isinstance(store.place, Path)
    async with store.opened(readonly=True) as journal:
        return structure(store.place) + [each async for each in checking.faults(journal)]


async def test_all_is_known_as_before(store: Store, new: Path) -> None:
    """Listings, contents, attempts, what is known and counted: the same, under the same ids; and all of it is sound."""
    async with store.opened() as journal:
        await fill(journal)
        before = await seen(journal)
    there, _ = await rekeyed(store, new)
    assert await faults(there) == []
    async with there.opened() as journal:
        assert await seen(journal) == before
        (row,) = await journal.search(
            Selection(search=(("patient", NUMBER), ("order", "A17\tCANARY")), control_id=NUMBER, states=("transformed",))
        )
        assert row.findings == (f"PID-5: {NAME}",)


async def test_it_goes_on_where_it_stood(store: Store, new: Path) -> None:
    """What waits is delivered, what is parked is retried, a resend is known, and what comes next takes numbers of its own."""
    async with store.opened() as journal:
        ids = await fill(journal)
        first = await journal.content(ids["first"])
    there, _ = await rekeyed(store, new)
    async with there.opened() as journal:
        again = message(first.data.decode(), digest=first.digest, duplicate_key=NUMBER)
        stored = await journal.accept(again)
        assert (stored.id, stored.duplicate, stored.reply) == (ids["first"], True, NAME.encode())
        held = await lease(journal, LAB)
        assert held.message == await journal.content(ids["received"])
        waiting = await lease(journal, replace(HUB, destination="late"))
        assert waiting.delivery is not None
        assert (waiting.delivery.message_id, waiting.lanes) == (ids["waiting"], (LANE,))
        (parked,) = (await journal.show(ids["parked"])).deliveries
        assert await journal.retry(parked.id) is None
        assert (await journal.known(QUESTION, ("exchange/hub",))).sent["exchange/hub", PATIENT].version == "9"
        known = await journal.known(QUESTION, ("exchange/hub",))
        assert await journal.forward(held, Forward((delivery(lanes=(LANE,), sent=(sent(PATIENT, "10"),)),), stamp=known.stamp))
        for _ in range(2):
            await settled(journal, DELIVERED)
        assert (await journal.known(QUESTION, ("exchange/hub",))).sent["exchange/hub", PATIENT].version == "10"
        replay = await journal.replay(ids["first"])
        assert (await journal.content(replay)).data == first.data
    assert await faults(there) == []


async def test_nothing_of_a_patient_is_in_the_file(store: Store, new: Path) -> None:
    """Not in one byte, from the first page on; and nothing is left that opens with the old keys alone, or with none."""
    async with store.opened() as journal:
        await fill(journal)
    assert isinstance(store.place, Path)
    there, before = await rekeyed(store, new)
    assert files(store) == ["journal.db", before.name, "journal.db.lock"]
    assert store.place.stat().st_mode & 0o777 == 0o600
    assert b"CANARY" not in store.place.read_bytes()
    assert (b"CANARY" in before.read_bytes()) == ("keys" not in store.options)
    with pytest.raises(JournalError, match="encrypted"):
        async with store.opened():
            pass
    newest = apsw.Connection(str(store.place))
    assert [seal.split()[0] for (seal,) in newest.execute("SELECT seal FROM seals ORDER BY seal")] == ["(names)", "d"]
    newest.close()
    async with there.opened() as journal:
        await journal.accept(message())
    async with Store("sqlite", before, store.options).opened() as journal:
        assert len(await journal.search(Selection(limit=1_000))) > 5


async def test_a_channels_bytes_are_counted_anew(store: Store, new: Path) -> None:
    """What is sealed is longer: by it the largest channel is told."""
    async with store.opened() as journal:
        await fill(journal)
        await journal.accept(message(channel="orders"))
    there, _ = await rekeyed(store, new)
    connection = apsw.Connection(str(there.place))
    stored = connection.execute("SELECT bytes FROM stored ORDER BY channel").fetchall()
    of_each = "SELECT channel, body FROM messages UNION SELECT channel, body FROM deliveries"
    counted = f"SELECT sum(length(data)) FROM ({of_each}) JOIN bodies ON id = body GROUP BY channel ORDER BY channel"
    assert stored == connection.execute(counted).fetchall()
    connection.close()


async def test_a_key_that_wrote_nothing_can_leave_the_file(store: Store, new: Path) -> None:
    """All contents are written with the newest key: only it and the first, for names, are needed from then on."""
    async with store.opened() as journal:
        await fill(journal)
        before = await seen(journal)
    there, _ = await rekeyed(store, key_file(new, "c", "between", "d"))
    key_file(new, "c", "d")
    assert await faults(there) == []
    async with there.opened() as journal:
        assert await seen(journal) == before


async def test_a_reason_whose_message_is_gone(store: Store, new: Path) -> None:
    """From plain it is kept, sealed; where it was sealed, it was bound to an id that nobody knows any more: it is left out."""
    async with store.opened() as journal:
        await fill(journal)

    def reasons() -> list[str]:
        connection = apsw.Connection(str(store.place))
        found = connection.execute("SELECT substr(detail, 1, 7) FROM events WHERE what = 'discarded' ORDER BY id").fetchall()
        connection.close()
        return [str(detail) for (detail,) in found]

    there, _ = await rekeyed(store, new)
    first = "" if "keys" in store.options else "sealed:"
    assert reasons() == [first, "sealed:"]
    await rekeyed(there, key_file(new.with_name("newer"), "e"))
    assert reasons() == [first, "sealed:"]


@pytest.mark.parametrize("parked", [1, 3])
async def test_what_was_sent_long_ago_is_found(store: Store, new: Path, monkeypatch: pytest.MonkeyPatch, parked: int) -> None:
    """By the index, whose keys are made of names: it is rebuilt, and with it which states were before those that parked."""
    each = parked + 1
    monkeypatch.setattr(sentstate, "_GENERATION", 4)
    monkeypatch.setattr(tablecopy, "_BATCH", 4)
    question = Question(objects=tuple(f"Patient/{n}" for n in range(6)))
    async with store.opened() as journal:
        for number in range(18 * each):
            await forwarded(journal, delivery(lanes=(), sent=(sent(f"Patient/{number // each % 6}", str(number)),)))
            await settled(journal, Park("x", "y") if number % each else DELIVERED)
        await forwarded(journal, delivery(lanes=()))  # a group more, in which the last slice is written
        before = (await journal.known(question, ("exchange/hub",))).sent
        assert sorted(int(state.version) for state in before.values()) == list(range(12 * each, 18 * each, each))
    there, _ = await rekeyed(store, new)
    async with there.opened() as journal:
        assert (await journal.known(question, ("exchange/hub",))).sent == before
    connection = apsw.Connection(str(there.place))
    assert connection.execute("SELECT pack > 8 FROM sent_indexed").fetchall() == [(1,)]
    connection.close()


async def test_a_column_and_a_table_of_tomorrow_come_along(store: Store, new: Path) -> None:
    """What this knows nothing of is copied as it stands, numbers that were given once are not given again."""
    async with store.opened() as journal:
        await fill(journal)
    connection = apsw.Connection(str(store.place))
    connection.execute("ALTER TABLE messages ADD COLUMN tomorrow INTEGER NOT NULL DEFAULT 0; UPDATE messages SET tomorrow = seq")
    connection.execute("CREATE TABLE later (a TEXT, b INTEGER) STRICT; INSERT INTO later VALUES ('x', 1)")
    connection.execute("DELETE FROM reports; UPDATE sqlite_sequence SET seq = 77")
    kept = (
        "SELECT seq, tomorrow FROM messages",
        "SELECT * FROM later",
        "SELECT * FROM sqlite_sequence",
        "SELECT count(*) FROM sent_index",
        "PRAGMA auto_vacuum",
    )
    structure_of = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"

    def there_is() -> list[Any]:
        connection = apsw.Connection(str(store.place))
        found = [connection.execute(query).fetchall() for query in (*kept, structure_of)]
        connection.close()
        return found

    connection.close()
    before = there_is()
    await rekeyed(store, new)
    assert there_is() == before


# --- What stops it ----------------------------------------------------------------------------------------------------


FIRST = "(SELECT body FROM messages WHERE id = '{first}')"
PARKED = "(SELECT seq FROM deliveries WHERE state = 'parked')"
EDITS = {  # what is edited, and where it is found
    f"UPDATE bodies SET data = CAST(x'42' || substr(data, 2) AS BLOB) WHERE id = {FIRST}": "message {first}",
    f"DELETE FROM bodies WHERE id = {FIRST}": "message {first}: Its content is",
    "DELETE FROM bodies WHERE id = (SELECT body FROM deliveries WHERE state = 'parked')": "message {parked}: Its content is",
    "UPDATE packs SET data = x'00' WHERE id = 2": "states 2",
    "UPDATE messages SET digest = 'x' WHERE id = '{waiting}'": "message {waiting}",
    "UPDATE messages SET headers = '[]' WHERE id = '{waiting}'": "message {waiting}",
}
SEALED_EDITS = {
    "UPDATE messages SET why = 'sealed:AAAA' WHERE id = '{waiting}'": "message {waiting}",
    "UPDATE messages SET channel = 'other' WHERE id = '{waiting}'": "message {waiting}",
    f"UPDATE attempts SET why = 'sealed:AAAA' WHERE delivery = {PARKED}": "attempts of message {parked}",
    "UPDATE events SET detail = 'sealed:AAAA' WHERE what = 'discarded'": "events of message {given up}",
    "UPDATE ledger SET path = 'open'": "names in ledger",
    "UPDATE deliveries SET media = 'hl7v2' WHERE destination = 'late'": "deliveries of message {waiting}",
}


async def test_a_row_that_does_not_open_is_named(store: Store, new: Path) -> None:
    """A content that was changed or is gone, a row that was edited: nothing takes the journal's place."""
    assert isinstance(store.place, Path)
    async with store.opened() as journal:
        ids = await fill(journal)
    sound = store.place.read_bytes()
    for edit, told in (EDITS | (SEALED_EDITS if "keys" in store.options else {})).items():
        store.place.write_bytes(sound)
        connection = apsw.Connection(str(store.place))
        connection.execute(edit.format_map(ids))
        connection.close()
        with pytest.raises(JournalBroken, match=told.format_map(ids)):
            await rekeyed(store, new)
        assert files(store) == ["journal.db", "journal.db.lock"]
    store.place.write_bytes(sound)
    assert await faults(store) == []


async def test_an_engine_or_a_reader_has_it(store: Store, new: Path) -> None:
    """Refused, and the journal is as it was; keys that are not its own are refused too, and a place without a journal."""
    assert isinstance(store.place, Path)
    with pytest.raises(JournalError, match="no journal"):
        await rekeyed(store, new)
    async with store.opened() as journal:
        await fill(journal)
        with pytest.raises(JournalError, match="another engine"):
            await rekeyed(store, new)
    async with store.opened(readonly=True):
        with pytest.raises(JournalError, match="is being read"):
            await rekeyed(store, new)
    with pytest.raises(JournalError, match=r"not all the keys|in plain"):
        await rekeyed(Store("sqlite", store.place, {"keys": key_file(new.with_name("wrong"), "w")}), new)
    assert await faults(store) == []


async def test_there_is_no_room(store: Store, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not begun where a second journal might not fit."""
    async with store.opened() as journal:
        await fill(journal)
    monkeypatch.setattr("shutil.disk_usage", lambda _place: SimpleNamespace(free=10_000))
    with pytest.raises(JournalFull, match="10,000 are free"):
        await rekeyed(store, new)


async def test_the_disk_becomes_full(store: Store, new: Path) -> None:
    """Nothing of the copy is left, and the journal is as it was."""
    async with store.opened() as journal:
        await fill(journal)
    with FailingDisk("full") as disk, pytest.raises(JournalFull, match="nothing was changed"):
        await rekeyed(store, new, lambda _done, _of: disk.arm(0))
    assert files(store) == ["journal.db", "journal.db.lock"]
    assert await faults(store) == []


@pytest.mark.parametrize("part", [0, 0.5, 1])
async def test_it_is_interrupted(store: Store, new: Path, part: float) -> None:
    """At any moment of copying and checking, the last too: who pressed Ctrl-C finds the journal as it was."""
    async with store.opened() as journal:
        await fill(journal)

    def interrupt(done: int, of: int) -> None:
        if done >= part * of:
            task.cancel()

    task = asyncio.create_task(rekeyed(store, new, interrupt))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(store) == ["journal.db", "journal.db.lock"]


async def test_it_dies_between_its_last_two_steps(store: Store, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal has its place, and a second name already, which the next try uses."""
    async with store.opened() as journal:
        await fill(journal)
    monkeypatch.setattr(Path, "replace", _die)
    with pytest.raises(_KilledError):
        await rekeyed(store, new)
    monkeypatch.undo()
    assert await faults(store) == []
    _, before = await rekeyed(store, new)
    assert files(store) == ["journal.db", "journal.db.before-1", "journal.db.lock"]
    assert before.stat().st_nlink == 1


class _KilledError(Exception):
    """Raised where a process would have died."""


def _die(*_: object) -> None:
    raise _KilledError


async def test_it_is_stopped_at_any_moment(store: Store, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each commit, and while the copy is checked: the old journal is whole, and the next try does it all."""
    assert isinstance(store.place, Path)
    monkeypatch.setattr(tablecopy, "_BATCH", 2)
    async with store.opened() as journal:
        await fill(journal)
        before = await seen(journal)
    content = store.place.read_bytes()
    moments: list[int] = []
    stopped = 0

    def stop(done: int, _of: int) -> None:
        moments.append(done)
        if len(moments) > stopped:
            raise _KilledError

    store.place.with_name("journal.db.rekey").write_bytes(b"of a process that was killed")
    aside = None
    while aside is None:
        moments.clear()
        try:
            there, aside = await rekeyed(store, new, stop)
        except _KilledError:
            assert files(store) == ["journal.db", "journal.db.lock"]
            stopped += 1
    assert stopped > 20
    async with there.opened() as journal:
        assert await seen(journal) == before
    async with Store("sqlite", aside, store.options).opened() as journal:
        assert await seen(journal) == before
    assert len(content) == aside.stat().st_size
