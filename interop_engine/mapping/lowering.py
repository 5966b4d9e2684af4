"""Expressions and conditions, checked: names resolved, types on both sides compared, conversions chosen.

Each expression is lowered towards a ``Goal``: the element it fills, or text (conditions, keys, functions of text), or the HL7
v2 values themselves (fragments, ``own_number``). Conversions are pushed to the leaves, so that ``OBX-14 ?? OBR-7`` may mix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import re2

from interop_engine.core.diagnostics import near
from interop_engine.fhir.definitions import PRIMITIVES, ElementDef
from interop_engine.mapping import expression as syntax
from interop_engine.mapping import types
from interop_engine.mapping.context import Naming
from interop_engine.mapping.convert.tables import CodeTable
from interop_engine.mapping.functions import FUNCTIONS, Function
from interop_engine.mapping.language import Fragment, ResourceRule
from interop_engine.mapping.resolve import At, Level, Names, Report, Resolver
from interop_engine.mapping.typed import (
    Apply,
    Compare,
    Condition,
    Const,
    Convert,
    Count,
    Deleted,
    Exists,
    FirstOf,
    Junction,
    Matches,
    Node,
    Not,
    Pick,
    Primitive,
    Read,
    Refs,
    Use,
)

Levels = tuple[Level, ...]


@dataclass(frozen=True)
class Goal:
    """What an expression's items must become."""

    kind: Literal["element", "text", "identity", "raw"]
    definition: ElementDef | None = None
    path: str = ""
    element: str = ""  # the name written, with its type where that was forced (valueString)


@dataclass(frozen=True)
class Typed:
    """A lowered expression. ``many``: may give several items; ``certain``: gives one always; ``constant``: a literal does."""

    node: Node
    many: bool = False
    certain: bool = False
    constant: bool = False
    label: str = ""


@dataclass(frozen=True)
class Site:
    """What the site defines besides this mapping."""

    names: Names
    tables: Mapping[str, CodeTable] | None
    maps: frozenset[str] | None
    naming: Naming | None


TEXT = Goal("text")
IDENTITY = Goal("identity")
RAW = Goal("raw")


