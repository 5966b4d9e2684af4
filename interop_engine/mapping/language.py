"""What an engineer writes, as values with places: mappings, fragments, dialects. Names are checked later (``checker``).

Expressions are parsed here, so that every syntax mistake has the line and column of its own character.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from interop_engine.core.diagnostics import Mark
from interop_engine.mapping.expression import Condition, Expression


@dataclass(frozen=True, slots=True)
class Source:
    """A scalar that is an expression, as written."""

    text: str
    mark: Mark
    expression: Expression

    def at(self, column: int) -> Mark:
        """The place of a column within the text."""
        return self.mark.along(column)


@dataclass(frozen=True, slots=True)
class When:
    """A scalar that is a condition, as written."""

    text: str
    mark: Mark
    condition: Condition

    def at(self, column: int) -> Mark:
        """The place of a column within the text."""
        return self.mark.along(column)


@dataclass(frozen=True, slots=True)
class ListOf:
    """All values of a repeating element."""

    items: tuple[Value, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Block:
    """A nested element, or what a resource sets."""

    rules: tuple[Rule, ...]
    mark: Mark
    each: Name | None = None
    when: When | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of ``set:``. ``value`` None is a null: it takes away what an extended mapping set."""

    element: str
    mark: Mark
    value: Value | None


Value = Source | ListOf | Block


def written(value: Value | None) -> str:
    """A value on one line, as YAML's flow form has it."""
    if value is None:
        return "null"
    if isinstance(value, Source):
        return value.text
    if isinstance(value, ListOf):
        return f"[{', '.join(_inside(item) for item in value.items)}]"
    lines = ", ".join(f"{rule.element}: {_inside(rule.value)}" for rule in value.rules)
    around = [f"{key}: {quoted(one.text)}" for key, one in (("each", value.each), ("when", value.when)) if one is not None]
    return f"{{{', '.join([*around, f'set: {{{lines}}}'])}}}" if around else f"{{{lines}}}"


def _inside(value: Value | None) -> str:
    return quoted(value.text) if isinstance(value, Source) else written(value)


def quoted(text: str) -> str:
    """An expression as it stands inside of brackets or braces: in quotes where it holds what YAML would cut at."""
    if not any(mark in text for mark in (",", "[", "]", "{", "}", " #", ": ")) and text[:1] not in "'\"":
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Name:
    """A name where it stands."""

    text: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class ResourceRule:
    """One entry of ``resources:``; what is None was not written (an extending mapping leaves it as it is)."""

    name: str
    mark: Mark
    type: Name | None = None
    each: Name | None = None
    when: When | None = None
    key: tuple[Source, ...] | None = None
    known_as: Mapping[str, Source] | None = None
    same_as: Source | None = None
    unknown: Name | None = None
    write: Name | None = None
    newer: Source | None = None
    merged_into: Name | None = None
    union: tuple[Name, ...] | None = None
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Fragment:
    """A typed block: ``of`` an HL7 v2 data type, into a ``resource`` or another FHIR ``type``."""

    name: str
    mark: Mark
    of: Name
    type: Name
    is_resource: bool
    key: tuple[Source, ...] = ()
    write: Name | None = None
    when: When | None = None
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class MappingFile:
    """A mapping as written in one file."""

    name: str
    mark: Mark
    text: str = ""
    message: Name | None = None
    events: tuple[Name, ...] | None = None
    when: When | None = None
    bundle: Name | None = None
    extends: Name | None = None
    use: tuple[Name, ...] = ()
    ignore: tuple[Source, ...] = ()
    resources: Mapping[str, ResourceRule | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FragmentFile:
    """A file of fragments; ``name`` is what ``use:`` calls it, the file's stem."""

    name: str
    mark: Mark
    fragments: Mapping[str, Fragment]


@dataclass(frozen=True, slots=True)
class Lens:
    """``PID-3 := PID-2 when not exists(PID-3)``, a field put right; ``drop PID-19`` has no source."""

    target: Source
    source: Source | None
    when: When | None


@dataclass(frozen=True, slots=True)
class DialectFile:
    """What one sender does in its own way. ``segments``: name → field → (name, data type, repeats)."""

    name: str
    mark: Mark
    segments: Mapping[str, Mapping[int, tuple[str, str, bool]]]
    lens: tuple[Lens, ...]
    ignore: tuple[Source, ...]


def extend(base: MappingFile, child: MappingFile) -> MappingFile:
    """``child`` with everything of ``base`` that it does not replace; a null takes a line or a resource away.

    Which events and messages ``base`` takes is said of its own structure: a child with another does not inherit that.
    """
    resources: dict[str, ResourceRule | None] = dict(base.resources)
    for name, rule in child.resources.items():
        before = resources.get(name)
        if rule is None:
            resources.pop(name, None)
        elif before is None:
            resources[name] = replace(rule, rules=tuple(r for r in rule.rules if r.value is not None))
        else:
            resources[name] = _extend_resource(before, rule)
    return replace(
        child,
        message=child.message or base.message,
        events=base.events if child.events is None and child.message is None else child.events,
        when=child.when or (base.when if child.message is None else None),
        bundle=child.bundle or base.bundle,
        use=(*base.use, *(name for name in child.use if name.text not in {known.text for known in base.use})),
        ignore=(*base.ignore, *child.ignore),
        resources=resources,
    )


def _extend_resource(base: ResourceRule, child: ResourceRule) -> ResourceRule:
    changed = {rule.element: rule for rule in child.rules}
    kept = [changed.pop(rule.element, rule) for rule in base.rules]
    rules = tuple(rule for rule in (*kept, *changed.values()) if rule.value is not None)
    identity = base if (child.key, child.known_as, child.same_as) == (None, None, None) else child
    return ResourceRule(
        name=child.name,
        mark=child.mark,
        type=child.type or base.type,
        each=child.each or base.each,
        when=child.when or base.when,
        key=identity.key,
        known_as=identity.known_as,
        same_as=identity.same_as,
        unknown=child.unknown or base.unknown,
        write=child.write or base.write,
        newer=child.newer or base.newer,
        merged_into=child.merged_into or base.merged_into,
        union=base.union if child.union is None else child.union,
        rules=rules,
    )
