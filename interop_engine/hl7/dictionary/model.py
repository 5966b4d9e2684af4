"""What the dictionary says: groups, segments, fields and data types as frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FieldDef:
    """A field of a segment, or a component of a data type.

    ``name`` is the newest standard's, in snake case; ``aliases`` are the names of older versions. ``datatype`` is the newest
    type, its family's newest member where the field was withdrawn before that (TS → DTM, CE → CWE…). ``table`` is the
    HL7 table's four digits, or empty. ``types`` lists (version, type) as the standard wrote them, from that version on.
    """

    number: int
    name: str
    datatype: str
    repeats: bool = False
    required: bool = False
    table: str = ""
    aliases: tuple[str, ...] = ()
    types: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentDef:
    """A segment: the union of its fields over all versions."""

    name: str
    title: str
    fields: Mapping[int, FieldDef]

    def number(self, name: str) -> int:
        """The number of the field of that name (today's or an older one), 0 where there is none."""
        return _number(self.fields, name)


@dataclass(frozen=True, slots=True)
class DatatypeDef:
    """A data type; a primitive has no components."""

    name: str
    title: str
    components: Mapping[int, FieldDef]

    def number(self, name: str) -> int:
        """The number of the component of that name, 0 where there is none."""
        return _number(self.components, name)


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A segment's place in a group."""

    name: str
    required: bool
    repeats: bool


@dataclass(frozen=True, slots=True)
class GroupDef:
    """A group's place in a structure, and what it holds, in order. The structure itself is the outermost group.

    ``aliases`` are the names the group had in other versions.
    """

    name: str
    required: bool
    repeats: bool
    children: tuple[GroupDef | SegmentRef, ...]
    aliases: tuple[str, ...] = ()
    own_segments: frozenset[str] = field(init=False, repr=False, compare=False)  # segments directly in it
    all_segments: frozenset[str] = field(init=False, repr=False, compare=False)  # and those of deeper groups too

    def __post_init__(self) -> None:
        """A mapping asks for its segments thousands of times while it is checked."""
        held = frozenset(child.name for child in self.children if isinstance(child, SegmentRef))
        object.__setattr__(self, "own_segments", held)
        object.__setattr__(self, "all_segments", held.union(*(group.all_segments for group in self.groups())))

    def group(self, name: str) -> GroupDef | None:
        """The child group of that name (today's or an older one)."""
        found = None
        for child in self.children:
            if isinstance(child, GroupDef):
                if child.name == name:
                    return child
                if name in child.aliases:
                    found = found or child
        return found

    def find(self, path: str) -> tuple[GroupDef, ...] | None:
        """The groups along a dotted path below this one, ``PATIENT_RESULT.ORDER_OBSERVATION``; None where one is unknown."""
        here, walked = self, []
        for name in path.split("."):
            child = here.group(name)
            if child is None:
                return None
            walked.append(child)
            here = child
        return tuple(walked)

    def holds(self, segment: str) -> bool:
        """Whether the segment is directly in this group."""
        return segment in self.own_segments

    def reaches(self, segment: str) -> bool:
        """Whether the segment is in this group or a deeper one."""
        return segment in self.all_segments

    def repeating(self, segment: str) -> bool:
        """Whether one instance of this group may hold the segment more than once, deeper groups included."""
        places = 0
        for child in self.children:
            if isinstance(child, SegmentRef):
                if child.name == segment:
                    places += 2 if child.repeats else 1
            elif child.reaches(segment):
                places += 2 if child.repeats or child.repeating(segment) else 1
        return places > 1

    def groups(self) -> Iterator[GroupDef]:
        """The child groups, in order."""
        return (child for child in self.children if isinstance(child, GroupDef))


def _number(fields: Mapping[int, FieldDef], name: str) -> int:
    wanted = name.lower().replace("-", "_")
    older = 0
    for number, each in fields.items():
        if each.name == wanted:
            return number
        if wanted in each.aliases:
            older = older or number
    return older
