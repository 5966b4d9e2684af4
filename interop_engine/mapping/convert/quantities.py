"""Numbers: NM, SN, NR, CQ, CP, MO and units → decimal, integer, Quantity, Range, Ratio, Money.

Digits are kept as written (``5.20``), as ``decimal.Decimal``. The sender's unit always stays in ``unit``; a UCUM code is
added where the table knows it. What is no number is never made one: it becomes text, and a finding says so.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from interop_engine.hl7.message import Value
from interop_engine.hl7.scalars import read_decimal
from interop_engine.mapping.convert.base import Conversion, tidy
from interop_engine.terminology.units import UCUM, known_codes, ucum

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from interop_engine.hl7.message import Delimiters, Segment
    from interop_engine.mapping.context import Context

_COMPARATORS = {
    "<": "<",
    "<=": "<=",
    ">=": ">=",
    ">": ">",
    "=<": "<=",
    "=>": ">=",
    "≤": "<=",
    "≥": ">=",
    "&lt;": "<",
    "&gt;": ">",
}
_MARKS = tuple(sorted(_COMPARATORS, key=len, reverse=True))
LARGEST = 2_147_483_647  # FHIR's integer has 32 bits
_MOST_DIGITS = 60  # more is no measurement; a sender's stray text must not become a number


@lru_cache(maxsize=1024)
def _unit(text: str, name: str, system: str) -> tuple[tuple[str, str], ...]:
    """The members of a Quantity that say its unit, for OBX-6.1, .2 and .3."""
    if text in ("10", "x10", "X10") and name[:1].isdecimal():  # 10^9/L, its caret not escaped: very common
        text, name = f"{text}^{name}", ""
    shown = tidy(name) or tidy(text)
    if not shown:
        return ()
    code = ucum(text) or ucum(name)
    if not code and system.upper() == "UCUM" and text in known_codes():
        code = text
    return (("unit", shown), ("system", UCUM), ("code", code)) if code else (("unit", shown),)


def unit_of(value: Value | None) -> tuple[tuple[str, str], ...]:
    """``unit``, and ``system`` and ``code`` where UCUM has it, of OBX-6 (CWE, CE or ST)."""
    return _unit(value.get(1), value.get(2), value.get(3)) if value is not None else ()


def unit_in(obx: Segment) -> tuple[tuple[str, str], ...]:
    """The unit of an OBX, from OBX-6."""
    raw = obx.raw(6)
    return _unit_of_raw(raw, obx.delimiters) if raw else ()


@lru_cache(maxsize=4096)
def _unit_of_raw(raw: str, delimiters: Delimiters) -> tuple[tuple[str, str], ...]:
    first = raw.partition(delimiters.repetition)[0] if delimiters.repetition else raw
    return unit_of(Value(first, delimiters))


@lru_cache(maxsize=4096)
def number_of(text: str) -> tuple[str, Decimal] | None:
    """A number as people write results: comparator (or '') and decimal; None where it is none. ``< 5`` is less than 5."""
    comparator = ""
    text = text.strip()
    if text[:1] in "<>=≤≥&":
        mark = next((mark for mark in _MARKS if text.startswith(mark)), "")
        if not mark:
            return None
        comparator, text = _COMPARATORS[mark], text[len(mark) :].strip()
    found = read_decimal(text) if 0 < len(text) <= _MOST_DIGITS else None
    return None if found is None else (comparator, found)


def quantity_of(text: str, unit: tuple[tuple[str, str], ...]) -> dict[str, Any] | None:
    """A Quantity of a text and a unit; None where the text is no number."""
    found = number_of(text)
    if found is None:
        return None
    comparator, number = found
    result: dict[str, Any] = {"value": number}
    if comparator:
        result["comparator"] = comparator
    result.update(unit)
    return result


def quantity(value: Value, context: Context) -> dict[str, Any] | None:
    """NM → Quantity without a unit; OBX-6 comes along only with OBX-5."""
    text = value.text
    found = quantity_of(text, ()) if text else None
    if found is None and text:
        context.note("not-a-number", "The text is no number; it is left out.")
    return found


def decimal(value: Value, context: Context) -> Decimal | None:
    """NM → decimal with the digits as written."""
    text = value.text
    found = read_decimal(text) if text and len(text) <= _MOST_DIGITS else None
    if found is None and text:
        context.note("not-a-number", "The text is no number; it is left out.")
    return found


def _integer(low: int) -> Callable[[Value, Context], int | None]:
    def convert(value: Value, context: Context) -> int | None:
        number = decimal(value, context)
        if number is None:
            return None
        if number != number.to_integral_value() or not low <= number <= LARGEST:
            context.note("not-an-integer", f"The number is no whole number from {low} on; it is left out.")
            return None
        return int(number)

    return convert


def cq(value: Value, context: Context) -> dict[str, Any] | None:
    """CQ → Quantity with its unit (of which it has the first parts as sub-components)."""
    unit = value.component(2)
    found = quantity_of(value.get(1), unit_of(unit))
    if found is None and value.get(1):
        context.note("not-a-number", "The text is no number; it is left out.", "1")
    return found


def money(value: Value, context: Context) -> dict[str, Any] | None:
    """MO, or CP with its MO first → Money; the currency only where it is a code of ISO 4217's form."""
    inner = value.component(1)
    amount, currency = (inner.get(1), inner.get(2)) if inner and inner.get(2) else (value.get(1), value.get(2))
    found = read_decimal(amount) if amount else None
    if found is None:
        if amount:
            context.note("not-a-number", "The text is no number; it is left out.", "1")
        return None
    result: dict[str, Any] = {"value": found}
    if len(currency) == 3 and currency.isascii() and currency.isalpha():
        result["currency"] = currency.upper()
    return result


