"""A channel that commits to memory, and a raw MLLP peer: what the tests of MLLP share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from interop_engine.connectors.base import Surroundings
from interop_engine.connectors.mllp_connection import MllpSourceOptions
from interop_engine.connectors.mllp_source import MllpSource
from interop_engine.core.errors import ParseError
from interop_engine.core.model import Accepted, Answer, Arrival, Refused
from interop_engine.exchange.base import Exchange
from interop_engine.hl7.ack import acknowledge, recover
from interop_engine.hl7.framing import Decoder, Frame, frame
from interop_engine.hl7.message import parse

AT = datetime(2024, 1, 31, 7, 5, 9, tzinfo=UTC)


def surroundings(root: str = ".") -> Surroundings:
    """What the runtime would lend."""
    return Surroundings(facility="24001", exchange=cast("Exchange", None), channel="lab", name="source", root=root)


def message(control_id: object, more: str = "PID|1\r", version: str = "2.5.1") -> bytes:
    """A result with a control id."""
    header = f"MSH|^~\\&|LIS|24001|HIS|24001|20240131070509||ORU^R01^ORU_R01|{control_id}|P|{version}\r"
    return (header + more).encode()


def reply_to(arrival: Arrival) -> Answer:
    """AA for what can be read, AR for the rest, as the engine answers."""
    try:
        if arrival.fault:
            return Refused("1", "100", arrival.fault, acknowledge(recover(arrival.data), "AE", control_id="1", at=AT))
        return Accepted("1", acknowledge(parse(arrival.data), "AA", control_id="1", at=AT))
    except ParseError as error:
        return Refused("1", "100", str(error), acknowledge(recover(arrival.data), "AR", control_id="1", at=AT))


@dataclass
class Channel:
    """``accept`` of a channel that commits to memory. ``gate`` holds commits back; ``answer`` decides what is said."""

    answer: Callable[[Arrival], Answer] = reply_to
    arrivals: list[Arrival] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))  # one more with every arrival

    def __post_init__(self) -> None:
        self.gate.set()

    async def accept(self, arrival: Arrival) -> Answer:
        """Commit, then answer."""
        self.arrivals.append(arrival)
        self.entered.release()
        await self.gate.wait()
        return self.answer(arrival)


class Peer:
    """A peer that writes bytes as it likes and reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._decoder = Decoder(max_frame=10_000_000)
        self._frames: list[bytes] = []

    async def send(self, *packets: bytes) -> None:
        """Write, a packet at a time."""
        for packet in packets:
            self.writer.write(packet)
            await self.writer.drain()

    async def answer(self) -> bytes:
        """The next frame; b'' where the stream ended instead."""
        while not self._frames:
            data = await self._read()
            if not data:
                return b""
            self._frames += [event.data for event in self._decoder.feed(data) if isinstance(event, Frame)]
        return self._frames.pop(0)

    async def ended(self) -> bool:
        """Whether the stream ends, with nothing before its end."""
        return not self._frames and await self._read() == b""

    async def ask(self, data: bytes) -> bytes:
        """Send a message, wait for its answer."""
        await self.send(frame(data))
        return await self.answer()

    async def _read(self) -> bytes:
        try:
            return await self.reader.read(65_536)
        except ConnectionError:
            return b""


def code_and_id(ack: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2."""
    msa = parse(ack, charset="latin-1").first("MSA")
    return (msa.raw(1), msa.raw(2)) if msa else ("", "")


@contextlib.asynccontextmanager
async def listening(channel: Channel, **options: Any) -> AsyncIterator[MllpSource]:
    """An MLLP source on a free port of loopback."""
    source = MllpSource(MllpSourceOptions.model_validate({"listen": "127.0.0.1:0", **options}), surroundings())
    await source.start(channel.accept)
    try:
        yield source
    finally:
        channel.gate.set()
        await source.stop()


@contextlib.asynccontextmanager
async def connected(source: MllpSource) -> AsyncIterator[Peer]:
    """A connection to it."""
    host, _, port = source.health().place.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def turns(count: int) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has no event of its own; the test's timeout is its limit."""
    while not condition():  # noqa: ASYNC110 - a source tells nobody when a peer is gone
        await asyncio.sleep(0.005)
