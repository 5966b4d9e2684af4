"""The journal's contract: what an operator gives up, and what stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Park, Retry
from interop_engine.journal.base import DeliveryState, Journal, MessageState, Queue
from tests.support.journals import DELIVERED, HUB, LAB, ahead, delivery, forwarded, lease, lease_now, message, settled

DISTRICT = Queue("lab", "district")


async def states(journal: Journal, stored: str) -> dict[str, DeliveryState]:
    """Where each delivery of a message is."""
    return {row.destination: row.state for row in (await journal.show(stored)).deliveries}


async def test_discarding_gives_up_what_is_parked(journal: Journal) -> None:
    """A delivery that waits is healthy: it stays, unless that is asked for; a delivered one stays in any case."""
    stored = await forwarded(journal, delivery(), delivery("district"), delivery("archive"))
    await settled(journal, DELIVERED, Queue("lab", "archive"))
    await settled(journal, Park("x", "y"), DISTRICT)
    await journal.discard(stored, "mistake")
    expected = {"hub": DeliveryState.WAITING, "district": DeliveryState.DISCARDED, "archive": DeliveryState.DELIVERED}
    assert await states(journal, stored) == expected
    assert await lease_now(journal, HUB) is not None
    await journal.discard(stored, "that too", waiting=True)
    assert await states(journal, stored) == {**expected, "hub": DeliveryState.DISCARDED}


async def test_what_was_done_with_a_message_is_told(journal: Journal) -> None:
    """When it parked, and what operators did with it or its deliveries since, and why; of any message only what is its own."""
    made = delivery()
    stored = await forwarded(journal, made, delivery("district"))
    assert (await journal.show(stored)).history == ()
    await settled(journal, Park("x", "y"))
    await journal.retry(made.id)
    await settled(journal, Park("x", "y"))
    await journal.discard(stored, "Bà mẹ gọi", to="hub")
    again = await journal.replay(stored, only="district")
    await journal.park(await lease(journal, LAB), "204", "order unknown")
    last = await journal.replay(again)
    told = (await journal.show(stored)).history
    assert [(each.what, each.delivery, each.detail) for each in told] == [
        ("retried", made.id, ""),
        ("discarded", "", "Bà mẹ gọi"),
        ("replayed", "", f"{again} district"),
    ]
    assert sorted(told, key=lambda each: each.at) == list(told)
    assert {(each.what, each.detail) for each in (await journal.show(again)).history} == {
        ("parked", "204"),
        ("superseded", last),
        ("replayed", last),
    }
    assert (await journal.show(last)).history == ()


async def test_a_message_is_shown_by_its_deliveries(journal: Journal) -> None:
    """Whoever has only the id of a delivery, from a log or a receiver, finds what it is of."""
    made = [delivery(), delivery("district")]
    stored = await forwarded(journal, *made)
    assert [(await journal.show(each.id)).id for each in made] == [stored, stored]


async def test_a_lane_goes_on_past_what_is_discarded(journal: Journal) -> None:
    """What stood behind it is handed out next."""
    stored = await forwarded(journal, delivery())
    behind = await forwarded(journal, delivery())
    await journal.discard(stored, "mistake", waiting=True)
    following = await lease(journal, HUB)
    assert following.delivery is not None
    assert following.delivery.message_id == behind


async def test_discarding_what_is_being_sent_keeps_the_lane_until_it_ends(journal: Journal) -> None:
    """The attempt under way ends first; what it says then is kept as an attempt, the delivery stays discarded."""
    stored = await forwarded(journal, delivery())
    await forwarded(journal, delivery())
    under_way = await lease(journal, HUB)
    await journal.discard(stored, "mistake", waiting=True)
    assert await lease_now(journal, HUB) is None
    await journal.settle(under_way, DELIVERED)
    assert (await journal.show(stored)).deliveries[0].state == DeliveryState.DISCARDED
    assert await lease_now(journal, HUB) is not None


async def test_discarding_by_destination_and_reason(journal: Journal) -> None:
    """Only what is for the destination, by its name or with its receiver, and only what has the code."""
    made = [replace(delivery(name, lanes=(name,)), headers={"receiver": "24002"}) for name in ("hub", "district", "archive")]
    stored = await forwarded(journal, *made)
    for name, code in (("hub", "fhir-422"), ("district", "fhir-422"), ("archive", "mllp-ae")):
        await settled(journal, Park(code, "no"), Queue("lab", name))
    for to, code in (("nowhere", ""), ("", "fhir-409"), ("hub", "mllp-ae")):
        with pytest.raises(UnknownItem):
            await journal.discard(stored, "mistake", to=to, code=code)
    await journal.discard(stored, "mistake", code="mllp-ae")
    await journal.discard(stored, "mistake", to="hub/24002")
    expected = {"hub": DeliveryState.DISCARDED, "district": DeliveryState.PARKED, "archive": DeliveryState.DISCARDED}
    assert await states(journal, stored) == expected
    await journal.discard(stored, "mistake", to="district", code="fhir-422")
    assert set((await states(journal, stored)).values()) == {DeliveryState.DISCARDED}


async def test_a_parked_message_is_discarded_for_its_reason_and_for_no_destination(journal: Journal) -> None:
    """It was made for none yet."""
    stored = await journal.accept(message())
    await journal.park(await lease(journal, LAB), "204", "no order")
    for to, code in (("hub", ""), ("", "101")):
        with pytest.raises(UnknownItem):
            await journal.discard(stored.id, "mistake", to=to, code=code)
    await journal.discard(stored.id, "mistake", code="204")
    assert (await journal.show(stored.id)).state == MessageState.DISCARDED


async def test_why_it_parked_stands_behind_why_it_was_given_up(journal: Journal) -> None:
    """Both are to be found later; the code says which of them it is."""
    stored = await journal.accept(message(lanes=()))
    await journal.park(await lease(journal, LAB), "204", "OBR-3 names no known order.")
    await journal.discard(stored.id, "The laboratory knows no such order")
    row = await journal.show(stored.id)
    why = "The laboratory knows no such order (parked before: 204 OBR-3 names no known order.)"
    assert (row.code, row.why) == ("discarded", why)
    sent = await forwarded(journal, delivery(), delivery("district"), delivery("archive"))
    await settled(journal, Park("fhir-422", "A value (of 1) is missing."))
    await journal.settle(await lease(journal, DISTRICT), Retry("down", "fhir-503"), due_at=ahead(3600))
    await journal.discard(sent, "a test", waiting=True)
    row = await journal.show(sent)
    assert {(each.destination, each.code, each.why) for each in row.deliveries} == {
        ("hub", "discarded", "a test (parked before: fhir-422 A value (of 1) is missing.)"),
        ("district", "discarded", "a test (waiting before: fhir-503 down)"),
        ("archive", "discarded", "a test"),
    }


@pytest.mark.parametrize("end", ["delivered", "waiting", "discarded", "received", "rejected"])
async def test_where_there_is_nothing_to_give_up_it_is_said(journal: Journal, end: str) -> None:
    """A discard that does nothing would read as one that did: it is refused, and leaves no trace."""
    if end in ("received", "rejected"):
        stored = (await journal.accept(message(state=MessageState(end)))).id
    else:
        stored = await forwarded(journal, delivery())
    if end == "delivered":
        await settled(journal, DELIVERED)
    if end == "discarded":
        await settled(journal, Park("x", "y"))
        await journal.discard(stored, "mistake")
    before = await journal.show(stored)
    with pytest.raises(UnknownItem, match="parked"):
        await journal.discard(stored, "again")
    assert await journal.show(stored) == before
