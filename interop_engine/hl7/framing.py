"""MLLP, the minimal lower layer protocol (HL7 v2 transport specification, appendix C), without any I/O.

    <0B> message <1C><0D>

Bytes go in, events come out, whatever the packets' borders are. A frame ends on 0x1C 0x0D and on nothing else: either
byte alone is content. A 0x0B followed by a message header inside a frame is a new frame whose predecessor was never ended;
that one comes out with a ``fault``. Between frames CR, LF, blanks and NUL (keep-alives) are nothing, and so is a frame that holds
nothing; anything else between them is junk, counted and dropped. More than one 0x0B begins but one frame.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from interop_engine.core.errors import FramingError

START = b"\x0b"
END = b"\x1c\r"
COMMITTED = b"\x06"  # release 2: the content of a frame that says a message is in safe storage…
NOT_COMMITTED = b"\x15"  # …and of one that says it could not be put there

_NEW_START = re.compile(rb"\x0b(?=MSH|FHS|BHS)")
_NOTHING = re.compile(rb"(?:[\r\n\t \x00]*+\x0b\x1c\r)*+")  # frames that hold nothing, and keep-alives before them
_MOST_UNENDED = 1_000  # frames that begin in another; more are one with a fault: nobody meant them, and each would be kept
_KEEP_ALIVE = b"\r\n\t \x00"
_HEAD = 65_536  # bytes of an oversize frame that are shown


@dataclass(frozen=True, slots=True)
class Frame:
    """The content of one frame. ``fault`` says what is wrong with the framing, '' if nothing is."""

    data: bytes
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Junk:
    """``count`` bytes outside any frame were dropped."""

    count: int


@dataclass(frozen=True, slots=True)
class Oversize:
    """A frame grew beyond ``limit`` bytes. ``head`` is how it began; the decoder reads no further."""

    limit: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """The stream ended inside a frame, of which ``count`` bytes had come: dropped, for its sender has it still."""

    count: int


FramingEvent = Frame | Junk | Oversize | Cut


class Decoder:
    """Bytes in, events out. Memory is at most ``max_frame`` bytes and one packet.

    ``careful`` is for character sets in which 0x1C or 0x0B are parts of letters (UTF-16, VPS): there 0x1C 0x0D ends a frame
    only where 0x0B, the end of the stream (``close``) or a pause follows (``pause``: the caller saw nothing for a while).
    """

    def __init__(self, *, max_frame: int, careful: bool = False) -> None:
        self._max_frame = max_frame
        self._careful = careful
        self._buffer = bytearray()
        self._inside = False
        self._scanned = 0  # bytes of the buffer in which no end was found
        self._overflown = False

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._inside

    def feed(self, data: bytes) -> list[FramingEvent]:
        """What these bytes complete."""
        if self._overflown:
            return []
        self._buffer += data
        return self._read(ended=False)

    def pause(self) -> list[FramingEvent]:
        """Nothing came for a while: a frame that may have ended has."""
        return self._read(ended=True) if self._careful and not self._overflown else []

    def close(self) -> list[FramingEvent]:
        """The stream ended. A frame that is not complete is dropped: it was never acknowledged."""
        events = self.pause()
        if self._inside:
            events.append(Cut(len(self._buffer)))
        self._buffer.clear()
        self._inside = False
        return events

    def _read(self, *, ended: bool) -> list[FramingEvent]:
        events: list[FramingEvent] = []
        while self._buffer:
            if not self._inside and not self._begin(events):
                break
            end = self._end(ended=ended)
            if end < 0:
                break
            if end > self._max_frame:
                self._overflow(events)
                return events
            self._finish(end, events)
        if self._inside and len(self._buffer) > self._max_frame + 1:  # + 1: a 0x1C whose 0x0D is still to come
            self._overflow(events)
        return events

    def _begin(self, events: list[FramingEvent]) -> bool:
        """Skip to the next start block; whether there is one."""
        buffer = self._buffer
        if not self._careful and (nothing := _NOTHING.match(buffer)):
            del buffer[: nothing.end()]
        start = buffer.find(START)
        skipped = buffer[: start if start >= 0 else len(buffer)]
        if skipped and (junk := len(skipped.translate(None, _KEEP_ALIVE))):
            events.append(Junk(junk))
        if start < 0:
            buffer.clear()
            return False
        del buffer[: start + 1]
        self._inside = True
        self._scanned = 0
        return True

    def _end(self, *, ended: bool) -> int:
        """Where the frame's content ends, -1 where that is not known yet."""
        buffer, position = self._buffer, self._scanned
        while (end := buffer.find(END, position)) >= 0:
            following = buffer[end + 2 : end + 3]
            if not self._careful or following == START or (not following and ended):
                return end
            if not following:
                self._scanned = end
                return -1
            position = end + 1
        self._scanned = max(len(buffer) - 1, 0)
        return -1

    def _finish(self, end: int, events: list[FramingEvent]) -> None:
        content = bytes(memoryview(self._buffer)[:end])
        del self._buffer[: end + 2]
        self._inside = False
        unended: list[bytes] = []
        if not self._careful and START in content:
            *unended, content = _NEW_START.split(content, _MOST_UNENDED)
            events.extend(Frame(part, "A new frame began before this one had ended.") for part in unended if _says(part))
        if len(unended) == _MOST_UNENDED and _NEW_START.search(content):
            events.append(Frame(content, f"More than {_MOST_UNENDED} frames began before one had ended; this holds the others."))
        elif content:
            events.append(Frame(content))

    def _overflow(self, events: list[FramingEvent]) -> None:
        events.append(Oversize(self._max_frame, bytes(self._buffer[:_HEAD])))
        self._buffer = bytearray()
        self._inside = False
        self._overflown = True


def _says(content: bytes) -> bool:
    """Whether there is more in a frame than start blocks and keep-alives."""
    return bool(content.strip(START + _KEEP_ALIVE))


def frame(data: bytes) -> bytes:
    """A message as it goes on the wire. Raises FramingError where it holds a byte that frames are made of."""
    if START in data or END[:1] in data:
        raise FramingError("The message holds a byte 0x0B or 0x1C and cannot be framed.")
    return START + data + END
