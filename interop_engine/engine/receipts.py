"""Receipts between nodes: what became of a parcel is told to its sender, on the exchange, as kind ``receipt``.

The journal knows what is to be told, and forgets it once the exchange has taken it; so a node that dies tells it later, maybe
twice. Receipts are gathered for a moment and travel together: what was taken and delivered in between is told once.
They are not journaled as messages, and so never receipted themselves.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from interop_engine.core.errors import JournalBroken, JournalError
from interop_engine.core.events import Event, emit
from interop_engine.core.model import Delivered, Park, Receipt, Report, new_id
from interop_engine.exchange.base import RECEIPT, Parcel
from interop_engine.exchange.rules import FAULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interop_engine.engine.workers import Broken
    from interop_engine.exchange.base import Exchange, Subscription
    from interop_engine.journal.base import Journal

_PAUSE: Final = 1.0  # seconds between two looks at what is to be told
_PAGE: Final = 200
_decode = msgspec.json.Decoder(tuple[Receipt, ...]).decode


@dataclass(frozen=True, slots=True)
class ParkedElsewhere(Event):
    """A receiver parked what it was sent: its operator must act, and ours may have to explain."""

    sentence: ClassVar[str] = "A receiver on the exchange has parked what it was sent."
    level: ClassVar[str] = "warning"
    receiver: str
    delivery: str
    code: str


@dataclass(frozen=True, slots=True)
class ReceiptsUnwanted(Event):
    """A sender takes no receipts, or they cannot travel: they are dropped, and it sees them as overdue."""

    sentence: ClassVar[str] = "A sender on the exchange does not take receipts."
    level: ClassVar[str] = "warning"
    sender: str
    code: str
    receipts: int


@dataclass(frozen=True, slots=True)
class ReceiptsRefused(Event):
    """What came as receipts is malformed or forged; it is dropped."""

    sentence: ClassVar[str] = "Receipts that are malformed or forged were dropped."
    level: ClassVar[str] = "error"
    sender: str
    fault: str


class Receipts:
    """Tells the senders of what this node received, and keeps what receivers tell it."""

    def __init__(self, facility: str, journal: Journal, exchange: Exchange, broken: Broken, *, pause: float = _PAUSE) -> None:
        """``broken``: see ``Workers``. ``pause``: seconds between two looks at what is to be told."""
        self._facility = facility
        self._journal = journal
        self._exchange = exchange
        self._broken = broken
        self._pause = pause
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to tell, and to be told."""
        self._subscription = await self._exchange.subscribe(self._facility, (RECEIPT,), self._take)
        self._task = asyncio.create_task(self._run(), name="receipts")

    async def stop(self) -> None:
        """Stop; what is still to be told stays in the journal. Twice is harmless."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            try:
                await self.tell()
            except JournalBroken as error:
                self._broken(error)
                return
            except JournalError:
                continue  # it cannot be read or written now: the next round finds the same

    async def tell(self) -> None:
        """Tell everything that is to be told now; what the exchange does not take is left for the next time."""
        after = 0
        unreached: set[str] = set()
        while reports := await self._journal.reports(after, _PAGE):
            after = reports[-1].receipt.number
            told: list[int] = []
            for (to, by), group in groupby(sorted(reports, key=_address), key=_address):
                if to not in unreached and not await self._send(to, by, receipts := [each.receipt for each in group]):
                    unreached.add(to)
                elif to not in unreached:
                    told += [each.number for each in receipts]
            if told:
                await self._journal.reported(told)

    async def _send(self, to: str, by: str, receipts: Sequence[Receipt]) -> bool:
        """Send receipts to one sender; False where that must wait."""
        ordered = sorted(receipts, key=lambda each: each.number)
        outcome = await self._exchange.publish(Parcel(new_id(), by, to, RECEIPT, msgspec.json.encode(ordered), "receipt"))
        if isinstance(outcome, Park):
            emit(ReceiptsUnwanted(to, outcome.code, len(receipts)))
        return isinstance(outcome, Delivered | Park)

    async def _take(self, parcel: Parcel) -> bool:
        """Keep what a receiver tells; False where the journal cannot now."""
        try:
            receipts = _decode(parcel.body)
        except msgspec.MsgspecError:
            emit(ReceiptsRefused(parcel.sender, parcel.headers.get(FAULT) or "the body is not a list of receipts"))
            return True
        if fault := parcel.headers.get(FAULT):
            emit(ReceiptsRefused(parcel.sender, fault))
            return True
        try:
            await self._journal.keep_receipts(parcel.sender, receipts)
        except JournalError as error:
            if isinstance(error, JournalBroken):
                self._broken(error)
            return False
        for each in receipts:
            if each.state == "parked":
                emit(ParkedElsewhere(parcel.sender, each.delivery, each.code))
        return True


def _address(report: Report) -> tuple[str, str]:
    return report.to, report.by