def amount_text(value: Value, context: Context) -> str | None:
    """CQ, MO, CP → the number and its unit or currency as people read them."""
    del context
    first = value.component(1)
    unit = tidy(value.get(2, 2)) or tidy(value.get(2))
    if first is not None and first.get(2):  # CP: its amount has the currency
        return tidy(f"{first.get(1)} {first.get(2)}") or None
    return tidy(f"{value.get(1)} {unit}") or None


def range_of(low: str, high: str, unit: tuple[tuple[str, str], ...]) -> dict[str, Any] | None:
    """A Range of two number texts, either of which may be empty; None where one is no number or they are reversed."""
    result: dict[str, Any] = {}
    for name, text in (("low", low), ("high", high)):
        if not text:
            continue
        number = read_decimal(text) if len(text) <= _MOST_DIGITS else None
        if number is None:
            return None
        result[name] = {"value": number, **dict(unit)}
    if len(result) == 2 and result["low"]["value"] > result["high"]["value"]:
        return None
    return result or None


def nr(value: Value, context: Context) -> dict[str, Any] | None:
    """NR → Range."""
    found = range_of(value.get(1), value.get(2), ())
    if found is None and value.raw:
        context.note("not-a-range", "The two numbers make no range; it is left out.")
    return found


def structured(value: Value, unit: tuple[tuple[str, str], ...]) -> tuple[str, Any] | None:
    """SN → (``Quantity`` with comparator, ``Range``, ``Ratio`` or ``String``, value); None where it is empty.

    SN.3 decides: ``-`` a range, ``:`` or ``/`` a ratio, ``.`` a decimal in two parts, ``+`` (as in ``2^+``) text.
    """
    comparator, first, separator, second = value.get(1), value.get(2), value.get(3), value.get(4)
    text = tidy(" ".join(part for part in (comparator, first, separator, second) if part))
    if not text:
        return None
    one = read_decimal(first) if first else None
    if one is not None and not separator and not second:
        mark = _COMPARATORS.get(comparator)
        if mark or comparator in ("", "="):
            result: dict[str, Any] = {"value": one}
            if mark:
                result["comparator"] = mark
            result.update(unit)
            return "Quantity", result
    two = read_decimal(second) if second else None
    if one is not None and two is not None and comparator in ("", "="):
        if separator == "-" and (found := range_of(first, second, unit)) is not None:
            return "Range", found
        if separator in (":", "/"):
            return "Ratio", {"numerator": {"value": one}, "denominator": {"value": two}}
        if separator == "." and second.isdecimal() and (whole := read_decimal(f"{first}.{second}")) is not None:
            return "Quantity", {"value": whole, **dict(unit)}
    shown = dict(unit).get("unit", "")
    return "String", f"{text} {shown}" if shown else text


def _part(kind: str) -> Callable[[Value, Context], Any]:
    def convert(value: Value, context: Context) -> Any:
        found = structured(value, ())
        if found is None:
            return None
        if found[0] != kind:
            context.note("other-form", f"The structured number is not a {kind.lower()}; it is left out.")
            return None
        return found[1]

    return convert


def structured_text(value: Value, context: Context) -> str | None:
    """SN → its text as people read it."""
    del context
    return tidy(" ".join(part for part in (value.get(n) for n in range(1, 5)) if part)) or None


def unit_quantity(value: Value, context: Context) -> dict[str, Any] | None:
    """CWE of a unit → Quantity with only its unit."""
    del context
    return dict(unit_of(value)) or None


def amount(number: int, unit: int) -> Callable[[Segment, Context], dict[str, Any] | None]:
    """The conversion of a segment's field with an amount, and its field with the unit, into a Quantity without comparator."""

    def convert(segment: Segment, context: Context) -> dict[str, Any] | None:
        value = segment.value(number)
        found = decimal(value, context) if value is not None else None
        return None if found is None else {"value": found, **dict(unit_of(segment.value(unit)))}

    return convert


_INTEGERS = {"integer": -LARGEST - 1, "unsignedInt": 0, "positiveInt": 1}

CONVERSIONS = {
    **{(v2, "decimal"): Conversion(decimal, "The decimal with the digits as written.", (1,)) for v2 in ("NM", "SI")},
    **{(v2, "Quantity"): Conversion(quantity, "A Quantity; `<5` gives its comparator.", (1,)) for v2 in ("NM", "SI")},
    **{
        (v2, name): Conversion(_integer(low), f"A whole number from {low} on.", (1,))
        for v2 in ("NM", "SI")
        for name, low in _INTEGERS.items()
    },
    **{
        ("SN", kind): Conversion(_part(kind), f"The {kind} that SN.3 says it is.", (1, 2, 3, 4))
        for kind in ("Quantity", "Range", "Ratio")
    },
    ("SN", "string"): Conversion(structured_text, "The parts joined by spaces.", (1, 2, 3, 4)),
    ("NR", "Range"): Conversion(nr, "A Range.", (1, 2)),
    ("CQ", "Quantity"): Conversion(cq, "A Quantity with its unit.", (1, 2)),
    ("CQ", "decimal"): Conversion(decimal, "The number alone.", (1,)),
    **{(v2, "string"): Conversion(amount_text, "The number and its unit.", (1, 2)) for v2 in ("CQ", "MO")},
    ("CP", "string"): Conversion(amount_text, "The price's amount and currency.", (1,)),
    ("MO", "Money"): Conversion(money, "Money; the currency of ISO 4217.", (1, 2)),
    ("CP", "Money"): Conversion(money, "Money of the price's amount.", (1,)),
    **{(v2, "Quantity"): Conversion(unit_quantity, "Only a unit.", (1, 2, 3)) for v2 in ("CWE", "CE")},
}
