"""Functions and fragments in expressions, checked: place, arguments, types."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from interop_engine.core.diagnostics import near
from interop_engine.mapping import expression as syntax
from interop_engine.mapping import site_functions, types
from interop_engine.mapping.functions import FUNCTIONS, Function
from interop_engine.mapping.goals import RAW, TEXT, Base, Goal, Levels, Typed, replace_types
from interop_engine.mapping.resolve import At
from interop_engine.mapping.typed import (
    Apply,
    Convert,
    FirstOf,
    Node,
    Pick,
    Primitive,
    Use,
)

_ASKS = {
    False: "asks for the channel's tables, which are not known here",
    True: "is the site's own, which is asked only while a message is mapped",
}


class Calls(Base):
    """Lowers calls."""

    def _call(self, call: syntax.Call, source: syntax.Expression | None, goal: Goal, levels: Levels, at: At) -> Typed | None:
        if call.name in self.fragments and source is not None:
            return self._fragment(call, source, goal, levels, at)
        function = self._named(call, at)
        if function is None:
            return None
        if (source is None) != (function.takes == "nothing"):
            hint = f"VALUE | {function.signature}" if source is None else f"write {function.signature} at the beginning"
            self.report.add("M307", f"{call.name} stands in the wrong place", at(call.column), hint)
            return None
        if function.context and self.contextless:
            message = f"{function.name} {_ASKS[function.own]}"
            self.report.add("M307", message, at(call.column))
            return None
        if function.name == "concat":
            return self._concat(function, call, goal, levels, at)
        arguments = self._arguments(function, call, at)
        assert source is not None
        return None if arguments is None else self._apply(function, arguments, call, source, goal, levels, at)

    def _named(self, call: syntax.Call, at: At) -> Function | None:
        """A function of the language, else of the site's."""
        if (found := FUNCTIONS.get(call.name)) is not None:
            return found
        own = site_functions.installed().get(call.name)
        if own is None:
            hint = near(call.name, [*FUNCTIONS, *site_functions.usable(), *self.fragments])
            self.report.add("M207", f'there is no function or fragment "{call.name}"', at(call.column), hint)
            return None
        if own.function is None:
            message = f"the site's function {own.name} cannot be used: {own.trouble}"
            self.report.add("M215", message, at(call.column), f"it is {own.origin}")
        return own.function

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
        if goal.kind in ("text", "compared", "identity"):
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
