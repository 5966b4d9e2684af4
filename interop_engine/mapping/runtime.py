"""What a generated mapping calls while it runs over one message: instances, their ids, references, and what was read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from interop_engine.core.model import NOTHING_KNOWN, Known, Park, Resource
from interop_engine.fhir.identity import resource_id
from interop_engine.hl7.scalars import clock_of, read_moment
from interop_engine.mapping.instances import OTHERWISE, Instance, fits, joins, obx_of

if TYPE_CHECKING:
    from interop_engine.core.diagnostics import Finding
    from interop_engine.hl7.message import Message, Segment, Value
    from interop_engine.hl7.structure import Group
    from interop_engine.mapping.context import Context, Scope, Unmapped
    from interop_engine.mapping.typed import ResourcePlan

_UNMAPPED = frozenset({"code-unmapped", "not-a-code"})
# What names a patient without a number of the hospital's own, for the time being: kind, whose it is, and where it stands. An
# order's message and its result's have the placer's number in common.
_STAND_INS = (
    ("visit", "the visit's", (("PV1", 19), ("PID", 18))),
    ("order", "the order's", (("ORC", 2), ("OBR", 2), ("ORC", 3), ("OBR", 3))),
)


class Parked(Exception):  # noqa: N818 - ends the run of one message; never leaves Program
    """The message must park."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.park = Park(code, why)


