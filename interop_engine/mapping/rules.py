"""Expressions of a channel: over a whole message of whatever structure, for filters and for routing.

The grammar is that of mappings. A channel is asked once a message, so its expressions are walked, not compiled: a path gives
all its values in the message, in order, as text. ``table(name)`` looks a code up in the site's tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import re2

from interop_engine.core.diagnostics import Mark, Mistake, near
from interop_engine.hl7 import dictionary
from interop_engine.hl7.message import Segment, Value
from interop_engine.mapping import expression as syntax

if TYPE_CHECKING:
    from interop_engine.hl7.message import Message
    from interop_engine.mapping.context import Scope

_T = TypeVar("_T", Segment, Value)
Values = Callable[["Message", "Scope"], Sequence[str]]
Holds = Callable[["Message", "Scope"], bool]


def values(text: str, mark: Mark, tables: Sequence[str]) -> tuple[Values | None, list[Mistake]]:
    """An expression that gives texts, such as the receivers of a message."""
    try:
        tree = syntax.parse_expression(text)
    except syntax.SyntaxProblem as problem:
        return None, [_unreadable(problem, mark)]
    mistakes = _Check(mark, tables).expression(tree)
    return (lambda message, scope: _Walk(message, scope).texts(tree)), mistakes


def condition(text: str, mark: Mark, tables: Sequence[str]) -> tuple[Holds | None, list[Mistake]]:
    """A condition, such as a channel's filter."""
    try:
        tree = syntax.parse_condition(text)
    except syntax.SyntaxProblem as problem:
        return None, [_unreadable(problem, mark)]
    mistakes = _Check(mark, tables).condition(tree)
    return (lambda message, scope: _Walk(message, scope).holds(tree)), mistakes


def _unreadable(problem: syntax.SyntaxProblem, mark: Mark) -> Mistake:
    place = Mark(mark.file, mark.line, mark.column + problem.column)
    return Mistake("C120", f"not an expression: {problem.message}", place, problem.hint)


# --- What can be known before a message arrives ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Check:
    mark: Mark
    tables: Sequence[str]

    def expression(self, tree: syntax.Expression, segment: str = "") -> list[Mistake]:
        match tree:
            case syntax.FieldPath():
                return self._path(tree, segment)
            case syntax.Coalesce(options):
                return [mistake for option in options for mistake in self.expression(option, segment)]
            case syntax.Pipe(source, call):
                return self.expression(source, segment) + self._call(call)
            case syntax.Call():
                return self._call(tree)
            case syntax.Reference(name, column):
                return [self._mistake("C122", f"a channel has no resource {name}", column, "references belong to mappings")]
            case _:
                return []

    def condition(self, tree: syntax.Condition, segment: str = "") -> list[Mistake]:
        match tree:
            case syntax.Junction(_, operands):
                return [mistake for operand in operands for mistake in self.condition(operand, segment)]
            case syntax.Not(operand):
                return self.condition(operand, segment)
            case syntax.Comparison(_, left, right):
                return [mistake for side in (left, *right) for mistake in self.expression(side, segment)]
            case syntax.Test("matches", subject, pattern, column):
                found = (
                    []
                    if _pattern(pattern) is not None
                    else [self._mistake("C123", "not a pattern of RE2", column, _unread(pattern))]
                )
                return found + self._either(subject, segment)
            case syntax.Test(_, subject):
                return self._either(subject, segment)

    def _either(self, tree: syntax.Expression | syntax.Condition, segment: str) -> list[Mistake]:
        if isinstance(tree, syntax.Junction | syntax.Not | syntax.Comparison | syntax.Test):
            return self.condition(tree, segment)
        return self.expression(tree, segment)

    def _path(self, path: syntax.FieldPath, around: str) -> list[Mistake]:
        name = path.segment or around
        definition = dictionary.segment(name)
        if definition is None:
            if name.startswith("Z"):
                return []
            return [self._mistake("C121", f"there is no segment {name}", path.column, near(name, dictionary.segments()))]
        mistakes = []
        if path.field is not None and _number(name, path.field) is None:
            names = [field.name for field in definition.fields.values()]
            mistakes.append(self._mistake("C121", f"{name} has no field {path.field}", path.column, near(str(path.field), names)))
        for choice in (path.segment_choice, path.field_choice):
            if choice is not None and not isinstance(choice, int):
                mistakes += self.condition(choice, name)
        return mistakes

    def _call(self, call: syntax.Call) -> list[Mistake]:
        if call.name not in ("table", "first"):
            return [
                self._mistake("C122", f"a channel has no function {call.name}", call.column, "there are table(name) and first")
            ]
        name = call.arguments[0].value if call.arguments and isinstance(call.arguments[0], syntax.Word | syntax.Text) else ""
        if call.name == "table" and name not in self.tables:
            hint = near(name, self.tables) or "a table is a file of its name in mappings/tables/"
            return [self._mistake("C122", f'there is no table "{name}"', call.column, hint)]
        return []

    def _mistake(self, code: str, message: str, column: int, hint: str = "") -> Mistake:
        return Mistake(code, message, Mark(self.mark.file, self.mark.line, self.mark.column + column), hint)


