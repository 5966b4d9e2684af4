"""OBX: the value by OBX-2 with OBX-6, and the reference range."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from interop_engine.hl7.message import Value
from interop_engine.mapping.convert import codes, identifiers, names, quantities, references, texts, times
from interop_engine.mapping.convert.base import tidy, whole
from interop_engine.mapping.convert.quantities import quantity_of, range_of, structured, unit_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from interop_engine.hl7.message import Segment
    from interop_engine.mapping.context import Context

Result = tuple[str, Any]
_Unit = tuple[tuple[str, str], ...]


def observation_value(obx: Segment, context: Context) -> Result | None:
    """The value[x] of an OBX: (type with a capital, value), such as ``("Quantity", {...})``; None where there is none.

    What is not what OBX-2 says becomes text, and a finding says so. Several values of a type that is not text are joined
    as text, since value[x] takes one. Documents (ED, RP) have no value[x] in R4.
    """
    raw = obx.raw(5)
    if not raw or raw == '""':
        return None
    kind = obx.value_type
    if kind in _TEXT:
        return _texts(obx, context)
    reader = _READERS.get(kind)
    if reader is None:
        return _other(obx, kind, context)
    d = obx.delimiters
    if d.repetition and d.repetition in raw:
        values = [value for value in obx.repetitions(5) if value.raw and not value.deleted]
        if len(values) != 1:
            return _joined(values, obx, kind, context)
        return reader(values[0], obx, context)
    return reader(Value(raw, d), obx, context)


def _texts(obx: Segment, context: Context) -> Result | None:
    """ST, TX, FT: repetitions are paragraphs. A unit stays with its text."""
    del context
    raw, d = obx.raw(5), obx.delimiters
    if d.repetition and d.repetition in raw:
        text = "\n".join(part for value in obx.repetitions(5) if (part := whole(value)))
    else:
        value = obx.value(5)
        text = whole(value) if value is not None else ""
    return _with_unit(text, obx) if text else None


def _with_unit(text: str, obx: Segment) -> Result:
    unit = dict(unit_in(obx)).get("unit", "")
    return "String", f"{text} {unit}" if unit and any(c.isdecimal() for c in text) else text


def _joined(values: list[Value], obx: Segment, kind: str, context: Context) -> Result | None:
    if not values:
        return None
    context.note("values-joined", "Several values in one observation: they are joined as text.", severity="information")
    convert = _STRINGS.get(kind, texts.string)
    text = "; ".join(part for value in values if (part := convert(value, context)))
    return _with_unit(text, obx) if text else None


def _other(obx: Segment, kind: str, context: Context) -> Result | None:
    """Types without a value[x] of their own: their text. ED and RP are documents."""
    if kind in ("ED", "RP"):
        context.note("document-no-value", "A document has no place in an observation's value.", severity="information")
        return None
    values = [value for value in obx.repetitions(5) if value.raw and not value.deleted]
    convert = _STRINGS.get(kind)
    if convert is None:
        code, what = (
            ("value-type-unknown", "OBX-2 names no data type of HL7 v2") if kind else ("value-type-missing", "OBX-2 is empty")
        )
        context.note(code, f"{what}: the value is kept as text.", hl7_code="103" if kind else "101")
        convert = texts.string
    text = "\n".join(part for value in values if (part := convert(value, context)))
    return _with_unit(text, obx) if text else None


# --- By type -------------------------------------------------------------------------------------------------------------


def _number(value: Value, obx: Segment, context: Context) -> Result | None:
    text = value.text
    found = quantity_of(text, unit_in(obx))
    if found is not None:
        return "Quantity", found
    text = whole(value)
    if not text:
        return None
    context.note("not-a-number", "The value is no number, though OBX-2 says so: it is kept as text.", hl7_code="102")
    return _with_unit(text, obx)


def _structured(value: Value, obx: Segment, context: Context) -> Result | None:
    del context
    return structured(value, unit_in(obx))


def _coded(value: Value, obx: Segment, context: Context) -> Result | None:
    del obx
    found = codes.codeable_concept(value, context)
    return ("CodeableConcept", found) if found else None


def _date_time(value: Value, obx: Segment, context: Context) -> Result | None:
    del obx
    found = times.date_time(value, context)
    return ("DateTime", found) if found else _as_text(value)


def _time(value: Value, obx: Segment, context: Context) -> Result | None:
    del obx
    found = times.time(value, context)
    return ("Time", found) if found else _as_text(value)


def _as_text(value: Value) -> Result | None:
    text = whole(value)
    return ("String", text) if text else None


def _period(value: Value, obx: Segment, context: Context) -> Result | None:
    del obx
    found = times.period(value, context)
    return ("Period", found) if found else _as_text(value)


def _range(value: Value, obx: Segment, context: Context) -> Result | None:
    del context
    found = range_of(value.get(1), value.get(2), unit_in(obx))
    return ("Range", found) if found else _as_text(value)


def _composite(value: Value, obx: Segment, context: Context) -> Result | None:
    found = quantities.cq(value, context)
    if found and "unit" not in found:
        found.update(unit_in(obx))
    return ("Quantity", found) if found else _as_text(value)


def _money(value: Value, obx: Segment, context: Context) -> Result | None:
    del obx
    found = quantities.money(value, context)
    if not found:
        return _as_text(value)
    if currency := found.pop("currency", ""):
        found |= {"unit": currency, "system": "urn:iso:std:iso:4217", "code": currency}
    return "Quantity", found


_TEXT = frozenset({"ST", "TX", "FT"})
_READERS: dict[str, Callable[[Value, Segment, Context], Result | None]] = {
    "NM": _number,
    "SI": _number,
    "SN": _structured,
    **dict.fromkeys(("CWE", "CE", "CNE", "CF", "ID", "IS"), _coded),
    **dict.fromkeys(("DTM", "TS", "DT"), _date_time),
    "TM": _time,
    "DR": _period,
    "NR": _range,
    "CQ": _composite,
    **dict.fromkeys(("MO", "CP"), _money),
}
_ROOMS = (codes, identifiers, names, quantities, references, texts, times)
_STRINGS: dict[str, Callable[[Value, Context], str | None]] = {
    v2: conversion.function for room in _ROOMS for (v2, type_), conversion in room.CONVERSIONS.items() if type_ == "string"
} | dict.fromkeys(("NA", "MA", "GTS", "PT", "VID", "DLN", "JCC"), texts.string)

# --- Reference range ---------------------------------------------------------------------------------------------------

_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_BETWEEN = re.compile(rf"\s*({_NUMBER})\s*(?:-|–|—|_|~|to|đến|\.\.)\s*({_NUMBER})(?:\s*[^0-9\s].*)?", re.DOTALL)
_ONE_SIDED = re.compile(rf"\s*(<=|>=|<|>|≤|≥)\s*({_NUMBER})(?:\s*[^0-9\s].*)?", re.DOTALL)


def reference_range(obx: Segment, context: Context) -> list[dict[str, Any]]:
    """OBX-7 with OBX-6 → Observation.referenceRange: low and high where they can be read, the text always.

    ``3.9-6.4`` has both, ``<5`` a high, ``>=60`` a low; that a bound is strict is only in the text.
    """
    del context
    value = obx.value(7)
    text = tidy(value.whole) if value is not None else ""
    if not text:
        return []
    return [_bounds(text, unit_in(obx))]  # shared: nobody changes FHIR content once made


@lru_cache(maxsize=4096)
def _bounds(text: str, unit: _Unit) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if found := _BETWEEN.fullmatch(text):
        result = range_of(found[1], found[2], unit) or {}
    elif found := _ONE_SIDED.fullmatch(text):
        low, high = ("", found[2]) if found[1] in ("<", "<=", "≤") else (found[2], "")
        result = range_of(low, high, unit) or {}
    result["text"] = text
    return result
