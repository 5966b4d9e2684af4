"""Groups a message's segments by its structure, and loses none: the tolerant parser.

Walk forward from the cursor in the open group, then in its parents. Only an **anchor** opens a new instance of a group: its first
segment, or an optional group's or segment's before its first required one. Any other segment is attached to the innermost open
group that defines it, else to the open group, with a finding. Z-segments attach to the open group.

An OBX after the SPM of a result that no observation preceded is legal (SPECIMEN.OBX since 2.5): there those OBX *are* the
observations, so they become OBSERVATION groups that know their specimen (``Group.specimen``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from interop_engine.core.diagnostics import Finding
from interop_engine.hl7.dictionary import GroupDef
from interop_engine.hl7.message import UNNAMED, Message, Segment

OUT_OF_PLACE = "segment-out-of-place"
GROUP_REPEATED = "group-repeated"
SEGMENT_MISSING = "segment-missing"
_SEQUENCE_ERROR = "100"  # HL7 table 0357: segment sequence error

# A prior result (chapter 4) may begin with an order; without a patient or a visit before, that is the message's next order.
_NOT_LEADING = {"PRIOR_RESULT": frozenset({"ORC", "OBR"})}
# A document of an order (2.8) begins like an observation; only the TXA that must follow tells them apart.
_CONFIRMED_BY = {"ORDER_DOCUMENT": "TXA"}
# Which observations of a group are its results: those an OBX below its SPECIMEN means where none preceded.
_RESULTS = {"ORDER_OBSERVATION": "OBSERVATION", "ORDER": "RESULT"}
# Services, persons, places and things of an appointment come in any order.
_UNORDERED = frozenset({"RESOURCES"})


class Group:
    """One instance of a group: its own segments and its child groups, by name, in the message's order.

    ``number`` counts from 1 among the instances in the same parent. ``specimen`` is the SPECIMEN an observation stands under
    where the message says so by order alone, else None. ``parent``, and ``tree`` with every group, are there while it is made.
    """

    __slots__ = ("_cursor", "_plan", "definition", "groups", "name", "number", "parent", "segments", "specimen", "tree")

    def __init__(self, plan: _Plan, parent: Group | None, number: int) -> None:
        self._plan = plan
        self._cursor = -1  # the position in the definition of what came last
        self.tree: list[Group] = [] if parent is None else parent.tree
        self.tree.append(self)
        self.definition = plan.definition
        self.name = plan.definition.name
        self.parent = parent
        self.number = number
        self.segments: dict[str, list[Segment]] = {}
        self.groups: dict[str, list[Group]] = {}
        self.specimen: Group | None = None

    def __repr__(self) -> str:
        return f"<Group {self.name}[{self.number}]>"

    def first(self, segment: str) -> Segment | None:
        """This group's own first segment of that name."""
        found = self.segments.get(segment)
        return found[0] if found else None

    def all(self, segment: str) -> list[Segment]:
        """This group's own segments of that name. Read only."""
        return self.segments.get(segment, [])

    def deep(self, segment: str) -> list[Segment]:
        """The segments of that name in this group and all deeper ones, in the message's order."""
        if not self.groups:
            return self.segments.get(segment, [])
        found = [item for group in self.walk() for item in group.segments.get(segment, ())]
        found.sort(key=lambda item: item.index)
        return found

    def children(self, name: str) -> list[Group]:
        """The child groups of that name, today's or an older one. Read only."""
        found = self.groups.get(name)
        if found is None:
            child = self.definition.group(name)
            found = self.groups.get(child.name) if child else None
        return found or []

    def walk(self) -> Iterator[Group]:
        """This group and all deeper ones."""
        yield self
        for groups in self.groups.values():
            for group in groups:
                yield from group.walk()

    def _open(self, plan: _Plan, cursor: int) -> Group:
        """A new instance of a child group, with its cursor there; this group's own cursor is the caller's affair."""
        siblings = self.groups.setdefault(plan.definition.name, [])
        child = Group(plan, self, len(siblings) + 1)
        child._cursor = cursor
        if plan.observation is not None:
            results = plan.observation.definition.name
            alone = siblings[0].specimen is not None if siblings else results not in self.groups
            child.specimen = child if alone else None
        siblings.append(child)
        return child


class _Action(NamedTuple):
    """What a group does with a segment it knows: keep it at ``position``, or open the groups of ``opens``, outermost first.

    Each of ``opens`` is a plan and where the new instance's cursor stands; ``confirmed_by`` is a segment that must follow.
    """

    position: int
    repeats: bool
    opens: tuple[tuple[_Plan, int], ...] = ()
    confirmed_by: str = ""


class _Plan:
    """A group's table: segment name → actions in order of position. Made once a definition."""

    __slots__ = ("actions", "definition", "held", "leads", "observation", "orders")

    def __init__(self, definition: GroupDef) -> None:
        self.definition = definition
        self.actions: dict[str, tuple[_Action, ...]] = {}
        self.held = {child.name for child in definition.children if not isinstance(child, GroupDef)}
        self.leads: dict[str, _Action] = {}  # anchors, as seen from inside
        self.orders: list[tuple[int, _Plan]] = []  # child groups that want an ORC before their OBR
        self.observation: _Plan | None = None  # of a SPECIMEN: what its OBX become where none preceded
        self._build()

    def _build(self) -> None:
        found: dict[str, list[_Action]] = {}
        never = _NOT_LEADING.get(self.definition.name, frozenset())
        results: _Plan | None = None
        specimen: _Plan | None = None
        leading = True
        for position, child in enumerate(self.definition.children):
            if isinstance(child, GroupDef):
                plan = _Plan(child)
                actions = {
                    name: _Action(position, child.repeats, ((plan, lead.position), *lead.opens), lead.confirmed_by)
                    for name, lead in plan.leads.items()
                }
                if "ORC" in plan.leads and "OBR" in plan.actions and "OBR" not in plan.leads:
                    self.orders.append((position, plan))
                if child.name == _RESULTS.get(self.definition.name):
                    results = plan
                elif child.name == "SPECIMEN":
                    specimen = plan
            else:
                actions = {child.name: _Action(position, child.repeats)}
            for name, action in actions.items():
                found.setdefault(name, []).append(action)
                if leading and name not in never:
                    confirmed = _CONFIRMED_BY.get(self.definition.name, "") or action.confirmed_by
                    self.leads.setdefault(name, action._replace(confirmed_by=confirmed))
            leading = leading and not child.required
        if specimen is not None:
            specimen.observation = results
        self.actions = {name: tuple(actions) for name, actions in found.items()}


