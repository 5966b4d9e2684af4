"""Large messages are worked on aside: whoever else is connected does not wait for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from interop_engine.journal.base import Selection
from tests.support.node import make_site, running

_HEADER = "MSH|^~\\&|LIS|24001|||20240305083000||ORU^R01|{id}|P|2.5.1\rPID|1||BN1^^^BV24001^MR||Nguyễn^Ánh\r"
_SMALL = _HEADER + "OBR|1||A{id}|718-7^Hb^LN|||20240305080000\rOBX|1|NM|718-7^Hb^LN||13{id}|g/dL|||||F\r"


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
