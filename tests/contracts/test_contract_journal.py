"""The journal's contract: accepting, duplicates, lanes and leases, on every adapter."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from interop_engine.core.errors import JournalError, UnknownItem
from interop_engine.core.model import Park, Retry, new_id
from interop_engine.journal.base import DeliveryState, Forward, Journal, MessageState, Queue, Selection
from tests.support.journals import (
    DELIVERED,
    HUB,
    LAB,
    START,
    Store,
    ahead,
    delivery,
    forwarded,
    lease,
    lease_now,
    message,
    settled,
)

# --- accepting --------------------------------------------------------------------------------------------------------


async def test_what_is_accepted_can_be_read_exactly(journal: Journal) -> None:
    """Bytes, times and headers come back as they were given."""
    new = message(headers={"sender": "24001"}, search=(("patient", "BN1"), ("order", "A17")), data=bytes(range(256)) * 20)
    new = replace(new, digest="d" * 64)
    stored = await journal.accept(new)
    got = await journal.content(stored.id)
    assert (got.data, got.headers, got.received_at, got.lanes) == (new.data, new.headers, START, new.lanes)
    row = await journal.show(stored.id)
    assert (row.state, row.size, row.arrivals, row.search) == (
        MessageState.RECEIVED,
        5120,
        1,
        (("order", "A17"), ("patient", "BN1")),
    )


async def test_a_resend_gets_the_first_reply_and_is_noted(journal: Journal) -> None:
    """Same key, same content: the id and reply of the first, nothing new, and the arrival is counted."""
    first = message(duplicate_key="k", reply=b"first")
    again = replace(first, id=new_id(), reply=b"second")
    assert (await journal.accept(first)).duplicate is False
    answer = await journal.accept(again)
    assert (answer.id, answer.reply, answer.duplicate) == (first.id, b"first", True)
    assert [(row.id, row.arrivals) for row in await journal.search(Selection())] == [(first.id, 2)]


async def test_two_sockets_sending_the_same_at_once(journal: Journal) -> None:
    """Of twenty that arrive within one commit, one is kept and all get its reply."""
    first = message(duplicate_key="k")
    copies = [replace(first, id=new_id(), reply=str(n).encode()) for n in range(20)]
    answers = await asyncio.gather(*(journal.accept(copy) for copy in copies))
    assert len({(answer.id, answer.reply) for answer in answers}) == 1
    assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 19
    assert (await journal.show(answers[0].id)).arrivals == 20


@pytest.mark.parametrize("end", ["forwarded", "delivered", "filtered"])
async def test_a_resend_stays_a_duplicate_to_the_end(journal: Journal, end: str) -> None:
    """In progress, delivered or filtered: the first was accepted, so a resend is only answered."""
    first = message(duplicate_key="k")
    await journal.accept(first)
    await journal.forward(await lease(journal, LAB), Forward(() if end == "filtered" else (delivery(),)))
    if end == "delivered":
        await settled(journal, DELIVERED)
    assert (await journal.accept(replace(first, id=new_id()))).duplicate


async def test_a_resend_of_a_parked_message_supersedes_it(journal: Journal) -> None:
    """The parked one is SUPERSEDED, the new one is received, and is the first for the next resend."""
    first = message(duplicate_key="k")
    await journal.accept(first)
    await journal.park(await lease(journal, LAB), "204", "order unknown")
    second = replace(first, id=new_id())
    assert (await journal.accept(second)).duplicate is False
    assert (await journal.show(first.id)).state == MessageState.SUPERSEDED
    third = await journal.accept(replace(first, id=new_id()))
    assert (third.id, third.duplicate) == (second.id, True)


async def test_a_resend_of_a_message_with_a_parked_delivery_supersedes_both(journal: Journal) -> None:
    """The parked delivery is given up, so that it cannot be sent after its successor."""
    first = message(duplicate_key="k")
    await journal.accept(first)
    await journal.forward(await lease(journal, LAB), Forward((delivery(),)))
    await settled(journal, Park("fhir-422", "no"))
    assert (await journal.accept(replace(first, id=new_id()))).duplicate is False
    row = await journal.show(first.id)
    assert (row.state, row.deliveries[0].state) == (MessageState.SUPERSEDED, DeliveryState.DISCARDED)


async def test_a_resend_of_a_rejected_or_discarded_message_is_processed(journal: Journal) -> None:
    """What was refused or given up may be tried again, and keeps its own state."""
    rejected = message(duplicate_key="r", state=MessageState.REJECTED, code="101", why="no MSH-10")
    await journal.accept(rejected)
    assert (await journal.accept(replace(rejected, id=new_id(), state=MessageState.RECEIVED))).duplicate is False
    assert (await journal.show(rejected.id)).state == MessageState.REJECTED
    given_up = message(duplicate_key="d", lanes=("other",))
    await journal.park(await lease(journal, LAB), "x", "y")
    await journal.accept(given_up)
    await journal.park(await lease(journal, LAB), "x", "y")
    await journal.discard(given_up.id, "useless")
    assert (await journal.accept(replace(given_up, id=new_id()))).duplicate is False
    assert (await journal.show(given_up.id)).state == MessageState.DISCARDED


async def test_the_same_key_with_other_content_is_processed_and_flagged(journal: Journal) -> None:
    """Control ids get reset; a resend of either content is still known."""
    one, two = message("one", duplicate_key="k"), message("two", duplicate_key="k")
    assert (await journal.accept(one)).other_content is False
    answer = await journal.accept(two)
    assert (answer.duplicate, answer.other_content) == (False, True)
    assert (await journal.accept(replace(one, id=new_id()))).id == one.id
    assert (await journal.accept(replace(two, id=new_id()))).id == two.id


async def test_the_same_content_under_another_key_channel_or_none_is_processed(journal: Journal) -> None:
    """Only the key of the same channel makes a duplicate."""
    first = message(duplicate_key="k")
    others = [{"duplicate_key": "l"}, {"duplicate_key": None}, {"channel": "orders"}]
    await journal.accept(first)
    answers = [await journal.accept(replace(first, id=new_id(), **other)) for other in others]
    assert [(answer.duplicate, answer.other_content) for answer in answers] == [(False, False)] * 3


async def test_after_the_window_a_resend_is_a_new_message(store: Store) -> None:
    """Thirty days by default: inside it is known, outside it is processed and not flagged."""
    async with store.opened(window=timedelta(days=30)) as journal:
        first = message(duplicate_key="k")
        await journal.accept(first)
        inside = replace(first, id=new_id(), received_at=START + timedelta(days=30))
        outside = replace(first, id=new_id(), received_at=START + timedelta(days=30, microseconds=1))
        assert (await journal.accept(inside)).duplicate
        answer = await journal.accept(outside)
        assert (answer.id, answer.duplicate, answer.other_content) == (outside.id, False, False)


async def test_a_message_says_how_far_back_it_is_looked_for(journal: Journal) -> None:
    """Shorter or longer than the journal's window, each by itself."""
    first = message(duplicate_key="k")
    await journal.accept(first)
    for after, known_for, known in (
        (timedelta(hours=2), timedelta(hours=1), False),
        (timedelta(days=40), timedelta(days=50), True),
    ):
        again = replace(first, id=new_id(), received_at=START + after, known_for=known_for)
        assert (await journal.accept(again)).duplicate is known


