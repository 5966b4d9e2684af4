"""Messages a second while things go wrong, beside those while nothing does. ``./dev bench faults``.

The way is that of the suite of faults: small results over MLLP, from there over MLLP to a HIS, and as bundles over RabbitMQ to a
FHIR server. Senders, engine, broker and receivers share the machine's cores. A row ends when both receivers have everything.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.machine import describe
from tests.support.broker import Broker, running_broker
from tests.support.outage import through
from tests.support.proxy import WELL, Fault, FaultProxy
from tests.support.rig import KEPT, Rig, rig

_ROWS = {
    "nothing wrong": "",
    "every packet to and from RabbitMQ 20 ms late": "slow",
    "one in ten answers of the FHIR server 500, 503, 429 or lost": "fhir",
    "one in ten answers of the HIS lost": "his",
    "RabbitMQ killed and started again": "broker",
    "the engine killed and started again": "engine",
}


@contextlib.asynccontextmanager
async def trouble(what: str, node: Rig, broker: Broker, proxy: FaultProxy, half: int) -> AsyncIterator[None]:
    """What goes wrong meanwhile."""
    if what == "slow":
        proxy.now(Fault(delay=0.02))
    elif what == "fhir":
        node.record.troubles, node.record.part = ("500", "503", "429", "lost"), 0.1
    elif what == "his":
        node.his.loses = 0.1
    happening = asyncio.create_task(accident(what, node, broker, half))
    yield
    await happening
    proxy.now(WELL)


async def accident(what: str, node: Rig, broker: Broker, half: int) -> None:
    """What happens in the middle of it."""
    if what == "broker":
        await node.acknowledged(half)
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
    elif what == "engine":
        await node.acknowledged(half)
        node.engine.kill()
        await node.restart()


async def measure(what: str, broker: Broker, messages: int) -> str:
    """One row, on a journal of its own."""
    async with FaultProxy(("127.0.0.1", broker.port)) as proxy:
        with tempfile.TemporaryDirectory() as folder:
            async with rig(Path(folder) / "site", exchange=through(proxy, broker.url), connections=8) as node:
                await asyncio.to_thread(broker.settle)
                await node.senders.send(1_000_000, 100)
                await node.arrived()
                start = time.monotonic()
                async with trouble(what, node, broker, proxy, 100 + messages // 2):
                    await node.senders.send(0, messages)
                    acknowledged = time.monotonic() - start
                    await node.arrived()
                settled = time.monotonic() - start
                assert node.verdicts() == (KEPT, KEPT)
                p99 = node.senders.log.percentile(99) * 1000
                return f"{messages / acknowledged:8.0f}  {messages / settled:9.0f}  {p99:10.0f}"


def main(arguments: list[str]) -> None:
    """Print the machine and the table."""
    parser = argparse.ArgumentParser(prog="./dev bench faults", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000, help="messages a row")
    options = parser.parse_args(arguments)
    print(describe())
    print(f"{'':60}  ACK/s  arrived/s  ACK p99 ms")
    with running_broker() as broker:
        for words, what in _ROWS.items():
            print(f"{words:58}{asyncio.run(measure(what, broker, options.messages))}", flush=True)
    print("0 lost, 0 duplicated, 0 inversions per patient in every row.")
