"""A mapping in full, for people: its own lines and those it takes over, with what each implies by data types and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interop_engine.mapping import site_functions
from interop_engine.mapping.language import written
from interop_engine.mapping.typed import Convert, calls, reads

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from interop_engine.core.diagnostics import Mark
    from interop_engine.mapping.language import Fragment, MappingFile, Name, ResourceRule, Rule
    from interop_engine.mapping.program import Program
    from interop_engine.mapping.typed import Body, Line, Node


@dataclass(frozen=True, slots=True)
class OutlinedLine:
    """One line: the element, the rule as written, and what nobody had to write (``PID-8: Through the table …``)."""

    element: str
    rule: str
    implied: tuple[str, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class OutlinedPart:
    """A resource or a fragment. ``keys`` are those beside ``set:``, as written (each, when, key and so on)."""

    name: str
    type: str
    keys: Mapping[str, str]
    lines: tuple[OutlinedLine, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Outline:
    """A whole mapping: what was extended is resolved, and the fragments in use stand with it."""

    mapping: str
    keys: Mapping[str, str]
    resources: tuple[OutlinedPart, ...]
    fragments: tuple[OutlinedPart, ...]
    mark: Mark


def outline(program: Program) -> Outline:
    """A program as its engineer would read it."""
    rules, plan = program.written, program.plan
    resources = tuple(
        OutlinedPart(name, kind.type, dict(_resource_keys(rule)), _lines(rule.rules, kind.body), rule.mark)
        for name, kind in plan.resources.items()
        if (rule := rules.resources[name]) is not None
    )
    used = tuple(
        OutlinedPart(name, kind.type, dict(_fragment_keys(fragment)), _lines(fragment.rules, kind.body), fragment.mark)
        for name, kind in plan.fragments.items()
        if (fragment := program.fragments.get(name)) is not None
    )
    return Outline(program.name, dict(_mapping_keys(rules)), resources, used, rules.mark)


def implied(line: Line, read: Collection[str] | None = None) -> tuple[str, ...]:
    """What a line implies: each conversion, with the fields that go through it and those read along with them.

    ``read``: only of these fields, ``OBX-5``.
    """
    said: dict[str, list[str]] = {}
    own = tuple(f"{name}: {doc}" for name, doc in _own_functions(line.node)) if read is None else ()
    for each in reads(line.node):
        if not isinstance(each, Convert) or not each.doc:
            continue
        source = each.source
        if read is not None and source.segment and f"{source.segment}-{source.field}" not in read:
            continue
        beside = f" (with {', '.join(f'{source.segment}-{number}' for number in each.also)})" if each.also else ""
        said.setdefault(each.doc, []).append(f"{source.label}{beside}")
    return tuple(f"{', '.join(dict.fromkeys(fields))}: {doc}" for doc, fields in said.items()) + own


def _own_functions(node: Node) -> Iterator[tuple[str, str]]:
    """The site's own functions in a line, with what they do and whose they are."""
    for each in calls(node):
        if each.function.own and (found := site_functions.installed().get(each.function.name)) is not None:
            yield found.name, f"{found.doc or 'A function of the site.'} From {found.origin}."


def _lines(rules: Sequence[Rule], body: Body) -> tuple[OutlinedLine, ...]:
    by_mark = {line.mark: line for line in body.lines}
    return tuple(
        OutlinedLine(
            rule.element,
            written(rule.value),
            implied(line) if (line := by_mark.get(rule.value.mark)) is not None else (),
            rule.value.mark,
        )
        for rule in rules
        if rule.value is not None
    )


def _mapping_keys(rules: MappingFile) -> Iterator[tuple[str, str]]:
    yield from _named("message", rules.message)
    if rules.events is not None:
        yield "events", ", ".join(event.text for event in rules.events)
    if rules.when is not None:
        yield "when", rules.when.text
    yield from _named("bundle", rules.bundle)
    yield from _named("extends", rules.extends)
    if rules.use:
        yield "use", ", ".join(name.text for name in rules.use)
    if rules.ignore:
        yield "ignore", ", ".join(dict.fromkeys(source.text for source in rules.ignore))


def _resource_keys(rule: ResourceRule) -> Iterator[tuple[str, str]]:
    yield from _named("each", rule.each)
    if rule.when is not None:
        yield "when", rule.when.text
    if rule.key:
        yield "key", ", ".join(source.text for source in rule.key)
    if rule.known_as:
        yield "known_as", ", ".join(f"{label}: {source.text}" for label, source in rule.known_as.items())
    if rule.same_as is not None:
        yield "same_as", rule.same_as.text
    yield from _named("unknown", rule.unknown)
    yield from _named("write", rule.write)
    if rule.newer is not None:
        yield "newer", rule.newer.text
    yield from _named("merged_into", rule.merged_into)
    if rule.union is not None:
        yield "union", ", ".join(name.text for name in rule.union)


def _fragment_keys(fragment: Fragment) -> Iterator[tuple[str, str]]:
    yield "of", fragment.of.text
    if fragment.key:
        yield "key", ", ".join(source.text for source in fragment.key)
    yield from _named("write", fragment.write)
    if fragment.when is not None:
        yield "when", fragment.when.text


def _named(key: str, name: Name | None) -> Iterator[tuple[str, str]]:
    if name is not None:
        yield key, name.text
