"""Messages that live in a journal while its disk or its process goes, and what must be true of the journal afterwards.

python -m tests.support.lives FOLDER      # the lives of three messages, killed at every call that changes the disk
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from interop_engine.core.errors import JournalError
from interop_engine.journal.base import DeliveryState, Forward, Journal, MessageState, Selection
from tests.support.disk import DeadlyDisk, Disk
from tests.support.journals import DELIVERED, HUB, LAB, Store, delivery, lease, message, sent

Told = Callable[[str], None]


async def live(journal: Journal, told: Told, count: int, workers: int = 4) -> None:
    """Accept, forward and settle so many messages, and tell of each step as soon as the journal said it was done."""
    await asyncio.gather(*(_some(journal, told, count // workers) for _ in range(workers)))


async def _some(journal: Journal, told: Told, count: int) -> None:
    for _ in range(count):
        stored = await journal.accept(message(lanes=(), search=(("patient", "BN1"), ("order", "A1"))))
        told(f"accepted {stored.id}")
        held = await lease(journal, LAB)
        assert held.message is not None
        made = (delivery(lanes=(), sent=(sent(held.message.id),)), delivery("district", lanes=()))
        assert await journal.forward(held, Forward(made))
        told(f"forwarded {held.message.id}")
        out = await lease(journal, HUB)
        assert out.delivery is not None
        await journal.settle(out, DELIVERED)
        told(f"settled {out.delivery.id}")


async def broken_promises(place: Path, told: Sequence[str]) -> list[str]:
    """What the journal had said was done and a restart does not find, and whatever else is wrong with it."""
    try:
        with Disk(lazy=True):
            async with Store("sqlite", place).opened() as journal:
                return await _compare(journal, told)
    except JournalError as error:
        return [f"not opened: {error}"]


async def _compare(journal: Journal, told: Sequence[str]) -> list[str]:
    rows = {row.id: row for row in await journal.search(Selection(limit=100_000))}
    states = {each.id: each.state for row in rows.values() for each in row.deliveries}
    kept = {
        "accepted": rows.keys(),
        "forwarded": {row.id for row in rows.values() if row.state == MessageState.TRANSFORMED},
        "settled": {id_ for id_, state in states.items() if state == DeliveryState.DELIVERED},
    }
    wrong = [note for note in told if note.split()[1] not in kept[note.split()[0]]]
    for row in rows.values():
        if len(row.deliveries) != (2 if row.state == MessageState.TRANSFORMED else 0):
            wrong.append(f"half forwarded {row.id}")
        await journal.content(row.id)
    due = sum(count.waiting for count in await journal.counts() if count.queue == HUB)
    waiting = {
        each.id for row in rows.values() for each in row.deliveries if (each.destination, each.state) == ("hub", "waiting")
    }
    again = {held.delivery.id for held in [await lease(journal, HUB) for _ in range(due)] if held.delivery}
    return wrong + [f"not handed out again {id_}" for id_ in waiting - again]


def die_at(folder: Path, at: int, *, half: bool) -> bool:
    """In a child: live until the ``at``-th change of the disk kills it. False where it outlived them all."""
    child = os.fork()
    if child == 0:
        notes = os.open(folder / "told", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        with DeadlyDisk(at, half=half):
            asyncio.run(_one_life(folder, lambda note: os.write(notes, f"{note}\n".encode())))
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


async def _one_life(folder: Path, told: Callable[[str], object]) -> None:
    async with Store("sqlite", folder / "journal.db").opened() as journal:
        await live(journal, told, 3, workers=1)


def main() -> None:
    """A folder for each death: at one change of the disk before it, at the next halfway through it, and so on."""
    root, at, killed = Path(sys.argv[1]), 0, True
    while killed:
        folder = root / f"{at:04}"
        folder.mkdir()
        killed = die_at(folder, at, half=bool(at % 2))
        at += 1


if __name__ == "__main__":
    main()
