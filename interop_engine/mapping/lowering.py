"""Expressions and conditions, checked: names resolved, types on both sides compared, conversions chosen.

Each expression is lowered towards a ``Goal``: the element it fills, or text (conditions, keys, functions of text), or the HL7
v2 values themselves (fragments, ``own_number``). Conversions are pushed to the leaves, so that ``OBX-14 ?? OBR-7`` may mix.
"""

from __future__ import annotations

from typing import Literal

from interop_engine.core.diagnostics import near
from interop_engine.mapping import expression as syntax
from interop_engine.mapping import types
from interop_engine.mapping.goals import IDENTITY, RAW, TEXT, Goal, Levels, Site, Typed, replace_types, shared_level
from interop_engine.mapping.lowering_calls import Calls
from interop_engine.mapping.lowering_conditions import Conditions
from interop_engine.mapping.resolve import At
from interop_engine.mapping.typed import (
    VARIES,
    Const,
    Convert,
    FirstOf,
    Refs,
)

__all__ = ["IDENTITY", "RAW", "TEXT", "Goal", "Levels", "Lowering", "Site", "Typed", "replace_types", "shared_level"]


class Lowering(Calls, Conditions):
    """Lowers the expressions of one mapping."""

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
            how: Literal["text", "code", "identity", "raw"]
            how = ("code" if read.datatype == VARIES else "text") if goal.kind == "compared" else goal.kind
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
        if tree.key:
            hint = f"name it in a resource of its own, with same_as: -> {tree.name}(…), and refer to that"
            self.report.add("M307", "a reference by a key stands in same_as:", at(tree.column), hint)
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
