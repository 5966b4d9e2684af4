"""RabbitMQ stopped in the midst of traffic: what senders notice, and how soon all has arrived. ``./dev bench outage``."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from benchmarks.machine import describe
from tests.support.broker import running_broker
from tests.support.outage import outage
from tests.support.rig import rig


async def run(rate: int, seconds: float) -> str:
    """One outage; ends with an AssertionError where the promise was not kept."""
    with running_broker() as broker, tempfile.TemporaryDirectory() as folder:
        async with rig(Path(folder) / "site", exchange=broker.url) as node:
            await asyncio.to_thread(broker.settle)
            return await outage(node, broker, rate=rate, seconds=seconds)


def main(arguments: list[str]) -> None:
    """Print the machine and the figures."""
    parser = argparse.ArgumentParser(prog="./dev bench outage", description=__doc__)
    parser.add_argument("--rate", type=int, default=200, help="messages a second")
    parser.add_argument("--seconds", type=float, default=60, help="how long the broker is away")
    options = parser.parse_args(arguments)
    print(describe())
    print(asyncio.run(run(options.rate, options.seconds)))
    print("0 lost, 0 duplicated, 0 inversions per patient at either receiver; no sender's connection broke.")
