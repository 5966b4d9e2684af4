"""Delivery: leases what is due to one destination, hands it over, and settles what came of it.

Order within a lane is the journal's (one item of a lane is leased at a time); concurrency here is over lanes.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from interop_engine.connectors.base import before_sending, deliver_while
from interop_engine.core import events
from interop_engine.core.errors import ItemRefused, UnknownItem
from interop_engine.core.model import Delivered, Outcome, Park, Retry
from interop_engine.core.retry import LONGEST_DELIVERY
from interop_engine.engine.workers import Workers
from interop_engine.journal.base import HELD

if TYPE_CHECKING:
    from collections.abc import Callable

    from interop_engine.connectors.base import ConnectorHealth, Destination
    from interop_engine.core.model import Delivery
    from interop_engine.core.retry import Backoff
    from interop_engine.engine.workers import Broken
    from interop_engine.journal.base import Journal, Lease, Queue

REFUSED: Final = "journal-refused"
"""The code of what the journal cannot hold as it is."""

_LONGEST_PAUSE = 10.0  # seconds of a gate's pause that one delivery waits for: an operator may end it
_AFTER_OTHERS = 1.0  # seconds that one which was sent ahead in vain is due after the next goes ahead


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Policy:
    """When a destination is tried again, and the age in seconds at which a delivery parks instead.

    ``hold``: what shares a lane with a parked delivery waits until a person retries or discards it.
    """

    backoff: Backoff
    give_up: float
    hold: bool = False

    def parks(self) -> datetime | None:
        """When a delivery is due that parks, see ``HELD``."""
        return HELD if self.hold else None

    def expired(self, delivery: Delivery, now: datetime) -> bool:
        """Whether it is older than may be."""
        return delivery.created_at is not None and (now - delivery.created_at).total_seconds() >= self.give_up


def decide(
    delivery: Delivery, outcome: Outcome, policy: Policy, now: datetime, pause: float | None = None
) -> tuple[Outcome, datetime | None]:
    """What becomes of an attempt: the outcome to settle with, and when the delivery is due, where it stays in its lanes.

    A receiver's own ``Retry-After`` is a floor, not a replacement, of the backoff. A delivery older than ``give_up``
    parks, so that one dead receiver never grows the journal for ever. ``pause``: where the destination's gate is closed, the
    seconds until it lets one go ahead. Then the gate does the waiting, and this delivery's backoff does not grow: when the
    receiver is back everything is due. It is due after the others, so that one that fails alone is not sent ahead for ever.
    """
    if isinstance(outcome, Delivered):
        return outcome, None
    if isinstance(outcome, Park):
        return outcome, policy.parks()
    if outcome.counts and policy.expired(delivery, now):
        return Park("gave-up", f"Not delivered within the time allowed; the last answer was: {outcome.why}"), policy.parks()
    if pause is not None:
        return replace(outcome, counts=False), now + timedelta(seconds=min(pause, _LONGEST_PAUSE) + _AFTER_OTHERS)
    attempt = outcome.nth or (delivery.attempts + 1 if outcome.counts else 1)
    delay = max(outcome.after or 0.0, policy.backoff.delay(attempt))
    return outcome, now + timedelta(seconds=delay)


class Deliverer:
    """One destination at work."""

    def __init__(
        self,
        journal: Journal,
        queue: Queue,
        destination: Destination,
        policy: Policy,
        *,
        owner: str,
        concurrency: int,
        settled: Callable[[str], None],
        broken: Broken,
    ) -> None:
        """``settled`` is told the message of each delivery that was settled. ``broken``: see ``Workers``."""
        self._journal = journal
        self._destination = destination
        self._policy = policy
        self._settled = settled
        self._unreached = ""  # how the last attempt failed, where the receiver could not be reached
        self._workers = Workers(
            journal, queue, self._handle, owner=owner, concurrency=concurrency, broken=broken, gate=destination.gate
        )

    async def open(self) -> None:
        """Open the destination. Raises OSError where one of its files cannot be used."""
        await self._destination.open()

    def start(self) -> None:
        """Begin to deliver."""
        self._workers.start()

    async def stop(self, deadline: float) -> None:
        """Let attempts end within ``deadline`` seconds, then close the destination. Twice is harmless."""
        await self._workers.stop(deadline)
        await self._destination.close()

    @property
    def held_since(self) -> datetime | None:
        """Since when an operator holds the deliveries; None while they go."""
        return self._destination.gate.held_since

    def hold(self, since: datetime | None = None) -> None:
        """Begin no delivery until ``go``; ``since``: when it was that an operator asked for it, now where it is not given."""
        self._destination.gate.hold(since)

    def go(self) -> None:
        """Deliver again; a receiver that is left alone is asked at once."""
        self._destination.gate.go()

    def health(self) -> ConnectorHealth:
        """How the destination is, and whether an operator holds it."""
        health = self._destination.health()
        if self.held_since is None:
            return health
        held = f"stopped by an operator since {self.held_since:%Y-%m-%d %H:%M} UTC"
        return replace(health, problem=f"{held}; {health.problem}" if health.problem else held)

    async def _handle(self, lease: Lease) -> None:
        delivery = lease.delivery
        assert delivery is not None
        deliver_while(lambda: self._journal.holds(lease))
        began = time.monotonic()
        try:
            outcome = self._given_up(delivery) or await self._attempt(delivery)
        except UnknownItem:  # it may be another node's: nothing was sent
            await self._journal.release(lease)
            return
        took = time.monotonic() - began
        gate = self._destination.gate
        pause = gate.pause if gate.problem else None
        if isinstance(outcome, Retry) and outcome.sent:
            self._unreached = outcome.why if outcome.counts else ""
        outcome, due_at = decide(delivery, outcome, self._policy, _now(), pause)

        async def write() -> None:
            nonlocal outcome
            try:
                await self._journal.settle(lease, outcome, due_at=due_at, took=took)
            except ItemRefused:
                outcome = _in_our_words(outcome)
                await self._journal.settle(lease, outcome, due_at=due_at, took=took)

        if await self._workers.durable(write, delivery.id):
            _report(delivery, outcome, due_at, waits=pause is not None)
            self._settled(delivery.message_id)

    def _given_up(self, delivery: Delivery) -> Park | None:
        """What is too old is not sent ahead to a receiver that could not be reached: it parks, and the next one has its turn."""
        if self._destination.gate.problem and self._unreached and self._policy.expired(delivery, _now()):
            return Park("gave-up", f"Not delivered within the time allowed; of the receiver was known: {self._unreached}")
        return None

    async def _attempt(self, delivery: Delivery) -> Outcome:
        """Send it. Raises UnknownItem where it may be another node's by now, before anything is sent."""
        limit = asyncio.timeout(LONGEST_DELIVERY)
        try:
            before_sending()
            async with limit:
                return await self._destination.deliver(delivery)
        except UnknownItem:
            raise
        except Exception as error:  # noqa: BLE001 - a connector's mistake must neither lose the delivery nor stop the others
            # Past the end of its lease another worker would send it too. What was taken of it is known to the connector.
            if limit.expired():
                return Retry(f"It took longer than {LONGEST_DELIVERY:g} s", code="too-long")
            place = (delivery.channel, delivery.destination, delivery.id)
            events.emit(events.ConnectorFailed(*place, type(error).__name__, _place(error)))
            return Retry(f"The connector failed: {type(error).__name__}", code="internal")


