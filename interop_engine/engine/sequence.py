"""The sequence number protocol of HL7 v2 chapter 2: MSH-13 counts a sender's messages, MSA-4 says which number is expected.

What was last received of a sender stands in the journal, under a search key, so that a restart and another node know it. A sender
that is told of another number than its own starts its link anew with 0, is told what is expected, and goes on from there; -1
from either side says that the next number counts, whatever it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from interop_engine.hl7 import ack
from interop_engine.journal.base import Selection

if TYPE_CHECKING:
    from interop_engine.hl7.message import Message
    from interop_engine.journal.base import Journal

_KEY = "sequence"
_REPLAYS = 50  # how many replays of a sender's last messages are looked past
ANY = -1
START = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands in its sender's sequence. ``expected`` is for MSA-4, where something is to be said."""

    kind: Literal["next", "again", "link", "wrong"]
    expected: int | None = None
    key: tuple[str, str] | None = None  # the search key of what counts as the last one received


async def place(data: bytes, channel: str, journal: Journal) -> Place | None:
    """The place of a message in its sender's sequence; None where it has no header to tell. Raises JournalError."""
    header = ack.recover(data)
    if header is None:
        return None
    key = (_KEY, f"{header.sending_application}|{header.sending_facility}")
    return _placed(_number(header), await _last(key, channel, journal), key)


def _placed(number: int | None, last: int | None, key: tuple[str, str]) -> Place:
    expected = ANY if last is None else last + 1
    if number == START:
        return Place("link", expected)
    if number == ANY:
        return Place("link", ANY, key)
    if number is None or number < ANY:
        return Place("wrong", expected)
    if expected in (number, ANY):
        return Place("next", key=key)
    return Place("again") if number == last else Place("wrong", expected)


async def _last(key: tuple[str, str], channel: str, journal: Journal) -> int | None:
    """The number of the last message received in its sequence; None where the next one counts, whatever it is."""
    rows = await journal.search(Selection(channel=channel, search=(key,), limit=_REPLAYS))
    for row in rows:
        if row.replay_of is None:
            header = ack.recover((await journal.content(row.id)).data)
            number = _number(header) if header is not None else None
            return None if number == ANY else number
    return None


def _number(header: Message) -> int | None:
    try:
        return int(header.msh.raw(13))
    except ValueError:
        return None