class Lowering:
    """Lowers the expressions of one mapping."""

    def __init__(self, site: Site, report: Report, structure: str) -> None:
        self.site = site
        self.report = report
        self.resolver = Resolver(site.names, report, structure, self.condition)
        self.fragments: Mapping[str, Fragment] = {}
        self.used: set[str] = set()
        self.targets: Mapping[str, tuple[ResourceRule, Levels]] = {}
        self.proven: frozenset[str] = frozenset()  # what the resource's when: says is there
        self.quiet = False  # inside a condition a read across groups is no mistake

    # --- expressions -----------------------------------------------------------------------------------------------

    def node(self, tree: syntax.Expression, goal: Goal, levels: Levels, at: At) -> Typed | None:
        """Lower an expression; None where a mistake was reported."""
        if isinstance(tree, syntax.FieldPath):
            return self._path(tree, goal, levels, at)
        if isinstance(tree, syntax.Text | syntax.Literal):
            return self._constant(tree, goal, at)
        if isinstance(tree, syntax.Coalesce):
            return self._first_of(tree, goal, levels, at)
        if isinstance(tree, syntax.Pipe):
            return self._call(tree.call, tree.source, goal, levels, at)
        if isinstance(tree, syntax.Call):
            return self._call(tree, None, goal, levels, at)
        if isinstance(tree, syntax.Reference):
            return self._reference(tree, goal, levels, at)
        self.report.add("M306", f'"{tree.value}" is a name, expected a value', at(tree.column), "quote texts: '…'")
        return None

    def _path(self, tree: syntax.FieldPath, goal: Goal, levels: Levels, at: At) -> Typed | None:
        read = self.resolver.read(tree, levels, at)
        if read is None:
            return None
        if not self.quiet and self.resolver.crosses(read, levels):
            hint = "give the resource an each:, so that it reads the segment of its own group"
            self.report.add("M401", f"{read.label} is in a repeating group, and nothing says which", at(tree.column), hint)
            return None
        certain = read.required or read.label in self.proven
        if read.field == 0 and read.segment:
            if goal.kind == "raw":
                return Typed(read, read.many, certain, label=read.label)
            self.report.add("M302", f"{read.label} names a segment, expected a field", at(tree.column), f"{read.segment}-1")
            return None
        if goal.kind != "element":
            how: Literal["text", "identity", "raw"] = goal.kind
            return Typed(Convert(read, how), read.many, certain, label=read.label)
        assert goal.definition is not None
        found = types.implied(read, goal.definition, goal.element, goal.path)
        if isinstance(found, types.Refusal):
            self.report.add(found.code, found.message, at(tree.column), found.hint)
            return None
        many = (read.loop or found.many) if found.how == "segment" else read.many and found.how != "notes"
        return Typed(found, many, certain, label=read.label)

    def _constant(self, tree: syntax.Text | syntax.Literal, goal: Goal, at: At) -> Typed | None:
        if goal.kind != "element":
            if goal.kind == "raw":
                self.report.add("M307", "a text is no HL7 v2 value", at(tree.column))
                return None
            return Typed(Const(tree.value), certain=True, constant=True)
        assert goal.definition is not None
        found = types.literal(tree.value, goal.definition, goal.element, self.site.naming)
        if isinstance(found, types.Refusal):
            self.report.add(found.code, found.message, at(tree.column), found.hint)
            return None
        return Typed(found, certain=True, constant=True)

    def _first_of(self, tree: syntax.Coalesce, goal: Goal, levels: Levels, at: At) -> Typed | None:
        options = [self.node(option, goal, levels, at) for option in tree.options]
        found = [option for option in options if option is not None]
        if len(found) < len(options):
            return None
        return Typed(
            FirstOf(tuple(option.node for option in found)),
            any(option.many for option in found),
            any(option.certain for option in found),
            any(option.constant for option in found),
            next((option.label for option in found if option.many), found[0].label),
        )

    # --- references ------------------------------------------------------------------------------------------------

    def _reference(self, tree: syntax.Reference, goal: Goal, levels: Levels, at: At) -> Typed | None:
        target = self.targets.get(tree.name)
        if target is None:
            self.report.add("M208", f'there is no resource "{tree.name}"', at(tree.column), near(tree.name, self.targets))
            return None
        rule, below = target
        shared = shared_level(levels, below)
        many = any(level.group is None or level.group.repeats for level in below[shared + 1 :])
        if goal.kind != "element" or goal.definition is None:
            self.report.add("M307", "a reference fills an element, or is a part of a key by itself", at(tree.column))
            return None
        definition = goal.definition
        kind = rule.type.text if rule.type else ""
        if "Reference" not in definition.types:
            self.report.add("M302", f"{goal.path}.{goal.element} takes no reference", at(tree.column))
            return None
        if definition.targets and kind not in definition.targets:
            hint = f"it refers to {', '.join(definition.targets)}"
            self.report.add("M402", f"{goal.path}.{goal.element} may not refer to a {kind}", at(tree.column), hint)
            return None
        element = types.element_name(definition, goal.element, "Reference")
        node = Refs(tree.name, shared, single=not definition.repeats and many, element=element)
        return Typed(node, many and definition.repeats, certain=True, label=f"-> {tree.name}")

    # --- functions -------------------------------------------------------------------------------------------------

    def _call(self, call: syntax.Call, source: syntax.Expression | None, goal: Goal, levels: Levels, at: At) -> Typed | None:
        if call.name in self.fragments and source is not None:
            return self._fragment(call, source, goal, levels, at)
        function = FUNCTIONS.get(call.name)
        if function is None:
            hint = near(call.name, [*FUNCTIONS, *self.fragments])
            self.report.add("M207", f'there is no function or fragment "{call.name}"', at(call.column), hint)
            return None
        if (source is None) != (function.takes == "nothing"):
            hint = f"VALUE | {function.signature}" if source is None else f"write {function.signature} at the beginning"
            self.report.add("M307", f"{call.name} stands in the wrong place", at(call.column), hint)
            return None
        if function.name == "concat":
            return self._concat(function, call, goal, levels, at)
        arguments = self._arguments(function, call, at)
        assert source is not None
        return None if arguments is None else self._apply(function, arguments, call, source, goal, levels, at)

    def _apply(
        self,
        function: Function,
        arguments: tuple[Any, ...],
        call: syntax.Call,
        source: syntax.Expression,
        goal: Goal,
        levels: Levels,
        at: At,
    ) -> Typed | None:
        if function.takes == "any":
            inner = self.node(source, goal, levels, at)
            return None if inner is None else self._pick(function, inner)
        if function.takes == "coded":
            return self._coded(function, arguments, call, source, goal, levels, at)
        wanted = RAW if function.takes == "values" else TEXT
        inner = self.node(source, wanted, levels, at)
        if inner is None:
            return None
        if function.of and not self._is_of(inner.node, function.of):
            self.report.add("M307", f"{function.name} takes values of type {function.of}", at(call.column))
            return None
        many = inner.many and function.takes == "text"
        certain = inner.constant or (inner.certain and function.takes != "values")
        typed = Typed(Apply(function, inner.node, arguments), many, certain, inner.constant, inner.label)
        return self._from_text(typed, goal, call, at, arguments)

    def _pick(self, function: Function, inner: Typed) -> Typed:
        node = Pick(function.name, inner.node, inner.label)
        if function.name == "required":
            return replace(inner, node=node, certain=True)
        return replace(inner, node=node, many=False)

    def _coded(
        self,
        function: Function,
        arguments: tuple[Any, ...],
        call: syntax.Call,
        source: syntax.Expression,
        goal: Goal,
        levels: Levels,
        at: At,
    ) -> Typed | None:
        if goal.kind != "element" or goal.definition is None or "CodeableConcept" not in goal.definition.types:
            self.report.add("M307", f"{function.name} gives a CodeableConcept", at(call.column), "use it for such an element")
            return None
        # The table that an element's binding implies would replace the local code which the concept map knows.
        definition = goal.definition
        if definition.choice:
            definition = replace_types(definition, ("CodeableConcept",))
        inner = self.node(source, replace(goal, definition=definition), levels, at)
        if inner is None:
            return None
        return replace(inner, node=Apply(function, inner.node, arguments))

    def _concat(self, function: Function, call: syntax.Call, goal: Goal, levels: Levels, at: At) -> Typed | None:
        parts = [self.node(argument, TEXT, levels, at) for argument in call.arguments]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        for part in found:
            if part.many:
                self.report.add(
                    "M301", f"{part.label} may repeat, concat takes one value of it", at(call.column), "| first, or | join"
                )
                return None
        certain = any(part.certain for part in found)
        typed = Typed(Apply(function, None, tuple(p.node for p in found)), False, certain, all(p.constant for p in found))
        return self._from_text(typed, goal, call, at, ())

    def _from_text(self, typed: Typed, goal: Goal, call: syntax.Call, at: At, arguments: tuple[Any, ...]) -> Typed | None:
        """Text towards the goal: a primitive of the element."""
        if goal.kind in ("text", "identity"):
            return typed
        if goal.kind == "raw" or goal.definition is None:
            self.report.add("M307", f"{call.name} gives text, not an HL7 v2 value", at(call.column))
            return None
        found = types.from_text(typed.node, goal.definition, goal.element)
        if isinstance(found, types.Refusal):
            self.report.add(found.code, found.message, at(call.column), found.hint)
            return None
        if isinstance(found, Primitive) and call.name == "table" and found.codes is not None:
            self._table_targets(arguments[0], found.codes, goal, at(call.arguments[0].column))
        return replace(typed, node=found)

    def _table_targets(self, name: str, codes: frozenset[str], goal: Goal, mark: Any) -> None:
        table = (self.site.tables or {}).get(name)
        if table is None:
            return
        wrong = sorted({target.code for target in table.entries.values()} - codes)
        if wrong:
            hint = near(wrong[0], codes)
            self.report.add("M503", f'{name} gives "{wrong[0]}", which {goal.path}.{goal.element} does not take', mark, hint)

    def _arguments(self, function: Function, call: syntax.Call, at: At) -> tuple[Any, ...] | None:
        least = sum(1 for parameter in function.parameters if not parameter.optional)
        if not least <= len(call.arguments) <= len(function.parameters):
            self.report.add("M306", f"{function.name} takes other arguments", at(call.column), f"it is {function.signature}")
            return None
        values: list[Any] = []
        for parameter, argument in zip(function.parameters, call.arguments, strict=False):
            text = argument.value if isinstance(argument, syntax.Text | syntax.Word) else None
            if text is None or (parameter.kind == "number" and (not text.isdecimal() or text == "0")):
                wanted = "a number from 1" if parameter.kind == "number" else f"a {parameter.kind}"
                self.report.add("M306", f"{parameter.name} of {function.name} takes {wanted}", at(argument.column))
                return None
            if not self._defined(parameter.kind, text):
                known = self.site.tables or {} if parameter.kind == "table" else self.site.maps or frozenset()
                code, what = ("M501", "table") if parameter.kind == "table" else ("M502", "concept map")
                self.report.add(code, f'there is no {what} "{text}"', at(argument.column), near(text, known))
                return None
            values.append(int(text) if parameter.kind == "number" else text)
        return tuple(values)

    def _defined(self, kind: str, name: str) -> bool:
        if kind == "table":
            return self.site.tables is None or name in self.site.tables
        return kind != "map" or self.site.maps is None or name in self.site.maps

    def _fragment(self, call: syntax.Call, source: syntax.Expression, goal: Goal, levels: Levels, at: At) -> Typed | None:
        fragment = self.fragments[call.name]
        self.used.add(call.name)
        inner = self.node(source, RAW, levels, at)
        if inner is None:
            return None
        if not self._is_of(inner.node, fragment.of.text):
            self.report.add("M307", f"fragment {call.name} takes values of type {fragment.of.text}", at(call.column))
            return None
        wanted = "Reference" if fragment.is_resource else fragment.type.text
        definition = goal.definition
        if definition is None or wanted not in definition.types:
            self.report.add("M302", f"fragment {call.name} gives a {wanted}, which does not fit here", at(call.column))
            return None
        if fragment.is_resource and definition.targets and fragment.type.text not in definition.targets:
            hint = f"it refers to {', '.join(definition.targets)}"
            self.report.add("M402", f"{goal.path}.{goal.element} may not refer to a {fragment.type.text}", at(call.column), hint)
            return None
        element = types.element_name(definition, goal.element, wanted)
        return replace(inner, node=Use(call.name, inner.node, element))

    def _is_of(self, node: Node, kind: str) -> bool:
        if isinstance(node, FirstOf):
            return all(self._is_of(option, kind) for option in node.options)
        if isinstance(node, Pick):
            return self._is_of(node.source, kind)
        return isinstance(node, Convert) and types.same_family(node.source.datatype, kind)

    # --- conditions ------------------------------------------------------------------------------------------------

    def condition(self, tree: syntax.Condition, levels: Levels, at: At) -> Condition | None:
        """Lower a condition; None where a mistake was reported."""
        before, self.quiet = self.quiet, True
        try:
            return self._condition(tree, levels, at)
        finally:
            self.quiet = before

    def _condition(self, tree: syntax.Condition, levels: Levels, at: At) -> Condition | None:
        if isinstance(tree, syntax.Not):
            operand = self._condition(tree.operand, levels, at)
            return None if operand is None else Not(operand)
        if isinstance(tree, syntax.Junction):
            operands = [self._condition(operand, levels, at) for operand in tree.operands]
            found = tuple(operand for operand in operands if operand is not None)
            return Junction(tree.operator, found) if len(found) == len(operands) else None
        if isinstance(tree, syntax.Comparison):
            return self._comparison(tree, levels, at, "any")
        return self._test(tree, levels, at)

    def _comparison(self, tree: syntax.Comparison, levels: Levels, at: At, each: Literal["any", "all", ""]) -> Condition | None:
        left = tree.left
        if isinstance(left, syntax.Call) and left.name == "count" and len(left.arguments) == 1:
            return self._count(tree, left.arguments[0], levels, at)
        nodes = [self.node(operand, TEXT, levels, at) for operand in (left, *tree.right)]
        found = [node.node for node in nodes if node is not None]
        if len(found) < len(nodes):
            return None
        return Compare(tree.operator, found[0], tuple(found[1:]), each or "any")

    def _count(self, tree: syntax.Comparison, counted: syntax.Expression, levels: Levels, at: At) -> Condition | None:
        right = tree.right[0]
        if tree.operator in ("in", "not in") or not isinstance(right, syntax.Text) or not right.value.isdecimal():
            self.report.add("M306", "count(…) is compared with a number", at(tree.column), "count(OBX) > 3")
            return None
        inner = self.node(counted, RAW, levels, at)
        return None if inner is None else Count(tree.operator, inner.node, int(right.value))

    def _test(self, tree: syntax.Test, levels: Levels, at: At) -> Condition | None:
        if tree.name in ("any", "all"):
            assert isinstance(tree.subject, syntax.Comparison)
            found = self._comparison(tree.subject, levels, at, "all" if tree.name == "all" else "any")
            if isinstance(found, Compare) and tree.subject.operator in ("!=", "not in"):
                return replace(found, operator="other" if tree.subject.operator == "!=" else "outside")
            return found
        assert not isinstance(tree.subject, syntax.Comparison | syntax.Test | syntax.Not | syntax.Junction)
        inner = self.node(tree.subject, TEXT if tree.name == "matches" else RAW, levels, at)
        if inner is None:
            return None
        if tree.name == "matches":
            return self._matches(tree, inner.node, at)
        if tree.name == "deleted":
            source = inner.node.source if isinstance(inner.node, Convert) else inner.node
            if not isinstance(source, Read) or not source.field:
                self.report.add("M306", "deleted(…) takes one field", at(tree.column), "deleted(PID-13)")
                return None
            return Deleted(source)
        return Exists(inner.node)

    def _matches(self, tree: syntax.Test, node: Node, at: At) -> Condition | None:
        try:
            re2.compile(tree.pattern)
        except re2.error:
            self.report.add("M306", "the pattern is not a regular expression of RE2", at(tree.column), "no look-around, no \\1")
            return None
        return Matches(node, tree.pattern)


def shared_level(one: Levels, other: Levels) -> int:
    """The index of the last level that two scopes have in common."""
    shared = 0
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a is not b and a != b:
            break
        shared = index
    return shared


def replace_types(definition: ElementDef, kinds: tuple[str, ...]) -> ElementDef:
    """The element with fewer types to choose from."""
    return ElementDef(
        definition.name,
        tuple(kind for kind in definition.types if kind in kinds),
        definition.minimum,
        definition.repeats,
        definition.targets,
        definition.binding,
        definition.strength,
        definition.choice,
    )


__all__ = ["IDENTITY", "PRIMITIVES", "RAW", "TEXT", "Goal", "Lowering", "Site", "Typed", "replace_types", "shared_level"]
