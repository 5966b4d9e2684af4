"""The journal's contract: what waits or is parked is listed in the order its messages came."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from interop_engine.core.model import Park, Retry
from interop_engine.journal.base import Forward, Journal, Selection
from tests.support.journals import DELIVERED, HUB, LAB, START, ahead, delivery, lease, message, settled


async def found(journal: Journal, state: str, **more: object) -> list[str]:
    """All pages of one message each."""
    rows = []
    selection = Selection(states=(state,), limit=1, **more)  # type: ignore[arg-type]  # whatever the test asks for
    while page := await journal.search(selection):
        rows += page
        selection = replace(selection, before=page[-1].id)
    return [row.id for row in rows]


async def test_what_is_open_is_listed_once_in_the_order_it_came(journal: Journal) -> None:
    """Whatever else is asked for, page by page; not in the order it was written in, and with several deliveries as with one."""
    waiting, parked = [], []
    for number, days in enumerate((3, 1, 4, 2, 5, 0)):
        at = START + timedelta(days=days)
        new = message(lanes=(), received_at=at, message_type="ADT^A08" if days % 2 else "ORU^R01")
        await journal.accept(new)
        made = [delivery(lanes=()) for _ in range(2)] if number else [delivery("else", lanes=()), delivery("else", lanes=())]
        await journal.forward(await lease(journal, LAB), Forward(tuple(made)))
        if days in {4, 2}:
            await settled(journal, Park("x", "y"))
            await settled(journal, Park("x", "y"))
            parked.append((days, new.id))
        elif days == 1:
            await settled(journal, DELIVERED)
            await settled(journal, DELIVERED)
        else:
            waiting.append((days, new.id))
            if number:
                await journal.retry((await journal.show(new.id)).deliveries[0].id)
                for _ in range(2):
                    held = await lease(journal, HUB)
                    await journal.settle(held, Retry("no"), due_at=ahead(3600))

    for state, open_ in (("delivery-waiting", waiting), ("delivery-parked", parked)):
        newest = sorted(open_, reverse=True)
        assert await found(journal, state) == await found(journal, state, channel="lab") == [id_ for _, id_ in newest]
        assert await found(journal, state, message_type="ADT^A08") == [id_ for days, id_ in newest if days % 2]
        assert await found(journal, state, message_type="ORU^R01", channel="lab") == [id_ for days, id_ in newest if not days % 2]
        since, until = START + timedelta(days=2), START + timedelta(days=4)
        assert await found(journal, state, since=since, until=until) == [id_ for days, id_ in newest if 2 <= days < 4]
        assert await found(journal, state, channel="other") == await found(journal, state, message_type="SIU^S12") == []
    both = await journal.search(Selection(states=("delivery-waiting", "delivery-parked")))
    assert [row.id for row in both] == [id_ for _, id_ in sorted(waiting + parked, reverse=True)]
