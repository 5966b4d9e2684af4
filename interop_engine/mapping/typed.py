"""A checked mapping: every name resolved, every conversion chosen. What ``checker`` makes and ``compiler`` reads.

A node gives items, none or several, each of the kind its consumer asked for. Frozen, and free of anything a message says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from interop_engine.core.diagnostics import Mark
from interop_engine.core.model import Write
from interop_engine.mapping.functions import Function

VARIES = "varies"  # OBX-5: the type is in OBX-2


@dataclass(frozen=True)
class Step:
    """One level of ``each:``: the child groups ``group`` of the group one level up, or its segments of that name."""

    name: str
    segment: bool = False
    deep: bool = False


@dataclass(frozen=True)
class Read:
    """Values of a field (or component), from a level of the scope. ``field`` 0: the segments themselves, for exists.

    ``deep``: the segment is in a deeper group than the level's. ``loop``: it may stand there several times. ``many``: the
    read may give several values. At a value level (a fragment, ``each: OBX-5``) ``segment`` is empty.
    """

    level: int
    segment: str
    field: int
    datatype: str
    label: str
    deep: bool = False
    route: tuple[str, ...] = ()  # of a deep one: the groups on the way
    loop: bool = False
    many: bool = False
    repeats: bool = False
    required: bool = False
    table: str = ""
    segment_index: int = 0  # 0: all of them
    segment_test: Condition | None = None
    repetition: int = 0  # 0: all of them
    repetition_test: Condition | None = None
    component: int = 0
    subcomponent: int = 0


@dataclass(frozen=True)
class Const:
    """A literal: JSON for the element named ``element``, or text."""

    value: Any
    element: str = ""


@dataclass(frozen=True)
class Convert:
    """What a read becomes.

    ``how``: ``value`` (``function(value, context)``), ``segment`` (``function(segment, context)``, once a segment; with
    ``choice`` it gives (type, value); with ``many`` a list), ``varies`` (``choices`` by OBX-2), ``notes`` (all texts joined in
    one Annotation), ``text``, ``code`` (the first component of OBX-5), ``identity`` (the text that names it, in a key), ``raw``
    (the HL7 v2 value itself).
    """

    source: Read
    how: Literal["value", "segment", "varies", "notes", "text", "code", "identity", "raw"]
    element: str = ""
    function: Callable[..., Any] | None = None
    choice: bool = False
    many: bool = False
    common: bool = False  # few values make up most of the traffic: they are remembered
    primitive: bool = False  # the context may hold extensions for it
    also: tuple[int, ...] = ()  # fields of the segment that are read along
    parts: tuple[int, ...] = ()  # components that are read, () for all
    choices: Mapping[str, Callable[..., Any]] | None = None
    doc: str = ""


@dataclass(frozen=True)
class FirstOf:
    """``a ?? b``."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Pick:
    """``first``, ``last`` or ``required``, which work on any kind."""

    which: str
    source: Node
    label: str = ""


@dataclass(frozen=True)
class Apply:
    """A function of the registry. ``arguments`` are constants, or nodes of texts (concat)."""

    function: Function
    source: Node | None
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Primitive:
    """Text to a FHIR primitive, which it must be lexically; ``codes``: and one of those."""

    source: Node
    type: str
    element: str
    codes: frozenset[str] | None = None


@dataclass(frozen=True)
class Use:
    """A fragment on each value."""

    fragment: str
    source: Node
    element: str = ""


@dataclass(frozen=True)
class Refs:
    """References to the instances of ``target`` that share the group at ``level``. ``single``: one is wanted."""

    target: str
    level: int
    single: bool
    element: str = ""


@dataclass(frozen=True)
class All:
    """A list: the items of all its nodes, in order."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Nested:
    """A nested element: one item, or one for each of ``each`` (steps down, or the values of a read)."""

    body: Body
    level: int
    steps: tuple[Step, ...] = ()
    each: Read | None = None
    when: Condition | None = None
    element: str = ""


Node = Read | Const | Convert | FirstOf | Pick | Apply | Primitive | Use | Refs | All | Nested


@dataclass(frozen=True)
class Line:
    """One element set. ``element`` is empty where its items say their name (a choice)."""

    element: str
    stem: str
    repeats: bool
    required: bool
    node: Node
    constant: bool  # always gives a value, so it says nothing about the message
    mark: Mark
    text: str = ""


@dataclass(frozen=True)
class Body:
    """The lines of a resource, a nested element or a fragment, in the specification's order."""

    path: str
    lines: tuple[Line, ...]