def _in_our_words(outcome: Outcome) -> Outcome:
    """The same outcome without what its receiver said, which the journal cannot hold."""
    if isinstance(outcome, Delivered):
        return Delivered(REFUSED)
    return replace(outcome, code=REFUSED, why="The journal cannot hold what its receiver said.")


def _place(error: Exception) -> str:
    """The module and line of ours that it was raised in or came by: never what about."""
    frames = [(frame.f_globals.get("__name__", ""), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    ours = [f"{module}:{line}" for module, line in frames if module.startswith("interop_engine.")]
    return ours[-1] if ours else ""


def _report(delivery: Delivery, outcome: Outcome, due_at: datetime | None, *, waits: bool) -> None:
    """Say what became of it. ``waits``: with others, at the gate, of which was told already."""
    channel, destination = delivery.channel, delivery.destination
    match outcome:
        case Delivered():
            events.emit(events.DeliveryDone(channel, destination, delivery.id, delivery.attempts + 1))
        case Retry(sent=False):
            pass  # a wait is no attempt
        case Retry(code=code) if waits:
            events.emit(events.DeliverySentAhead(channel, destination, delivery.id, code))
        case Retry(code=code) if due_at is not None:
            after = round((due_at - _now()).total_seconds(), 1)
            events.emit(events.DeliveryRetried(channel, destination, delivery.id, code, delivery.attempts + 1, after))
        case Park(code=code):
            events.emit(events.DeliveryParked(channel, destination, delivery.id, code))
        case _:
            raise AssertionError(outcome)
