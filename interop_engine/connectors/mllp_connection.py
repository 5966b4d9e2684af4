"""One peer of an MLLP source: its frames are read ahead, committed one after another, and answered in the order they came.

The next message is committed only after the one before it was: where one cannot be, the connection ends, and nothing that the
peer sent behind it gets in front of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from interop_engine.connectors import events
from interop_engine.connectors.base import Acknowledging
from interop_engine.connectors.listener import Listening
from interop_engine.connectors.sockets import keep_alive
from interop_engine.core.events import emit
from interop_engine.core.model import Accepted, Arrival, Unavailable
from interop_engine.core.units import Duration, Size
from interop_engine.hl7.batch import answer_batch, messages_of
from interop_engine.hl7.framing import COMMITTED, END, NOT_COMMITTED, START, Cut, Decoder, Frame, Junk, Oversize

if TYPE_CHECKING:
    from interop_engine.core.model import Accept
    from interop_engine.hl7.framing import FramingEvent

PACKET = 262_144
_AHEAD = 64  # messages of one connection read and not yet answered
_HELD = 4_000_000  # their bytes, unless a single one is larger
_JUNK_LIMIT = 65_536  # bytes without a frame after which a peer does not speak MLLP
_PAUSE = 0.25  # seconds of silence that end a frame where frame_end is "pause"
_CLOSING = 5.0  # seconds the last answers are given to leave
_LINGER = 2.0  # seconds a refused sender is given to read why


class MllpSourceOptions(Acknowledging, Listening):
    """Listen for HL7 v2 over MLLP."""

    max_frame: Size = Field(16_000_000, gt=0, description="The largest frame, of at most 100,000 messages.", examples=["16MB"])
    idle_timeout: Duration = Field(3_600.0, gt=0, description="Silence after which a connection is closed.", examples=["1h"])
    frame_timeout: Duration = Field(120.0, gt=0, description="Time a sender has for one message.", examples=["2m"])
    write_timeout: Duration = Field(30.0, gt=0, description="Time a sender has to read its answers.", examples=["30s"])
    frame_end: Literal["block", "pause"] = Field(
        "block",
        description="What ends a message: block, the end block; pause, an end block before silence or the next message,"
        " for character sets in which its bytes are letters (UTF-16, VPS).",
    )
    commit_bytes: bool = Field(
        False,
        description="MLLP release 2: each message is answered by a commit byte first, 06 where it is stored, 15 where it could"
        " not be.",
    )


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """Who is at the other end: its address, the facilities its certificate may speak for (None: any), the names in that."""

    address: str
    facilities: tuple[str, ...] | None = None
    certificate: str = ""


class _Taken(NamedTuple):
    """A frame that waits for its commit."""

    data: bytes
    fault: str


class Connection:
    """One peer: a task that reads frames ahead, and this one, which commits and answers them."""

    def __init__(
        self,
        options: MllpSourceOptions,
        channel: str,
        peer: PeerInfo,
        accept: Accept,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._options, self._channel, self._peer, self._accept = options, channel, peer, accept
        self._reader, self._writer = reader, writer
        self._decoder = Decoder(max_frame=options.max_frame, careful=options.frame_end == "pause")
        self._ahead: asyncio.Queue[_Taken | None] = asyncio.Queue()  # None: no more will come
        self._count = 0  # messages read and not yet answered
        self._held = 0  # their bytes
        self._room = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._junk = 0  # bytes outside any frame since the last one
        self._refused = False  # the peer is told why, then closed
        self._later: set[asyncio.Task[None]] = set()  # application acknowledgements still to come
        self._writable = True

    def stop_reading(self) -> None:
        """Take in no more; what was read is still committed and answered."""
        if self._reading is not None:
            self._reading.cancel()

    async def run(self) -> None:
        """Serve until the peer ends, misbehaves, or something cannot be committed."""
        keep_alive(self._writer)
        reading = self._reading = asyncio.create_task(self._read())
        reading.add_done_callback(lambda _: self._ahead.put_nowait(None))
        try:
            await self._serve()
            if self._later:
                await asyncio.wait(self._later)
        finally:
            for task in (reading, *self._later):
                task.cancel()
            await asyncio.wait([reading])
            if self._junk:
                emit(events.JunkSkipped(self._channel, self._peer.address, self._junk))
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
                    self._dropped("no whole message came in time")
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
                return await self._reader.read(PACKET)
        except TimeoutError:
            return None
        except OSError:  # a reset: what came before it is still committed
            return b""

    async def _take(self, found: list[FramingEvent]) -> bool:
        """Queue each frame; whether there was one."""
        complete = False
        for event in found:
            match event:
                case Frame(data, fault):
                    if self._junk:
                        emit(events.JunkSkipped(self._channel, self._peer.address, self._junk))
                        self._junk = 0
                    complete = True
                    await self._queue(data, fault)
                case Junk(count):
                    self._junk += count
                    self._refused = self._junk > _JUNK_LIMIT
                case Oversize(limit, head):
                    self._refused = True
                    await self._queue(head, f"The message is larger than {limit} bytes; this is how it began.")
                case Cut(count):
                    emit(events.FrameCut(self._channel, self._peer.address, count))
        return complete

    async def _queue(self, data: bytes, fault: str) -> None:
        if self._options.commit_bytes and data in (COMMITTED, NOT_COMMITTED):
            return  # the peer's word on an answer of ours; it is never sent again
        while self._count >= _AHEAD or self._held + len(data) > max(_HELD, len(data)):
            self._room.clear()
            await self._room.wait()
        self._count += 1
        self._held += len(data)
        self._ahead.put_nowait(_Taken(data, fault))

    # --- Committing and answering --------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        while (taken := await self._ahead.get()) is not None:
            reply = await self._commit(taken)
            self._count -= 1
            self._held -= len(taken.data)
            self._room.set()
            if reply is None:
                if self._options.commit_bytes:
                    await self._write(START + NOT_COMMITTED + END)
                return
            await self._write(reply)
            if not self._writable:  # what was received is committed all the same
                self.stop_reading()

    async def _commit(self, taken: _Taken) -> bytes | None:
        """What to write; None where the connection has to end without an answer."""
        messages, fault = messages_of(taken.data, taken.fault)
        replies, later = [], []
        for message in messages:
            answer = await self._accept(self._arrival(message, fault))
            if isinstance(answer, Unavailable):
                self._dropped(answer.why)
                return None
            if answer.reply:
                replies.append(answer.reply)
            if isinstance(answer, Accepted) and answer.later is not None:
                later.append(answer.later)
        for each in later:
            task = asyncio.create_task(self._answer_later(each))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
        committed = [COMMITTED] if self._options.commit_bytes else []
        answers = replies if len(messages) == 1 else answer_batch(taken.data, replies)
        # Our replies hold no control characters: a 0x1C in one is a letter of the sender's own character set.
        return b"".join(START + part + END for part in (*committed, *answers))

    def _arrival(self, message: bytes, fault: str) -> Arrival:
        peer = self._peer
        return Arrival(
            message,
            "hl7v2",
            datetime.now(UTC),
            peer.address,
            fault=fault,
            facilities=peer.facilities,
            certificate=peer.certificate,
        )

    async def _answer_later(self, later: Callable[[], Awaitable[bytes]]) -> None:
        if reply := await later():
            await self._write(START + reply + END)

    async def _write(self, reply: bytes) -> None:
        if not reply or not self._writable:
            return
        try:
            self._writer.write(reply)
            if self._writer.transport.get_write_buffer_size():
                async with asyncio.timeout(self._options.write_timeout):
                    await self._writer.drain()
        except TimeoutError:
            self._dropped("the peer does not read its answers")
            self._writer.transport.abort()
            self._writable = False
        except OSError:
            self._writable = False
        else:
            self._writable = not self._writer.is_closing()

    def _dropped(self, why: str) -> None:
        emit(events.ConnectionDropped(self._channel, self._peer.address, why))

    async def _close(self) -> None:
        """Let what was written leave; a sender that was refused while it still sends may read why first."""
        with contextlib.suppress(OSError, TimeoutError):
            if self._refused and not self._writer.is_closing():
                if self._writer.can_write_eof():  # TLS cannot end one side alone
                    self._writer.write_eof()
                async with asyncio.timeout(_LINGER):
                    while await self._reader.read(PACKET):
                        pass
        self._writer.close()
        try:
            async with asyncio.timeout(_CLOSING):
                await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()
        except OSError:
            pass
