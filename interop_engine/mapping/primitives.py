"""Text as FHIR primitives (R4, "Data Types"): lexically valid, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from interop_engine.fhir.primitives import ABSOLUTE, CHECKS, LARGEST_INTEGER, string
from interop_engine.hl7.scalars import read_decimal

_LEXICAL = (
    "base64Binary",
    "canonical",
    "code",
    "date",
    "dateTime",
    "id",
    "instant",
    "markdown",
    "oid",
    "string",
    "time",
    "uri",
    "url",
    "uuid",
)
_LEAST = {"integer": None, "unsignedInt": 0, "positiveInt": 1}
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def as_text(text: str) -> str:
    r"""Text without control characters and without space around it.

    >>> as_text(" a\x00b ")
    'ab'
    """
    if not text.isprintable():
        text = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return text.strip()


def _number(kind: str) -> Callable[[str], Any]:
    least = _LEAST[kind]

    def read(text: str) -> int | None:
        found = read_decimal(text)
        if (
            found is None
            or abs(found) > LARGEST_INTEGER
            or found != found.to_integral_value()
            or (least is not None and found < least)
        ):
            return None
        return int(found)

    return read


def _decimal(text: str) -> Decimal | None:
    return read_decimal(text)


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False, "Y": True, "N": False, "1": True, "0": False}.get(text)


def _lexical(kind: str) -> Callable[[str], Any]:
    fault = CHECKS[kind]
    return lambda text: text if fault(text) is None else None


READERS: dict[str, Callable[[str], Any]] = {
    **{kind: _lexical(kind) for kind in _LEXICAL},
    "system": _lexical(ABSOLUTE),  # a uri that names a system
    **{kind: _number(kind) for kind in _LEAST},
    "decimal": _decimal,
    "boolean": _boolean,
    "CodeableConcept": lambda text: {"text": text} if string(text) is None else None,
    "Annotation": lambda text: {"text": text} if string(text) is None else None,
}


def read_primitive(kind: str, text: str) -> Any:
    """The value of ``text`` as a primitive, or None where it is not one."""
    reader = READERS.get(kind)
    return reader(text) if reader is not None and text else None