class Run:
    """One message on its way through one mapping. ``reads`` holds, for each segment, a bit for each field that was read."""

    def __init__(self, message: Message, root: Group, context: Context, indexes: int) -> None:
        self.message = message
        self.root = root
        self.context = context
        self.reads = [0] * len(message.segments)
        self.found: dict[str, list[Instance]] = {}
        self.indexes: list[dict[int, list[Instance]]] = [{} for _ in range(indexes)]
        self.extra: dict[str, tuple[str, str, Resource]] = {}  # ref → (type, write, content) of fragments' resources
        self.known: Known = NOTHING_KNOWN
        self._copied: set[str] = set()  # resources with copies among their instances
        self._deep: dict[int, dict[str, list[Segment]]] = {}
        self._before: tuple[tuple[Finding, ...], tuple[Unmapped, ...]] = ((), ())

    def identified(self) -> None:
        """Everything is named: ``again`` comes back to here."""
        self._before = (tuple(self.context.findings), tuple(self.context.unmapped))

    def again(self) -> None:
        """As it was when everything was named: a message may be built again with something else known."""
        self.extra.clear()
        findings, unmapped = self._before
        self.context.findings, self.context.unmapped = list(findings), list(unmapped)
        self.context.park = self.context.extensions = None
        for name in self._copied:
            self.found[name] = [each for each in self.found[name] if not each.is_copy]
        self._copied.clear()
        for instances in self.found.values():
            for instance in instances:
                instance.name(instance.own)

    # --- finding instances -----------------------------------------------------------------------------------------

    def add(
        self, plan: ResourcePlan, levels: tuple[Any, ...], scope: str, key: tuple[str, ...], at: Sequence[tuple[int, int]]
    ) -> Instance | None:
        """Add an instance with a key; ``at``: (index, level) where references look for it. None where it joined another."""
        every = self.found.setdefault(plan.name, [])
        if every and (last := every[-1]).key == key and last.scope == scope and joins(plan, last, levels):
            last.more = [*(last.more or ()), levels]
            return None
        instance = Instance(plan, levels, scope, key, resource_id(scope, plan.type, key))
        every.append(instance)
        self._file(instance, at)
        return instance

    def add_named(
        self,
        plan: ResourcePlan,
        levels: tuple[Any, ...],
        names: Sequence[tuple[str, str, str]],
        item: str,
        at: Sequence[tuple[int, int]],
    ) -> Instance:
        """Add an instance with several names: (label, scope, value) of those that are valued; ``item``: of several under one."""
        if not names:
            raise Parked("101", f"{plan.name}: no number names this {plan.type}; there is none in {plan.named_by}.")
        label, scope, value = names[0]
        every = self.found.setdefault(plan.name, [])
        if label == OTHERWISE and (before := sum(other.key[1].partition("#")[0] == value for other in every)):
            value = f"{value}#{before + 1}"
            names = ((label, scope, value),)
        instance = Instance(plan, levels, scope, (label, value), resource_id(scope, plan.type, (label, value)))
        instance.aliases = instance.learned = tuple(f"{plan.type}|{label}|{scope}|{value}" for label, scope, value in names)
        instance.item = item if label != OTHERWISE else ""
        every.append(instance)
        self._file(instance, at)
        return instance

    def add_same(
        self, plan: ResourcePlan, levels: tuple[Any, ...], scope: str, key: tuple[str, ...], at: Sequence[tuple[int, int]]
    ) -> None:
        """Add an instance that is the one of another resource with this key: of this message, else of an earlier one.

        Within the message an empty part (and no authority) fits any, but one instance only; an earlier one is named by the
        whole key, of which only the last part may be empty.
        """
        same = plan.same_as
        assert same is not None
        found = [each for each in self.found.get(same.target, ()) if fits(each, levels, scope, key, self.context.scope)]
        self.context.segment = None
        if len(found) > 1:
            self.context.note("reference-ambiguous", f"{plan.name}: several {same.target} have the key {same.label}: left out.")
            return
        if not found and not all(key[:-1] or key):
            self.context.note("no-parent", f"{plan.name}: {same.label} is in no part of the message, and not named in full.")
            return
        instance = Instance(plan, levels, scope, key, found[0].id if found else resource_id(scope, plan.type, key))
        self.found.setdefault(plan.name, []).append(instance)
        self._file(instance, at)

    def add_copy(self, instance: Instance) -> None:
        """Add an instance for another thing that the same was said of; nothing refers to it."""
        self.found[instance.plan.name].append(instance)
        self._copied.add(instance.plan.name)

    def _file(self, instance: Instance, at: Sequence[tuple[int, int]]) -> None:
        for index, level in at:
            self.indexes[index].setdefault(id(instance.levels[level]), []).append(instance)

    def parent(self, index: int, group: Any, name: str) -> str:
        """The id of the instance in scope that a key refers to, '' where there is none."""
        found = self.indexes[index].get(id(group))
        if not found:
            self.context.segment = None
            self.context.note("no-parent", f"No {name} is in scope: what belongs to it is left out.")
            return ""
        return found[0].id

    def visit(self, segment: Segment, field: int, number: str) -> str:
        """A patient without a number of the hospital's own is named by the visit, for the time being, and that is said."""
        return self._for_now(segment, field, f"visit|{number}", "the visit's")

    def _for_now(self, segment: Segment, field: int, name: str, whose: str) -> str:
        self.context.segment, self.context.field = segment, field
        self.context.note("temporary-identity", f"No own number of the hospital: the patient's id is {whose}, for now.")
        return name

    def temporary(self, plan: ResourcePlan, group: Any) -> str:
        """What stands in place of the hospital's own number: the visit's, else an order's; with neither the message parks.

        Never a national number: they are mistyped and reissued, and a mother's is put on her newborn.
        """
        for kind, whose, places in _STAND_INS:
            for name, field in places:
                for segment in self.deep(group, name):
                    value = segment.value(field)
                    if value is not None and (number := value.get(1)):
                        return self._for_now(segment, field, f"{kind}|{number}", whose)
        why = f"neither a number of the hospital's own nor one of a visit or an order in {plan.named_by}"
        raise Parked("101", f"{plan.name}: {why}.")

    def unnamed(self, plan: ResourcePlan, label: str) -> None:
        """The first part of a key is empty."""
        raise Parked("101", f"{plan.name}: the key {label} is empty.")

    def nameless(self, plan: ResourcePlan) -> None:
        """A thing without a number is named by the message, and that is said."""
        self.context.segment = None
        numbers = ", ".join(part.label for part in plan.known_as.values())
        why = f"{plan.name}: no number ({numbers}) names this {plan.type}; the message does, for now."
        self.context.note("number-missing", why)

    def mark_joined(self) -> None:
        """What was read of an observation is read of those that continue it too, where they say the same."""
        for instances in self.found.values():
            for instance in instances:
                for levels in instance.more or ():
                    one, other = obx_of(instance.levels[-1]), obx_of(levels[-1])
                    if one is None or other is None:
                        continue
                    mask = self.reads[one.index]
                    same = [n for n, raw in enumerate(other.fields) if n == 5 or raw == one.raw(n)]
                    self.reads[other.index] |= sum(1 << n for n in same if mask >> n & 1)

    # --- segments --------------------------------------------------------------------------------------------------

    def deep(self, group: Group, name: str) -> Sequence[Segment]:
        """The segments of a name in a group and deeper, in order. The first call walks the group for all later ones."""
        if not self.message.all(name):
            return ()
        known = self._deep.get(id(group))
        if known is None:
            known = self._deep[id(group)] = {}
            for inner in group.walk():
                for segment, found in inner.segments.items():
                    known[segment] = [*known[segment], *found] if segment in known else found
            for found in known.values():
                if len(found) > 1:
                    found.sort(key=_position)
        return known.get(name, ())

    # --- references ------------------------------------------------------------------------------------------------

    def references(self, index: int, group: Any, _: str) -> Sequence[str]:
        """The references to the instances that share a group, each once."""
        found = self.indexes[index].get(id(group))
        if found is None:
            return ()
        if len(found) == 1:
            return (found[0].ref,) if found[0].ref else ()
        return list(dict.fromkeys([instance.ref for instance in found if instance.ref]))

    def one_reference(self, index: int, group: Any, name: str, near: Any) -> Sequence[str]:
        """The reference to the one instance that shares a group; none where there are several and nothing says which.

        ``near`` is the group that refers: an observation after an SPM knows its specimen by that order alone.
        """
        found = self.references(index, group, name)
        if len(found) > 1:
            own = getattr(near, "specimen", None)
            if own is not None:
                return [i.ref for i in self.indexes[index][id(group)] if any(level is own for level in i.levels)]
            self.context.segment = None
            self.context.note("reference-ambiguous", f"Several {name} are in scope, the element takes one: it is left out.")
            return ()
        return found

    # --- what is missing -------------------------------------------------------------------------------------------

    def missing(self, context: Context, label: str, source: str = "") -> None:
        """A required value is not there."""
        context_parks(context)
        nobody = "; nothing in its group makes one, such as PID-3" if source.startswith("->") else ""
        read = f" (from {source}{nobody})" if source else ""
        unmapped = context.findings and context.findings[-1].code in _UNMAPPED
        raise Parked("103" if unmapped else "101", f"{label} is required and has no value{read}.")

    def incomplete(self, context: Context, path: str) -> None:
        """A nested element lacks what it requires: it is left out."""
        context.segment = None
        context.note("element-incomplete", f"{path} lacks a required element: it is left out.")

    # --- fragments -------------------------------------------------------------------------------------------------

    def include(self, kind: str, write: str, scope: str, key: tuple[str, ...], content: Resource) -> dict[str, Any]:
        """Add a fragment's resource; its reference."""
        id_ = resource_id(scope, kind, key)
        ref = f"{kind}/{id_}"
        whole = {"resourceType": kind, "id": id_, **content}
        before = self.extra.get(ref)
        if before is not None and before[2] != whole:
            whole = {**before[2], **whole}
        self.extra[ref] = (kind, write, whole)
        return {"reference": ref}

    # --- scopes ----------------------------------------------------------------------------------------------------

    def authority(self, named: tuple[Value, str] | None) -> str:
        """The scope of a key: the assigning authority in the value (CX.4, EI.2–4), else the channel's facility."""
        return authority(named, self.context.scope)


