"""Who does large work elsewhere."""

from __future__ import annotations

import asyncio
import threading

from interop_engine.connectors.aside import Aside


async def test_large_work_is_done_in_a_thread_and_small_work_at_once() -> None:
    """By the size of the message; what the work raises is raised."""
    aside = Aside()
    assert await aside.do(10, threading.get_ident) == threading.get_ident()
    assert await aside.do(10_000_000, threading.get_ident) != threading.get_ident()


async def test_large_work_is_done_one_at_a_time() -> None:
    """Two large messages at once would need twice the memory."""
    aside, busy, most = Aside(), 0, 0
    begun = threading.Event()

    def work() -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        begun.wait(0.01)
        busy -= 1

    await asyncio.gather(*(aside.do(10_000_000, work) for _ in range(5)))
    assert most == 1
