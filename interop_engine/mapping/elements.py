"""Lines of ``set:`` against the elements of a FHIR type: existence, cardinality, what is required, what is set twice."""

from __future__ import annotations

import difflib

from interop_engine.core.diagnostics import Mark, near
from interop_engine.fhir import definitions
from interop_engine.fhir.definitions import PRIMITIVES, ElementDef
from interop_engine.mapping import expression as syntax
from interop_engine.mapping import types
from interop_engine.mapping.goals import proven
from interop_engine.mapping.language import Block, ListOf, Rule, Source, Value, written
from interop_engine.mapping.lowering import Goal, Levels, Lowering, Typed
from interop_engine.mapping.resolve import Level
from interop_engine.mapping.typed import All, Body, Const, Line, Nested, Read, Step

_EXTENSIONS = frozenset({"extension", "modifierExtension"})
_OURS = frozenset({"id", "resourceType", "meta", "contained"})  # the engine writes them
_TEXTS = frozenset({"string", "markdown"})
_FEW = 8  # codes that a help text lists


class Elements:
    """Lowers the lines of a mapping's resources, nested elements and fragments."""

    def __init__(self, lowering: Lowering) -> None:
        self._lowering = lowering
        self._report = lowering.report

    def body(self, path: str, rules: tuple[Rule, ...], levels: Levels, mark: Mark, *, whole: bool, adds: bool = False) -> Body:
        """All lines, sorted as the specification sorts them. ``whole``: a resource, whose id is the engine's.

        ``adds``: only lists, added to what is there.
        """
        lines: list[Line] = []
        for rule in rules:
            if rule.value is None:
                continue
            line = self._line(path, rule, levels, whole=whole)
            if line is not None:
                lines.append(line)
        self._set_twice(lines)
        if not adds:
            self._missing(path, rules, mark)
        order = {name: number for number, name in enumerate(definitions.elements(path))}
        lines.sort(key=lambda line: order[line.stem])
        return Body(path, tuple(lines))

    def _line(self, path: str, rule: Rule, levels: Levels, *, whole: bool) -> Line | None:
        definition = definitions.element(path, rule.element)
        if definition is None or (whole and rule.element in _OURS):
            self._unknown(path, rule, definition)
            return None
        assert rule.value is not None
        stem = self._stem(path, rule.element, definition)
        goal = Goal("element", definition, path, rule.element)
        typed = self._value(rule.value, goal, levels, rule)
        if typed is None:
            return None
        required = definition.minimum > 0
        mark = _mark_of(rule.value)
        if required and not typed.certain:
            text = written(rule.value) if isinstance(rule.value, Source) else "…"
            hint = f"{text} ?? 'a code', or {text} | required"
            message = f"{path}.{rule.element} is required, and {typed.label} may be empty"
            self._report.add("M305", message, mark, hint)
        named = "" if definition.choice else rule.element
        return Line(named, stem, definition.repeats, required, typed.node, typed.constant, mark, written(rule.value))

    def _stem(self, path: str, written: str, definition: ElementDef) -> str:
        known = definitions.elements(path)
        if definition.name in known:
            return definition.name
        return next((name for name, one in known.items() if one.choice and written.startswith(name)), written)

    def _unknown(self, path: str, rule: Rule, definition: ElementDef | None) -> None:
        if definition is not None:
            self._report.add(
                "M204", f'"{rule.element}" is written by the engine', rule.mark, "remove the line; an id follows from key:"
            )
            return
        known = [name for name in definitions.elements(path) if name not in _OURS]
        hint = near(rule.element, known) or f"elements: {', '.join(known[:14])}{' …' if len(known) > 14 else ''}"
        self._report.add("M204", f'{path} has no element "{rule.element}"', rule.mark, hint)

    def _set_twice(self, lines: list[Line]) -> None:
        seen: dict[str, Line] = {}
        for line in lines:
            if line.stem in seen:
                first = seen[line.stem].mark.line
                self._report.add("M308", f"{line.stem} is set twice", line.mark, f"it is also on line {first}; use ?? to choose")
            seen.setdefault(line.stem, line)

    def _missing(self, path: str, rules: tuple[Rule, ...], mark: Mark) -> None:
        written = {rule.element for rule in rules}
        for name, definition in definitions.elements(path).items():
            if definition.minimum == 0 or name in written:
                continue
            if definition.choice and any(element.startswith(name) for element in written):
                continue
            self._report.add(
                "M304", f"{path}.{name} is required, and nothing sets it", mark, f"under set: {_to_set(name, definition)}"
            )

    # --- values ----------------------------------------------------------------------------------------------------

    def _value(self, value: Value, goal: Goal, levels: Levels, rule: Rule) -> Typed | None:
        definition = goal.definition
        assert definition is not None
        if isinstance(value, Source):
            return self._source(value, goal, levels)
        if isinstance(value, ListOf):
            if not definition.repeats:
                self._report.add("M301", f"{goal.path}.{goal.element} takes one value, this is a list", value.mark, "a ?? b")
                return None
            items = [self._value(item, goal, levels, rule) for item in value.items]
            found = [item for item in items if item is not None]
            if len(found) < len(items):
                return None
            label = found[0].label if found else ""
            certain, constant = any(i.certain for i in found), all(i.constant for i in found)
            return Typed(All(tuple(item.node for item in found)), many=True, certain=certain, constant=constant, label=label)
        if rule.element in _EXTENSIONS and any(":" in line.element for line in value.rules):
            return self._extensions(value, levels)
        return self._block(value, goal, levels)

    def _source(self, value: Source, goal: Goal, levels: Levels) -> Typed | None:
        typed = self._lowering.node(value.expression, goal, levels, value.at)
        definition = goal.definition
        assert definition is not None
        if typed is not None and typed.many and not definition.repeats:
            message = f"{typed.label} may repeat, {goal.path}.{goal.element} takes one value"
            hint = f"{typed.label} | first" + (f", or {typed.label} | join" if _TEXTS.intersection(definition.types) else "")
            other = self._better(goal.path, value)
            self._report.add("M301", message, value.mark, f"{hint}, or did you mean {other}: {value.text}?" if other else hint)
            return None
        return typed

    def _better(self, path: str, value: Source) -> str:
        """An element of the same type that repeats and is called like the field."""
        tree = value.expression
        if not isinstance(tree, syntax.FieldPath) or not tree.segment:
            return ""
        segment = self._lowering.site.names.segment(tree.segment)
        if segment is None or tree.field is None:
            return ""
        number = segment.number(tree.field) if isinstance(tree.field, str) else tree.field
        field = segment.fields.get(number)
        names = [name for name, one in definitions.elements(path).items() if one.repeats and name not in _EXTENSIONS]
        found = difflib.get_close_matches(field.name.replace("_", ""), names, n=1, cutoff=0.6) if field else []
        return found[0] if found else ""

    def _block(self, block: Block, goal: Goal, levels: Levels) -> Typed | None:
        definition = goal.definition
        assert definition is not None
        if definition.choice:
            hint = f"write {definitions.choice_name(definition.name, definition.types[0])}: or another type"
            self._report.add(
                "M309", f"{goal.path}.{goal.element} has several types, and the block does not say which", block.mark, hint
            )
            return None
        kind = definition.types[0] if definition.types else ""
        if kind in PRIMITIVES:
            self._report.add("M302", f"{goal.path}.{goal.element} is a {kind}, it has no elements of its own", block.mark)
            return None
        below = levels
        steps: tuple[Step, ...] = ()
        each: Read | None = None
        if block.each is not None:
            found = self._each(block, levels)
            if found is None:
                return None
            steps, each, below = found
            if not definition.repeats:
                self._report.add("M301", f"{goal.path}.{goal.element} takes one value, each: gives several", block.each.mark)
                return None
        when = self._lowering.condition(block.when.condition, below, block.when.at) if block.when else None
        if block.when is not None and when is None:
            return None
        before = self._lowering.proven
        self._lowering.proven = before | proven(block.when)
        body = self.body(definitions.child_path(goal.path, definition), block.rules, below, block.mark, whole=False)
        self._lowering.proven = before
        constant = bool(body.lines) and all(line.constant for line in body.lines) and each is None and not steps and when is None
        node = Nested(body, len(levels) - 1, steps, each, when, types.element_name(definition, goal.element, kind))
        certain = each is None and not steps and when is None
        return Typed(
            node, many=bool(steps) or each is not None, certain=certain, constant=constant, label=f"{goal.element}: {{…}}"
        )

    def _each(self, block: Block, levels: Levels) -> tuple[tuple[Step, ...], Read | None, Levels] | None:
        assert block.each is not None
        name = block.each
        if "-" not in name.text and not name.text.startswith("."):
            found = self._lowering.resolver.steps(name.text, levels, name.mark)
            return None if found is None else (found[0], None, found[1])
        try:
            tree = syntax.parse_expression(name.text)
        except syntax.SyntaxProblem as problem:
            mark = name.mark.along(problem.column)
            self._report.add("M101", problem.message, mark, problem.hint)
            return None
        if not isinstance(tree, syntax.FieldPath):
            self._report.add("M202", f'"{name.text}" is no group, segment or field', name.mark)
            return None
        read = self._lowering.resolver.read(tree, levels, name.mark.along)
        return None if read is None else ((), read, (*levels, Level(datatype=read.datatype)))

    def _extensions(self, block: Block, levels: Levels) -> Typed | None:
        """``extension: {http://…: PID-22}``: the short form."""
        nodes: list[Nested] = []
        many = False
        definition = definitions.element("Extension", "value")
        assert definition is not None
        for rule in block.rules:
            if not isinstance(rule.value, Source):
                self._report.add(
                    "M104", "the short form of an extension takes one expression", rule.mark, "extension: [{url: =…, …}]"
                )
                continue
            goal = Goal("element", definition, "Extension", "value")
            typed = self._lowering.node(rule.value.expression, goal, levels, rule.value.at)
            if typed is None:
                continue
            if typed.many:
                self._report.add(
                    "M301", f"{typed.label} may repeat, an extension has one value", rule.value.mark, "| first, or | join"
                )
                continue
            many = True
            url = Line("url", "url", repeats=False, required=True, node=Const(rule.element, "url"), constant=True, mark=rule.mark)
            value = Line("", "value", False, True, typed.node, typed.constant, rule.value.mark, rule.value.text)
            nodes.append(Nested(Body("Extension", (url, value)), len(levels) - 1, element="extension"))
        return Typed(All(tuple(nodes)), many=many, label="extension") if nodes else None


def _mark_of(value: Value) -> Mark:
    return value.mark


def _to_set(name: str, definition: ElementDef) -> str:
    """How a line that sets a required element begins; with its codes where they are few."""
    codes = sorted(definitions.codes(definition.binding) or ()) if definition.strength == "required" else []
    if 0 < len(codes) <= _FEW:
        listed = "', '".join(codes)
        return f"{name}: a path ?? one of '{listed}'"
    return f"{name}: a path, or =a literal"
