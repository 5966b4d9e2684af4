"""Text as FHIR primitives (R4, "Data Types"): lexically valid, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from interop_engine.hl7.scalars import read_decimal

_DATE = r"[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
_ZONE = r"(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)"
_FORMS = {
    "code": re.compile(r"[^\s]+(\s[^\s]+)*"),
    "id": re.compile(r"[A-Za-z0-9\-.]{1,64}"),
    "oid": re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+"),
    "uuid": re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "uri": re.compile(r"\S+"),
    "url": re.compile(r"\S+"),
    "canonical": re.compile(r"\S+"),
    "date": re.compile(_DATE),
    "dateTime": re.compile(rf"{_DATE}|[0-9]{{4}}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T{_CLOCK}{_ZONE}"),
    "instant": re.compile(rf"[0-9]{{4}}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T{_CLOCK}{_ZONE}"),
    "time": re.compile(_CLOCK),
    "base64Binary": re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"),
}
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
        if found is None or found != found.to_integral_value() or (least is not None and found < least):
            return None
        return int(found)

    return read


def _decimal(text: str) -> Decimal | None:
    return read_decimal(text)


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False, "Y": True, "N": False, "1": True, "0": False}.get(text)


def _lexical(kind: str) -> Callable[[str], Any]:
    form = _FORMS[kind]
    return lambda text: text if form.fullmatch(text) else None


READERS: dict[str, Callable[[str], Any]] = {
    **{kind: _lexical(kind) for kind in _FORMS},
    **{kind: _number(kind) for kind in _LEAST},
    "decimal": _decimal,
    "boolean": _boolean,
    "string": lambda text: text or None,
    "markdown": lambda text: text or None,
    "CodeableConcept": lambda text: {"text": text} if text else None,
    "Annotation": lambda text: {"text": text} if text else None,
}


def read_primitive(kind: str, text: str) -> Any:
    """The value of ``text`` as a primitive, or None where it is not one."""
    reader = READERS.get(kind)
    return reader(text) if reader is not None and text else None
