"""The journal's contract: attempts that end parked and hold their lanes, and what is kept of each attempt."""

from __future__ import annotations

import pytest

from interop_engine.core.model import Park, Retry
from interop_engine.journal.base import HELD, DeliveryState, Journal
from tests.support.journals import (
    DELIVERED,
    HUB,
    Store,
    ahead,
    delivery,
    forwarded,
    lease,
    lease_now,
    sent,
)

REFUSED = Park("fhir-422", "status is required")


async def held(journal: Journal) -> str:
    """Park the next delivery so that it holds its lanes; returns its message."""
    found = await lease(journal, HUB)
    assert found.delivery is not None
    await journal.settle(found, REFUSED, due_at=HELD)
    return found.delivery.message_id


async def done(journal: Journal) -> str:
    """Deliver the next one; returns its message."""
    found = await lease(journal, HUB)
    assert found.delivery is not None
    await journal.settle(found, DELIVERED)
    return found.delivery.message_id


async def told(journal: Journal, message: str) -> tuple[DeliveryState, bool, str]:
    """State of a message's delivery, whether it holds, and behind what it waits."""
    (row,) = (await journal.show(message)).deliveries
    assert row.due_at is None
    return row.state, row.holds, row.behind


async def test_what_shares_a_lane_waits_and_the_rest_goes_on(journal: Journal) -> None:
    """The patient of the parked delivery waits, a merge with that patient too; others pass. Listings say who waits for what."""
    first = await forwarded(journal, delivery())
    same = await forwarded(journal, delivery())
    merge = await forwarded(journal, delivery(lanes=("24001|BN1", "24001|BN2")))
    after_merge = await forwarded(journal, delivery(lanes=("24001|BN2",)))
    other = await forwarded(journal, delivery(lanes=("24001|BN3",)))
    assert await held(journal) == first
    assert await done(journal) == other
    assert await lease_now(journal, HUB) is None
    assert await told(journal, first) == (DeliveryState.PARKED, True, "")
    assert await told(journal, same) == (DeliveryState.WAITING, False, first)
    assert await told(journal, merge) == (DeliveryState.WAITING, False, first)
    assert await told(journal, after_merge) == (DeliveryState.WAITING, False, "")
    (count,) = [each for each in await journal.counts() if each.queue == HUB]
    assert (count.waiting, count.parked, count.holding) == (3, 1, 1)


async def test_a_retry_sends_it_first(journal: Journal) -> None:
    """The same id and bytes, before all that waited: nothing passed it, so it is not overtaken."""
    made = delivery(sent=(sent("Patient/1", "1"),))
    first = await forwarded(journal, made)
    second = await forwarded(journal, delivery(sent=(sent("Patient/1", "2"),)))
    await held(journal)
    assert await journal.retry(made.id) is None
    assert await told(journal, first) == (DeliveryState.WAITING, False, "")
    assert [await done(journal) for _ in range(2)] == [first, second]
    (count,) = [each for each in await journal.counts() if each.queue == HUB]
    assert (count.waiting, count.parked, count.holding) == (0, 0, 0)


@pytest.mark.parametrize("how", ["discard", "replay"])
async def test_giving_it_up_lets_its_lanes_go_on(journal: Journal, how: str) -> None:
    """Discarded, or received again: what waited is handed out at once, also to who waits for it already."""
    first = await forwarded(journal, delivery())
    second = await forwarded(journal, delivery())
    await held(journal)
    assert await lease_now(journal, HUB) is None
    await (journal.discard(first, "told the ward") if how == "discard" else journal.replay(first))
    assert (await told(journal, first))[:2] == (DeliveryState.DISCARDED, False)
    assert await done(journal) == second


async def test_it_holds_after_a_restart(store: Store) -> None:
    """The lane of a parked delivery waits in the next process too, and a retry there lets it go."""
    made = delivery()
    async with store.opened() as journal:
        first = await forwarded(journal, made)
        await held(journal)
    async with store.opened() as journal:
        second = await forwarded(journal, delivery())
        assert await lease_now(journal, HUB) is None
        assert await told(journal, second) == (DeliveryState.WAITING, False, first)
        await journal.retry(made.id)
        assert [await done(journal) for _ in range(2)] == [first, second]


async def test_held_again_and_again(journal: Journal) -> None:
    """A retry that is refused again holds again, and every attempt is kept."""
    made = delivery()
    first = await forwarded(journal, made)
    await forwarded(journal, delivery())
    for _ in range(3):
        await held(journal)
        assert await lease_now(journal, HUB) is None
        await journal.retry(made.id)
    assert [attempt.outcome for attempt in await journal.attempts(first)] == ["parked"] * 3


async def test_what_an_attempt_took_is_kept(journal: Journal) -> None:
    """A slow receiver shows in the history of each message: when each attempt ended, what came of it, and how long it took."""
    stored = await forwarded(journal, delivery())
    for outcome, due_at, took in ((Retry("503", "fhir-503"), ahead(-1), 1.25), (REFUSED, None, 0.000004)):
        await journal.settle(await lease(journal, HUB), outcome, due_at=due_at, took=took)
    found = await journal.attempts(stored)
    assert [(each.number, each.outcome, each.code, each.took) for each in found] == [
        (1, "retry", "fhir-503", 1.25),
        (2, "parked", "fhir-422", 0.000004),
    ]
