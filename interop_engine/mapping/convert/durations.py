"""Amounts of time: CQ, and numbers whose place says their unit, → Duration or whole minutes."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from interop_engine.hl7.scalars import read_decimal
from interop_engine.mapping.convert.base import Conversion, tidy
from interop_engine.mapping.convert.quantities import LARGEST
from interop_engine.terminology.units import UCUM, ucum

if TYPE_CHECKING:
    from interop_engine.hl7.message import Value
    from interop_engine.mapping.context import Context

Json = dict[str, Any]

Amount = tuple[Decimal, str]
"""A number and its unit of time (UCUM)."""

LETTERS = {"S": "s", "M": "min", "H": "h", "D": "d", "W": "wk", "L": "mo"}
"""The units of time of HL7 v2 patterns and durations (table 0335, TQ.3); L is a lunar cycle, which is said for a month."""
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "wk": 604800}
_UNITS = frozenset(LETTERS.values()) | {"a"}


def unit_of_time(text: str) -> str:
    """The UCUM code of a unit of time as senders write it, empty for any other unit."""
    code = LETTERS.get(text) or ucum(text)
    return code if code in _UNITS else ""


def minutes(number: Decimal, unit: str) -> Decimal | None:
    """An amount of time in minutes; None for months and years, which have no fixed length."""
    seconds = _SECONDS.get(unit)
    return None if seconds is None else number * seconds / 60


def amount_of(value: Value | None) -> Amount | None:
    """A CQ of time as number and UCUM code; None where it is none."""
    if value is None:
        return None
    number = read_decimal(value.get(1))
    unit = unit_of_time(tidy(value.get(2))) or unit_of_time(tidy(value.get(2, 2)))
    return (number, unit) if number is not None and number >= 0 and unit else None


def duration_of(number: Decimal, unit: str) -> Json:
    """A Duration of a number and the UCUM code of its unit."""
    return {"value": number, "unit": unit, "system": UCUM, "code": unit}


def duration(value: Value, context: Context) -> Json | None:
    """CQ → Duration; an amount of anything but time is left out."""
    found = amount_of(value)
    if found is None and value.raw:
        context.note("not-a-duration", "The amount is not one of time; it is left out.")
    return duration_of(*found) if found else None


def days(value: Value, context: Context) -> Json | None:
    """NM of days (PV2-10, PV2-11) → Duration."""
    number = read_decimal(value.text)
    if number is not None and number >= 0:
        return duration_of(number, "d")
    if value.raw:
        context.note("not-a-number", "The text is no number of days; it is left out.")
    return None


def whole_minutes(value: Value, context: Context) -> int | None:
    """CQ of time → whole minutes, at least one; without a unit the number counts minutes."""
    number = read_decimal(value.get(1))
    unit = unit_of_time(tidy(value.get(2))) if value.get(2) else "min"
    found = minutes(number, unit) if number is not None else None
    if found is not None and 0 < found <= LARGEST and found == int(found):
        return int(found)
    if value.raw:
        context.note("not-a-duration", "The amount is no whole number of minutes; it is left out.")
    return None


CONVERSIONS = {
    ("CQ", "Duration"): Conversion(duration, "A Duration, where the unit is one of time.", (1, 2)),
    **{("CQ", to): Conversion(whole_minutes, "Whole minutes.", (1, 2)) for to in ("positiveInt", "unsignedInt")},
}

PLACES = {("PV2", field, "Duration"): Conversion(days, "A Duration in days.", (1,)) for field in (10, 11)}
