"""An encrypted journal: what its disk does not show, and what of an edit is found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import apsw
import psycopg
import pytest

from interop_engine.core.errors import JournalBroken, JournalError
from interop_engine.core.model import Learned, Park, Question, Retry
from interop_engine.journal import checking
from interop_engine.journal.base import Forward, Journal, Selection
from interop_engine.journal.keys import read_keys
from interop_engine.journal.sqlite.copies import back_up, restore
from tests.support.journals import (
    DELIVERED,
    HUB,
    LAB,
    Store,
    ahead,
    delivery,
    forwarded,
    key_file,
    lease,
    message,
    new_store,
    sent,
    settled,
)

NAME = "Trần Thị Bích-CANARY"
NUMBER = "BN-CANARY-77"
_ORDER = "A17-CANARY"


@pytest.fixture(params=["sqlite-sealed", pytest.param("postgres-sealed", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty encrypted store of each adapter."""
    return new_store(request.param, request, tmp_path)


@pytest.fixture
async def journal(store: Store) -> AsyncIterator[Journal]:
    """An empty encrypted journal."""
    async with store.opened() as opened:
        yield opened


async def all_bytes(store: Store) -> bytes:
    """What a thief of the disk reads: the files with their logs, or every column of every table."""
    if isinstance(store.place, Path):
        return b"".join(file.read_bytes() for file in store.place.parent.glob(f"{store.place.name}*"))
    found = []
    async with await psycopg.AsyncConnection.connect(store.place) as connection:
        tables = await connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        for (table,) in await tables.fetchall():
            rows = await connection.execute(f'SELECT * FROM "{table}"')
            for row in await rows.fetchall():
                found += [value if isinstance(value, bytes) else str(value).encode() for value in row]
    return b"\0".join(found)


async def fill(journal: Journal) -> None:
    """Every place that something of a patient can get to."""
    lane = f"24001|{NUMBER}"
    data = f"MSH|^~\\&|LIS|24001|||||ORU^R01|{NUMBER}|P|2.5.1\rPID|1||{NUMBER}||{NAME}\r" * 4
    await journal.accept(message(data, lanes=(lane,), why=NAME, state="rejected", code="101", reply=NAME.encode()))
    asked = {"control_id": NUMBER, "duplicate_key": NUMBER, "headers": {"file": f"{NUMBER}.hl7"}, "digest": f"d{NUMBER}"}
    await journal.accept(message(data, lanes=(lane,), search=(("patient", NUMBER),), reply=NAME.encode(), **asked))
    leased = await lease(journal, LAB)
    state = sent(f"Patient/{NUMBER}", content=f'{{"name": "{NAME}"}}'.encode() * 20)
    made = Forward(
        tuple(delivery(lanes=(lane,), sent=(state,)) for _ in range(2)),
        Learned({f"Patient|{NUMBER}": f"Patient/{NUMBER}"}, {f"Patient/{NUMBER}": f"Patient/{NAME}"}),
        findings=(f"PID-5: {NAME}",),
        ledger=(NAME,),
        search=(("order", _ORDER),),
    )
    assert await journal.forward(leased, made)
    held = await lease(journal, HUB)
    await journal.settle(held, Retry(NAME), due_at=ahead(-1))
    for outcome in (Park("fhir-422", NAME), DELIVERED):
        await settled(journal, outcome)
    await journal.accept(message(data, lanes=(lane,)))
    await journal.park(await lease(journal, LAB), "101", NAME, (NAME,))
    for row in await journal.search(Selection(states=("parked",))):
        await journal.discard(row.id, f"{NAME} died")
    await journal.accept(message(data, lanes=(lane,)))


async def test_the_disk_shows_nothing_of_a_patient(store: Store) -> None:
    """No name and no number in any byte: files, write-ahead log, every column; in plain, the same is full of them."""
    places = []
    for keys in (store.options["keys"], None):
        each = store if keys else Store(store.adapter, _beside(store), {})
        async with each.opened() as journal:
            await fill(journal)
            places.append(await all_bytes(each))
        places.append(await all_bytes(each))
    sealed, plain = places[:2], places[2:]
    for canary in (NUMBER, "CANARY"):
        assert [canary.encode() in each for each in (*sealed, *plain)] == [False, False, True, True]


