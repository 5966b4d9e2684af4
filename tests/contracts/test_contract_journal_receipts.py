"""Receipts in the journal, on both adapters: what senders are owed, and what receivers said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from interop_engine.core.model import Delivered, Park, Receipt, Report, Retry, Step, new_id
from interop_engine.journal.base import Forward, Journal, NewDelivery, NewMessage, Queue
from tests.support.journals import ADAPTERS, HUB, LAB, START, delivery, lease, message, new_store

LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(params=ADAPTERS)
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    """An empty journal of each adapter."""
    async with new_store(request.param, request, tmp_path).opened() as opened:
        yield opened


def parcel(number: str = "d1", sender: str = "24001") -> NewMessage:
    """A message that came over the exchange."""
    return message(headers={"sender": sender, "receiver": "hub", "kind": "lab", "delivery-id": number})


async def accepted(journal: Journal, new: NewMessage | None = None) -> str:
    """A message of another node; its id."""
    return (await journal.accept(new or parcel())).id


async def forwarded(journal: Journal, *deliveries: NewDelivery) -> None:
    """The next message, forwarded to these."""
    assert await journal.forward(await lease(journal, LAB), Forward(deliveries))


async def told(journal: Journal) -> list[Report]:
    """What is owed now, and sent."""
    found = await journal.reports()
    await journal.reported([each.receipt.number for each in found])
    return found


async def test_a_message_of_another_node_is_told_of_and_no_other(journal: Journal) -> None:
    """What came over the exchange is receipted to its sender, by the name it was received under; what came otherwise is not."""
    id_ = await accepted(journal)
    await accepted(journal, message())
    (found,) = await told(journal)
    expected = Receipt("d1", "lab", id_, "accepted", START, found.receipt.number)
    assert found == Report("24001", "hub", expected)
    assert await told(journal) == []


async def test_what_came_of_it_is_told_with_the_receivers_answer(journal: Journal) -> None:
    """Delivered, with the code that the receiver's own receiver answered: the loop is closed."""
    id_ = await accepted(journal)
    await told(journal)
    await forwarded(journal, delivery())
    assert await told(journal) == []  # nothing is new for the sender: it is under way
    await journal.settle(await lease(journal, HUB), Delivered("AA"))
    (found,) = await told(journal)
    (row,) = (await journal.show(id_)).deliveries
    assert (found.receipt.state, found.receipt.steps) == ("delivered", (Step("hub", "delivered", "", "AA", row.settled_at),))


async def test_a_failed_attempt_is_not_told(journal: Journal) -> None:
    """A receiver that tries again says nothing new."""
    await accepted(journal)
    await forwarded(journal, delivery())
    await told(journal)
    await journal.settle(await lease(journal, HUB), Retry("busy", "fhir-503"), due_at=LATER)
    assert await told(journal) == []


async def test_parked_retried_and_delivered_are_told_in_turn(journal: Journal) -> None:
    """A parked delivery is told with its code and without the receiver's words, and so is what an operator does about it."""
    await accepted(journal)
    new = delivery()
    await forwarded(journal, new)
    await journal.settle(await lease(journal, HUB), Park("fhir-422", "Nguyễn Văn A is no name"))
    (parked,) = await told(journal)
    assert (parked.receipt.state, parked.receipt.code, parked.receipt.steps[0].detail) == ("parked", "fhir-422", "")
    await journal.retry(new.id)
    assert [each.receipt.state for each in await told(journal)] == ["accepted"]
    await journal.settle(await lease(journal, HUB), Delivered("200"))
    assert [each.receipt.state for each in await told(journal)] == ["delivered"]


async def test_the_worst_of_several_deliveries_is_told(journal: Journal) -> None:
    """Parked before waiting before delivered: the sender sees what somebody must look at."""
    await accepted(journal)
    await forwarded(journal, delivery("hub"), delivery("his"))
    await journal.settle(await lease(journal, HUB), Delivered("AA"))
    assert [each.receipt.state for each in await told(journal)] == ["accepted"]
    await journal.settle(await lease(journal, Queue("lab", "his")), Park("AR", "no"))
    assert [each.receipt.state for each in await told(journal)] == ["parked"]


@pytest.mark.parametrize(("forward", "state"), [(Forward(code="stale", why="newer was sent"), "filtered"), (None, "parked")])
async def test_what_goes_nowhere_is_told(journal: Journal, forward: Forward | None, state: str) -> None:
    """A message that is filtered or parked is told with its code."""
    await accepted(journal)
    taken = await lease(journal, LAB)
    if forward is None:
        await journal.park(taken, "stale", "why")
    else:
        assert await journal.forward(taken, forward)
    (found,) = await told(journal)
    assert (found.receipt.state, found.receipt.code) == (state, "stale")


async def test_a_replay_is_told_of_in_place_of_what_it_replaces(journal: Journal) -> None:
    """A parked message that was received again is told of by the new one, under the sender's same id."""
    old = await accepted(journal)
    await journal.park(await lease(journal, LAB), "101", "why")
    await told(journal)
    new = await journal.replay(old)
    (found,) = await told(journal)
    assert (found.receipt.delivery, found.receipt.message, found.receipt.state) == ("d1", new, "accepted")


