"""Messages a second, end to end: MLLP in → commit → bundle → validated → RabbitMQ confirm → settled. And the naive pipeline.

Run it as ``./dev bench end-to-end``. The engine is a process of its own, started as a site would start it; the broker is a real
RabbitMQ on the same machine, and so are the senders: they share its cores, and nothing is subtracted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog

from benchmarks.machine import describe
from benchmarks.messages import oru
from interop_engine.exchange import open_exchange
from interop_engine.hl7.framing import frame
from tests.support.broker import running_broker

ROOT = Path(__file__).resolve().parent.parent

_CHANNEL = """\
channel: lab-results
source: {{mllp: {{listen: "127.0.0.1:{port}"}}}}
accept: [ORU^R01]
otherwise: reject
patient: {{authority: BV24001, type: MR}}
mapping: oru_r01_lab
deliver:
  - name: hub
    exchange: {{to: =hub, kind: lab}}
"""
_ENGINE = """\
site: Benchmark
facility: "24001"
timezone: Asia/Ho_Chi_Minh
exchange: {{amqp: "{url}"}}
transform: {{processes: {processes}}}
status: {{listen: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Figures:
    """One run: rates in messages a second, times in milliseconds."""

    connections: int
    messages: int
    acknowledged: float
    settled: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Node:
    """A running engine."""

    process: subprocess.Popen[bytes]
    port: int
    status: str


@contextlib.asynccontextmanager
async def engine(folder: Path, url: str, processes: int) -> AsyncIterator[Node]:
    """The engine as a process on a site of its own, ended by SIGTERM."""
    port, status = _free_port(), _free_port()
    (folder / "channels").mkdir(parents=True)
    shutil.copytree(ROOT / "mappings", folder / "mappings")
    (folder / "engine.yaml").write_text(_ENGINE.format(url=url, port=status, processes=processes), encoding="utf-8")
    (folder / "channels" / "lab-results.yaml").write_text(_CHANNEL.format(port=port), encoding="utf-8")
    with (folder / "engine.log").open("wb") as log:
        command = [sys.executable, "-m", "interop_engine", "run", str(folder)]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)  # noqa: ASYNC220 - once
    node = Node(process, port, f"http://127.0.0.1:{status}")
    try:
        await until_ready(node, folder)
        yield node
    finally:
        process.terminate()
        process.wait(30)


async def until_ready(node: Node, folder: Path) -> None:
    """Wait until the engine takes messages in."""
    async with httpx.AsyncClient() as client:
        for _ in range(200):
            if node.process.poll() is not None:
                raise SystemExit((folder / "engine.log").read_text(encoding="utf-8"))
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"{node.status}/health/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
    raise SystemExit("The engine was not ready in 20 seconds.")


async def send(port: int, numbers: range, times: list[float]) -> None:
    """One sender on one connection: each message after the ACK of the one before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        framed = frame(oru(number))
        start = time.perf_counter()
        writer.write(framed)
        answer = await reader.readuntil(b"\x1c\r")
        times.append((time.perf_counter() - start) * 1000)
        if b"|AA|" not in answer and b"|CA|" not in answer:
            raise SystemExit(f"Not accepted: {answer!r}")
    writer.close()


async def settled(node: Node) -> None:
    """Wait until nothing is due any more; a parked message is a failed benchmark."""
    async with httpx.AsyncClient() as client:
        while True:
            status = (await client.get(f"{node.status}/status")).json()
            backlogs = [each["backlog"] for channel in status["channels"] for each in (channel, *channel["destinations"])]
            if any(each["parked"] for each in backlogs):
                raise SystemExit("Messages parked; see the engine's log.")
            if not any(each["waiting"] for each in backlogs):
                return
            await asyncio.sleep(0.05)


async def measure(node: Node, first: int, count: int, connections: int) -> Figures:
    """``count`` messages over ``connections`` senders at once."""
    share = count // connections
    times: list[float] = []
    before, start = _cpu(node), time.perf_counter()
    ranges = [range(first + n * share, first + (n + 1) * share) for n in range(connections)]
    await asyncio.gather(*(send(node.port, numbers, times) for numbers in ranges))
    acknowledged = time.perf_counter() - start
    await settled(node)
    total = time.perf_counter() - start
    ordered = sorted(times)
    sent = share * connections
    return Figures(
        connections,
        sent,
        sent / acknowledged,
        sent / total,
        statistics.median(ordered),
        ordered[int(len(ordered) * 0.99)],
        (_cpu(node) - before) / sent * 1000,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cpu(node: Node) -> float:
    """Seconds of the engine's process and of those it forked."""
    pids = [node.process.pid, *_children(node.process.pid)]
    fields = [Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def naive(count: int) -> float:
    """Messages a second of hl7apy + fhir.resources, one process, no journal, no broker."""
    from benchmarks.naive import convert

    convert(oru(0))
    start = time.perf_counter()
    for number in range(count):
        convert(oru(number))
    return count / (time.perf_counter() - start)


async def run(count: int, connections: list[int], processes: int) -> list[Figures]:
    """All rows of a table, on one engine and one broker."""
    results = []
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with running_broker() as broker, tempfile.TemporaryDirectory() as folder:
        exchange = open_exchange(broker.url)
        await exchange.open()
        await exchange.begin()
        subscription = await exchange.subscribe("hub", ["lab"], _take)  # makes the hub's queue, which then fills
        await subscription.close()
        await exchange.close()
        async with engine(Path(folder) / "site", broker.url, processes) as node:
            await measure(node, 0, 200, 8)
            first = 200
            for each in connections:
                results.append(await measure(node, first, count, each))
                first += count
    return results


async def _take(_: object) -> bool:
    return False


def main(arguments: list[str]) -> None:
    """Print the machine and the table."""
    parser = argparse.ArgumentParser(prog="./dev bench end-to-end", description=__doc__)
    parser.add_argument("--messages", type=int, default=4000, help="messages for each row")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--processes", type=int, nargs="+", default=[0, 1], help="processes that map, beside the engine's own")
    parser.add_argument("--naive", type=int, default=40, help="messages for the naive pipeline")
    options = parser.parse_args(arguments)
    print(describe())
    print(f"One message: ORU^R01 with 20 OBX, {len(oru(0))} bytes.\n")
    for processes in options.processes:
        print(f"transform: {{processes: {processes}}}")
        print("connections  messages  ACK/s  settled/s  ACK p50 ms  ACK p99 ms  engine CPU ms/message")
        for row in asyncio.run(run(options.messages, options.connections, processes)):
            print(
                f"{row.connections:11}  {row.messages:8}  {row.acknowledged:5.0f}  {row.settled:9.0f}  "
                f"{row.p50:10.1f}  {row.p99:10.1f}  {row.cpu:21.2f}"
            )
    print(f"\nnaive pipeline (hl7apy + fhir.resources; no MLLP, no journal, no broker): {naive(options.naive):.1f} messages/s")
