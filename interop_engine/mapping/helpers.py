"""The functions that generated code calls by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from interop_engine.core.model import Resource
from interop_engine.hl7.message import Delimiters, Value
from interop_engine.mapping.convert import times
from interop_engine.mapping.convert.texts import string
from interop_engine.mapping.instances import Instance, obx_of
from interop_engine.mapping.primitives import as_text

if TYPE_CHECKING:
    from interop_engine.hl7.message import Message, Segment
    from interop_engine.mapping.context import Context


class Whole:
    """A whole message as if it were one group, for conditions that do not care for groups."""

    def __init__(self, message: Message) -> None:
        self._message = message

    @property
    def segments(self) -> Whole:
        """Itself: ``get`` is all that is asked of a group's segments."""
        return self

    def get(self, name: str, default: object = None) -> object:
        """All segments of a name."""
        return self._message.all(name) or default

    def deep(self, name: str) -> list[Segment]:
        """All segments of a name."""
        return self._message.all(name)


_CODED = frozenset({"CWE", "CE", "CNE", "CF"})


def only(segment: Segment, field: int, context: Context) -> Value | None:
    """The first repetition of a field that should have no other; that there are others is said once."""
    value = segment.value(field)
    if value is not None and len(value.raw) < len(segment.raw(field)) and field > 2:
        place = f"{segment.name}[{segment.number}]-{field}"
        if not any(finding.code == "repetition-dropped" and finding.path == place for finding in context.findings):
            context.segment, context.field, context.repetition = segment, field, 0
            context.note("repetition-dropped", "The field does not repeat: its first value is taken, the others are not.")
    return value


def first_by(group: Any, route: Sequence[str], segment: str) -> Segment | None:
    """The segment at the end of a way down groups, None where it is not where its structure has it."""
    for name in route:
        found = group.groups.get(name)
        if found is None:
            return None
        group = found[0]
    segments = group.segments.get(segment)
    return segments[0] if segments else None


def first_of(segments: Sequence[Segment]) -> Segment | None:
    """The first of some segments."""
    return segments[0] if segments else None


def first_text(segment: Segment, field: int) -> str:
    """The text of a field's first component, '' where absent or ``""``."""
    value = segment.value(field)
    return "" if value is None or value.deleted else value.text


def whole_text(segment: Segment, field: int) -> str:
    """All the text of a field, stray separators kept; '' where absent or ``""``."""
    value = segment.value(field)
    return "" if value is None or value.deleted else value.whole


def joined(result: tuple[str, Any] | None, instance: Instance, context: Context) -> tuple[str, Any] | None:
    """The value of an observation with the texts of those that continue it."""
    if instance.more is None:
        return result
    texts = [result[1]] if result is not None else []
    for levels in instance.more:
        obx = obx_of(levels[-1])
        value = obx.value(5) if obx is not None else None
        if value is not None and (text := string(value, context)):
            texts.append(text)
    return ("String", "\n".join(texts)) if texts else None


_MOST_FIELDS = 4096
_LONGEST_FIELD = 300


def converted(convert: Callable[..., Any], segment: Segment, field: int, context: Context, *, repeats: bool) -> list[Any]:
    """What a conversion makes of each value of a field, None for a value of which it makes nothing.

    Where it had nothing to say beside, the answer is remembered for the field's text (``Context.memory``): codes, people and
    times come again and again. It is shared between messages: nobody changes FHIR content once it is made.
    """
    first_value = None if repeats else only(segment, field, context)
    values = segment.repetitions(field) if repeats else [] if first_value is None else [first_value]
    said = _said(context)
    context.segment, context.field = segment, field
    found = []
    for number, value in enumerate(values):
        if value.raw and value.raw != '""':
            context.repetition = number
            found.append(convert(value, context))
    context.repetition = 0
    raw = segment.raw(field)
    alone = repeats or first_value is None or first_value.raw == raw
    if alone and said == _said(context) and len(raw) <= _LONGEST_FIELD:
        _remember(context, convert, raw, found)
    return found


def related(convert: Callable[..., Any], segment: Segment, key: tuple[str, ...], context: Context) -> list[Any]:
    """What a conversion makes of fields that belong together; remembered for their texts, ``key``, as by ``converted``."""
    said = _said(context)
    found: list[Any] = convert(segment, context)
    if said == _said(context) and sum(map(len, key)) <= _LONGEST_FIELD:
        _remember(context, convert, key, found)
    return found


def _said(context: Context) -> tuple[object, ...]:
    return len(context.findings), len(context.unmapped), context.extensions, context.park


def _remember(context: Context, convert: Callable[..., Any], key: str | tuple[str, ...], found: list[Any]) -> None:
    known = context.memory[convert]
    if len(known) >= _MOST_FIELDS:
        known.clear()
    known[key] = found


def varied(choices: Mapping[str, Callable[..., Any]], segment: Segment, value: Value, context: Context) -> Any:
    """A value converted by what OBX-2 says it is."""
    convert = choices.get(segment.value_type)
    return None if convert is None else convert(value, context)


def words(segment: Segment, value: Value) -> str:
    """The text of OBX-5: of a code its words, else all that was sent."""
    if segment.value_type in _CODED:
        return value.get(9) or value.get(2) or value.get(5) or value.get(1)
    return value.whole


def coded_name(value: Value) -> str:
    """What names a code: the code with its system, else the alternate one, else the words. Codes come again and again."""
    return _coded_name(value.raw, value.delimiters, value.level)


@lru_cache(maxsize=8192)
def _coded_name(raw: str, delimiters: Delimiters, level: int) -> str:
    value = Value(raw, delimiters, level)
    for code, system in ((1, 3), (4, 6)):
        if found := value.get(code):
            name = value.get(system)
            return f"{name}|{found}" if name else found
    return value.get(2) or value.get(9) or value.get(5)


def other_name(value: Value) -> str:
    """What names a person, an organization or a specimen: its number, else all that was sent."""
    return value.get(1) or value.whole


def extend(target: Resource, element: str, context: Context) -> None:
    """Move what a conversion to a primitive added into the primitive's sibling."""
    if not isinstance(target[element], dict | list):
        target[f"_{element}"] = {"extension": context.extensions}
    context.extensions = None


def is_deleted(segment: Segment, field: int, component: int) -> bool:
    """Whether the sender wrote ``""``."""
    for value in segment.repetitions(field):
        found = value.component(component) if component else value
        if found is not None and found.deleted:
            return True
    return False


def ordered(left: str, operator: str, right: Sequence[str]) -> bool:
    """Compare as numbers; what is no number is in no order."""
    try:
        one, other = Decimal(left), Decimal(right[0]) if right else Decimal("NaN")
    except InvalidOperation:
        return False
    if one.is_nan() or other.is_nan():
        return False
    return {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[operator]


NAMES: Mapping[str, Any] = {
    "first_of": first_of,
    "only": only,
    "Value": Value,
    "first_by": first_by,
    "first_text": first_text,
    "whole_text": whole_text,
    "converted": converted,
    "related": related,
    "joined": joined,
    "varied": varied,
    "coded_name": coded_name,
    "words": words,
    "other_name": other_name,
    "extend": extend,
    "is_deleted": is_deleted,
    "ordered": ordered,
    "sorted_period": times.in_order,
    "tidy": as_text,
}
