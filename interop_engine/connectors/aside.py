"""Work on a large message: in a thread, one such message at a time, so that no other connection waits for it.

The interpreter's lock is shared, so such work is not done sooner by it; but the event loop gets its turn every few
milliseconds, where it would stand still for seconds. Sources and the engine use it alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from interop_engine.core.garbage import uncollected

_LARGE = 100_000  # bytes; smaller ones are done before a thread would have begun
_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")


class Aside:
    """Who does large work elsewhere."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def do(self, size: int, work: Callable[_Given, _Made], *given: _Given.args, **more: _Given.kwargs) -> _Made:
        """What ``work`` makes of a message, or a body, of so many bytes. Raises what it raises."""
        if size < _LARGE:
            return work(*given, **more)
        async with self._turn:
            return await asyncio.to_thread(partial(_uncollected, work, *given, **more))


def _uncollected(work: Callable[_Given, _Made], *given: _Given.args, **more: _Given.kwargs) -> _Made:
    with uncollected():
        return work(*given, **more)