def _number(segment: str, field: int | str) -> int | None:
    definition = dictionary.segment(segment)
    if isinstance(field, int):
        return field if definition is None or field in definition.fields else None
    return next((each.number for each in definition.fields.values() if each.name == field), None) if definition else None


def _unread(pattern: str) -> str:
    """What RE2 says of a pattern that it cannot read."""
    try:
        re2.compile(pattern, _quiet())
    except re2.error as error:
        return f"RE2 says: {error.args[0].decode() if isinstance(error.args[0], bytes) else error}"
    return ""


def _quiet() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    return options


def _pattern(text: str) -> re2._Regexp[str] | None:
    try:
        return re2.compile(text, _quiet())
    except re2.error:
        return None


# --- A message ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Walk:
    message: Message
    scope: Scope
    around: Segment | Value | None = None

    def texts(self, tree: syntax.Expression) -> list[str]:
        match tree:
            case syntax.FieldPath():
                return [value.text if isinstance(value, Value) else value.name for value in self._values(tree) if _said(value)]
            case syntax.Text(value) | syntax.Literal(value) | syntax.Word(value):
                return [value]
            case syntax.Coalesce(options):
                return next((found for option in options if (found := self.texts(option))), [])
            case syntax.Pipe(source, call):
                return self._call(call, self.texts(source))
            case _:
                return []

    def holds(self, tree: syntax.Condition) -> bool:
        match tree:
            case syntax.Junction("and", operands):
                return all(self.holds(operand) for operand in operands)
            case syntax.Junction(_, operands):
                return any(self.holds(operand) for operand in operands)
            case syntax.Not(operand):
                return not self.holds(operand)
            case syntax.Comparison():
                return self._compare(tree, any)
            case syntax.Test(name, subject, pattern):
                return self._test(name, subject, pattern)

    def _test(self, name: str, subject: syntax.Expression | syntax.Condition, pattern: str) -> bool:
        if isinstance(subject, syntax.Comparison):
            return self._compare(subject, all if name == "all" else any)
        if isinstance(subject, syntax.Junction | syntax.Not | syntax.Test):
            return self.holds(subject)
        if name == "deleted" and isinstance(subject, syntax.FieldPath):
            return any(isinstance(value, Value) and value.deleted for value in self._values(subject))
        found = self.texts(subject)
        if name == "matches":
            compiled = _pattern(pattern)
            return compiled is not None and any(compiled.fullmatch(text) is not None for text in found)
        return bool(found)

    def _compare(self, tree: syntax.Comparison, quantifier: Callable[[list[bool]], bool]) -> bool:
        left = self.texts(tree.left)
        right = [text for side in tree.right for text in self.texts(side)]
        match tree.operator:
            case "=" | "in":
                return bool(left) and quantifier([text in right for text in left])
            case "!=" | "not in":
                return not any(text in right for text in left)
            case operator:
                return bool(left) and quantifier([any(_ordered(text, operator, other) for other in right) for text in left])

    def _call(self, call: syntax.Call, found: list[str]) -> list[str]:
        if call.name == "first":
            return found[:1]
        argument = call.arguments[0]
        name = argument.value if isinstance(argument, syntax.Word | syntax.Text) else ""
        targets = self.scope.tables[name].targets
        return [target for text in found if (target := targets.get(text))]

    def _values(self, path: syntax.FieldPath) -> list[Value | Segment]:
        if not path.segment and isinstance(self.around, Value):
            part = self.around.component(path.component or 1)
            return [] if part is None else _down([part], path.subcomponent)
        segments = [self.around] if isinstance(self.around, Segment) and not path.segment else self.message.all(path.segment)
        chosen = self._chosen([each for each in segments if isinstance(each, Segment)], path.segment_choice)
        if path.field is None:
            return list(chosen)
        found: list[Value | Segment] = []
        for segment in chosen:
            if (number := _number(segment.name, path.field)) is None:
                continue
            repetitions = self._chosen(segment.repetitions(number), path.field_choice)
            found += _down(_down(repetitions, path.component), path.subcomponent)
        return found

    def _chosen(self, items: list[_T], choice: int | syntax.Condition | None) -> list[_T]:
        if choice is None:
            return items
        if isinstance(choice, int):
            return items[choice - 1 : choice]
        return [item for item in items if _Walk(self.message, self.scope, item).holds(choice)]


def _down(items: Sequence[Value | Segment], part: int | None) -> list[Value | Segment]:
    if part is None:
        return list(items)
    return [below for item in items if isinstance(item, Value) and (below := item.component(part)) is not None]


def _said(value: Value | Segment) -> bool:
    return isinstance(value, Segment) or (bool(value.raw) and not value.deleted)


def _ordered(left: str, operator: str, right: str) -> bool:
    a, b = _sortable(left), _sortable(right)
    if type(a) is not type(b):
        a, b = left, right
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator]  # type: ignore[operator]


def _sortable(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
