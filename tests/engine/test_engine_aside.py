"""Large messages are worked on aside: whoever else is connected does not wait for them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from interop_engine.engine.aside import Aside
from interop_engine.journal.base import Selection
from tests.support.node import make_site, running

_HEADER = "MSH|^~\\&|LIS|24001|||20240305083000||ORU^R01|{id}|P|2.5.1\rPID|1||BN1^^^BV24001^MR||Nguyễn^Ánh\r"
_SMALL = _HEADER + "OBR|1||A{id}|718-7^Hb^LN|||20240305080000\rOBX|1|NM|718-7^Hb^LN||13{id}|g/dL|||||F\r"


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


async def test_others_are_acknowledged_while_a_large_message_is_mapped(tmp_path: Path) -> None:
    """A message with 5,000 results: until it is mapped, another sender's messages are acknowledged one after the other."""
    lines = "".join(f"OBX|{n}|NM|718-7^Hb^LN|{n}|13.{n}|g/dL|||||F\r" for n in range(5_000))
    large = _HEADER.format(id="LARGE") + "OBR|1||A1|718-7^Hb^LN|||20240305080000\r" + lines
    async with running(make_site(tmp_path / "site")) as node:
        sending = asyncio.create_task(node.send("lab-results", large.encode()))
        meanwhile = 0
        while not sending.done() or await node.runtime.journal.search(Selection(control_id="LARGE", states=("received",))):
            (answer,) = await node.send("lab-results", _SMALL.format(id=meanwhile).encode())
            assert answer.code == "AA"
            meanwhile += 1
        (row,) = await node.runtime.journal.search(Selection(control_id="LARGE"))
        assert row.state == "transformed"
        assert meanwhile > 5  # worked on in the loop, it leaves room for three
