"""MLLP as a source: a TCP server that answers a message once it is committed, and stays silent where it is not.

A connection's frames are committed side by side, up to ``_PIPELINE`` of them, and answered in the order they came: a sender that
waits for each answer notices nothing, one that does not wait shares the journal's group commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from interop_engine.connectors import events
from interop_engine.connectors.addresses import Address, NetworkText, allowed, networks, read_address
from interop_engine.connectors.base import ConnectorHealth, Options, Surroundings
from interop_engine.core.events import emit
from interop_engine.core.model import Arrival, Unavailable
from interop_engine.core.units import Duration, Size
from interop_engine.hl7.batch import answer_batch, split_batch
from interop_engine.hl7.framing import END, START, Decoder, Frame, Junk

if TYPE_CHECKING:
    from interop_engine.core.model import Accept
    from interop_engine.hl7.framing import FramingEvent

_PIPELINE = 64  # messages of one connection under way at once
_HELD = 4_000_000  # bytes of messages of one connection under way at once, unless a single one is larger
_PACKET = 262_144
_JUNK_LIMIT = 65_536  # bytes without a frame after which a peer does not speak MLLP
_PAUSE = 0.25  # seconds of silence that end a frame where frame_end is "pause"
_CLOSING = 5.0  # seconds the last answers are given to leave
_STOPPING = 8.0  # seconds that commits under way are given when the source stops
_LINGER = 2.0  # seconds a refused sender is given to read why


class MllpSourceOptions(Options):
    """Listen for HL7 v2 over MLLP."""

    listen: Address = Field(description="Address and port to listen on.", examples=["0.0.0.0:2575"])
    ack: Literal["stored"] = Field("stored", description="When a message is acknowledged: stored, once the journal has it.")
    allow: tuple[NetworkText, ...] = Field(
        (), description="Networks that may connect; without any, every one may.", examples=[["10.20.0.0/16"]]
    )
    max_frame: Size = Field(16_000_000, gt=0, description="The largest message.", examples=["16MB"])
    max_connections: int = Field(1_000, gt=0, description="Connections at a time; more are closed.", examples=["200"])
    idle_timeout: Duration = Field(3_600.0, gt=0, description="Silence after which a connection is closed.", examples=["1h"])
    frame_timeout: Duration = Field(120.0, gt=0, description="Time a sender has for one message.", examples=["2m"])
    write_timeout: Duration = Field(30.0, gt=0, description="Time a sender has to read its answers.", examples=["30s"])
    frame_end: Literal["block", "pause"] = Field(
        "block",
        description="What ends a message: block, the end block; pause, an end block before silence or the next message,"
        " for character sets in which its bytes are letters (UTF-16, VPS).",
    )


class MllpSource:
    """The server: one listener, its connections."""

    def __init__(self, options: MllpSourceOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._channel = surroundings.channel
        self._networks = networks(options.allow)
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._stopping = False
        self._place = options.listen

    async def start(self, accept: Accept) -> None:
        """Listen. Raises OSError where the address cannot be used."""
        self._stopping = False
        self._accept = accept
        host, port = read_address(self._options.listen)
        self._server = await asyncio.start_server(self._serve, host, port, limit=_PACKET, backlog=1_024)
        self._place = "{}:{}".format(*self._server.sockets[0].getsockname()[:2])

    async def stop(self) -> None:
        """Close the listener, drop half a frame in silence, answer what is under way, close. Twice is harmless.

        What is not answered in ``_STOPPING`` seconds is closed without an answer, and its sender sends it again.
        """
        self._stopping = True
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in self._connections.values():
            connection.stop_reading()
        if self._connections:
            _, late = await asyncio.wait(list(self._connections), timeout=_STOPPING)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def health(self) -> ConnectorHealth:
        """Where it listens, and how many are connected."""
        problem = "" if self._server is not None else "not listening"
        return ConnectorHealth(place=self._place, connections=len(self._connections), problem=problem)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = (writer.get_extra_info("peername") or ("", 0))[:2]
        peer = f"{host}:{port}"
        if why := self._unwelcome(host):
            emit(events.PeerTurnedAway(self._channel, peer, why))
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(self._options, self._channel, peer, self._accept, reader, writer)
        self._connections[task] = connection
        try:
            await connection.run()
        finally:
            del self._connections[task]

    def _unwelcome(self, host: str) -> str:
        if self._stopping or not host:
            return "stopping"
        if not allowed(host, self._networks):
            return "address not allowed"
        return "too many connections" if len(self._connections) >= self._options.max_connections else ""


class _Commit(NamedTuple):
    task: asyncio.Task[bytes | None]
    size: int


class _Connection:
    """One peer: a task that reads frames and starts their commits, and one that answers them in order."""

    def __init__(
        self,
        options: MllpSourceOptions,
        channel: str,
        peer: str,
        accept: Accept,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._options, self._channel, self._peer, self._accept = options, channel, peer, accept
        self._reader, self._writer = reader, writer
        self._decoder = Decoder(max_frame=options.max_frame, careful=options.frame_end == "pause")
        self._under_way: asyncio.Queue[_Commit | None] = asyncio.Queue()  # None: no more will come
        self._count = 0  # messages under way
        self._held = 0  # their bytes
        self._room = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._junk = 0  # bytes outside any frame since the last one
        self._refused = False  # the peer is told why, then closed

    def stop_reading(self) -> None:
        """Take in no more; what is under way is still answered."""
        if self._reading is not None:
            self._reading.cancel()

    async def run(self) -> None:
        """Serve until the peer ends, misbehaves, or nothing can be committed."""
        if (sock := self._writer.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        reading = self._reading = asyncio.create_task(self._read())
        reading.add_done_callback(lambda _: self._under_way.put_nowait(None))
        try:
            await self._answer()
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            while not self._under_way.empty():
                if (left := self._under_way.get_nowait()) is not None:
                    left.task.cancel()
            if self._junk:
                emit(events.JunkSkipped(self._channel, self._peer, self._junk))
            await self._close()

    # --- Reading -------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.idle_timeout
        began = False  # a frame, or junk, stands in the decoder
        while not self._refused:
            data = await self._packet(deadline)
            if data is None:
                if self._options.frame_end == "pause" and loop.time() < deadline:
                    await self._take(self._decoder.pause())
                    began = began and self._decoder.inside
                    continue
                if began:
                    emit(events.ConnectionDropped(self._channel, self._peer, "no whole message came in time"))
                return
            if not data:
                await self._take(self._decoder.close())
                return
            complete = await self._take(self._decoder.feed(data))
            if (self._decoder.inside or self._junk) and (complete or not began):
                deadline = loop.time() + self._options.frame_timeout
            began = self._decoder.inside or self._junk > 0
            if not began:
                deadline = loop.time() + self._options.idle_timeout

    async def _packet(self, deadline: float) -> bytes | None:
        """Bytes, b'' at the end of the stream, None where none came in time."""
        if self._options.frame_end == "pause" and self._decoder.inside:
            deadline = min(deadline, asyncio.get_running_loop().time() + _PAUSE)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._reader.read(_PACKET)
        except TimeoutError:
            return None
        except OSError:  # a reset: what came before it is still committed
            return b""

    async def _take(self, found: list[FramingEvent]) -> bool:
        """Start a commit for each frame; whether there was one."""
        complete = False
        for event in found:
            if isinstance(event, Frame):
                if self._junk:
                    emit(events.JunkSkipped(self._channel, self._peer, self._junk))
                    self._junk = 0
                complete = True
                await self._start(event.data, event.fault)
            elif isinstance(event, Junk):
                self._junk += event.count
                self._refused = self._junk > _JUNK_LIMIT
            else:
                self._refused = True
                await self._start(event.head, f"The message is larger than {event.limit} bytes; this is how it began.")
        return complete

    async def _start(self, data: bytes, fault: str) -> None:
        while self._count >= _PIPELINE or self._held + len(data) > max(_HELD, len(data)):
            self._room.clear()
            await self._room.wait()
        self._count += 1
        self._held += len(data)
        self._under_way.put_nowait(_Commit(asyncio.create_task(self._commit(data, fault)), len(data)))

    # --- Committing and answering --------------------------------------------------------------------------------------

    async def _commit(self, data: bytes, fault: str) -> bytes | None:
        """What to write; None where nothing may be said and the connection has to end."""
        messages = [data] if fault else split_batch(data)
        replies = []
        for message in messages:
            answer = await self._accept(Arrival(message, "hl7v2", datetime.now(UTC), self._peer, fault=fault))
            if isinstance(answer, Unavailable):
                return None
            if answer.reply:
                replies.append(answer.reply)
        # Our replies hold no control characters: a 0x1C in one is a letter of the sender's own character set.
        return b"".join(START + reply + END for reply in (replies if len(messages) == 1 else answer_batch(data, replies)))

    async def _answer(self) -> None:
        writable = True
        while (commit := await self._under_way.get()) is not None:
            reply = await commit.task
            self._count -= 1
            self._held -= commit.size
            self._room.set()
            if reply is None:
                emit(events.ConnectionDropped(self._channel, self._peer, "nothing can be committed"))
                return
            if not writable or not reply:
                continue
            writable = await self._write(reply)
            if not writable:  # what was received is committed all the same
                self.stop_reading()

    async def _write(self, reply: bytes) -> bool:
        try:
            self._writer.write(reply)
            if self._writer.transport.get_write_buffer_size():
                async with asyncio.timeout(self._options.write_timeout):
                    await self._writer.drain()
        except TimeoutError:
            emit(events.ConnectionDropped(self._channel, self._peer, "the peer does not read its answers"))
            self._writer.transport.abort()
            return False
        except OSError:
            return False
        return not self._writer.is_closing()

    async def _close(self) -> None:
        """Let what was written leave; a sender that was refused while it still sends may read why first."""
        with contextlib.suppress(OSError, TimeoutError):
            if self._refused and not self._writer.is_closing():
                self._writer.write_eof()
                async with asyncio.timeout(_LINGER):
                    while await self._reader.read(_PACKET):
                        pass
        with contextlib.suppress(OSError, TimeoutError):
            self._writer.close()
            async with asyncio.timeout(_CLOSING):
                await self._writer.wait_closed()
        self._writer.transport.abort()
