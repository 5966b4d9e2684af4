"""Who may be leased next, in memory.

A ``Line`` is one queue. Of the items that share a lane only the oldest is ever ready, and only while nothing of that lane is
leased; an item with several lanes must be the oldest of each. Since every lane is in order of arrival, barriers cannot wait
for each other in a circle. An item that is due later holds its lanes; one that left (settled, parked) does not.

Memory is bounded: a line holds every unsettled item up to ``_horizon`` and nothing beyond it; more is read from the database, in
order of arrival, when nothing held is ready. What is beyond the horizon is younger than all that is held, so the order within
a lane is right at any moment. With ``_MOST_HELD`` items held and none ready the line waits until one leaves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from interop_engine.journal import codec
from interop_engine.journal.base import Queue

_CHUNK = 1_000
_MOST_HELD = 50_000
_LONGEST_TIMER = 60.0  # the wall clock may be set while a timer runs

Row = tuple[int, tuple[str, ...], int | None]  # seq, lanes, due_at
Read = Callable[[int, int], Sequence[Row]]  # (after seq, limit) → unsettled items in order of arrival


@dataclass(slots=True, eq=False)
class Item:
    """An unsettled item. ``due``: microseconds, 0 for at once."""

    seq: int
    lanes: tuple[str, ...]
    due: int
    fence: int = 0  # of its lease; 0 while nobody has it
    gone: bool = False  # it left while leased
    listed: bool = False  # it stands in ``Line._ready`` or ``Line._later``


@dataclass(slots=True, eq=False)
class _Lane:
    waiting: list[int] = field(default_factory=list)  # a heap of seq; what left is dropped when it comes up
    taken: int = 0  # the seq that is leased


class Line:
    """The unsettled items of one queue, their lanes, and those who wait for one."""

    def __init__(self, queue: Queue, read: Read) -> None:
        self.queue = queue
        self._read = read
        self._items: dict[int, Item] = {}
        self._lanes: dict[str, _Lane] = {}
        self._ready: list[int] = []
        self._later: list[tuple[int, int]] = []  # (due, seq)
        self._horizon = 0
        self._complete = False  # nothing unsettled is beyond the horizon
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0

    # --- coming and going ---------------------------------------------------------------------------------------------

    def add(self, seq: int, lanes: tuple[str, ...], due: int | None = None) -> None:
        """An item was committed, or is waiting again."""
        if seq in self._items:
            self.make_due(seq)
            return
        if seq > self._horizon:
            if not self._complete:
                return
            if len(self._items) >= _MOST_HELD:
                self._complete = False
                return
            self._horizon = seq
        self._hold(Item(seq, lanes, due or 0))

    def make_due(self, seq: int) -> None:
        """An item that waits for its time is due now."""
        if (item := self._items.get(seq)) is not None:
            item.due = 0
            item.listed = False  # where it stands among the later ones, it is skipped
            self._consider(item)

    def remove(self, seq: int) -> None:
        """An item left the queue. Its lanes go on, unless somebody is still at work on it (then when the lease ends)."""
        if (item := self._items.get(seq)) is None:
            return
        if item.fence:
            item.gone = True
            return
        self._drop(item)

    def give_back(self, item: Item, due: int | None) -> None:
        """A lease ended and the item stays: it is due again at ``due``, or now."""
        item.fence = 0
        item.due = due or 0
        if item.gone:
            self._drop(item)
            return
        self._leave_lanes(item)

    def finish(self, item: Item) -> None:
        """A lease ended and the item left."""
        item.fence = 0
        self._drop(item)

    def take(self, fence: int) -> Item | None:
        """The oldest ready item, leased; reads on in the database where nothing held is ready."""
        while True:
            if (item := self._pop()) is not None:
                item.fence = fence
                for lane in item.lanes:
                    self._lanes[lane].taken = item.seq
                return item
            if self._complete or len(self._items) >= _MOST_HELD:
                self._set_timer()
                return None
            self._refill()

    async def wait(self) -> None:
        """Return when there may be something to take."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._wake()  # it was this one's turn: let the next take it
            raise

    def fail(self, error: Exception) -> None:
        """Everyone who waits gets the error."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- within -------------------------------------------------------------------------------------------------------

    def _hold(self, item: Item) -> None:
        self._items[item.seq] = item
        for name in item.lanes:
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = _Lane()
            heappush(lane.waiting, item.seq)
        self._consider(item)

    def _drop(self, item: Item) -> None:
        del self._items[item.seq]
        self._leave_lanes(item)
        if not self._complete and not self._ready and self._waiters:
            self._wake()  # there is room to read on

    def _leave_lanes(self, item: Item) -> None:
        """Nobody has the item any more: the heads of its lanes may go."""
        if not item.lanes:
            if item.seq in self._items:
                self._consider(item)
            return
        for name in item.lanes:
            lane = self._lanes[name]
            if lane.taken == item.seq:
                lane.taken = 0
        for name in item.lanes:
            if (head := self._head(name)) is not None:
                self._consider(head)

    def _head(self, name: str) -> Item | None:
        """The oldest item of a lane; a lane with none is forgotten."""
        lane = self._lanes.get(name)
        if lane is None:
            return None
        while lane.waiting:
            if (item := self._items.get(lane.waiting[0])) is not None:
                return item
            heappop(lane.waiting)
        if not lane.taken:
            del self._lanes[name]
        return None

    def _free(self, item: Item) -> bool:
        if item.fence:
            return False
        return all(self._head(name) is item and not self._lanes[name].taken for name in item.lanes)

    def _consider(self, item: Item) -> None:
        """List the item where it can be taken, now or later."""
        if item.listed or not self._free(item):
            return
        item.listed = True
        if item.due > codec.now():
            heappush(self._later, (item.due, item.seq))
            self._set_timer()
        else:
            heappush(self._ready, item.seq)
            self._wake()

    def _pop(self) -> Item | None:
        """The oldest item that can be taken now. What was listed and cannot any more is considered again by its lanes."""
        self._promote()
        while self._ready:
            item = self._items.get(heappop(self._ready))
            if item is None or not item.listed:
                continue
            item.listed = False
            if self._free(item):
                return item
        return None

    def _promote(self) -> None:
        now = 0
        while self._later:
            due, seq = self._later[0]
            if due and due > (now := now or codec.now()):
                return
            heappop(self._later)
            item = self._items.get(seq)
            if item is not None and item.listed and item.due == due:
                heappush(self._ready, seq)
                self._wake()

    def _refill(self) -> None:
        rows = self._read(self._horizon, _CHUNK)
        for seq, lanes, due in rows:
            self._horizon = seq
            if seq not in self._items:
                self._hold(Item(seq, lanes, due or 0))
        self._complete = len(rows) < _CHUNK

    # --- waking -------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_timer(self) -> None:
        """Wake when the first of the later items is due; an earlier one takes the timer over."""
        if not self._later:
            return
        due = self._later[0][0]
        if self._timer is not None:
            if due >= self._timer_due:
                return
            self._timer.cancel()
        seconds = min(max((due - codec.now()) / 1_000_000, 0.0), _LONGEST_TIMER)
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._promote()
        self._set_timer()
