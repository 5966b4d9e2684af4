"""The journal's contract: what is removed when it is old, and what never is."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import apsw
import psycopg
import pytest

from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Park, Question
from interop_engine.journal.base import Forward, Journal, MessageState, Queue, Selection
from interop_engine.journal.sqlite import pruning
from tests.support.journals import (
    DELIVERED,
    HUB,
    LAB,
    START,
    Store,
    delivery,
    forwarded,
    learned,
    lease,
    message,
    sent,
    settled,
)

NAMES = ("exchange/hub",)


async def newest(journal: Journal) -> str:
    """A message that is done, after all others: row numbers go on from it, so it is kept."""
    made = await forwarded(journal, delivery())
    await settled(journal, DELIVERED)
    return made


async def test_what_is_done_goes_with_all_that_belongs_to_it(journal: Journal) -> None:
    """Content, deliveries, search keys, counts; a resend of it is a new message."""
    old = message(duplicate_key="k", search=(("patient", "BN1"),), lanes=())
    old_id = (await journal.accept(old)).id
    await journal.park(await lease(journal, LAB), "x", "y")
    await journal.discard(old_id, "useless")
    gone = await forwarded(journal, delivery(), search=(("order", "A1"),))
    done = await settled(journal, DELIVERED)
    kept = await newest(journal)
    assert await journal.prune(before=START + timedelta(days=1)) == 2
    assert [row.id for row in await journal.search(Selection())] == [kept]
    assert await journal.search(Selection(search=(("order", "A1"),))) == []
    for asking in (journal.show(gone), journal.content(old_id), journal.body(done)):
        with pytest.raises(UnknownItem):
            await asking
    assert {state: n for state, n in (await journal.totals())["lab"].items() if n} == {"transformed": 1}
    assert (await journal.accept(message(old.data.decode(), duplicate_key="k", lanes=()))).duplicate is False


async def test_what_is_due_or_parked_stays(journal: Journal) -> None:
    """However old it is: received, parked, waiting for delivery, or with a parked delivery."""
    parked = await forwarded(journal, delivery(lanes=()))
    await settled(journal, Park("x", "y"))
    waiting = await forwarded(journal, delivery(lanes=()))
    unfit = (await journal.accept(message(lanes=()))).id
    await journal.park(await lease(journal, LAB), "204", "no")
    received = (await journal.accept(message(lanes=()))).id
    assert await journal.prune() == 0
    assert {row.id for row in await journal.search(Selection())} == {parked, waiting, unfit, received}


async def test_age_and_channel_are_kept_to(journal: Journal) -> None:
    """Only what is older, of the channel that is asked for, the oldest first, and no more than asked for."""
    ids = {}
    for number in range(4):
        new = message(
            lanes=(),
            received_at=START + timedelta(days=number),
            channel="lab" if number else "orders",
            state=MessageState.FILTERED,
        )
        ids[number] = (await journal.accept(new)).id
    kept = (await journal.accept(message(lanes=(), received_at=START + timedelta(days=9)))).id
    assert await journal.prune(before=START + timedelta(days=3), channel="lab", most=1) == 1
    assert [row.id for row in await journal.search(Selection())] == [kept, ids[3], ids[2], ids[0]]
    assert await journal.prune(before=START + timedelta(days=3)) == 2
    assert await journal.prune(before=START + timedelta(days=3)) == 0
    assert [row.id for row in await journal.search(Selection())] == [kept, ids[3]]


async def test_what_later_messages_are_judged_by_stays(store: Store) -> None:
    """Aliases, merges and what receivers have; a state that was given up does not come back, here or after a restart."""
    question = Question(aliases=("a",), objects=("Patient/1", "Patient/2", "Patient/3"))

    async def told(journal: Journal) -> tuple[object, ...]:
        known = await journal.known(question, NAMES)
        return {thing: state.version for (_, thing), state in known.sent.items()}, dict(known.aliases), dict(known.merged)

    async with store.opened() as journal:
        await forwarded(
            journal, delivery(sent=(sent("Patient/1", "1"),)), learned=learned({"a": "Patient/1"}, {"Patient/2": "Patient/1"})
        )
        await settled(journal, DELIVERED)
        stored = await forwarded(journal, delivery(sent=(sent("Patient/1", "2"), sent("Patient/3", "1"))))
        await settled(journal, Park("x", "y"))
        await journal.discard(stored, "mistake")
        await newest(journal)
        before = await told(journal)
        assert before == ({"Patient/1": "1"}, {"a": "Patient/1"}, {"Patient/2": "Patient/1"})
        assert await journal.prune() == 2
        assert await told(journal) == before
    async with store.opened() as journal:
        assert await told(journal) == before
        assert (await journal.accept(message(lanes=()))).duplicate is False


async def test_what_is_being_sent_leaves_nothing_behind(store: Store) -> None:
    """It was given up meanwhile, and is removed before its attempt ends: that ends then, and is of nothing any more."""
    async with store.opened() as journal:
        stored = await forwarded(journal, delivery(lanes=()))
        held = await lease(journal, HUB)
        await journal.discard(stored, "mistake", waiting=True)
        await forwarded(journal, delivery(lanes=()))
        await forwarded(journal)
        while await journal.prune():
            pass
        with contextlib.suppress(UnknownItem):
            await journal.settle(held, DELIVERED)
    assert await _attempts(store) == 0


async def _attempts(store: Store) -> int:
    """How many attempts stand in the journal, of whatever."""
    query = "SELECT count(*) FROM attempts"
    if isinstance(store.place, Path):
        with contextlib.closing(apsw.Connection(str(store.place))) as file:
            return int(file.execute(query).fetchall()[0][0])
    async with await psycopg.AsyncConnection.connect(store.place) as database:
        return int((await (await database.execute(query)).fetchall())[0][0])


async def test_a_replay_keeps_its_content_when_the_first_is_gone(journal: Journal) -> None:
    """Each message has its own."""
    first = message(lanes=())
    await journal.accept(first)
    await journal.park(await lease(journal, LAB), "x", "y")
    again = await journal.replay(first.id)
    assert await journal.prune(before=START + timedelta(days=1)) == 1
    assert (await journal.content(again)).data == first.data


async def test_row_numbers_are_never_given_twice(store: Store) -> None:
    """The newest message and delivery stay, so that what a receiver was sent is not taken for what another delivery brings."""
    async with store.opened() as journal:
        await forwarded(journal, delivery(sent=(sent("Patient/1", "1"),)))
        await settled(journal, DELIVERED)
        while await journal.prune():
            pass
    async with store.opened() as journal:
        await forwarded(journal, delivery(sent=(sent("Patient/2", "1"),)))
        await settled(journal, Park("x", "y"))
        known = await journal.known(Question(objects=("Patient/1", "Patient/2")), NAMES)
        assert {thing for _, thing in known.sent} == {"Patient/1"}


async def test_behind_what_waits_all_that_is_done_goes(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of it is older than what is done; and what waited goes in its turn, once it is done."""
    monkeypatch.setattr(pruning, "_LOOKED_AT", 3)
    for number in range(8):
        await forwarded(journal, delivery("away" if number < 5 else "hub", lanes=()))
    for _ in range(3):
        await settled(journal, DELIVERED)
    await newest(journal)
    steps = [await journal.prune(most=2) for _ in range(3)]
    assert (sum(steps), steps[-1]) == (3, 0)
    for _ in range(5):
        await settled(journal, DELIVERED, Queue("lab", "away"))
    steps = [await journal.prune(channel="lab", most=4) for _ in range(3)]
    assert (sum(steps), steps[-1]) == (5, 0)


async def test_bytes_are_counted_as_they_come_and_go(store: Store) -> None:
    """Of each channel what its messages, its replays and its deliveries hold, a body that two share once."""
    async with store.opened() as journal:
        stored = [0]

        async def grown() -> int:
            stored.append((await journal.stored()).get("lab", 0))
            return stored[-1] - stored[-2]

        data = os.urandom(1_000)
        await journal.accept(replace(message(lanes=()), data=data))
        sealed = await grown() - len(data)
        assert sealed in range(100)
        new = [replace(delivery(name, lanes=()), body=os.urandom(2_000)) for name in ("hub", "late")]
        held = await lease(journal, LAB)
        assert held.message is not None
        assert await journal.forward(held, Forward((*new, replace(delivery("his", lanes=()), body=new[0].body))))
        assert await grown() in range(4_000, 4_200)
        await journal.replay(held.message.id)
        assert await grown() == len(data) + sealed
        for name in ("hub", "late", "his"):
            await settled(journal, DELIVERED, Queue("lab", name))
        await journal.forward(await lease(journal, LAB), Forward())
        await newest(journal)
        left = await grown()
        assert await journal.prune() == 2
        assert (await journal.stored())["lab"] == left
