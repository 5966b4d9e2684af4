"""The lexical rules of R4's primitive types in JSON: https://hl7.org/fhir/R4/datatypes.html#primitive.

A check takes a JSON value and says what is wrong with it, or None. The common case is decided by string methods, which are
several times faster than a pattern; only what they cannot decide goes through the specification's own pattern. Beyond the
patterns, days must exist in the calendar, and decimals must have kept their digits (a float has not).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from interop_engine.fhir.definitions import ElementDef
from interop_engine.fhir.narrative import narrative_fault

Check = Callable[[Any], str | None]

LONGEST_STRING = 1_048_576  # characters: "strings SHALL NOT exceed 1MB"
LARGEST_INTEGER = 2_147_483_647

_YEAR = r"([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)"
_DAY = r"(0[1-9]|[1-2][0-9]|3[0-1])"
_MONTH = r"(0[1-9]|1[0-2])"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
_ZONE = r"(Z|(\+|-)((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"

_DATE = re.compile(rf"{_YEAR}(-{_MONTH}(-{_DAY})?)?")
_DATE_TIME = re.compile(rf"{_YEAR}(-{_MONTH}(-{_DAY}(T{_CLOCK}{_ZONE})?)?)?")
_INSTANT = re.compile(rf"{_YEAR}-{_MONTH}-{_DAY}T{_CLOCK}{_ZONE}")
_TIME = re.compile(_CLOCK)
_CODE = re.compile(r"[^\s\x00-\x1f\ud800-\udfff]+(\s[^\s\x00-\x1f\ud800-\udfff]+)*")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_OID = re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+")
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MEDIA_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+\-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_MEDIA_NAME}/{_MEDIA_NAME}(\s?;\s?{_MEDIA_NAME}=(\"[^\"]*\"|[^\s;\"]+))*")  # RFC 6838, RFC 2045
_CURRENCY = re.compile(r"[A-Z]{3}")  # ISO 4217
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_BLANK = dict.fromkeys(map(ord, " \t\r\n"))


def string(value: Any) -> str | None:
    """Strings and markdown: not empty, not only blanks, no control characters but tab and line ends, not over 1 MB."""
    if value.__class__ is str and value.isprintable() and value and len(value) <= LONGEST_STRING and not value.isspace():
        return None
    if not isinstance(value, str):
        return "must be a JSON string"
    if not value or value.isspace():
        return "may not be empty"
    if len(value) > LONGEST_STRING:
        return f"may not exceed {LONGEST_STRING} characters"
    return "holds a control character" if _CONTROL.search(value) else None


def uri(value: Any) -> str | None:
    """uri, url, canonical: not empty, no white space; urn:oid and urn:uuid have a form of their own."""
    if value.__class__ is str and value.isprintable() and value and " " not in value and not value.startswith("urn:"):
        return None
    if not isinstance(value, str):
        return "must be a JSON string"
    if not value:
        return "may not be empty"
    if any(map(str.isspace, value)) or _CONTROL.search(value):
        return "holds white space"
    if value.startswith("urn:oid:") and _OID.fullmatch(value) is None:
        return "is not a valid OID"
    return "is not a valid UUID in lower case" if value.startswith("urn:uuid:") and _UUID.fullmatch(value) is None else None


def absolute_uri(value: Any) -> str | None:
    """A uri that names a system or an extension: it has a scheme."""
    return uri(value) or (None if ":" in value else "must be an absolute URI")


def code(value: Any) -> str | None:
    """code: no white space at the ends, none but single blanks inside."""
    if value.__class__ is str and value.isalnum():
        return None
    return _by_pattern(value, _CODE, "is not a code")


@lru_cache(maxsize=4096)
def _is_date(text: str, pattern: re.Pattern[str]) -> bool:
    if pattern.fullmatch(text) is None:
        return False
    if len(text) >= 10:
        try:
            date.fromisoformat(text[:10])
        except ValueError:
            return False
    return True


def _moment(pattern: re.Pattern[str], kind: str) -> Check:
    fault = f"is not a valid {kind}"

    def check(value: Any) -> str | None:
        if value.__class__ is not str:
            return "must be a JSON string"
        return None if _is_date(value, pattern) else fault

    check.__doc__ = f"{kind}: the pattern, and a day that exists."
    return check


def _by_pattern(value: Any, pattern: re.Pattern[str], fault: str) -> str | None:
    if not isinstance(value, str):
        return "must be a JSON string"
    if not value:
        return "may not be empty"
    return None if pattern.fullmatch(value) else fault


def _pattern(pattern: re.Pattern[str], kind: str) -> Check:
    fault = f"is not a valid {kind}"

    def check(value: Any) -> str | None:
        return _by_pattern(value, pattern, fault)

    check.__doc__ = f"{kind}: the pattern."
    return check


def boolean(value: Any) -> str | None:
    """JSON true or false."""
    return None if value is True or value is False else "must be true or false"


def decimal(value: Any) -> str | None:
    """A finite JSON number whose digits were kept: Decimal or int."""
    kind = value.__class__
    if kind is Decimal:
        return None if value.is_finite() else "must be a finite number"
    if kind is int:
        return None
    return "must be a Decimal: a float does not keep digits" if kind is float else "must be a JSON number"


def _whole(least: int, kind: str) -> Check:
    fault = f"is outside the range of {kind}"

    def check(value: Any) -> str | None:
        if value.__class__ is not int:
            return "must be a JSON number without fraction"
        return None if least <= value <= LARGEST_INTEGER else fault

    check.__doc__ = f"{kind}: {least} to {LARGEST_INTEGER}."
    return check


def base64_binary(value: Any) -> str | None:
    """base64Binary: groups of four, padded, blanks between them allowed; decoded once at C speed."""
    if not isinstance(value, str):
        return "must be a JSON string"
    if not value:
        return "may not be empty"
    packed = value if value.isalnum() else value.translate(_BLANK)
    try:
        binascii.a2b_base64(packed, strict_mode=True)
    except ValueError:
        return "is not valid base64"
    return "is not valid base64" if len(packed) % 4 else None


def xhtml(value: Any) -> str | None:
    """xhtml: a div of the elements and attributes that txt-1 allows, with content (txt-2)."""
    return narrative_fault(value) if isinstance(value, str) else "must be a JSON string"


ABSOLUTE = "absolute uri"  # no type of FHIR, but what these elements say of their uri; nested extensions have short names
_NAMED = {("Coding", "system"), ("Identifier", "system"), ("Extension", "url")}

# Required value sets that have no list, by the form of their codes. CapabilityStatement may say "json" for its format.
MEDIA_TYPE, CURRENCY = "media type", "currency"
_FORMS = {"http://hl7.org/fhir/ValueSet/mimetypes": MEDIA_TYPE, "http://hl7.org/fhir/ValueSet/currencies": CURRENCY}
_FREE = frozenset({"CapabilityStatement"})

CHECKS: dict[str, Check] = {
    ABSOLUTE: absolute_uri,
    CURRENCY: _pattern(_CURRENCY, CURRENCY),
    MEDIA_TYPE: _pattern(_MEDIA_TYPE, MEDIA_TYPE),
    "base64Binary": base64_binary,
    "boolean": boolean,
    "canonical": uri,
    "code": code,
    "date": _moment(_DATE, "date"),
    "dateTime": _moment(_DATE_TIME, "dateTime"),
    "decimal": decimal,
    "id": _pattern(_ID, "id"),
    "instant": _moment(_INSTANT, "instant"),
    "integer": _whole(-LARGEST_INTEGER - 1, "integer"),
    "markdown": string,
    "oid": _pattern(_OID, "oid"),
    "positiveInt": _whole(1, "positiveInt"),
    "string": string,
    "time": _pattern(_TIME, "time"),
    "unsignedInt": _whole(0, "unsignedInt"),
    "uri": uri,
    "url": uri,
    "uuid": _pattern(_UUID, "uuid"),
    "xhtml": xhtml,
}


def lexical_kind(path: str, definition: ElementDef, *, nested: bool = False) -> str:
    """The key into CHECKS of a primitive element of a type; ``nested`` when the type is an extension inside an extension."""
    if definition.binding in _FORMS and definition.strength == "required" and path not in _FREE:
        return _FORMS[definition.binding]
    return ABSOLUTE if (path, definition.name) in _NAMED and not nested else definition.types[0]
