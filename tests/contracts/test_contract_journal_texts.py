"""The journal's contract: whatever text a sender or a file's name brings is kept, found again, and stops nobody."""

from __future__ import annotations

import random
import string
from dataclasses import replace

import pytest

from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Delivered, Outcome, Park, Question, Receipt, Retry, Step
from interop_engine.journal.base import Forward, Journal, Selection
from tests.support.journals import (
    HUB,
    LAB,
    START,
    ahead,
    delivery,
    forwarded,
    learned,
    lease,
    lease_now,
    message,
    sent,
    settled,
)

_NAME = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=4_000))  # does not compress
_HALF = "k\udce9t-qu\udce1.hl7"  # a file's name in Latin-1, as Python gives it


async def test_half_a_character_stops_nobody(journal: Journal) -> None:
    """In every text of a message; the next one is taken too, and both are handed out."""
    new = message(peer=_HALF, headers={"file": _HALF}, control_id=_HALF, duplicate_key=_HALF, lanes=(_HALF,), why=_HALF)
    stored = await journal.accept(replace(new, search=(("order", _HALF),)))
    other = await journal.accept(message())
    assert [row.id for row in await journal.search(Selection(search=(("order", _HALF),)))] == [stored.id]
    assert [row.id for row in await journal.search(Selection(control_id=_HALF))] == [stored.id]
    assert (await journal.accept(replace(new, id="again"))).duplicate
    leased = {each.message.id for each in (await lease(journal, LAB), await lease(journal, LAB)) if each.message}
    assert leased == {stored.id, other.id}
    assert (await journal.health()).problem == ""


_ODD = pytest.mark.parametrize("odd", [_HALF, "k\0t"], ids=["half a character", "NUL"])


@_ODD
async def test_no_text_of_what_is_made_stops_it(journal: Journal, odd: str) -> None:
    """A mapping's reasons, findings, paths, headers, names and states: forwarded, handed out, and known by what is asked for."""
    state = sent(f"Patient/{odd}")._replace(destination=f"exchange/{odd}", version=odd)
    number, old = f"placer|{odd}", f"Patient/old{odd}"
    made = Forward(
        (replace(delivery(lanes=(odd,), sent=(state,)), headers={"receiver": odd, "file": odd}),),
        learned({number: f"Patient/{odd}", f"{number}\t{odd}": "Patient/2"}, {old: f"Patient/{odd}"}),
        why=odd,
        findings=(odd,),
        ledger=(odd,),
        search=(("order", odd),),
    )
    stored = await journal.accept(message(lanes=()))
    assert await journal.forward(await lease(journal, LAB), made)
    held = await lease(journal, HUB)
    assert held.delivery is not None
    assert (held.delivery.body, await journal.body(held.delivery.id)) == (made.deliveries[0].body, held.delivery)
    (row,) = await journal.search(Selection(search=(("order", odd),)))
    assert (row.id, row.why == "", row.findings == ()) == (stored.id, False, False)
    known = await journal.known(Question(aliases=(number,), objects=(old, f"Patient/{odd}")), (f"exchange/{odd}",))
    assert set(known.sent) == {(f"exchange/{odd}", f"Patient/{odd}")}
    assert (known.aliases[number], known.merged[old]) == (f"Patient/{odd}", f"Patient/{odd}")
    await journal.accept(message(lanes=()))
    assert await journal.forward(await lease(journal, LAB), Forward((delivery(),), stamp=known.stamp))


@_ODD
@pytest.mark.parametrize("how", ["retry", "parked", "delivered"])
async def test_no_words_of_a_receiver_stop_a_delivery(journal: Journal, how: str, odd: str) -> None:
    """What it said of an attempt, and its code; the attempt is kept with them."""
    outcomes: dict[str, Outcome] = {"retry": Retry(odd, odd), "parked": Park(odd, odd), "delivered": Delivered(odd)}
    stored = await forwarded(journal, delivery())
    await journal.settle(await lease(journal, HUB), outcomes[how], due_at=ahead(-1) if how == "retry" else None)
    (attempt,) = await journal.attempts(stored)
    assert (attempt.outcome, attempt.why == "") == (how, False)
    assert (await lease_now(journal, HUB) is not None) == (how == "retry")


