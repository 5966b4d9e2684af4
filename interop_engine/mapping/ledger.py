"""The loss ledger: populated fields that no rule which fired on that segment has read (field level; it is on the hot path)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

from interop_engine.hl7 import dictionary
from interop_engine.hl7.message import Message

ALL = -1
# What the engine itself reads of the header: separators, applications, time, type, control id, acknowledgement, charset.
_HEADER = (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 15, 16, 18)
_MSH = sum(1 << number for number in _HEADER)


def ignored(written: Mapping[str, int]) -> Mapping[str, int]:
    """The fields nobody needs to read: those a mapping or dialect ignores, and what is only the engine's."""
    return {**written, "MSH": written.get("MSH", 0) | _MSH}


@cache
def sequence_numbers(segment: str) -> int:
    """Set ids (type SI): they count segments and say nothing else."""
    known = dictionary.segment(segment)
    return sum(1 << n for n, field in known.fields.items() if field.datatype == "SI") if known else 0


_USUAL = 64  # fields that no segment of the standard exceeds by far: what is longer is no shape to remember


@lru_cache(maxsize=8192)
def _open(mask: int, count: int) -> Sequence[int]:
    """The numbers of the fields, of ``count`` with the segment's name, that a mask of reads leaves open."""
    return [number for number in range(1, count) if not mask >> number & 1]


def unread(message: Message, reads: Sequence[int], ignore: Mapping[str, int]) -> tuple[str, ...]:
    """The paths (``OBX-17``) of fields that are populated and that nobody read, each once, in the message's order."""
    found: dict[str, None] = {}
    for segment in message.segments:
        name, fields = segment.name, segment.fields
        mask = reads[segment.index] | ignore.get(name, 0) | sequence_numbers(name)
        find = _open if len(fields) <= _USUAL else _open.__wrapped__
        for number in find(mask, len(fields)):
            if fields[number]:
                found[f"{name}-{number}"] = None
    return tuple(found)
