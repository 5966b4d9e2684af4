"""``same_as: -> report(OBR-29.2, OBR-50)``, checked: the key is that of the resource it names, part by part comparable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from interop_engine.core.diagnostics import near
from interop_engine.fhir import definitions
from interop_engine.mapping import expression as syntax
from interop_engine.mapping.language import ResourceRule
from interop_engine.mapping.lowering import Levels, Lowering
from interop_engine.mapping.resolve import Report
from interop_engine.mapping.typed import Convert, KeyPart, Node, ResourcePlan, SameAs, reads

_CODED = frozenset({"CWE", "CNE", "CE", "CF"})
KeyPartOf = Callable[..., KeyPart | None]


def same_as(rule: ResourceRule, levels: Levels, lowering: Lowering, key_part: KeyPartOf) -> SameAs | None:
    """What a resource is said to be the same as; None where nothing is said, or a mistake was reported."""
    source, report = rule.same_as, lowering.report
    if source is None:
        return None
    tree = source.expression
    if not isinstance(tree, syntax.Reference) or not tree.key:
        report.add("M404", "same_as: names a resource by the values of its key", source.mark, "-> report(OBR-29.2, OBR-50)")
        return None
    if tree.name not in lowering.targets:
        hint = near(tree.name, lowering.targets)
        report.add("M208", f'there is no resource "{tree.name}"', source.at(tree.column), hint)
        return None
    target, below = lowering.targets[tree.name]
    if not target.key:
        report.add("M404", f'"{tree.name}" has no key of its own', source.at(tree.column))
        return None
    kinds = [each.type.text if each.type else "" for each in (rule, target)]
    if kinds[0] != kinds[1]:
        message = f'"{rule.name}" is of type {kinds[0]}, "{tree.name}" of {kinds[1]}'
        report.add("M407", message, source.mark, f"resource: {kinds[1]}")
        return None
    if len(tree.key) != len(target.key):
        message = f'the key of "{tree.name}" has {len(target.key)} parts, here are {len(tree.key)}'
        report.add("M407", message, source.mark, f"its key is {', '.join(part.text for part in target.key)}")
        return None
    parts = []
    for value, part in zip(tree.key, target.key, strict=True):
        own, theirs = key_part(replace(source, expression=value), levels, first=False), key_part(part, below, first=False)
        if own is None or theirs is None:
            return None
        if not _comparable(own, theirs, lowering):
            hint = "a resource of that type" if theirs.parent else "a code is compared with its system: the whole field"
            report.add("M407", f'it can never be equal to "{part.text}", a part of the key', source.at(value.column), hint)
            return None
        parts.append(own)
    return SameAs(tree.name, tuple(parts), source.text)


def _comparable(own: KeyPart, theirs: KeyPart, lowering: Lowering) -> bool:
    if own.parent and theirs.parent:
        kinds = [
            rule.type.text if rule.type else "" for rule, _ in (lowering.targets[own.parent], lowering.targets[theirs.parent])
        ]
        return kinds[0] == kinds[1]
    if own.parent or theirs.parent:
        return False
    return bool(_families(own.node) & _families(theirs.node))


def _families(node: Node | None) -> frozenset[bool]:
    """Whether a part of a key may be a code with its system, or a number or text, or both."""
    named = [each.source for each in reads(node) if isinstance(each, Convert) and each.how == "identity"]
    return frozenset(read.datatype in _CODED for read in named) or frozenset({False})


def lists(rule: ResourceRule, kind: str, report: Report) -> tuple[str, ...]:
    """The elements it adds to, which must be lists: what is there is somebody else's, and stays."""
    for line in rule.rules:
        definition = definitions.element(kind, line.element)
        if definition is not None and not definition.repeats:
            hint = "same_as: adds to lists, the rest is said where the thing itself is made"
            report.add("M406", f"{kind}.{line.element} is no list", line.mark, hint)
    return tuple(line.element for line in rule.rules)


def added(plans: Mapping[str, ResourcePlan]) -> dict[str, ResourcePlan]:
    """The plans, each with what others add to it as a union: said again without that, it keeps it."""
    found = dict(plans)
    for plan in plans.values():
        if plan.same_as is not None and (target := found.get(plan.same_as.target)) is not None:
            found[target.name] = replace(target, union=tuple(dict.fromkeys((*target.union, *plan.union))))
    return found
