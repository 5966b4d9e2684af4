"""A journal with something in every place that a patient's data can get to, and all that the contract tells of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from interop_engine.core.model import Learned, Park, Question, Receipt, Retry
from interop_engine.journal.base import Forward, Journal, Selection
from tests.support.journals import DELIVERED, HUB, LAB, START, ahead, delivery, forwarded, lease, message, sent, settled

NAME, NUMBER = "Trần Thị Bích-CANARY", "BN-CANARY-77"
PATIENT, SURVIVOR, ORDER = f"Patient/{NUMBER}", "Patient/into-CANARY", "ServiceRequest/1-CANARY"
QUESTION = Question((f"Patient|{NUMBER}", "ServiceRequest|A17-CANARY"), (PATIENT, ORDER), (PATIENT,))
LANE = f"24001|{NUMBER}"
_TEXT = f"MSH|^~\\&|LIS|24001|||||ORU^R01|{NUMBER}|P|2.5.1\rPID|1||{NUMBER}||{NAME}\r" * 4
_CONTENT = f'{{"name": "{NAME}"}}'.encode() * 20


async def fill(journal: Journal) -> dict[str, str]:
    """Every place that something of a patient can get to; ids by what they are for."""
    await journal.keep_config("c1", "{}", "abc")
    ids = await _fill_with_pruned(journal)
    ids["first"] = await _fill_with_delivered(journal)
    ids["replay of first"] = await journal.replay(ids["first"], only="his")
    await journal.forward(await lease(journal, LAB), Forward((), code="unchanged"))
    ids["parked"] = await forwarded(journal, delivery(lanes=(LANE,), sent=(sent(PATIENT, "9", _CONTENT),)))
    await settled(journal, Park("fhir-422", NAME))
    ids["given up"] = await forwarded(journal, delivery(lanes=("x",)))
    await settled(journal, Park("fhir-422", NAME))
    await journal.discard(ids["given up"], f"{NAME} again")
    ids["waiting"] = await forwarded(journal, delivery("late", lanes=(LANE,)))
    ids["received"] = (await journal.accept(message(_TEXT + "last", lanes=(LANE,)))).id
    return ids


async def _fill_with_pruned(journal: Journal) -> dict[str, str]:
    """A replay and a replay of it, the first of which is pruned; a discarded message that is pruned; a rejected one."""
    ids = {}
    discarded = message(_TEXT, lanes=(LANE,))
    await journal.accept(discarded)
    await journal.park(await lease(journal, LAB), "101", NAME, (f"PID-5: {NAME}",))
    ids["replay"] = await journal.replay(discarded.id)
    ids["replay of it"] = await journal.replay(ids["replay"], only="hub")
    for _ in range(2):
        await journal.forward(await lease(journal, LAB), Forward((), code="unchanged", why=NAME))
    gone = message(_TEXT, lanes=(LANE,))
    await journal.accept(gone)
    await journal.park(await lease(journal, LAB), "101", NAME)
    await journal.discard(gone.id, f"{NAME} died")
    await journal.accept(message(_TEXT, lanes=(LANE,), why=NAME, state="rejected", code="101", reply=NAME.encode()))
    assert await journal.prune(before=START + timedelta(days=1)) == 2  # what was replayed, and what was discarded with a reason
    return ids


async def _fill_with_delivered(journal: Journal) -> str:
    """One that teaches, with an equal body for two receivers, of which one failed before it took it and sent a receipt."""
    first = message(
        _TEXT + "first",
        lanes=(LANE,),
        control_id=NUMBER,
        duplicate_key=NUMBER,
        headers={"file": f"{NUMBER}.hl7", "delivery-id": "d1", "sender": "24001"},
        search=(("patient", NUMBER), ("order", "A17\tCANARY")),
        reply=NAME.encode(),
    )
    await journal.accept(first)
    held = await lease(journal, LAB)
    one = replace(delivery(lanes=(LANE,), sent=(sent(PATIENT, "1", _CONTENT), sent(ORDER))), headers={"receiver": "24017"})
    other = replace(delivery("his", lanes=(LANE,), sent=(sent(SURVIVOR, "2", _CONTENT),)), body=one.body)
    aliases = {f"Patient|{NUMBER}": PATIENT, "ServiceRequest|A17-CANARY\tL-CANARY": ORDER}
    made = Forward((one, other), Learned(aliases, {PATIENT: SURVIVOR}), findings=(f"PID-5: {NAME}",), ledger=(NAME,))
    assert await journal.forward(held, made)
    await journal.settle(await lease(journal, HUB), Retry(NAME), due_at=ahead(-1))
    await settled(journal, DELIVERED)
    receipt = Receipt(one.id, "labs", "m9", "delivered", START, 3)
    await journal.keep_receipts("24017", [receipt])
    return first.id


async def seen(journal: Journal) -> list[Any]:
    """All that the contract tells."""
    rows = await journal.search(Selection(limit=1_000))
    known = await journal.known(QUESTION, ("exchange/hub", "lab/his"))
    found: list[Any] = [await journal.show(row.id) for row in rows]
    found += [await journal.content(row.id) for row in rows]
    found += [await journal.attempts(row.id) for row in rows]
    found += [await journal.body(each.id) for row in rows for each in row.deliveries]
    found += [known.sent, known.aliases, known.merged, await journal.unread(), await journal.totals(), await journal.counts()]
    found += [await journal.reports(), await journal.last_received(), await journal.config("c1"), await journal.overdue(ahead(9))]
    return found
