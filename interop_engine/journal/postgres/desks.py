"""Where a node's workers wait for items, one desk a queue. Who gets what is decided in the database (see lanes.sql)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from interop_engine.journal import codec
from interop_engine.journal.base import Lease, Queue

_NEVER = 1 << 62
_SURE_SECONDS = 3.0  # since a beat, while no other node can take this one for dead: less than ``heart.DEAD_SECONDS``
_LOOK_SECONDS = 5.0  # without being told: for a lease that ended with its node, and an announcement that was lost


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was leased of a queue in one transaction, and when there may be more (microseconds). A row ends in seq and fence."""

    queue: Queue
    rows: list[tuple[Any, ...]]
    next_due: int | None


@dataclass(slots=True)
class _Desk:
    waiters: deque[asyncio.Future[Lease]] = field(default_factory=deque)
    due: int = 0  # when it is worth looking, microseconds; 0: now

    def waiting(self) -> int:
        while self.waiters and self.waiters[0].done():
            self.waiters.popleft()
        return sum(not waiter.done() for waiter in self.waiters)


class Desks:
    """All desks of a node, and the leases it has."""

    def __init__(self, lease_micros: int, read: Callable[[Queue, tuple[Any, ...]], Lease | None]) -> None:
        """``read`` makes a lease of a row; None where the row is not as it was written (it parks then)."""
        self.lease_micros = lease_micros
        self._read = read
        self._desks: dict[Queue, _Desk] = {}
        self._held: dict[int, int] = {}  # fence → seq
        self._doubted: set[int] = set()  # fences of before the others took this node for dead
        self._heard = 0.0  # when the newest beat began that the database has, by this machine's clock
        self._timer: asyncio.TimerHandle | None = None
        self._slow: asyncio.TimerHandle | None = None
        self.when_wanted: Callable[[], None] = lambda: None
        self.when_unwanted: Callable[[Lease], None] = lambda _: None  # a lease whose worker went away meanwhile

    # --- workers ------------------------------------------------------------------------------------------------------

    async def wait(self, queue: Queue) -> Lease:
        """The next item of a queue."""
        desk = self._desks.setdefault(queue, _Desk())
        waiter: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        desk.waiters.append(waiter)
        self._look(desk)
        self._look_now_and_then()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.when_unwanted(waiter.result())
            raise

    def seq(self, fence: int) -> int | None:
        """The row number of a leased item; None where this node has no such lease."""
        return self._held.get(fence)

    def forget(self, fence: int) -> None:
        """A lease ended."""
        self._held.pop(fence, None)
        self._doubted.discard(fence)

    def heard(self, began: float, *, buried: bool) -> None:
        """A beat that began then is in the database. ``buried``: the others had taken this node for dead, or it is new."""
        missed = not self.alive()
        self._heard = began
        if buried:
            self._doubted.update(self._held)
        if missed:
            self.look_everywhere()

    def alive(self) -> bool:
        """Whether no other node can have taken this one for dead meanwhile: it was not paused, or cut off from the database."""
        return time.monotonic() - self._heard < _SURE_SECONDS

    def holds(self, fence: int) -> bool:
        """Whether a lease is this node's without any doubt, now."""
        return fence in self._held and fence not in self._doubted and self.alive()

    def fences(self) -> list[int]:
        """The leases this node has."""
        return list(self._held)

    def close(self, error: Exception) -> None:
        """Everyone who waits gets the error."""
        for timer in (self._timer, self._slow):
            if timer is not None:
                timer.cancel()
        for desk in self._desks.values():
            for waiter in desk.waiters:
                if not waiter.done():
                    waiter.set_exception(error)

    # --- the writer ---------------------------------------------------------------------------------------------------

    def wanted(self, now: int) -> list[tuple[Queue, int]]:
        """The queues that are worth looking at, with the number of their workers who wait; none while others may take it all."""
        if not self.alive():
            return []
        return [(queue, count) for queue, desk in self._desks.items() if desk.due <= now and (count := desk.waiting())]

    def looking(self, queue: Queue) -> None:
        """The queue is looked at: what is said of it from now on is news."""
        self._desks[queue].due = _NEVER

    def touch(self, queue: Queue, due: int = 0) -> None:
        """Something of the queue is, or will be, due."""
        if (desk := self._desks.get(queue)) is not None and due < desk.due:
            desk.due = due
            self._look(desk)

    def look_everywhere(self) -> None:
        """Nothing is known of any queue."""
        for desk in self._desks.values():
            desk.due = 0
            self._look(desk)

    def hand_out(self, claimed: list[Claimed]) -> None:
        """Items were leased: give them to those who wait."""
        for each in claimed:
            desk = self._desks[each.queue]
            desk.due = min(desk.due, _NEVER if each.next_due is None else each.next_due)
            for row in each.rows:
                if (lease := self._read(each.queue, row)) is None:
                    continue
                self._held[lease.fence] = row[-2]
                if desk.waiting():
                    desk.waiters.popleft().set_result(lease)
                else:
                    self.when_unwanted(lease)
            self._look(desk)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _look(self, desk: _Desk) -> None:
        """Look now, or when it is time."""
        if not desk.waiting():
            return
        if desk.due <= codec.now():
            self.when_wanted()
        elif desk.due < _NEVER:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = min((desk.due for desk in self._desks.values() if desk.waiters), default=_NEVER)
        seconds = min(max((due - codec.now()) / 1_000_000, 0.0), _LOOK_SECONDS)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        for desk in self._desks.values():
            self._look(desk)

    def _look_now_and_then(self) -> None:
        if self._slow is None:
            self._slow = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._on_slow)

    def _on_slow(self) -> None:
        self._slow = None
        self.look_everywhere()
        if any(desk.waiters for desk in self._desks.values()):
            self._look_now_and_then()
