"""Batches and files of messages: FHS, BHS, MSH…, BTS, FTS (HL7 v2 chapter 2, "Batch protocol").

They are looked at as text in which every character is a byte, or in UTF-16 and UTF-32 what it is, so that each part has its own
bytes again whatever its character set.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from interop_engine.hl7.charset import wide_codec
from interop_engine.hl7.framing import START

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BYTES = "latin-1"
_TRAILERS = {"FHS": "FTS", "BHS": "BTS"}
_NAMES = ("MSH", *_TRAILERS, "BTS")
_LONGEST_HEADER = 4_096  # characters
_BOM = "\ufeff|\xef\xbb\xbf"
_START = re.compile(rf"(?:\A(?:{_BOM})?|(?<=[\r\n]))[ \t]*(MSH|FHS|BHS|BTS|FTS)(?![A-Za-z0-9 ])")
_LINE_END = re.compile(r"[\r\n]")
_BLANK = b"\r\n\t "
_BETWEEN = re.compile(rb"\x1c\r[\r\n\t ]*\x0b")
_LAST = re.compile(rb"\x1c\r?[\r\n\t ]*\Z")


MOST_MESSAGES = 100_000
"""Of one batch. More are looked at for so long that everything else would wait; of usual ones that is 30 MB."""


def messages_of(data: bytes, fault: str = "") -> tuple[list[bytes], str]:
    """The messages of what arrived, and why it can only be refused, as a whole; ``fault``: why it can be already."""
    if not fault and data.count("MSH".encode(_codec(data))) > MOST_MESSAGES:
        fault = f"The batch has more than {MOST_MESSAGES:,} messages."
    return ([data], fault) if fault else (split_batch(data), "")


def split_batch(data: bytes) -> list[bytes]:
    """The messages of a batch or of a file of messages, each with its own bytes; ``[data]`` where there is but one.

    A message goes from its MSH to the next header or trailer; BTS-1 is not believed, the messages are counted. A batch
    without any message is ``[data]`` too: it can only be refused. Frames of MLLP around what came by other ways are taken off.
    """
    return [message for part in _unwrapped(data) for message in _split(part)]


def _split(data: bytes) -> list[bytes]:
    codec = _codec(data)
    if sum(data.count(name.encode(codec)) for name in _NAMES) <= 1:  # one that stands by itself, as nearly all do
        return [data]
    text = _text(data, codec)
    starts = list(_START.finditer(text))
    if len(starts) <= 1:
        return [data]
    ends = [match.start() for match in starts[1:]] + [len(text)]
    parts = [text[match.start(1) : end].encode(codec, "surrogatepass") for match, end in zip(starts, ends, strict=True)]
    parts[-1] += data[_whole(data, codec) :]
    return [part for match, part in zip(starts, parts, strict=True) if match[1] == "MSH"] or [data]


def answer_batch(data: bytes, replies: Sequence[bytes]) -> list[bytes]:
    """The one answer to a batch: the replies between headers that refer to its own; each by itself where it has no header."""
    parts = list(_unwrapped(data))
    codec = _codec(parts[0])
    headers = [header for part in parts for header in _headers(_text(part, _codec(part)))]
    first = {header[:3]: header for header in reversed(headers) if len(header) > 3}  # else it names no separator
    if not first or not replies:
        return list(replies)
    answer = b"".join(replies)
    for name, count in (("BHS", len(replies)), ("FHS", 1)):
        if (header := first.get(name)) is not None:
            trailer = f"{_TRAILERS[name]}{header[3:4]}{count}\r"
            answer = _reply_header(header).encode(codec, "surrogatepass") + answer + trailer.encode(codec, "surrogatepass")
    return [answer]


def _unwrapped(data: bytes) -> Iterator[bytes]:
    """What stands in the frames, where it begins as one; else all of it. No message begins with a start block."""
    begun = data.lstrip(_BLANK)
    if not begun.startswith(START):
        yield data
        return
    found = [part for part in _BETWEEN.split(_LAST.sub(b"", begun.lstrip(START + _BLANK))) if part.strip(START + _BLANK)]
    yield from found or [data]


def _codec(data: bytes) -> str:
    return wide_codec(data) or _BYTES


def _text(data: bytes, codec: str) -> str:
    """All of it, lone surrogates and what is no character included, but for half a character at its end."""
    try:
        return data[: _whole(data, codec)].decode(codec, "surrogatepass")
    except UnicodeDecodeError:  # UTF-32 beyond all characters: one message, to be refused
        return ""


def _whole(data: bytes, codec: str) -> int:
    return len(data) - len(data) % len("M".encode(codec))


def _headers(text: str) -> Iterator[str]:
    for match in _START.finditer(text):
        if match[1] in _TRAILERS:
            yield _LINE_END.split(text[match.start(1) : match.start(1) + _LONGEST_HEADER], maxsplit=1)[0]


def _reply_header(header: str) -> str:
    """FHS or BHS with sender and receiver swapped, field 12 naming the control id (field 11) it answers."""
    separator = header[3:4]
    fields = [*header.split(separator), *[""] * 11][:11]  # fields[n] is field n + 1: the separator itself is field 1
    answer = [*fields[:2], fields[4], fields[5], fields[2], fields[3], "", "", "", "", "", fields[10]]
    return separator.join(answer).rstrip(separator) + "\r"