# --- Conditions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compare:
    """``left`` (texts) against ``right`` (texts); ``each`` any or all of the left."""

    operator: str
    left: Node
    right: tuple[Node, ...]
    each: Literal["any", "all"] = "any"


@dataclass(frozen=True)
class Exists:
    """Whether a node gives anything."""

    node: Node


@dataclass(frozen=True)
class Deleted:
    """Whether the sender wrote ``""`` there."""

    read: Read


@dataclass(frozen=True)
class Count:
    """How many values a node gives, compared with a number."""

    operator: str
    node: Node
    number: int


@dataclass(frozen=True)
class Matches:
    """Whether any text of ``node`` matches the RE2 pattern as a whole."""

    node: Node
    pattern: str


@dataclass(frozen=True)
class Not:
    """Negation."""

    operand: Condition


@dataclass(frozen=True)
class Junction:
    """``and`` or ``or``."""

    operator: str
    operands: tuple[Condition, ...]


Condition = Compare | Exists | Deleted | Count | Matches | Not | Junction


def reads(thing: object) -> Iterator[Convert | Read]:
    """Every conversion in a part of a plan and every read without one, those in conditions too."""
    if isinstance(thing, Convert | Read):
        yield thing
        read = thing.source if isinstance(thing, Convert) else thing
        thing = (read.segment_test, read.repetition_test)
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        thing = tuple(getattr(thing, each.name) for each in dataclasses.fields(thing))
    elif isinstance(thing, Mapping):
        thing = tuple(thing.values())
    if isinstance(thing, tuple):
        for item in thing:
            yield from reads(item)


def calls(thing: object) -> Iterator[Apply]:
    """Every call of a function in a part of a plan."""
    if isinstance(thing, Apply):
        yield thing
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        thing = tuple(getattr(thing, each.name) for each in dataclasses.fields(thing))
    if isinstance(thing, tuple):
        for item in thing:
            yield from calls(item)


# --- Whole mappings --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyPart:
    """One part of a key: a node of texts, or the resource it belongs to (``parent``), shared at ``level``."""

    node: Node | None
    label: str
    parent: str = ""
    level: int = 0
    scoped: bool = False  # a CX or EI: its authority is the scope


@dataclass(frozen=True)
class SameAs:
    """An instance is the one of ``target`` whose key has these values, in the message or known from an earlier one."""

    target: str
    parts: tuple[KeyPart, ...]
    label: str


@dataclass(frozen=True)
class ResourcePlan:
    """How the instances of one resource are found, named and filled.

    ``parks_unknown``: an instance that none of its names (``known_as``) is known by parks the message.
    """

    name: str
    type: str
    steps: tuple[Step, ...]
    when: Condition | None
    key: tuple[KeyPart, ...]
    known_as: Mapping[str, KeyPart]
    write: Write
    newer: Node | None
    merged_into: Refs | None
    union: tuple[str, ...]
    body: Body
    parks_unknown: bool = False
    same_as: SameAs | None = None

    @property
    def named_by(self) -> str:
        """The fields that name an instance, as the mapping writes them: what a person must look at where they do not."""
        return self.same_as.label if self.same_as else ", ".join(p.label for p in (*self.key, *self.known_as.values()))

    @property
    def parents(self) -> tuple[str, ...]:
        """The resources that its key refers to: they are found before it."""
        same = self.same_as
        parts = self.key if same is None else same.parts
        return (*(part.parent for part in parts if part.parent), *((same.target,) if same is not None else ()))


@dataclass(frozen=True)
class FragmentPlan:
    """A fragment: a function of one HL7 v2 value."""

    name: str
    of: str
    type: str
    is_resource: bool
    key: tuple[KeyPart, ...]
    write: Write
    when: Condition | None
    body: Body


@dataclass(frozen=True)
class MappingPlan:
    """A mapping, ready to be compiled. ``order``: each resource after those its key refers to."""

    name: str
    structure: str
    events: tuple[str, ...]
    when: Condition | None
    bundle: str
    ignore: Mapping[str, int]  # segment → bits of the fields nobody needs to read
    resources: Mapping[str, ResourcePlan]
    fragments: Mapping[str, FragmentPlan]
    order: tuple[str, ...]
    digest: str