@_ODD
async def test_no_reason_stops_a_person(journal: Journal, odd: str) -> None:
    """Parked and discarded with any words; what is asked for by them is unknown, which is no fault."""
    stored = await journal.accept(message())
    await journal.park(await lease(journal, LAB), odd, odd, (odd,))
    await journal.discard(stored.id, odd)
    assert (await journal.show(stored.id)).state == "discarded"
    made = delivery()
    first = await forwarded(journal, made)
    await settled(journal, Park("x", "y"))
    assert (await journal.show(await journal.replay(first, only=odd, config=odd))).only != ""
    for asking in (
        journal.show(odd),
        journal.content(odd),
        journal.attempts(odd),
        journal.body(odd),
        journal.config(odd),
        journal.replay(odd),
        journal.retry(odd),
        journal.discard(odd, odd),
        journal.discard(first, odd, to=odd, code=odd),
        journal.search(Selection(before=odd)),
    ):
        with pytest.raises(UnknownItem):
            await asking


@_ODD
async def test_no_words_of_a_receipt_stop_the_others(journal: Journal, odd: str) -> None:
    """What another node says of a delivery is kept, whatever it says it with."""
    made = replace(delivery(), headers={"receiver": "hub"})
    stored = await forwarded(journal, made)
    steps = (Step(odd, odd, odd, odd),)
    receipts = [Receipt(made.id, "lab", odd, odd, START, 1, odd, steps), Receipt(odd, odd, odd, odd, START, 1, odd)]
    await journal.keep_receipts("hub", receipts)
    await journal.keep_receipts(odd, receipts)
    (kept,) = (await journal.show(stored)).deliveries[0].receipts
    assert (kept.channel, kept.message == "") == ("lab", False)


@pytest.mark.parametrize("condition", ["control_id", "message_type", "search"])
async def test_a_long_name_is_found_by_the_whole_of_it(journal: Journal, condition: str) -> None:
    """One that differs at its very end is another."""
    long = {"control_id": _NAME, "message_type": _NAME, "search": (("order", _NAME),)}
    other = {"control_id": _NAME + "x", "message_type": _NAME + "x", "search": (("order", _NAME + "x"),)}
    stored = await journal.accept(message(**long))
    await journal.accept(message(**other))
    assert [row.id for row in await journal.search(Selection(**{condition: long[condition]}))] == [stored.id]


async def test_a_duplicate_is_known_by_a_long_key(journal: Journal) -> None:
    """As by a short one, and one that differs at its end is none."""
    new = message(duplicate_key=_NAME)
    await journal.accept(new)
    assert (await journal.accept(replace(new, id="again"))).duplicate
    assert not (await journal.accept(replace(new, id="other", duplicate_key=_NAME + "x"))).duplicate


async def test_a_long_lane_keeps_its_order(journal: Journal) -> None:
    """Of messages and of deliveries; another long one goes beside it."""
    first = await journal.accept(message(lanes=(_NAME,)))
    await journal.accept(message(lanes=(_NAME,)))
    beside = await journal.accept(message(lanes=(_NAME + "x",)))
    held = [await lease(journal, LAB), await lease(journal, LAB)]
    assert [each.message.id for each in held if each.message] == [first.id, beside.id]
    assert await lease_now(journal, LAB) is None
    made = [delivery(lanes=(_NAME,)), delivery(lanes=(_NAME,))]
    assert await journal.forward(held[0], Forward(tuple(made), search=(("order", _NAME),)))
    sending = await lease(journal, HUB)
    assert sending.delivery is not None
    assert sending.delivery.id == made[0].id
    assert await lease_now(journal, HUB) is None
    await journal.settle(sending, Park("no", "why"))
    assert [row.id for row in await journal.search(Selection(search=(("order", _NAME),)))] == [first.id]


async def test_what_long_names_taught_is_known_by_them(journal: Journal) -> None:
    """Aliases, those that go on from them, merges and objects, by the names that were asked for."""
    number, thing, old = f"placer|{_NAME}", f"ServiceRequest/{_NAME}", f"Patient/{_NAME}"
    taught = learned({number: thing, f"{number}\tcbc": "ServiceRequest/2"}, {old: "Patient/3"})
    state = sent(thing, "1", b"order")
    await forwarded(journal, delivery(sent=(state,)), learned=taught)
    known = await journal.known(Question(aliases=(number,), objects=(old, thing)), ("exchange/hub",))
    assert dict(known.aliases) == {number: thing, f"{number}\tcbc": "ServiceRequest/2"}
    assert dict(known.merged) == {old: "Patient/3"}
    assert dict(known.sent) == {("exchange/hub", thing): state}
    await journal.accept(message(lanes=("x",)))
    assert await journal.forward(await lease(journal, LAB), Forward((delivery(),), stamp=known.stamp))
