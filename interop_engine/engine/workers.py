"""The workers of one queue: each leases an item, handles it, and leases the next, until told to stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from interop_engine.core import events
from interop_engine.core.errors import ItemRefused, JournalBroken, JournalError, UnknownItem
from interop_engine.core.libraries import place_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from interop_engine.connectors.gate import Gate
    from interop_engine.journal.base import Journal, Lease, Queue

    Handle = Callable[[Lease], Awaitable[None]]
    Broken = Callable[[JournalError], None]

T = TypeVar("T")

_PAUSE = 1.0  # seconds between tries while the journal has no room or cannot be reached


class Workers:
    """``concurrency`` tasks over one queue. Order within a lane is the journal's; concurrency is over lanes."""

    def __init__(
        self,
        journal: Journal,
        queue: Queue,
        handle: Handle,
        *,
        owner: str,
        concurrency: int,
        broken: Broken,
        gate: Gate | None = None,
    ) -> None:
        """``broken`` is told once the journal has failed for good: the engine must stop, only a restart recovers.

        Nothing is leased while the ``gate``, where there is one, is closed.
        """
        self._journal = journal
        self._queue = queue
        self._handle = handle
        self._owner = owner
        self._concurrency = concurrency
        self._broken = broken
        self._gate = gate
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: set[asyncio.Task[None] | None] = set()
        self._stopping = False

    def start(self) -> None:
        """Begin to lease."""
        self._stopping = False
        name = f"{self._queue.channel}/{self._queue.destination or 'transform'}"
        self._tasks = [asyncio.create_task(self._work(), name=f"{name} {n}") for n in range(self._concurrency)]

    async def stop(self, deadline: float) -> None:
        """Let what is under way end within ``deadline`` seconds, then cancel it. Twice is harmless."""
        tasks, self._tasks = self._tasks, []
        self._stopping = True
        for task in tasks:
            if task in self._waiting:
                task.cancel()
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=deadline)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def durable(self, write: Callable[[], Awaitable[None]], item: str) -> bool:
        """Write the result of an item (its id), again and again while the journal cannot commit; False where it never will.

        That is where the journal has failed for good, or refuses this very item, and where the lease has ended meanwhile:
        another worker has the item, or an earlier try was committed although its answer was lost. Giving the item back instead
        would do its work twice where patience does not.
        """
        while True:
            try:
                await write()
            except JournalBroken as error:
                self._broken(error)
                return False
            except UnknownItem:
                return False
            except ItemRefused:
                events.emit(events.ItemNotKept(self._queue.channel, self._queue.destination or "", item))
                return False
            except JournalError:
                await asyncio.sleep(_PAUSE)
            else:
                return True

    async def _work(self) -> None:
        """Work until told to stop, whatever one item does: what goes wrong is said once, and tried again."""
        said = ""
        while not self._stopping:
            try:
                await self._one()
                said = ""
            except JournalBroken as error:
                self._broken(error)
                return
            except Exception as error:  # noqa: BLE001 - a worker that ends is missed by nobody, and its work waits for ever
                if (what := f"{type(error).__name__} in {place_of(error)}") != said:
                    events.emit(events.WorkerFailed(self._queue.channel, self._queue.destination or "", what))
                said = what
                await asyncio.sleep(_PAUSE)

    async def _one(self) -> None:
        """Lease an item and handle it, where the gate is open."""
        if self._gate is None:
            await self._handle_next(shut=lambda: False)
            return
        gate, ahead = self._gate, await self._idle(self._gate.enter())
        try:
            await self._handle_next(shut=lambda: gate.shut(ahead=ahead))
        finally:
            gate.leave(ahead=ahead)

    async def _idle(self, wait: Awaitable[T]) -> T:
        """Wait for something to do; whoever stops need not wait for that."""
        task = asyncio.current_task()
        self._waiting.add(task)
        try:
            return await wait
        finally:
            self._waiting.discard(task)

    async def _handle_next(self, shut: Callable[[], bool]) -> None:
        lease = await self._idle(self._journal.lease(self._queue, self._owner))
        try:
            if shut():
                await self._journal.release(lease)
            else:
                await self._handle(lease)
        except BaseException:
            # Stopped in the middle, or failed: what came of it is unknown, so it is done again, with the same id and bytes.
            await self._journal.release(lease)
            raise
