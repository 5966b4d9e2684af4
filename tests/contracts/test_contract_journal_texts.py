"""The journal's contract: whatever text a sender or a file's name brings is kept, found again, and stops nobody."""

from __future__ import annotations

import random
import string
from dataclasses import replace

import pytest

from interop_engine.core.model import Park, Question
from interop_engine.journal.base import Forward, Journal, Selection
from tests.support.journals import HUB, LAB, delivery, forwarded, learned, lease, lease_now, message, sent

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
