"""Which instance is which: names of orders, repeats, merges (semantics.md: results 2, 9, 15, 16 and "Identity")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interop_engine.core.model import Known, Resource
from interop_engine.fhir import definitions
from interop_engine.fhir.identity import occurrence, resource_id
from interop_engine.hl7 import dictionary
from interop_engine.hl7.message import Segment
from interop_engine.hl7.structure import Group
from interop_engine.mapping import numbers
from interop_engine.mapping.instances import Instance
from interop_engine.mapping.runtime import Parked, Run
from interop_engine.mapping.typed import ResourcePlan

_DUPLICATE = "205"  # HL7 table 0357: duplicate key identifier
_UNKNOWN = "204"  # HL7 table 0357: unknown key identifier


def is_part(plan: ResourcePlan) -> bool:
    """Whether the resource is a part of another, which its key names first."""
    return any(part.parent for part in plan.key)


def number_repeats(run: Run) -> None:
    """Parts with an equal key get their occurrence numbers, in the order of the message, and that is said.

    One that says the very same as another, but for its set id, is that one.
    """
    parts = [each for found in run.found.values() if found and is_part(found[0].plan) for each in found]
    if len({each.ref for each in parts}) == len(parts):
        return
    named: dict[str, list[Instance]] = {}
    for instance in parts:
        named.setdefault(instance.ref, []).append(instance)
    for same in named.values():
        if len(same) > 1:
            _number(run, same)


def _number(run: Run, same: list[Instance]) -> None:
    counted: dict[tuple[Any, ...], int] = {}
    for instance in sorted(same, key=_place):
        plan = instance.plan
        number = counted.setdefault(_said(instance), len(counted) + 1)
        instance.called(resource_id(instance.scope, plan.type, occurrence(instance.key, number)))
    if len(counted) > 1:
        plan = same[0].plan
        run.context.segment, run.context.field = _segments(same[0].levels[-1])[0], 0
        said = f"{plan.name}: the same key ({plan.named_by}) stands {len(counted)} times; each has its number."
        run.context.note("key-repeated", said)


def _place(instance: Instance) -> int:
    return _segments(instance.levels[-1])[0].index


def _said(instance: Instance) -> tuple[Any, ...]:
    """What the message says of a part, without the set ids."""
    levels = (instance.levels[-1], *(more[-1] for more in instance.more or ()))
    return tuple((s.name, *s.fields[_first_field(s.name) :]) for level in levels for s in _segments(level))


def _first_field(segment: str) -> int:
    """The first field of a segment that says anything: the second where the first is a set id."""
    known = dictionary.segment(segment)
    return 2 if known is not None and 1 in known.fields and known.fields[1].datatype == "SI" else 1


def _segments(level: Any) -> list[Segment]:
    """The segments of a group in their order, or the one segment of ``each: DG1``."""
    if isinstance(level, Group):
        return sorted((s for group in level.walk() for found in group.segments.values() for s in found), key=lambda s: s.index)
    return [level]


def resolve(run: Run, known: Known) -> None:
    """Give their ids to things with many names, and point references at the survivors of merges."""
    run.known = known
    numbers.resolve(run, known)
    for instances in run.found.values():
        for instance in instances if instances and instances[0].plan.type == "Patient" else ():
            instance.ref = known.survivor(f"Patient/{instance.id}")
    if any(instances[0].plan.same_as for instances in run.found.values() if instances):
        _absent(run, known)


def _absent(run: Run, known: Known) -> None:
    """What is said to be the same as a thing of which nobody knows is left out: there is nothing to add to."""
    every = [each for instances in run.found.values() for each in instances]
    there = {each.ref for each in every if each.plan.same_as is None} | {thing for _, thing in known.sent}
    for instance in every:
        if instance.plan.same_as is not None and instance.ref not in there:
            instance.ref = ""
            run.context.segment = None
            said = f"{instance.plan.name}: {instance.plan.named_by} is neither in the message nor known: it is left out."
            run.context.note("no-parent", said)


def _refuse_circles(run: Run) -> None:
    """A record that is merged into itself parks: no later message could undo it."""
    for instances in run.found.values():
        for instance in instances:
            refs = instance.plan.merged_into
            survivor = _survivor(run, instance, refs.level, refs.target) if refs is not None else None
            if survivor is not None and survivor.id == instance.id:
                named = instance.plan.named_by
                raise Parked(_UNKNOWN, f"{instance.plan.name}: the message merges a record into itself, by {named}.")


def distinct(run: Run) -> list[Instance]:
    """The instances with each id once. What is said twice of one thing is put together; a contradiction parks."""
    _refuse_circles(run)
    kept: dict[str, Instance] = {}
    for instances in run.found.values():
        for instance in instances:
            if not instance.ref:
                continue
            ref = f"{instance.plan.type}/{instance.id}"
            if instance.plan.same_as is not None:
                _without_itself(instance, ref)
            first = kept.setdefault(ref, instance)
            if first is instance:
                continue
            first.learned = tuple(dict.fromkeys((*first.learned, *instance.learned)))
            if instance.plan.write == "add":
                first.content = _together(first, instance)
                continue
            if instance.plan.write == "if-new":
                continue  # such as the order of several panels, told by each in its own way: the first way will do
            if first.content != instance.content:
                first.content = _together(first, instance)
            run.context.segment = None
            said = f"{instance.plan.name} ({instance.plan.named_by}) stands twice without contradiction: it is one."
            run.context.note("repeated", said, severity="information")
    return list(kept.values())


def _together(first: Instance, other: Instance) -> Resource:
    """What is said of one thing at two places, where they do not contradict each other; else the message parks."""
    if is_part(first.plan) and other.plan.write != "add":  # a result is one statement: there is no half of it
        raise Parked(_DUPLICATE, _why(other))
    content = dict(first.content)
    for name, value in other.content.items():
        before = content.setdefault(name, value)
        if before == value:
            continue
        if name not in (*first.plan.union, "link"):
            raise Parked(_DUPLICATE, _why(other))
        known: list[Any] = before or []
        content[name] = [*known, *(item for item in value if item not in known)]
    return in_order(content)


def _without_itself(instance: Instance, ref: str) -> None:
    """Nothing is a member of itself, whatever a message says."""
    for name, items in instance.content.items():
        if isinstance(items, list):
            instance.content[name] = [item for item in items if item != {"reference": ref}]


def _why(instance: Instance) -> str:
    plan = instance.plan
    if is_part(plan):
        where = f"the same key ({plan.named_by}) stands twice in one result"
        return f"{plan.name}: {where} with different content, and nothing tells them apart."
    return f"{plan.name}: two {plan.type}s of the message have the same key ({plan.named_by}) and different content."


# --- Merges --------------------------------------------------------------------------------------------------------------


def merges(run: Run, plans: Mapping[str, ResourcePlan], instances: Sequence[Instance]) -> dict[str, str]:
    """Link retired patients with their survivors; gives retired id → "Patient/<survivor>"."""
    retired: dict[str, str] = {}
    if not run.known.merged and not any(plan.merged_into for plan in plans.values()):
        return retired
    by_ref = {f"{instance.plan.type}/{instance.id}": instance for instance in instances}
    for instance in instances:
        refs = plans[instance.plan.name].merged_into
        if refs is None:
            continue
        found = _survivor(run, instance, refs.level, refs.target)
        if found is None:
            raise Parked(
                _UNKNOWN, f"{instance.plan.name} ({instance.plan.named_by}): there is no {refs.target} to merge it into."
            )
        survivor = f"Patient/{found.id}"
        retired[instance.id] = survivor
        _retire(instance, survivor)
        if survivor in by_ref and survivor != f"Patient/{instance.id}":
            _link(by_ref[survivor], f"Patient/{instance.id}", "replaces")
    for ref, instance in by_ref.items():
        if (into := run.known.merged.get(ref)) is not None and instance.id not in retired:
            _retire(instance, into)
    return retired


def _survivor(run: Run, instance: Instance, level: int, target: str) -> Instance | None:
    """The survivor in the group that the instance shares with it."""
    shared = instance.levels[level]
    for other in run.found.get(target, ()):
        if len(other.levels) > level and other.levels[level] is shared:
            return other
    return None


def _retire(instance: Instance, survivor: str) -> None:
    instance.content = in_order({**instance.content, "active": False})
    _link(instance, survivor, "replaced-by")


def _link(instance: Instance, other: str, kind: str) -> None:
    link = {"other": {"reference": other}, "type": kind}
    links = instance.content.get("link", [])
    if link not in links:
        instance.content = in_order({**instance.content, "link": [*links, link]})


def in_order(content: Resource) -> Resource:
    """The elements of a resource in the specification's order."""
    order = ["resourceType", *definitions.elements(content["resourceType"])]
    place = {name: number for number, name in enumerate(order)}
    return dict(sorted(content.items(), key=lambda item: place.get(item[0].lstrip("_"), _choice(item[0], place))))


def _choice(name: str, place: Mapping[str, int]) -> int:
    bare = name.lstrip("_")
    return next(
        (number for stem, number in place.items() if bare.startswith(stem) and bare[len(stem) : len(stem) + 1].isupper()),
        len(place),
    )
