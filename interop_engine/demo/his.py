"""A simulated hospital information system that only speaks HL7 v2: it listens on MLLP, keeps what it gets, and says AA."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Self

from interop_engine.hl7.ack import acknowledge
from interop_engine.hl7.framing import Decoder, Frame, frame
from interop_engine.hl7.message import Message, parse

_LIMIT = 10_000_000  # bytes of a message


class ReceivingSystem:
    """The server. ``received`` are its messages, in the order they came."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        """Where it listens."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        decoder = Decoder(max_frame=_LIMIT)
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                for event in decoder.feed(data):
                    if isinstance(event, Frame):
                        writer.write(frame(self._answer(event.data)))
                await writer.drain()
        self._writers.discard(writer)
        writer.close()

    def _answer(self, data: bytes) -> bytes:
        message = parse(data)
        self.received.append(message)
        return acknowledge(message, "AA", control_id=f"HIS{len(self.received)}", at=datetime.now(UTC))
