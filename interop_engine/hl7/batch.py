"""Batches and files of messages: FHS, BHS, MSH…, BTS, FTS (HL7 v2 chapter 2, "Batch protocol")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRAILERS = {b"FHS": b"FTS", b"BHS": b"BTS"}
_NAMES = (b"MSH", *_TRAILERS, b"BTS")
_LONGEST_HEADER = 4_096
_START = re.compile(rb"(?:\A|(?<=[\r\n]))[ \t]*(MSH|FHS|BHS|BTS|FTS)(?![A-Za-z0-9 ])")


def split_batch(data: bytes) -> list[bytes]:
    """The messages of a batch or of a file of messages, each with its own bytes; ``[data]`` where there is but one.

    A message goes from its MSH to the next header or trailer; BTS-1 is not believed, the messages are counted. A batch
    without any message is ``[data]`` too: it can only be refused.
    """
    if sum(map(data.count, _NAMES)) <= 1:  # one that stands by itself, as nearly all do
        return [data]
    starts = list(_START.finditer(data))
    if len(starts) <= 1:
        return [data]
    ends = [match.start() for match in starts[1:]] + [len(data)]
    return [data[match.start(1) : end] for match, end in zip(starts, ends, strict=True) if match[1] == b"MSH"] or [data]


def answer_batch(data: bytes, replies: Sequence[bytes]) -> list[bytes]:
    """The one answer to a batch: the replies between headers that refer to its own; each by itself where it has no header."""
    headers = [_line(data, match.start(1)) for match in _START.finditer(data) if match[1] in _TRAILERS]
    first = {header[:3]: header for header in reversed(headers) if len(header) > 3}  # else it names no separator
    if not first or not replies:
        return list(replies)
    answer = b"".join(replies)
    for name, count in ((b"BHS", len(replies)), (b"FHS", 1)):
        if (header := first.get(name)) is not None:
            separator = header[3:4]
            answer = _reply_header(header) + answer + _TRAILERS[name] + separator + str(count).encode() + b"\r"
    return [answer]


def _line(data: bytes, start: int) -> bytes:
    return re.split(rb"[\r\n]", data[start : start + _LONGEST_HEADER], maxsplit=1)[0]


def _reply_header(header: bytes) -> bytes:
    """FHS or BHS with sender and receiver swapped, field 12 naming the control id (field 11) it answers."""
    separator = header[3:4]
    fields = [*header.split(separator), *[b""] * 11][:11]  # fields[n] is field n + 1: the separator itself is field 1
    answer = [*fields[:2], fields[4], fields[5], fields[2], fields[3], b"", b"", b"", b"", b"", fields[10]]
    return separator.join(answer).rstrip(separator) + b"\r"
