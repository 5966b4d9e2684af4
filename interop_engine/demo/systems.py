"""A simulated hospital system: an MLLP client over real TCP that sends, waits for the acknowledgement, and writes both down."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Self

from interop_engine.core.errors import InteropError, ParseError
from interop_engine.hl7.ack import Ack, read_ack
from interop_engine.hl7.framing import Decoder, Frame, frame

_LIMIT = 1_000_000  # bytes of an acknowledgement


class NoAnswer(InteropError):  # noqa: N818 - what happened, said as an operator would
    """The engine closed the connection, or gave no acknowledgement in time."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message sent, and what was answered; ``ack`` is None where the answer was no HL7 v2."""

    data: bytes
    answer: bytes
    ack: Ack | None

    @property
    def code(self) -> str:
        """MSA-1, '' where there is none."""
        return self.ack.code if self.ack else ""


class HospitalSystem:
    """LIS, RIS or HIS: one connection, one message in flight. It connects by itself when it first sends."""

    def __init__(self, name: str, port: int, *, host: str = "127.0.0.1", timeout: float = 10.0) -> None:
        self.name = name
        self.sent: list[Sent] = []
        self._host = host
        self._port = port
        self._timeout = timeout
        self._decoder = Decoder(max_frame=_LIMIT)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, data: bytes) -> Sent:
        """Send one message in a frame and wait for its answer. Raises NoAnswer; the connection is then closed."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._exchange(data)
        except (OSError, TimeoutError) as error:
            await self.close()
            raise NoAnswer(f"{self.name} got no answer: {error or 'time is over'}.") from error
        try:
            ack: Ack | None = read_ack(answer)
        except ParseError:
            ack = None
        self.sent.append(Sent(data, answer, ack))
        return self.sent[-1]

    async def close(self) -> None:
        """Close the connection; the next ``send`` opens another. Twice is harmless."""
        streams, self._streams = self._streams, None
        self._decoder = Decoder(max_frame=_LIMIT)
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()

    async def _exchange(self, data: bytes) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(frame(data))
        await writer.drain()
        while True:
            received = await reader.read(65_536)
            if not received:
                raise ConnectionResetError("the connection was closed")
            for event in self._decoder.feed(received):
                if isinstance(event, Frame):
                    return event.data
