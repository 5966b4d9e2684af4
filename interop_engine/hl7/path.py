"""One path into a message, as integrators write it: parsed, typed and read.

    path       = SEG [ "[" choice "]" ] "-" field [ "[" choice "]" ] [ "." number [ "." number ] ]
    field      = number | name                         PID-3, PID-patient_identifier_list
    choice     = number | test                         from 1
    test       = [ "-" field ] [ "." number [ "." number ] ] (("=" | "!=") text | "in" "[" text ("," text)* "]")

``PID-3[2].1``, ``PID-3[.5 = 'NI']``, ``OBX[-3.1 = 'IMP']-5``. A segment's test begins with ``-field``, a repetition's with
``.component``; a test is true where any repetition passes it; ``!=`` is the negation of ``=``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from interop_engine.core.diagnostics import near
from interop_engine.core.errors import ParseError
from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import FieldDef
from interop_engine.hl7.message import Segment, Value


class PathError(ParseError):
    """The text is not a path."""

    def __init__(self, message: str, column: int) -> None:
        """``column`` counts from 0 within the text."""
        super().__init__(message)
        self.column = column


@dataclass(frozen=True, slots=True)
class Predicate:
    """``-3.1 = 'IMP'``; ``field`` is 0 in a test of a repetition. ``negated`` for ``!=``."""

    field: int
    component: int
    subcomponent: int
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """A path. ``component`` and ``subcomponent`` are 0 where it does not go so deep; a choice is None where it takes all."""

    segment: str
    field: int
    component: int = 0
    subcomponent: int = 0
    segment_choice: int | Predicate | None = None
    repetition: int | Predicate | None = None


_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>\d+)|(?P<text>'(?:[^']|'')*')|(?P<sign>!=|[-.=,\[\]]))")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")


def parse_path(text: str) -> Path:
    """Read a path. Raises PathError with the column of the first thing that is wrong."""
    return _Parser(text).path()


def resolve_field(segment: str, field: int | str) -> FieldDef | None:
    """A field's definition by number or name (today's or an older one); None where the dictionary has none (Z-segments)."""
    definition = dictionary.segment(segment)
    if definition is None:
        return None
    return definition.fields.get(field if isinstance(field, int) else definition.number(field))


def resolve_component(datatype: str, component: int) -> FieldDef | None:
    """A component's definition. The first component of a primitive is the primitive itself; None where there is none."""
    definition = dictionary.datatype(datatype)
    if definition is None:
        return None
    if not definition.components and component == 1:
        return FieldDef(1, "", datatype)
    return definition.components.get(component)


def resolve_type(path: Path) -> tuple[str, bool] | None:
    """The data type at the path's end and whether its field may repeat there; None where the dictionary knows no such place."""
    field = resolve_field(path.segment, path.field)
    if field is None:
        return None
    type_ = field.datatype
    for number in (path.component, path.subcomponent):
        if number:
            part = resolve_component(type_, number)
            if part is None:
                return None
            type_ = part.datatype
    return type_, field.repeats and not isinstance(path.repetition, int)


def read(segments: Iterable[Segment], path: Path) -> list[Value]:
    """The valued places a path names, in order. ``segments`` are those in question (``Message.all``, ``Group.deep``)."""
    found: list[Value] = []
    for segment in _chosen(list(segments), path.segment_choice):
        repetitions = segment.repetitions(path.field)
        for value in _repetitions(repetitions, path.repetition):
            place = _deeper(value, path.component, path.subcomponent)
            if place is not None and place.raw:
                found.append(place)
    return found


def _chosen(segments: list[Segment], choice: int | Predicate | None) -> Sequence[Segment]:
    if choice is None:
        return segments
    if isinstance(choice, int):
        return segments[choice - 1 : choice]
    return [segment for segment in segments if _passes(segment.repetitions(choice.field), choice)]


def _repetitions(values: list[Value], choice: int | Predicate | None) -> Sequence[Value]:
    if choice is None:
        return values
    if isinstance(choice, int):
        return values[choice - 1 : choice]
    return [value for value in values if _passes([value], choice)]


def _passes(values: Sequence[Value], test: Predicate) -> bool:
    places = (_deeper(value, test.component, test.subcomponent) for value in values)
    equal = any(place is not None and place.text in test.values for place in places)
    return equal != test.negated


def _deeper(value: Value, component: int, subcomponent: int) -> Value | None:
    place: Value | None = value
    for number in (component, subcomponent):
        if number and place is not None:
            place = place.component(number)
    return place


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def path(self) -> Path:
        segment = self._take("name", "a segment of three characters")
        if not _SEGMENT.fullmatch(segment):
            raise PathError(f'"{segment}" is not a segment', 0)
        segment_choice = self._choice(segment, of_segment=True)
        self._sign("-")
        field = self._field(segment)
        repetition = self._choice(segment, of_segment=False)
        component, subcomponent = self._components()
        if self._text[self._at :].strip():
            raise PathError(f'expected the end, found "{self._text[self._at :].strip()}"', self._at)
        return Path(segment, field, component, subcomponent, segment_choice, repetition)

    def _peek(self) -> tuple[str, str, int]:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            return "end", "", self._at
        kind = match.lastgroup or ""
        return kind, match.group(kind), match.end()

    def _take(self, kind: str, wanted: str) -> str:
        found, text, end = self._peek()
        if found != kind:
            raise PathError(f"expected {wanted}", self._at)
        self._at = end
        return text

    def _is(self, sign: str) -> bool:
        kind, text, end = self._peek()
        if kind not in ("sign", "name") or text != sign:
            return False
        self._at = end
        return True

    def _sign(self, sign: str) -> None:
        if not self._is(sign):
            raise PathError(f'expected "{sign}"', self._at)

    def _number(self, wanted: str) -> int:
        column = self._at
        number = int(self._take("number", wanted))
        if number == 0:
            raise PathError("fields, components and repetitions count from 1", column)
        return number

    def _field(self, segment: str) -> int:
        kind, text, end = self._peek()
        if kind != "name":
            return self._number("the number or the name of a field")
        definition = dictionary.segment(segment)
        number = definition.number(text) if definition else 0
        if not number:
            help_ = near(text, (field.name for field in definition.fields.values())) if definition else ""
            raise PathError(f'{segment} has no field "{text}"{f", {help_}" if help_ else ""}', self._at)
        self._at = end
        return number

    def _components(self) -> tuple[int, int]:
        if not self._is("."):
            return 0, 0
        component = self._number("the number of a component")
        return component, self._number("the number of a sub-component") if self._is(".") else 0

    def _choice(self, segment: str, *, of_segment: bool) -> int | Predicate | None:
        if not self._is("["):
            return None
        is_number = self._peek()[0] == "number"
        choice = self._number("a number") if is_number else self._test(segment, of_segment=of_segment)
        self._sign("]")
        return choice

    def _test(self, segment: str, *, of_segment: bool) -> Predicate:
        field = 0
        if of_segment:
            self._sign("-")
            field = self._field(segment)
        component, subcomponent = self._components()
        if not of_segment and not component:
            raise PathError('expected a number or ".component"', self._at)
        if self._is("in"):
            return Predicate(field, component, subcomponent, self._texts())
        negated = self._is("!=")
        if not negated:
            self._sign("=")
        return Predicate(field, component, subcomponent, (self._literal(),), negated)

    def _texts(self) -> tuple[str, ...]:
        self._sign("[")
        texts = [self._literal()]
        while self._is(","):
            texts.append(self._literal())
        self._sign("]")
        return tuple(texts)

    def _literal(self) -> str:
        return self._take("text", "a text in single quotes")[1:-1].replace("''", "'")
