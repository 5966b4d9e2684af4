"""What a sender's sample messages hold: which fields are populated, how it names patients, what its own segments look like.

Only places, counts, data types and codes come out of it, never another value: what is written from it may go into a repository.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from interop_engine.hl7 import dictionary
from interop_engine.hl7.message import Message, Value
from interop_engine.mapping.ledger import sequence_numbers

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_TIME = re.compile(r"(19|20)\d{2}(0[1-9]|1[0-2])([0-3]\d([0-2]\d([0-5]\d([0-5]\d(\.\d+)?)?)?)?)?([+-]\d{4})?")
_TIME_DIGITS = 8  # fewer are a number that looks like a month
_OWN = ("MR", "PI", "PT", "")  # identifier types (HL7 table 0203) of a hospital's own number, the likeliest first
_CODED_PARTS = 3


@dataclass(frozen=True, slots=True)
class Populated:
    """A field that messages fill: ``PID-16``, its name and data type by the newest standard, and in how many messages."""

    path: str
    name: str
    datatype: str
    messages: int

    @property
    def segment(self) -> str:
        """The segment."""
        return self.path.partition("-")[0]

    @property
    def field(self) -> int:
        """The field's number."""
        return int(self.path.partition("-")[2] or 0)


@dataclass(frozen=True, slots=True)
class OwnField:
    """A field of a Z-segment: the data type its values look like, whether it repeats, and in how many messages it stands."""

    datatype: str
    repeats: bool
    messages: int


@dataclass(frozen=True, slots=True)
class OwnNumber:
    """Whose number and of which type names the patient, and in how many messages it stands."""

    authority: str
    type: str
    messages: int


def populated(messages: Iterable[Message]) -> Iterator[Populated]:
    """Every populated field, in the order of the messages; not MSH, set ids and Z-segments."""
    return described(
        {
            f"{segment.name}-{number}": None
            for segment in message.segments
            if segment.name not in ("MSH", "???") and not segment.name.startswith("Z")
            for number, raw in enumerate(segment.fields[1:], 1)
            if raw and not sequence_numbers(segment.name) >> number & 1
        }
        for message in messages
    )


def described(paths: Iterable[Iterable[str]]) -> Iterator[Populated]:
    """Fields told by path, for each message once, with what the dictionary says of them."""
    counts: Counter[str] = Counter()
    for told in paths:
        counts.update(list(dict.fromkeys(told)))
    for path, count in counts.items():
        segment, _, number = path.partition("-")
        known = dictionary.segment(segment)
        found = known.fields.get(int(number)) if known and number else None
        yield Populated(path, found.name if found else "", found.datatype if found else "", count)


def own_segments(messages: Sequence[Message]) -> Mapping[str, Mapping[int, OwnField]]:
    """The Z-segments, each with its populated fields."""
    values: dict[tuple[str, int], list[Value]] = {}
    repeats: set[tuple[str, int]] = set()
    seen: Counter[tuple[str, int]] = Counter()
    for message in messages:
        here = set()
        for segment in message.segments:
            if not segment.name.startswith("Z"):
                continue
            for number in range(1, len(segment.fields)):
                if filled := [value for value in segment.repetitions(number) if value.raw]:
                    place = (segment.name, number)
                    here.add(place)
                    values.setdefault(place, []).extend(filled)
                    repeats.update([place] if len(filled) > 1 else [])
        seen.update(here)
    found: dict[str, dict[int, OwnField]] = {}
    for (name, number), every in sorted(values.items()):
        place = (name, number)
        found.setdefault(name, {})[number] = OwnField(_looks_like(every), place in repeats, seen[place])
    return found


def _looks_like(values: Sequence[Value]) -> str:
    """The data type that fits all values: coded and composite ones by their parts, else time, number, text."""
    if any(len(value.parts) >= _CODED_PARTS for value in values):
        return "CWE"
    texts = [value.text for value in values]
    if all(_TIME.fullmatch(text) and len(text) >= _TIME_DIGITS for text in texts):
        return "DTM"
    return "NM" if all(_NUMBER.fullmatch(text) for text in texts) else "ST"


def own_number(messages: Iterable[Message]) -> OwnNumber | None:
    """The authority and type of PID-3 that is likeliest the hospital's own: by its type, then by how often it stands there."""
    counts: Counter[tuple[str, str]] = Counter()
    for message in messages:
        numbers = [value for segment in message.all("PID") for value in segment.repetitions(3) if value.get(1)]
        counts.update({(value.get(4), value.get(5)) for value in numbers})
    likely = [(pair, count) for pair, count in counts.items() if pair[1] in _OWN]
    if not likely:
        return None
    (authority, kind), count = min(likely, key=lambda one: (_OWN.index(one[0][1]), -one[1]))
    return OwnNumber(authority, kind, count)
