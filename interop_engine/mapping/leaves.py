"""The loss ledger leaf by leaf, for people: which repetitions, components and sub-components of a message say nothing.

The ledger of production counts fields, by what the mapping reads. Here nothing is believed: a leaf is lost where the message
without it says the same. So a component that a conversion looks at and then has no place for is listed too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interop_engine.mapping.ledger import sequence_numbers

if TYPE_CHECKING:
    from interop_engine.core.model import Known
    from interop_engine.hl7.message import Message, Segment
    from interop_engine.mapping.context import Scope
    from interop_engine.mapping.draft import Draft
    from interop_engine.mapping.program import Program

_MOST = 2000  # leaves that are each tried alone: in a longer message those of one place stand and fall together
_DELETE = '""'


@dataclass(frozen=True, slots=True)
class Leaf:
    """One populated leaf. Parts count from 1; ``component`` and ``subcomponent`` are 0 where there is nothing to tell apart."""

    segment: int  # its index in the message
    field: int
    repetition: int
    component: int
    subcomponent: int
    raw: str

    def place(self, message: Message) -> str:
        """As integrators write it: ``PID[1]-5[2].3``; the repetition only where there are several."""
        segment = message.segments[self.segment]
        several = len(segment.repetitions(self.field)) > 1
        below = "".join(f".{number}" for number in (self.component, self.subcomponent) if number)
        return f"{segment.name}[{segment.number}]-{self.field}{f'[{self.repetition}]' if several else ''}{below}"


class Leaves:
    """The leaves of one message, and which of them its draft would not miss."""

    def __init__(self, program: Program, message: Message, scope: Scope, known: Known, draft: Draft) -> None:
        self._program = program
        self._message = message
        self._scope = scope
        self._known = known
        self._said = _said(draft)
        self._same: dict[str, list[Leaf]] = defaultdict(list)
        for leaf in populated(message):
            self._same[leaf.raw].append(leaf)

    def unread(self, bits: Sequence[int]) -> tuple[str, ...]:
        """The leaves that are lost, in the message's order. ``bits``: the fields that were read, for each segment."""
        return tuple(leaf.place(self._message) for leaf in self._unread(bits))

    def _unread(self, bits: Sequence[int]) -> Iterator[Leaf]:
        read: list[Leaf] = []
        lost: set[Leaf] = set()
        every = [leaf for leaf in populated(self._message) if not self._ignored(leaf)]
        for leaf in every:
            if bits[leaf.segment] >> leaf.field & 1:
                read.append(leaf)
            else:
                lost.add(leaf)
        for group in _alone(read) if len(read) <= _MOST else self._by_place(read):
            if self.lost(group):
                lost.update(group)
        return (leaf for leaf in every if leaf in lost)

    def lost(self, leaves: Sequence[Leaf]) -> bool:
        """Whether the draft says the same without some leaves.

        Of two that say the same (``ORC-2 ?? OBR-2``) neither is lost, though each could be left out: one stands in for the other.
        """
        if self._matter(leaves):
            return False
        same = {other for leaf in leaves for other in self._same[leaf.raw]}
        others = same.difference(leaves)
        return not others or self._matter(others) or not self._matter(same)

    def _matter(self, leaves: Iterable[Leaf]) -> bool:
        message = _without(self._message, leaves)
        return _said(self._program.build(self._program.identify(message, self._scope), self._known)) != self._said

    def _ignored(self, leaf: Leaf) -> bool:
        name = self._message.segments[leaf.segment].name
        return bool((self._program.ignore.get(name, 0) | sequence_numbers(name)) >> leaf.field & 1)

    def _by_place(self, leaves: Iterable[Leaf]) -> Iterable[Sequence[Leaf]]:
        groups: dict[tuple[object, ...], list[Leaf]] = defaultdict(list)
        for leaf in leaves:
            name = self._message.segments[leaf.segment].name
            groups[name, leaf.field, leaf.repetition, leaf.component, leaf.subcomponent].append(leaf)
        return groups.values()


def populated(message: Message) -> Iterator[Leaf]:
    """Every leaf with content, in order; a ``""`` is an order to delete, and MSH-1 and MSH-2 have no parts."""
    for segment in message.segments:
        first = 3 if segment.index == 0 else 1
        for number in range(first, len(segment.fields)):
            yield from _of_field(segment, number)


def _of_field(segment: Segment, number: int) -> Iterator[Leaf]:
    for repetition, value in enumerate(segment.repetitions(number), 1):
        for component, part in enumerate(value.parts, 1):
            pieces = part.split(sub) if (sub := segment.delimiters.subcomponent) else [part]
            for below, piece in enumerate(pieces, 1):
                if piece and piece != _DELETE:
                    places = (component if len(value.parts) > 1 or len(pieces) > 1 else 0, below if len(pieces) > 1 else 0)
                    yield Leaf(segment.index, number, repetition, *places, piece)


def _alone(leaves: Iterable[Leaf]) -> Iterable[Sequence[Leaf]]:
    return ((leaf,) for leaf in leaves)


def _without(message: Message, leaves: Iterable[Leaf]) -> Message:
    """The message with some leaves left empty."""
    texts = [segment.text for segment in message.segments]
    by_segment: dict[int, list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        by_segment[leaf.segment].append(leaf)
    for index, those in by_segment.items():
        segment = message.segments[index]
        fields = list(segment.fields)
        for leaf in those:
            fields[leaf.field] = _emptied(fields[leaf.field], segment, leaf)
        if index == 0:
            del fields[1]  # MSH-1 is the separator itself
        texts[index] = segment.delimiters.field.join(fields)
    return message.with_segments(texts)


def _emptied(text: str, segment: Segment, leaf: Leaf) -> str:
    d = segment.delimiters
    steps = ((d.repetition, leaf.repetition), (d.component, leaf.component or 1), (d.subcomponent, leaf.subcomponent or 1))
    return _replaced(text, steps)


def _replaced(text: str, steps: Sequence[tuple[str, int]]) -> str:
    if not steps:
        return ""
    (separator, number), *below = steps
    parts = text.split(separator) if separator else [text]
    parts[number - 1] = _replaced(parts[number - 1], below)
    return separator.join(parts)


def _said(draft: Draft) -> tuple[object, ...]:
    return draft.resources, draft.findings, draft.unmapped, draft.park