async def test_one_bad_write_of_a_group_fails_alone(journal: Journal) -> None:
    """An id used twice is its caller's error; what was committed with it is kept and counted once."""
    good = [message(lanes=()) for _ in range(10)]
    writes = [good[0], *good]
    answers = await asyncio.gather(*(journal.accept(each) for each in writes), return_exceptions=True)
    assert [isinstance(answer, JournalError) for answer in answers] == [False, True] + [False] * 9
    assert (await journal.totals()) == {"lab": {"received": 10}}
    assert {(await lease(journal, LAB)).message.id for _ in good} == {each.id for each in good}  # type: ignore[union-attr]


async def test_a_cancelled_caller_leaves_nothing_half_done(journal: Journal) -> None:
    """Each cancelled accept is there whole, with its keys, or not at all; the counts agree."""
    tasks = [asyncio.ensure_future(journal.accept(message(lanes=(), search=(("patient", str(n)),)))) for n in range(200)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.wait(tasks)
    rows = await journal.search(Selection(limit=500))
    assert all(len(row.search) == 1 for row in rows)
    kept = sum(not task.cancelled() for task in tasks)
    assert kept >= 100
    assert len(rows) >= kept
    assert (await journal.totals())["lab"]["received"] == len(rows)


# --- lanes and leases -------------------------------------------------------------------------------------------------


async def test_a_lane_hands_out_one_at_a_time_in_order_of_arrival(journal: Journal) -> None:
    """The next of a lane only after the one before was forwarded; other lanes go on meanwhile."""
    first, second, other = message(), message(), message(lanes=("24001|BN2",))
    for each in (first, second, other):
        await journal.accept(each)
    held = await lease(journal, LAB)
    beside = await lease(journal, LAB)
    assert (held.message.id, beside.message.id) == (first.id, other.id)  # type: ignore[union-attr]
    assert await lease_now(journal, LAB) is None
    await journal.forward(held, Forward())
    assert (await lease(journal, LAB)).message.id == second.id  # type: ignore[union-attr]


async def test_a_barrier_waits_for_all_its_lanes_and_holds_them(journal: Journal) -> None:
    """An item of two lanes comes after what is before it in either, and before what is behind it in either."""
    names = {"a1": ("a",), "b1": ("b",), "ab": ("a", "b"), "a2": ("a",), "b2": ("b",), "c": ("c",)}
    for name, lanes in names.items():
        await journal.accept(message(lanes=lanes, control_id=name))

    async def take(count: int) -> list[str]:
        leases = [await lease(journal, LAB) for _ in range(count)]
        held.extend(leases)
        return [each.message.control_id for each in leases]  # type: ignore[union-attr]

    held: list = []
    assert await take(3) == ["a1", "b1", "c"]
    await journal.forward(held[0], Forward())
    assert await lease_now(journal, LAB) is None
    await journal.forward(held[1], Forward())
    assert await take(1) == ["ab"]
    assert await lease_now(journal, LAB) is None
    await journal.park(held[3], "x", "y")
    assert await take(2) == ["a2", "b2"]


async def test_items_without_a_lane_wait_for_nobody(journal: Journal) -> None:
    """No lane, no order."""
    for _ in range(3):
        await journal.accept(message(lanes=()))
    assert all([await lease_now(journal, LAB) for _ in range(3)])
    assert await lease_now(journal, LAB) is None


async def test_what_was_rejected_or_filtered_is_never_leased(journal: Journal) -> None:
    """Only RECEIVED is due."""
    await journal.accept(message(state=MessageState.REJECTED, code="100", why="no"))
    await journal.accept(message(state=MessageState.FILTERED, code="ignored", why="no"))
    assert await lease_now(journal, LAB) is None


async def test_a_lease_waits_until_something_is_due(journal: Journal) -> None:
    """The waiter is woken by the commit, and a cancelled waiter takes nothing with it."""
    cancelled, waiting = (asyncio.ensure_future(journal.lease(LAB, "w")) for _ in range(2))
    await asyncio.sleep(0)
    accepting = asyncio.ensure_future(journal.accept(message()))
    cancelled.cancel()
    await accepting
    assert (await asyncio.wait_for(waiting, 10)).message is not None


async def test_every_waiter_gets_an_item(journal: Journal) -> None:
    """As many workers as items: all are woken."""
    waiting = [asyncio.ensure_future(journal.lease(LAB, "w")) for _ in range(8)]
    await asyncio.sleep(0)
    await asyncio.gather(*(journal.accept(message(lanes=(str(n),))) for n in range(8)))
    leases = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert len({each.message.id for each in leases if each.message}) == 8


async def test_queues_are_apart(journal: Journal) -> None:
    """A channel's messages and each destination's deliveries are leased separately."""
    await forwarded(journal, delivery("hub"), delivery("district"))
    await journal.accept(message(channel="orders"))
    for queue in (HUB, Queue("lab", "district"), Queue("orders")):
        assert (await lease(journal, queue)).queue == queue
    assert await lease_now(journal, LAB) is None


async def test_a_released_item_is_due_again_at_once(journal: Journal) -> None:
    """Unsettled, uncounted, and still the first of its lane."""
    first = await forwarded(journal, delivery())
    await forwarded(journal, delivery())
    await journal.release(await lease(journal, HUB))
    again = await lease(journal, HUB)
    assert again.delivery is not None
    assert (again.delivery.message_id, again.delivery.attempts) == (first, 0)


async def test_a_lease_that_is_never_settled_ends(store: Store) -> None:
    """After its time the item is handed out again, and the late worker is told."""
    async with store.opened(lease_time=timedelta(milliseconds=20)) as journal:
        await journal.accept(message())
        late = await lease(journal, LAB)
        again = await lease(journal, LAB)
        assert late.message == again.message
        with pytest.raises(UnknownItem):
            await journal.forward(late, Forward())


async def test_a_restart_makes_everything_unsettled_due_in_order(store: Store) -> None:
    """Leases end with the process; what was committed is there."""
    async with store.opened() as journal:
        ids = [(await journal.accept(message())).id for _ in range(5)]
        await forwarded_first(journal)
        await lease(journal, LAB)
        await lease(journal, HUB)
    async with store.opened() as journal:
        delivered = await lease(journal, HUB)
        assert delivered.delivery is not None
        assert delivered.delivery.message_id == ids[0]
        got = []
        for _ in ids[1:]:
            held = await lease(journal, LAB)
            assert held.message is not None
            got.append(held.message.id)
            await journal.forward(held, Forward())
        assert got == ids[1:]


async def forwarded_first(journal: Journal) -> None:
    """Forward the first message with one delivery."""
    assert await journal.forward(await lease(journal, LAB), Forward((delivery(),)))


# --- settling ---------------------------------------------------------------------------------------------------------


async def test_a_delivery_carries_its_exact_bytes(journal: Journal) -> None:
    """The same id and bytes at each attempt and in ``body``; attempts are counted."""
    new = delivery()
    stored = await forwarded(journal, new)
    first = await lease(journal, HUB)
    await journal.settle(first, Retry("reset"), due_at=ahead(-1))
    second = await lease(journal, HUB)
    for each in (first.delivery, second.delivery, await journal.body(new.id)):
        assert each is not None
        assert (each.id, each.body, each.message_id, each.headers) == (new.id, new.body, stored, {"kind": "lab"})
    assert (first.delivery.attempts, second.delivery.attempts) == (0, 1)  # type: ignore[union-attr]


async def test_an_item_that_waits_for_its_time_holds_its_lane(journal: Journal) -> None:
    """Order before speed: what is behind a retried delivery waits with it."""
    await forwarded(journal, delivery())
    await forwarded(journal, delivery())
    await forwarded(journal, delivery(lanes=("other",)))
    await journal.settle(await lease(journal, HUB), Retry("503"), due_at=ahead(3600))
    other = await lease(journal, HUB)
    assert other.lanes == ("other",)
    assert await lease_now(journal, HUB) is None


async def test_a_retried_delivery_is_handed_out_when_it_is_due(journal: Journal) -> None:
    """Not before its time, and by itself."""
    await forwarded(journal, delivery())
    due = ahead(0.5)
    await journal.settle(await lease(journal, HUB), Retry("503"), due_at=due)
    assert await lease_now(journal, HUB) is None
    assert (await lease(journal, HUB)).delivery is not None
    assert ahead(0) >= due


async def test_a_due_time_outlives_a_restart(store: Store) -> None:
    """Backoff is kept in the journal."""
    async with store.opened() as journal:
        await forwarded(journal, delivery())
        await journal.settle(await lease(journal, HUB), Retry("503"), due_at=ahead(3600))
    async with store.opened() as journal:
        assert await lease_now(journal, HUB) is None
        row = (await journal.search(Selection()))[0].deliveries[0]
        assert (row.state, row.attempts, row.code) == (DeliveryState.WAITING, 1, "retry")


async def test_a_wait_that_does_not_count_is_no_attempt(journal: Journal) -> None:
    """Behind an open breaker the receiver was not asked."""
    stored = await forwarded(journal, delivery())
    await journal.settle(await lease(journal, HUB), Retry("breaker", counts=False, sent=False), due_at=ahead(-1))
    assert (await journal.show(stored)).deliveries[0].attempts == 0


async def test_a_parked_delivery_does_not_hold_its_lane(journal: Journal) -> None:
    """The next one goes on; the parked one says why."""
    first = await forwarded(journal, delivery())
    second = await forwarded(journal, delivery())
    await settled(journal, Park("fhir-422", "status is required"))
    following = await lease(journal, HUB)
    assert following.delivery is not None
    assert following.delivery.message_id == second
    row = (await journal.show(first)).deliveries[0]
    assert (row.state, row.code, row.why, row.attempts) == (DeliveryState.PARKED, "fhir-422", "status is required", 1)
    assert row.settled_at is not None


async def test_settling_a_lease_twice_is_refused(journal: Journal) -> None:
    """A fence: the second settle changes nothing."""
    stored = await forwarded(journal, delivery())
    held = await lease(journal, HUB)
    await journal.settle(held, DELIVERED)
    with pytest.raises(UnknownItem):
        await journal.settle(held, Park("x", "y"))
    assert (await journal.show(stored)).deliveries[0].state == DeliveryState.DELIVERED