async def test_discarded_is_told(journal: Journal) -> None:
    """A message that an operator gave up is told as discarded."""
    id_ = await accepted(journal)
    await journal.park(await lease(journal, LAB), "101", "why")
    await told(journal)
    await journal.discard(id_, "a test message")
    assert [each.receipt.state for each in await told(journal)] == ["discarded"]


async def test_what_changes_while_it_is_sent_is_told_again(journal: Journal) -> None:
    """A report read before a change and confirmed after it does not hide the change."""
    await accepted(journal)
    before = await journal.reports()
    await journal.park(await lease(journal, LAB), "101", "why")
    await journal.reported([each.receipt.number for each in before])
    assert [each.receipt.state for each in await told(journal)] == ["parked"]


async def test_reports_are_paged_by_number(journal: Journal) -> None:
    """Each page goes on where the one before ended."""
    for number in range(5):
        await accepted(journal, parcel(f"d{number}"))
    first = await journal.reports(limit=3)
    rest = await journal.reports(first[-1].receipt.number, 3)
    assert [each.receipt.delivery for each in (*first, *rest)] == ["d0", "d1", "d2", "d3", "d4"]


# --- What receivers said ------------------------------------------------------------------------------------------------


async def sent(journal: Journal) -> tuple[str, NewDelivery]:
    """A message whose delivery the hub's queue took: the message's id and the delivery."""
    new = replace(delivery(), headers={"receiver": "hub", "kind": "lab"})
    id_ = await accepted(journal, message())
    await forwarded(journal, new)
    await journal.settle(await lease(journal, HUB), Delivered())
    return id_, new


def receipt(of: NewDelivery, state: str = "delivered", number: int = 1, **changes: Any) -> Receipt:
    """What the hub says of a delivery."""
    taken = Receipt(of.id, "record", new_id(), state, START, number, "", (Step("fhir", state, "", "200", START),))
    return replace(taken, **changes)


async def test_a_receipt_is_kept_with_its_delivery(journal: Journal) -> None:
    """The sender's message shows what the receiver said, whole."""
    id_, new = await sent(journal)
    said = receipt(new)
    await journal.keep_receipts("hub", [said])
    assert (await journal.show(id_)).deliveries[0].receipts == (said,)


async def test_only_the_receiver_of_a_delivery_is_believed(journal: Journal) -> None:
    """Another facility cannot say that the hub took something, nor speak of what is not there."""
    id_, new = await sent(journal)
    await journal.keep_receipts("24017", [receipt(new)])
    await journal.keep_receipts("hub", [receipt(delivery())])
    assert (await journal.show(id_)).deliveries[0].receipts == ()
    assert await journal.overdue(LATER) == {HUB: 1}


async def test_of_two_receipts_the_later_holds_however_they_arrive(journal: Journal) -> None:
    """A receipt that was overtaken, or that arrives twice, changes nothing; channels of one receiver speak each for itself."""
    id_, new = await sent(journal)
    parked, later = receipt(new, "parked", 5, code="fhir-422"), receipt(new, "delivered", 9)
    other = receipt(new, "accepted", 7, channel="warehouse")
    for said in ([later], [parked, other], [parked], [later]):
        await journal.keep_receipts("hub", said)
    assert (await journal.show(id_)).deliveries[0].receipts == (later, other)


async def test_a_delivery_without_the_last_word_is_overdue(journal: Journal) -> None:
    """Counted by destination from when the exchange took it; accepted is not the last word, parked and delivered are."""
    _, first = await sent(journal)
    _, second = await sent(journal)
    assert await journal.overdue(START) == {}
    assert await journal.overdue(LATER) == {HUB: 2}
    await journal.keep_receipts("hub", [receipt(first, "accepted"), receipt(second, "parked")])
    assert await journal.overdue(LATER) == {HUB: 1}
    await journal.keep_receipts("hub", [receipt(first, "delivered", 2)])
    assert await journal.overdue(LATER) == {}


async def test_a_receipt_may_come_before_its_delivery_is_settled(journal: Journal) -> None:
    """The receiver can be quicker than the broker's confirm: nothing is awaited then."""
    new = replace(delivery(), headers={"receiver": "hub", "kind": "lab"})
    await accepted(journal, message())
    await forwarded(journal, new)
    taken = await lease(journal, HUB)
    await journal.keep_receipts("hub", [receipt(new)])
    await journal.settle(taken, Delivered())
    assert await journal.overdue(LATER) == {}


async def test_what_does_not_go_over_the_exchange_awaits_nothing(journal: Journal) -> None:
    """A FHIR server or an MLLP receiver answers for itself."""
    await accepted(journal, message())
    await forwarded(journal, delivery())
    await journal.settle(await lease(journal, HUB), Delivered("AA"))
    assert await journal.overdue(LATER) == {}


async def test_pruning_takes_receipts_and_reports_along(journal: Journal) -> None:
    """Nothing is left of a message that was removed, and nothing of it is overdue or owed."""
    _, new = await sent(journal)
    await journal.keep_receipts("hub", [receipt(new, "accepted")])
    await accepted(journal)
    await forwarded(journal, delivery())
    await journal.settle(await lease(journal, HUB), Delivered("AA"))
    await accepted(journal, message())  # the newest message, and that of the newest delivery, stay
    await forwarded(journal, delivery())
    await journal.settle(await lease(journal, HUB), Delivered("AA"))
    await accepted(journal, message())
    assert await journal.prune() == 2
    assert (await journal.overdue(LATER), await journal.reports()) == ({}, [])
