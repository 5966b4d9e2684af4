"""Paths against the dictionary: which group a path starts from, which type it gives, how often.

A path resolves in the nearest enclosing level whose definition holds its segment, directly or deeper. Empty there is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from interop_engine.core.diagnostics import Mark, Mistake, Severity, near
from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import FieldDef, GroupDef, SegmentDef, SegmentRef
from interop_engine.mapping.expression import Condition as ConditionSyntax
from interop_engine.mapping.expression import FieldPath
from interop_engine.mapping.typed import VARIES, Condition, Read, Step


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the scope: a group, a segment of ``each: DG1``, or a value of a fragment or of ``each: OBX-5``."""

    group: GroupDef | None = None
    segment: str = ""
    datatype: str = ""


@dataclass
class Report:
    """All mistakes of a run, each once."""

    mistakes: list[Mistake] = field(default_factory=list)

    def add(self, code: str, message: str, mark: Mark, hint: str = "", severity: Severity = "error") -> None:
        """Add a mistake, unless the same one stands there already (a fragment is checked once a user)."""
        mistake = Mistake(code, message, mark, hint, severity)
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)


@dataclass(frozen=True)
class Names:
    """What is defined outside a mapping: Z-segments of dialects."""

    segments: Mapping[str, SegmentDef]

    def segment(self, name: str) -> SegmentDef | None:
        """A segment of the dictionary or of a dialect."""
        return self.segments.get(name) or dictionary.segment(name)


At = Callable[[int], Mark]
Conditions = Callable[[ConditionSyntax, tuple[Level, ...], At], Condition | None]


