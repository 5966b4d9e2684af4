"""What comes back for a message that was sent over MLLP: its answer, or what came instead of one, told without its content.

Without any I/O: bytes go in. A receiver that cannot frame, or answers something else, is mended by its people sooner if they are
told what it sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interop_engine.core.errors import ParseError
from interop_engine.core.model import Retry
from interop_engine.hl7.ack import Ack, read_ack
from interop_engine.hl7.framing import COMMITTED, NOT_COMMITTED, Frame, Junk, Oversize

if TYPE_CHECKING:
    from interop_engine.hl7.framing import Decoder, FramingEvent

_ENDINGS = {b"\x1c": "a frame that ends in 1C without 0D", b"\x1c\n": "a frame that ends in 1C 0A, not in 1C 0D"}


@dataclass(frozen=True, slots=True)
class Expected:
    """The answers a message is waited for with: nothing where it has no control id to match."""

    control_id: str = ""
    application: bool = False  # CA is followed by the answer that counts


class Answer:
    """The answer to one message, as it comes."""

    def __init__(self, expected: Expected, decoder: Decoder) -> None:
        """``decoder`` is the connection's: what it holds of earlier answers is read first."""
        self._expected = expected
        self._decoder = decoder
        self._other = ""  # the last frame that was not the answer
        self._junk = 0
        self._tail = b""

    def feed(self, data: bytes) -> Ack | Retry | None:
        """The answer that counts for the message, why there will be none, or None while that is still open."""
        self._tail = (self._tail + data)[-2:]
        for event in self._decoder.feed(data):
            if (found := self._read(event)) is not None:
                return found
        return None

    def none(self, why: str) -> str:
        """Why there is no answer, and what came instead."""
        if self._decoder.inside:
            came = next((told for end, told in _ENDINGS.items() if self._tail.endswith(end)), "a frame that does not end")
        else:
            came = self._other or (f"{self._junk} bytes in no frame" if self._junk else "")
        return f"{why}; what came is {came}" if came else why

    def _read(self, event: FramingEvent) -> Ack | Retry | None:
        match event:
            case Oversize():
                return Retry("the answer is too large", "bad-ack")
            case Junk(count):
                self._junk += count
            case Frame(data) if data == NOT_COMMITTED:
                return Retry("the receiver says by MLLP release 2 (NAK) that it could not store the message", "nak")
            case Frame(data) if data == COMMITTED:  # the word of a transport, where the receiver's own decides
                self._other = "the commit byte of MLLP release 2 alone"
            case Frame(data):
                try:
                    ack = read_ack(data)
                except ParseError as error:
                    return Retry(f"the answer cannot be read: {error}", "bad-ack")
                self._other = self._unfit(ack)
                return None if self._other else ack
        return None

    def _unfit(self, ack: Ack) -> str:
        """Why an acknowledgement is not the one that counts; '' where it is."""
        wanted, named = self._expected.control_id, ack.control_id
        if named == wanted:
            return "its accept acknowledgement alone" if self._expected.application and ack.code == "CA" else ""
        if not named:
            return "an answer whose MSA-2 is empty"
        if wanted.startswith(named):
            return f"an answer whose MSA-2 is cut off after {len(named)} characters"
        return "an answer whose MSA-2 names another message"
