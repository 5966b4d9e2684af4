"""Messages a second of 1, 2 and 4 nodes that share a PostgreSQL journal, under the same load. ``./dev bench scale-out``.

PostgreSQL, the senders and all nodes share this machine's cores: where there are two, the figures show what sharing costs, not
how far it goes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from pathlib import Path

from benchmarks.bench_end_to_end import send
from benchmarks.machine import describe
from tests.support.postgres import fresh_journal, running_postgres
from tests.support.process import Engine, free_port
from tests.support.rig import copy_mappings

_ENGINE = """\
site: Benchmark
facility: "24001"
timezone: Asia/Ho_Chi_Minh
journal: {{postgres: "{url}"}}
status: {{listen: "127.0.0.1:${{STATUS_PORT}}"}}
"""
_CHANNEL = """\
channel: lab-results
source: {mllp: {listen: "127.0.0.1:${LAB_PORT}"}}
accept: [ORU^R01]
otherwise: reject
patient: {authority: BV24001, type: MR}
mapping: oru_r01_lab
deliver:
  - name: out
    file: {folder: out}
"""


def make_site(folder: Path, url: str) -> Path:
    """The site that every node runs."""
    copy_mappings(folder)
    (folder / "channels").mkdir()
    (folder / "channels" / "lab-results.yaml").write_text(_CHANNEL, encoding="utf-8")
    (folder / "engine.yaml").write_text(_ENGINE.format(url=url), encoding="utf-8")
    return folder


async def measure(nodes: int, messages: int, connections: int, server: str) -> str:
    """The same messages over the same connections, spread over the nodes."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = make_site(Path(name) / "site", fresh_journal(server, tables=False))
        ports = [free_port() for _ in range(nodes)]
        engines = [Engine(folder, {"STATUS_PORT": str(free_port()), "LAB_PORT": str(port)}) for port in ports]
        for engine in engines:
            stack.callback(engine.stop)
            await asyncio.to_thread(engine.start)
        await spread(ports, 10_000_000, 200, connections)
        await asyncio.to_thread(engines[0].settled)
        start = time.perf_counter()
        waited = await spread(ports, 0, messages, connections)
        acknowledged = time.perf_counter() - start
        await asyncio.to_thread(engines[0].settled)
        settled = time.perf_counter() - start
    p99 = sorted(waited)[len(waited) * 99 // 100]
    return f"{nodes:5}  {messages / acknowledged:6.0f}  {messages / settled:9.0f}  {p99:10.0f}"


async def spread(ports: list[int], first: int, count: int, connections: int) -> list[float]:
    """Send; returns the milliseconds to each acknowledgement."""
    times: list[float] = []
    share = count // connections
    ranges = [range(first + n * share, first + (n + 1) * share) for n in range(connections)]
    await asyncio.gather(*(send(ports[n % len(ports)], numbers, times) for n, numbers in enumerate(ranges)))
    return times


def main(arguments: list[str]) -> None:
    """Print the machine and the table."""
    parser = argparse.ArgumentParser(prog="./dev bench scale-out", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args(arguments)
    print(describe())
    print("nodes   ACK/s  settled/s  ACK p99 ms")
    with running_postgres() as server:
        for nodes in options.nodes:
            print(asyncio.run(measure(nodes, options.messages, options.connections, server.url)), flush=True)