class Resolver:
    """Resolves paths at a tuple of levels, the message first."""

    def __init__(self, names: Names, report: Report, structure: str, conditions: Conditions) -> None:
        self._names = names
        self._report = report
        self._structure = structure
        self._conditions = conditions

    # --- groups ----------------------------------------------------------------------------------------------------

    def steps(self, path: str, levels: tuple[Level, ...], mark: Mark) -> tuple[tuple[Step, ...], tuple[Level, ...]] | None:
        """The steps of ``each: A.B.SEG`` down from the innermost group, and the levels with theirs added."""
        steps: list[Step] = []
        group = next((level.group for level in reversed(levels) if level.group is not None), None)
        if group is None:
            self._report.add("M202", f'"{path}" names a group, and there is none here', mark)
            return None
        names = path.split(".")
        for name in names:
            child = group.group(name) if group is not None else None
            if child is not None:
                steps.append(Step(child.name))
                levels = (*levels, Level(group=child))
                group = child
            elif group is not None and name == names[-1] and (group.reaches(name) or self._is_z(name)):
                steps.append(Step(name, segment=True, deep=not group.holds(name)))
                levels = (*levels, Level(segment=name))
                group = None
            else:
                self._unknown_group(name, group, mark)
                return None
        return tuple(steps), levels

    def _unknown_group(self, name: str, group: GroupDef | None, mark: Mark) -> None:
        if group is None:
            self._report.add("M202", f'nothing is deeper than a segment: "{name}"', mark)
            return
        known = [child.name for child in group.children]
        hint = near(name, known) or f"there are: {', '.join(child.name for child in group.groups()) or 'no groups'}"
        self._report.add("M202", f'{group.name} has no group "{name}"', mark, hint)

    # --- paths -----------------------------------------------------------------------------------------------------

    def read(self, path: FieldPath, levels: tuple[Level, ...], at: At) -> Read | None:
        """The read of a path. None where something is wrong, which is then reported."""
        mark = at(path.column)
        if not path.segment and path.field is None:
            return self._of_value(path, levels, mark)
        place = self._place(path, levels, mark)
        if place is None:
            return None
        level, segment, deep, loop = place
        test = self._choice(path.segment_choice, (*levels, Level(segment=segment)), at)
        if test is _WRONG:
            return None
        index = path.segment_choice if isinstance(path.segment_choice, int) else 0
        loop = loop and not index
        group = levels[level].group
        route = _route(group, segment) if deep and group is not None else ()
        base = Read(
            level, segment, 0, "", str(path), deep=deep, route=route, loop=loop, many=loop, segment_index=index, segment_test=test
        )
        return base if path.field is None else self._field(base, path, levels, at)

    def _field(self, base: Read, path: FieldPath, levels: tuple[Level, ...], at: At) -> Read | None:
        mark = at(path.column)
        found = self._field_def(base.segment, path, mark)
        if found is None:
            return None
        test = self._choice(path.field_choice, (*levels, Level(datatype=found.datatype)), at)
        if test is _WRONG:
            return None
        repetition = path.field_choice if isinstance(path.field_choice, int) else 0
        repeats = found.repeats and not repetition
        label = f"{base.segment}-{found.number}"
        if path.component:
            label += f".{path.component}" + (f".{path.subcomponent}" if path.subcomponent else "")
        whole = replace(
            base,
            field=found.number,
            datatype=found.datatype,
            label=label,
            repeats=found.repeats,
            many=base.loop or repeats,
            required=found.required and not base.segment_test,
            table=found.table,
            repetition=repetition,
            repetition_test=test,
        )
        return self._component(whole, path, mark)

    def _component(self, whole: Read, path: FieldPath, mark: Mark) -> Read | None:
        read, label = whole, whole.label.partition(".")[0]
        for attribute, number in (("component", path.component), ("subcomponent", path.subcomponent)):
            if number is None:
                return read
            part = self._part(read.datatype, number, mark, label)
            if part is None:
                return None
            label += f".{number}"
            table = part.table if part.datatype != read.datatype else read.table
            required = read.required and number == 1
            read = replace(read, datatype=part.datatype, table=table, required=required)
            read = replace(read, component=number) if attribute == "component" else replace(read, subcomponent=number)
        return read

    def _part(self, datatype: str, number: int, mark: Mark, label: str) -> FieldDef | None:
        if datatype == VARIES:
            return FieldDef(number, "", "ST")
        found = dictionary.datatype(datatype)
        if found is not None and (part := found.components.get(number)) is not None:
            return part
        if number == 1 and found is not None and not found.components:
            return FieldDef(1, "", datatype)
        if label == "OBX-3.1":  # the suffix of a report's part, 36643-5&IMP (chapter 7.2.4): not in the dictionary
            return FieldDef(number, "", datatype)
        known = len(found.components) if found is not None else 0
        hint = f"{datatype} has {known} components" if known else f"{datatype} has no components"
        self._report.add("M205", f"{label} has no component {number}", mark, hint)
        return None

    def _of_value(self, path: FieldPath, levels: tuple[Level, ...], mark: Mark) -> Read | None:
        level = levels[-1]
        if not level.datatype:
            self._report.add(
                "M212", f'"{path}" is relative to a value, and there is none here', mark, "write the segment: PID-5.1"
            )
            return None
        label = level.datatype + str(path).rstrip(".")
        return self._component(Read(len(levels) - 1, "", 0, level.datatype, label, required=path.component is None), path, mark)

    def _place(self, path: FieldPath, levels: tuple[Level, ...], mark: Mark) -> tuple[int, str, bool, bool] | None:
        """(level, segment, deep, loop) of a path's segment."""
        name = path.segment
        if not name:
            for index in range(len(levels) - 1, -1, -1):
                if levels[index].segment:
                    return index, levels[index].segment, False, False
            self._report.add(
                "M212", f'"{path}" is relative to a segment, and there is none here', mark, "write the segment: OBX-3"
            )
            return None
        for index in range(len(levels) - 1, -1, -1):
            level = levels[index]
            if level.segment == name:
                return index, name, False, False
            if level.group is None:
                continue
            if level.group.holds(name):
                loop = any(isinstance(c, SegmentRef) and c.name == name and c.repeats for c in level.group.children)
                return index, name, False, loop
            if level.group.reaches(name):
                return index, name, True, level.group.repeating(name)
            if self._is_z(name):
                return index, name, True, False
        known = sorted(_segments(levels[0].group)) if levels[0].group else []
        hint = near(name, known)
        if self._names.segment(name) is None and name.startswith("Z"):
            hint = "describe it in a dialect: segments: {" + name + ": {1: {name: …, type: ST}}}"
        self._report.add("M201", f"{self._structure} has no segment {name}", mark, hint)
        return None

    def crosses(self, read: Read, levels: tuple[Level, ...]) -> bool:
        """Whether a read from the whole message goes through a repeating group: one patient's data would go to another.

        Where the message is of one patient, as its structure says, there is no other.
        """
        group = levels[read.level].group
        if read.level or not read.deep or not read.loop or group is None:
            return False
        return _through(group, read.segment) and not any(child.name == "PID" for child in group.children)

    def _field_def(self, segment: str, path: FieldPath, mark: Mark) -> FieldDef | None:
        known = self._names.segment(segment)
        if known is None:
            self._report.add("M201", f"nothing is known of segment {segment}", mark, "describe it in a dialect")
            return None
        number = known.number(path.field) if isinstance(path.field, str) else path.field
        found = known.fields.get(number or 0)
        if found is None:
            names = [item.name for item in known.fields.values()]
            last = max(known.fields, default=0)
            hint = near(path.field, names) if isinstance(path.field, str) else f"its last field is {segment}-{last}"
            self._report.add("M203", f"{segment} has no field {path.field}", mark, hint)
        return found

    def _choice(self, choice: int | ConditionSyntax | None, levels: tuple[Level, ...], at: At) -> Condition | None:
        if choice is None or isinstance(choice, int):
            return None
        return self._conditions(choice, levels, at) or _WRONG

    def _is_z(self, name: str) -> bool:
        return len(name) == 3 and name.startswith("Z") and name in self._names.segments


_WRONG: Any = object()  # a condition that was reported


def _segments(group: GroupDef) -> set[str]:
    return {c.name for c in group.children if isinstance(c, SegmentRef)}.union(*(_segments(g) for g in group.groups()))


def _through(group: GroupDef, segment: str) -> bool:
    return any(child.reaches(segment) and (child.repeats or _through(child, segment)) for child in group.groups())


def _route(group: GroupDef, segment: str) -> tuple[str, ...]:
    """The groups on the way down to a segment, the first way there is."""
    for child in group.groups():
        if child.holds(segment):
            return (child.name,)
        if child.reaches(segment):
            return (child.name, *_route(child, segment))
    return ()


def z_segments(described: Mapping[str, Mapping[int, tuple[str, str, bool]]]) -> dict[str, SegmentDef]:
    """Segments as a dialect describes them; a known segment's other fields stay as the standard has them."""
    found: dict[str, SegmentDef] = {}
    for name, fields in described.items():
        own = {n: FieldDef(n, label, kind, repeats) for n, (label, kind, repeats) in fields.items()}
        standard = dictionary.segment(name)
        found[name] = SegmentDef(name, name, {**(standard.fields if standard else {}), **own})
    return found