_plans: dict[int, _Plan] = {}
_MOST_PLANS = 1000


def _plan(structure: GroupDef) -> _Plan:
    """The plan of a structure, made once: the dictionary hands out the same object each time."""
    plan = _plans.get(id(structure))
    if plan is None or plan.definition is not structure:
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        plan = _plans[id(structure)] = _Plan(structure)
    return plan


def group(message: Message, structure: GroupDef) -> tuple[Group, list[Finding]]:
    """The message as a tree of groups, and what is odd: of the message itself, and what was not where the structure has it.

    Every segment is somewhere in the tree.
    """
    segments = message.segments
    findings: list[Finding] = list(message.oddities)
    root = here = Group(_plan(structure), None, 1)
    for segment in segments:
        name = segment.name
        if name == "OBX" and here.specimen is not None:
            place: Group | None = _observe(here.specimen)
        else:
            place = _forward(here, name, segment.index, segments)
        if place is not None:
            here = place
        else:
            place, here = _astray(here, segment, findings)
        own = place.segments.get(name)
        if own is None:
            place.segments[name] = [segment]
        else:
            own.append(segment)
    for each in root.tree:
        each.parent = None  # else the tree is a ring that only the garbage collector takes apart
    root.tree.clear()
    return root, findings


def _forward(here: Group, name: str, index: int, segments: list[Segment]) -> Group | None:
    """The group that takes the segment, opened where need be; None where no open group has it ahead of its cursor."""
    node: Group | None = here
    while node is not None:
        for action in node._plan.actions.get(name, ()):  # noqa: SLF001 - Group and this function are one
            position, cursor = action.position, node._cursor  # noqa: SLF001
            passed = position < cursor or (position == cursor and not action.repeats)
            if passed and not (action.opens and node.name in _UNORDERED):
                continue
            if action.confirmed_by and not _follows(action.confirmed_by, index, segments):
                continue
            node._cursor = position  # noqa: SLF001
            for plan, inner in action.opens:
                node = node._open(plan, inner)  # noqa: SLF001
            return node
        node = node.parent
    return None


def _follows(wanted: str, index: int, segments: list[Segment]) -> bool:
    """Whether the segment comes before the next order or observation request."""
    for segment in segments[index + 1 :]:
        if segment.name in (wanted, "ORC", "OBR"):
            return segment.name == wanted
    return False


def _observe(specimen: Group) -> Group:
    """An observation that stands under a specimen, as a sibling of it that knows it."""
    parent, plan = specimen.parent, specimen._plan.observation  # noqa: SLF001
    assert parent is not None
    assert plan is not None
    child = parent._open(plan, plan.leads["OBX"].position)  # noqa: SLF001
    child.specimen = specimen
    return child


def _astray(here: Group, segment: Segment, findings: list[Finding]) -> tuple[Group, Group]:
    """Where a segment goes that no open group has ahead, and the group that is open after it."""
    name = segment.name
    if name[0] == "Z" or name == UNNAMED:
        return here, here
    place = f"{name}[{segment.number}]"
    if name == "OBR" and (order := _order_without_orc(here)) is not None:
        findings.append(Finding(SEGMENT_MISSING, "An order begins without ORC.", place, hl7_code=_SEQUENCE_ERROR))
        return order, order
    node: Group | None = here
    while node is not None:
        plan, parent = node._plan, node.parent  # noqa: SLF001
        if parent is not None and name in plan.leads:
            text = f"{name} begins a second {node.name} where the structure has one."
            findings.append(Finding(GROUP_REPEATED, text, place, hl7_code=_SEQUENCE_ERROR))
            lead = plan.leads[name]
            opened = parent._open(plan, lead.position)  # noqa: SLF001
            for inner, cursor in lead.opens:
                opened = opened._open(inner, cursor)  # noqa: SLF001
            return opened, opened
        if name in plan.held:
            break
        node = parent
    held = node or here
    text = f"{name} is not where the structure has it; it is kept with {held.name}."
    findings.append(Finding(OUT_OF_PLACE, text, place, hl7_code=_SEQUENCE_ERROR))
    return held, here


def _order_without_orc(here: Group) -> Group | None:
    """A new order for an OBR that no ORC precedes, though the structure wants one; None where an ORC did or none is wanted."""
    node: Group | None = here
    while node is not None:
        for position, plan in node._plan.orders:  # noqa: SLF001
            began = node.groups.get(plan.definition.name)
            if position < node._cursor or (began and "ORC" in began[-1].segments):  # noqa: SLF001
                continue
            node._cursor = position  # noqa: SLF001
            action = plan.actions["OBR"][0]
            order = node._open(plan, action.position)  # noqa: SLF001
            for inner, cursor in action.opens:
                order = order._open(inner, cursor)  # noqa: SLF001
            return order
        node = node.parent
    return None