def context_parks(context: Context) -> None:
    """End the run where a conversion said that the message must park."""
    if context.park is not None:
        raise Parked(context.park.code, context.park.why)


def authority(named: tuple[Value, str] | None, scope: Scope) -> str:
    """The URI of the assigning authority in a CX or EI, else the facility."""
    if named is None:
        return scope.facility
    value, kind = named
    if kind == "CX":
        if len(value.parts) < 4:
            return scope.facility
        parts = (value.get(4), value.get(4, 2), value.get(4, 3))
    else:
        if len(value.parts) < 2:
            return scope.facility
        parts = (value.get(2), value.get(3), value.get(4))
    if parts[0] == scope.facility and not parts[1]:
        return scope.facility
    return scope.naming.system(*parts) or scope.facility


def _position(segment: Segment) -> int:
    return segment.index


@lru_cache(maxsize=8192)
def utc(text: str, zone: str) -> str:
    """An HL7 v2 time as ISO 8601 in UTC with microseconds, so that texts sort as times; '' where it is none.

    What is less precise stands at its beginning. Without a zone of its own it is read in ``zone``, and without that as UTC.
    """
    moment = read_moment(text)
    if moment is None:
        return ""
    base = datetime(
        moment.year,
        moment.month or 1,
        moment.day or 1,
        moment.hour or 0,
        moment.minute or 0,
        min(moment.second or 0, 59),
        int(moment.fraction[:6].ljust(6, "0")) if moment.fraction else 0,
        tzinfo=UTC,
    )
    if named := moment.offset or zone:
        base = base.replace(tzinfo=clock_of(named))
    try:
        return base.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except OverflowError:
        return ""
