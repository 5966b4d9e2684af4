"""The shape of a message as written, proven against the dictionary and FHIR's definitions: what comes out can be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from interop_engine.core.diagnostics import Mark, near
from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import FieldDef, GroupDef, SegmentRef
from interop_engine.mapping.expression import FieldPath, SyntaxProblem
from interop_engine.mapping.language import Name
from interop_engine.mapping.outbound.fhirpath import Expression, compile_expression
from interop_engine.mapping.outbound.kinds import BUNDLE, OPEN, Kind, plain
from interop_engine.mapping.outbound.language import Line, MessageFile, Shape
from interop_engine.mapping.outbound.observations import ANYTHING, CONVERSIONS, conversion
from interop_engine.mapping.outbound.values import Target
from interop_engine.mapping.resolve import Report
from interop_engine.mapping.typed import VARIES

BUNDLE_VARIABLE = "bundle"
_ENGINES = {1, 2, 7, 9, 10, 11, 12, 18}  # the fields of MSH that the engine writes
_Variables = Mapping[str, Kind]


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """A field, or a part of one, and what gives its values."""

    field: int
    component: int
    subcomponent: int
    target: Target
    repeats: bool
    expressions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """A segment. ``set_id``: its first field counts the segments of its name in their group."""

    name: str
    each: Expression | None
    when: Expression | None
    fields: tuple[FieldPlan, ...]
    set_id: bool
    required: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """A group with what it holds, in the order of the structure. ``needed``: the children without which it is not made."""

    name: str
    each: Expression | None
    when: Expression | None
    children: tuple[SegmentPlan | GroupPlan, ...]
    needed: frozenset[str]
    repeats: bool
    lead: str  # the segment that every instance begins with: it is counted over all of them


def prove(file: MessageFile, report: Report) -> tuple[GroupPlan, str] | None:
    """The plan of the message and its trigger event. None where something is wrong, which is then reported."""
    structure = dictionary.structure(file.to.text)
    if structure is None:
        hint = near(file.to.text, dictionary.structures())
        report.add("M200", f'there is no message structure "{file.to.text}"', file.to.mark, hint)
        return None
    before = len(report.mistakes)
    event = _event(file, report)
    plan = _Prover(report).group(structure, file.shape, BUNDLE, {BUNDLE_VARIABLE: BUNDLE})
    return None if len(report.mistakes) > before else (plan, event)


def _event(file: MessageFile, report: Report) -> str:
    code, _, event = file.to.text.partition("_")
    named = file.event or replace(file.to, text=event)
    if dictionary.structure_for(code, named.text) != file.to.text:
        report.add("M214", f"{file.to.text} has no trigger event {named.text}", named.mark, "write event: A08")
    return named.text


class _Prover:
    def __init__(self, report: Report) -> None:
        self._report = report

    # --- groups ----------------------------------------------------------------------------------------------------

    def group(self, definition: GroupDef, shape: Shape, here: Kind, variables: _Variables) -> GroupPlan:
        """A group as written; segments of deeper groups that need no ``each`` may stand here."""
        each, inner = self._each(shape, here, variables, repeats=definition.repeats)
        known = {**variables, shape.name: inner} if shape.name else variables
        when = self._when(shape.when, inner, known)
        found: dict[str, list[SegmentPlan | GroupPlan]] = {}
        deeper: dict[str, list[Shape]] = {}
        required: set[str] = set()
        for part in _parts(shape):
            child = definition.group(part.name)
            if child is not None:
                found.setdefault(child.name, []).append(self.group(child, part, inner, known))
            elif definition.holds(part.name):
                repeats = next(c.repeats for c in definition.children if c.name == part.name)
                found.setdefault(part.name, []).append(self._segment(part, inner, known, repeats=repeats))
            elif (way := next((g.name for g in definition.groups() if g.reaches(part.name)), "")) and part.name:
                deeper.setdefault(way, []).append(part)
            else:
                self._unknown(definition, part)
                continue
            if part.required:
                required.add(child.name if child is not None else part.name if definition.holds(part.name) else way)
        for name, parts in deeper.items():
            child = definition.group(name)
            assert child is not None
            implied = Shape("", parts[0].mark, shapes=tuple(parts), required=name in required)
            found.setdefault(name, []).append(self.group(child, implied, inner, known))
        self._once(definition, found, shape)
        children = tuple(plan for child in definition.children for plan in found.get(child.name, ()))
        needed = frozenset(child.name for child in definition.children if child.required and child.name != "MSH")
        self._complete(definition, needed - found.keys(), shape)
        lead = next((c.name for c in definition.children if c.required and isinstance(c, SegmentRef)), "")
        return GroupPlan(definition.name, each, when, children, needed | required, definition.repeats, lead)

    def _unknown(self, definition: GroupDef, part: Shape) -> None:
        names = [child.name for child in definition.children]
        hint = near(part.name, names) or f"there are: {', '.join(names)}"
        code, what = ("M202", "group") if "_" in part.name or len(part.name) != 3 else ("M201", "segment")
        self._report.add(code, f'{definition.name} has no {what} "{part.name}"', part.mark, hint)

    def _once(self, definition: GroupDef, found: Mapping[str, list[SegmentPlan | GroupPlan]], shape: Shape) -> None:
        for child in definition.children:
            if len(found.get(child.name, ())) > 1 and not child.repeats:
                self._report.add("M308", f"{child.name} is there once, and is written twice", shape.mark, "write it in one place")

    def _complete(self, definition: GroupDef, missing: frozenset[str], shape: Shape) -> None:
        for name in sorted(missing):
            self._report.add("M304", f"{definition.name} needs {name}, and nothing makes it", shape.mark)

    # --- segments and fields -----------------------------------------------------------------------------------------

    def _segment(self, shape: Shape, here: Kind, variables: _Variables, *, repeats: bool) -> SegmentPlan:
        each, inner = self._each(shape, here, variables, repeats=repeats)
        when = self._when(shape.when, inner, variables)
        fields = [self._field(line, inner, variables) for line in shape.lines]
        for part in shape.shapes:
            self._report.add("M202", f'nothing is deeper than a segment: "{part.name}"', part.mark)
        plans = tuple(plan for plan in fields if plan is not None)
        numbers = [(plan.field, plan.component, plan.subcomponent) for plan in plans]
        for line, number in zip(shape.lines, numbers, strict=False):
            if numbers.count(number) > 1 or (number[1] and (number[0], 0, 0) in numbers):
                self._report.add("M308", f"{line.path} is set twice", line.mark)
        definition = dictionary.segment(shape.name)
        assert definition is not None
        first = definition.fields.get(1)
        set_id = first is not None and first.datatype == "SI" and (1, 0, 0) not in numbers
        written = {plan.field for plan in plans}
        required = tuple(n for n in sorted(written) if definition.fields[n].required)
        return SegmentPlan(shape.name, each, when, plans, set_id, required)

    def _field(self, line: Line, here: Kind, variables: _Variables) -> FieldPlan | None:
        found = self._definition(line.path, line.mark)
        if found is None:
            return None
        field, part = found
        if line.path.segment == "MSH" and field.number in _ENGINES:
            self._report.add("M204", f"MSH-{field.number} is written by the engine", line.mark)
            return None
        expressions = [self._compile(text, here, variables) for text in line.expressions]
        good = tuple(expression for expression in expressions if expression is not None)
        target = Target(f"{line.path.segment}-{field.number}", part.datatype, part.table)
        bindings = frozenset(binding for expression in good for binding in expression.kind.bindings)
        whole = line.path.component is None
        repeats = field.repeats and whole
        self._several(line, good, target.label, repeats=repeats)
        for name, expression in zip(line.expressions, good, strict=False):
            self._converts(name, expression, target)
        component, subcomponent = line.path.component or 0, line.path.subcomponent or 0
        return FieldPlan(field.number, component, subcomponent, replace(target, bindings=bindings), repeats, good)

    def _several(self, line: Line, expressions: tuple[Expression, ...], label: str, *, repeats: bool) -> None:
        if not repeats and (len(expressions) > 1 or any(expression.kind.many for expression in expressions)):
            hint = "end it with .first(), or say which with .where(…)"
            self._report.add("M301", f"{label} takes one value here, and there may be several", line.expressions[0].mark, hint)

    def _converts(self, written: Name, expression: Expression, target: Target) -> None:
        types = plain(expression.kind)
        if not types or any(converts(kind, target.datatype) for kind in types):
            return
        into = sorted({v2 for fhir, v2 in CONVERSIONS if fhir in types and v2 not in ("text", "code", "coded", "number", "time")})
        hint = f"it converts to {', '.join(into)}" if into else "name an element of it"
        message = f"{target.label} is of type {target.datatype}, this is {' or '.join(sorted(types)[:3])}"
        self._report.add("M302", message, written.mark, hint)

    def _definition(self, path: FieldPath, mark: Mark) -> tuple[FieldDef, FieldDef] | None:
        """The field, and the part of it that is meant."""
        segment = dictionary.segment(path.segment)
        assert segment is not None
        number = path.field if isinstance(path.field, int) else segment.number(str(path.field))
        field = segment.fields.get(number)
        if field is None:
            hint = near(str(path.field), [each.name for each in segment.fields.values()])
            self._report.add("M203", f"{path.segment} has no field {path.field}", mark, hint)
            return None
        part: FieldDef | None = field
        for step in (path.component, path.subcomponent):
            if step is not None and part is not None:
                part = self._part(part, step)
        if part is None:
            self._report.add("M205", f"{path.segment}-{number} has no such component", mark, f"it is of type {field.datatype}")
            return None
        return field, part

    def _part(self, whole: FieldDef, number: int) -> FieldDef | None:
        datatype = dictionary.datatype(whole.datatype)
        found = datatype.components.get(number) if datatype is not None else None
        return found or (replace(whole, datatype="ST", table="") if whole.datatype == VARIES else None)

    # --- expressions -------------------------------------------------------------------------------------------------

    def _each(self, shape: Shape, here: Kind, variables: _Variables, *, repeats: bool) -> tuple[Expression | None, Kind]:
        if shape.each is None:
            return None, here
        found = self._compile(shape.each, here, variables)
        if found is None:
            return None, OPEN
        if found.kind.many and not repeats:
            hint = "end it with .first(), or write it where the group repeats"
            self._report.add("M301", f"{shape.name} is there once, and there may be several values", shape.each.mark, hint)
        return found, replace(found.kind, many=False)

    def _when(self, when: Name | None, here: Kind, variables: _Variables) -> Expression | None:
        found = self._compile(when, here, variables) if when is not None else None
        if found is not None and when is not None and "boolean" not in (found.kind.types or {"boolean"}):
            self._report.add("M102", "this is no condition", when.mark, "end it with .exists(), or compare it")
        return found

    def _compile(self, written: Name, here: Kind, variables: _Variables) -> Expression | None:
        try:
            return compile_expression(written.text, here, variables)
        except SyntaxProblem as problem:
            mark = Mark(written.mark.file, written.mark.line, written.mark.column + problem.column)
            code = "M204" if "has no element" in problem.message else "M207" if "there is no" in problem.message else "M101"
            self._report.add(code, problem.message, mark, problem.hint)
            return None


def converts(fhir_type: str, datatype: str) -> bool:
    """Whether a FHIR type goes into an HL7 v2 type by itself."""
    return fhir_type in ANYTHING if datatype == VARIES else conversion(fhir_type, datatype) is not None


def _parts(shape: Shape) -> list[Shape]:
    """What a group holds as written: lines of one segment are one segment."""
    lines: dict[str, list[Line]] = {}
    for line in shape.lines:
        lines.setdefault(line.path.segment, []).append(line)
    implied = [Shape(name, found[0].mark, lines=tuple(found)) for name, found in lines.items()]
    return [*implied, *shape.shapes]
