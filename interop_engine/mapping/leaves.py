"""The loss ledger leaf by leaf, for people: which repetitions and components of a message nothing has read.

The ledger of production counts fields. Here a field that was read is looked into: the components that no rule of the mapping
reads of it, and the repetitions that none asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from interop_engine.hl7 import dictionary
from interop_engine.hl7.message import Message, Segment, Value
from interop_engine.mapping.ledger import sequence_numbers
from interop_engine.mapping.typed import Convert, MappingPlan, Read, reads

# Who gave the number (CX.4, EI.2 …) is read with the number itself, where a key takes its scope from it.
_SCOPED = {"CX": (1, 4), "EI": (1, 2, 3, 4)}


@dataclass
class _Reading:
    """What a mapping reads of one field: ``components`` (None: all), and whether more than the first repetition."""

    components: set[int] | None = field(default_factory=set)
    repeats: bool = False

    def add(self, parts: Sequence[int], *, repeats: bool) -> None:
        self.repeats |= repeats
        if not parts:
            self.components = None
        elif self.components is not None:
            self.components |= set(parts)


class Leaves:
    """What one mapping reads of each field, worked out once."""

    def __init__(self, plan: MappingPlan, ignore: Mapping[str, int]) -> None:
        self._ignore = ignore
        self._readings: dict[tuple[str, int], _Reading] = {}
        for node in reads((plan.resources, plan.fragments)):
            if isinstance(node, Read):
                self._note(node, (node.component,) if node.component else ())
                continue
            self._note(node.source, _parts(node))
            for number in node.also:
                self._readings.setdefault((node.source.segment, number), _Reading()).add((), repeats=True)

    def _note(self, read: Read, parts: Sequence[int]) -> None:
        if read.segment and read.field:
            repeats = (read.repeats and not read.repetition) or read.repetition > 1
            self._readings.setdefault((read.segment, read.field), _Reading()).add(parts, repeats=repeats)

    def unread(self, message: Message, bits: Sequence[int]) -> tuple[str, ...]:
        """The populated leaves that nothing read: ``PID[1]-5[2].3``, in the message's order. ``bits``: one a field."""
        return tuple(leaf for segment in message.segments for leaf in self._of_segment(segment, bits[segment.index]))

    def _of_segment(self, segment: Segment, read: int) -> Iterator[str]:
        ignored = self._ignore.get(segment.name, 0) | sequence_numbers(segment.name)
        for number, raw in enumerate(segment.fields[1:], 1):
            if not raw or ignored >> number & 1:
                continue
            reading = self._readings.get((segment.name, number)) if read >> number & 1 else None
            repetitions = segment.repetitions(number)
            for index, value in enumerate(repetitions, 1):
                place = f"{segment.name}[{segment.number}]-{number}" + (f"[{index}]" if len(repetitions) > 1 else "")
                if reading is None or (index > 1 and not reading.repeats):
                    yield from _populated(value, place, frozenset())
                elif reading.components is not None:
                    yield from _populated(value, place, frozenset(reading.components))


def _parts(node: Convert) -> tuple[int, ...]:
    """The components that a conversion reads of its field, () for all."""
    read = node.source
    if read.component:
        return (read.component,)
    if node.how == "identity" and read.datatype in _SCOPED:
        return _SCOPED[read.datatype]
    if node.how in ("text", "identity"):
        known = dictionary.datatype(read.datatype)
        return (
            (1, 3, 4, 6) if node.how == "identity" and known and known.components else (1,) if known and known.components else ()
        )
    return node.parts if node.how == "value" else ()


def _populated(value: Value, place: str, known: frozenset[int]) -> Iterator[str]:
    """The components with content that are not ``known``; the value itself where it has none."""
    if len(value.parts) == 1:
        if value.raw and 1 not in known:
            yield place
        return
    for number, raw in enumerate(value.parts, 1):
        if raw and number not in known:
            yield f"{place}.{number}"