def _beside(store: Store) -> Path | str:
    """An empty place of the same kind."""
    if isinstance(store.place, Path):
        return store.place.with_name("plain.db")
    with psycopg.connect(store.place, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS plain")
    return store.place.partition("?")[0] + "?options=-csearch_path%3Dplain"


async def test_everything_comes_back(journal: Journal) -> None:
    """What was sealed is shown, found and known as it was given."""
    await fill(journal)
    (row,) = await journal.search(Selection(search=(("patient", NUMBER), ("order", _ORDER)), control_id=NUMBER))
    assert (row.control_id, row.findings) == (NUMBER, (f"PID-5: {NAME}",))
    assert row.search == (("order", _ORDER), ("patient", NUMBER))
    assert sorted(each.why for each in row.deliveries) == ["", NAME]
    assert [each.why for each in await journal.attempts(row.id)] == [NAME, NAME, ""]
    got = await journal.content(row.id)
    assert (NAME.encode() in got.data, got.headers, got.digest) == (True, {"file": f"{NUMBER}.hl7"}, f"d{NUMBER}")
    known = await journal.known(Question(aliases=(f"Patient|{NUMBER}",)), ("exchange/hub",))
    assert known.aliases == {f"Patient|{NUMBER}": f"Patient/{NUMBER}"}
    assert known.merged == {f"Patient/{NUMBER}": f"Patient/{NAME}"}
    content = known.sent["exchange/hub", f"Patient/{NUMBER}"].content
    assert content is not None
    assert NAME.encode() in content
    assert await journal.unread() == {("lab", NAME): 1}
    assert [each.why for each in await journal.search(Selection(states=("discarded",)))] == [
        f"{NAME} died (parked before: 101 {NAME})"
    ]


async def test_names_of_every_length_and_kind(journal: Journal) -> None:
    """A digest, a huge one, one that begins with a control character: each is found, and shown as it was given."""
    for name in ("a" * 64, "M" * 10_000, "\x01M1", "d" * 63, "Số 1"):
        kept = await journal.accept(message(control_id=name, search=(("order", name),), duplicate_key=name, lanes=(name,)))
        for selection in (Selection(control_id=name), Selection(search=(("order", name),))):
            (row,) = await journal.search(selection)
            assert (row.id, row.control_id, row.search) == (kept.id, name, (("order", name),))
        assert (await journal.content(kept.id)).lanes == (name,)


# --- What was edited --------------------------------------------------------------------------------------------------


async def edit(store: Store, query: str, *values: str) -> None:
    """Edit the journal as one who has the disk can."""
    if isinstance(store.place, Path):
        file = apsw.Connection(str(store.place))
        file.execute(query, values)
        file.close()
        return
    async with await psycopg.AsyncConnection.connect(store.place) as connection:
        await connection.execute(query.replace("?", "%s"), values)


_MESSAGE_EDITS = {
    "another's content": "UPDATE messages SET body = (SELECT body FROM messages WHERE id = ?) WHERE id = ?",
    "another's certificate": "UPDATE messages SET headers = (SELECT headers FROM messages WHERE id = ?) WHERE id = ?",
    "all of another": (
        "UPDATE messages SET (body, headers, digest, lanes, control_id) = "
        "(SELECT body, headers, digest, lanes, control_id FROM messages WHERE id = ?) WHERE id = ?"
    ),
    "the channel": "UPDATE messages SET channel = 'lab2' WHERE id <> ? AND id = ?",
    "the peer": "UPDATE messages SET peer = '10.0.0.1:1' WHERE id <> ? AND id = ?",
    "no certificate": "UPDATE messages SET headers = '{}' WHERE id <> ? AND id = ?",
    "the type": "UPDATE messages SET message_type = 'ADT^A08' WHERE id <> ? AND id = ?",
}


@pytest.mark.parametrize("what", _MESSAGE_EDITS)
async def test_an_edited_message_is_found(store: Store, what: str) -> None:
    """Also where what it was changed to is sealed with the same key: it is another's. It is found and never read."""
    async with store.opened() as journal:
        other, edited = [(await journal.accept(message(lanes=()))).id for _ in range(2)]
        assert [each async for each in checking.faults(journal)] == []
    await edit(store, _MESSAGE_EDITS[what], other, edited)
    async with store.opened() as journal:
        with pytest.raises(JournalBroken):
            await journal.content(edited)
        assert [each async for each in checking.faults(journal)] == [
            f"message {edited}: it, or its content, is not as it was written"
        ]


_DELIVERY_EDITS = {
    "another's body": "UPDATE deliveries SET body = (SELECT body FROM deliveries WHERE id = ?) WHERE id = ?",
    "another's destination": "UPDATE deliveries SET destination = 'his' WHERE id <> ? AND id = ?",
    "another's certificate": "UPDATE deliveries SET headers = (SELECT headers FROM deliveries WHERE id = ?) WHERE id = ?",
    "the receiver": "UPDATE deliveries SET headers = replace(headers, '24017', '24018') WHERE id <> ? AND id = ?",
    "the media": "UPDATE deliveries SET media = 'hl7v2' WHERE id <> ? AND id = ?",
}


@pytest.mark.parametrize("what", _DELIVERY_EDITS)
async def test_an_edited_delivery_is_found(store: Store, what: str) -> None:
    """Of one message too: a body that is not its own, or one that is to go elsewhere."""
    made = [replace(delivery(lanes=()), headers={"receiver": "24017"}) for _ in range(2)]
    async with store.opened() as journal:
        await forwarded(journal, *made)
        assert [each async for each in checking.faults(journal)] == []
    await edit(store, _DELIVERY_EDITS[what], *(each.id for each in made))
    async with store.opened() as journal:
        with pytest.raises(JournalBroken):
            await journal.body(made[1].id)
        found = [each async for each in checking.faults(journal)]
        assert [each.partition(":")[0] for each in found] == [f"delivery {made[1].id}"]


async def test_what_is_due_and_was_edited_parks(store: Store) -> None:
    """It is never sent, the operator sees why, and what comes after it goes on."""
    async with store.opened() as journal:
        await forwarded(journal, *(made := [delivery(lanes=()) for _ in range(2)]))
        first, second = [(await journal.accept(message(lanes=()))).id for _ in range(2)]
    await edit(store, "UPDATE messages SET media = 'fhir' WHERE id = ?", first)
    await edit(store, "UPDATE deliveries SET media = 'hl7v2' WHERE id = ?", made[0].id)
    async with store.opened() as journal:
        assert (await lease(journal, LAB)).message == await journal.content(second)
        assert (await lease(journal, HUB)).delivery == await journal.body(made[1].id)
        (parked,) = await journal.search(Selection(states=("parked",)))
        assert (parked.id, parked.code) == (first, "journal-corrupt")
        (of,) = await journal.search(Selection(states=("delivery-parked",)))
        assert [each.code for each in of.deliveries if each.state == "parked"] == ["journal-corrupt"]


async def test_an_edited_reason_is_shown_as_edited(store: Store) -> None:
    """A listing is still one: what does not open is said to be edited, in its place."""
    async with store.opened() as journal:
        one, other = [message(lanes=(), state="rejected", why=each, control_id=each) for each in ("one", "other")]
        await journal.accept(one)
        await journal.accept(other)
    await edit(store, "UPDATE messages SET why = (SELECT why FROM messages WHERE id = ?) WHERE id = ?", one.id, other.id)
    await edit(store, "UPDATE messages SET control_id = 'M7' WHERE id = ?", other.id)
    async with store.opened() as journal:
        rows = await journal.search(Selection())
        assert [(row.control_id, row.why) for row in rows] == [("(not as it was written)",) * 2, ("one", "one")]


async def test_a_replay_is_of_what_it_cites(store: Store) -> None:
    """It is read with what it was received under, a replay of a replay too, and where the first is pruned; another's is found."""
    async with store.opened() as journal:
        first = await journal.accept(message("first", lanes=()))
        other = await journal.accept(message("other", lanes=()))
        once = await journal.replay(first.id)
        twice = await journal.replay(once)
        assert [(await journal.content(each)).data for each in (once, twice)] == [b"first", b"first"]
    await edit(store, "UPDATE messages SET replay_of = ? WHERE id = ?", other.id, twice)
    async with store.opened() as journal:
        with pytest.raises(JournalBroken, match="another message's replay"):
            await journal.content(twice)
    await edit(store, "UPDATE messages SET replay_of = ? WHERE id = ?", "pruned", twice)
    async with store.opened() as journal:
        assert (await journal.content(twice)).data == b"first"


async def test_a_copy_of_the_file_opens_with_the_same_keys(tmp_path: Path) -> None:
    """A backup is as sealed as the journal, and needs its keys."""
    keys = key_file(tmp_path / "keys")
    store = Store("sqlite", tmp_path / "journal.db", {"keys": keys})
    async with store.opened() as journal:
        kept = await journal.accept(message(NUMBER))
        back_up(tmp_path / "journal.db", tmp_path / "copy.db")
    assert NUMBER.encode() not in (tmp_path / "copy.db").read_bytes()
    for others in ((), read_keys(key_file(tmp_path / "others", "2027")).seals()):
        with pytest.raises(JournalError, match="keys"):
            restore(tmp_path / "copy.db", tmp_path / "journal.db", force=True, seals=others)
    restore(tmp_path / "copy.db", tmp_path / "journal.db", force=True, seals=read_keys(keys).seals())
    async with store.opened() as journal:
        assert (await journal.content(kept.id)).data == NUMBER.encode()
