"""A whole node in the test's own process: the sample mappings, real sockets, a real journal, files as receivers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interop_engine.config import loader
from interop_engine.engine.runtime import Runtime
from interop_engine.hl7.ack import Ack, read_ack
from interop_engine.hl7.framing import frame

ROOT = Path(__file__).resolve().parent.parent.parent
_HUB = """\
channel: {name}
source:
  exchange: {{as: "{receiver}", kinds: [lab, imaging, order, patient]}}
deliver:
  - name: record
    file: {{folder: {name}}}
"""
_DEADLINE = 30.0


def make_site(folder: Path, *, engine: str = "", receivers: tuple[str, ...] = ("hub", "24017")) -> Path:
    """The sample site with ports of the system's choice, and receivers that write files."""
    (folder / "channels").mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "mappings", folder / "mappings", dirs_exist_ok=True)
    for name in ("lab-results", "imaging-results", "orders", "patients"):
        shutil.copy(ROOT / "channels" / f"{name}.yaml", folder / "channels")
    for receiver in receivers:
        text = _HUB.format(name=f"to-{receiver}", receiver=receiver)
        (folder / "channels" / f"to-{receiver}.yaml").write_text(text, encoding="utf-8")
    text = engine or 'site: Test\nfacility: "24001"\ntimezone: Asia/Ho_Chi_Minh\n'
    (folder / "engine.yaml").write_text(text, encoding="utf-8")
    return folder


PORTS = {"LAB_PORT": "0", "IMAGING_PORT": "0", "ORDERS_PORT": "0", "PATIENTS_PORT": "0"}


@dataclass
class Node:
    """A running node."""

    runtime: Runtime
    folder: Path

    def port(self, channel: str) -> int:
        """The port a channel's MLLP source listens on."""
        found = next(each for each in self.runtime.channels if each.name == channel)
        return int(found.source_health.place.rpartition(":")[2])

    async def send(self, channel: str, *messages: bytes) -> list[Ack]:
        """Send over one MLLP connection, each message after the answer to the one before."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port(channel))
        try:
            answers = []
            for message in messages:
                writer.write(frame(message))
                answers.append(read_ack((await reader.readuntil(b"\x1c\r"))[1:-2]))
            return answers
        finally:
            writer.close()
            await writer.wait_closed()

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for a condition (an async function); fails after half a minute."""
        async with asyncio.timeout(_DEADLINE):
            while not await condition():  # noqa: ASYNC110 - what is waited for is in the journal, which tells nobody
                await asyncio.sleep(0.01)

    async def settled(self) -> None:
        """Wait until nothing is due at once: all is delivered, parked, or waits for a later try."""

        async def nothing() -> bool:
            return not any(count.waiting for count in await self.runtime.journal.counts())

        await self.until(nothing)

    def bundles(self, receiver: str) -> list[dict[str, Any]]:
        """What a receiver has, in the order it came."""
        files = sorted((self.folder / f"to-{receiver}").glob("*.json"))
        return [json.loads(file.read_bytes()) for file in files]


@contextlib.asynccontextmanager
async def running(folder: Path, environment: dict[str, str] | None = None) -> AsyncIterator[Node]:
    """A node on a site, stopped as SIGTERM would stop it."""
    runtime = Runtime(loader.load(folder, {**PORTS, **(environment or {})}))
    await runtime.start()
    try:
        yield Node(runtime, folder)
    finally:
        await runtime.stop()


def resources(bundle: dict[str, Any], type_: str) -> list[dict[str, Any]]:
    """The resources of one type in a bundle."""
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == type_]
