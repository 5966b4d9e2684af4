"""XPN, XCN and their kin → HumanName; XAD → Address; XTN → ContactPoint.

A name's ``text`` is always filled, family name first (as Vietnamese names are written) unless the sender says otherwise
(XPN.11 = G). Names are split only as far as their components split them: "NGUYỄN VĂN AN" in one component is only text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interop_engine.mapping.convert.base import Conversion, tidy
from interop_engine.mapping.convert.tables import BY_NAME
from interop_engine.mapping.convert.times import period_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from interop_engine.hl7.message import Value
    from interop_engine.mapping.context import Context
    from interop_engine.mapping.convert.tables import CodeTable

_NAME_USE = BY_NAME["name-use"]
_ADDRESS_USE = BY_NAME["address-use"]
_ADDRESS_TYPE = BY_NAME["address-type"]
_TELECOM_USE = BY_NAME["telecom-use"]
_TELECOM_SYSTEM = BY_NAME["telecom-system"]


def _mapped(table: CodeTable, code: str) -> str:
    found = table.entries.get(code)
    return found.code if found else ""


def _name(parts: list[str], *, use: str = "", given_first: bool = False) -> dict[str, Any] | None:
    """A HumanName of family, given, middle, suffix, prefix, degree, professional suffix (texts, '' where absent)."""
    family, given, middle, suffix, prefix, degree, profession = parts
    suffixes = [part for part in (suffix, degree, profession) if part]
    order = (prefix, given, middle, family) if given_first else (prefix, family, middle, given)
    text = " ".join(part for part in (*order, *suffixes) if part)
    if not text:
        return None
    result: dict[str, Any] = {}
    if use:
        result["use"] = use
    result["text"] = text
    core = [part for part in (family, given, middle) if part]
    if len(core) == 1 and " " in core[0]:  # a whole name in one component: where it splits is not ours to say
        family = given = middle = ""
    if family:
        result["family"] = family
    if givens := [part for part in (given, middle) if part]:
        result["given"] = givens
    if prefix:
        result["prefix"] = [prefix]
    if suffixes:
        result["suffix"] = suffixes
    return result


def xpn(value: Value, context: Context) -> dict[str, Any] | None:
    """XPN (and PN) → HumanName."""
    get = value.get
    count = len(value.parts)
    parts = [tidy(get(1)), tidy(get(2)), tidy(get(3)), tidy(get(4)), tidy(get(5)), tidy(get(6)), ""]
    if count < 7:
        result = _name(parts)
    else:
        parts[6] = tidy(get(14))
        result = _name(parts, use=_mapped(_NAME_USE, tidy(get(7))), given_first=get(11) == "G")
    if result is None:
        return None
    if (subcomponent := value.delimiters.subcomponent) and subcomponent in value.parts[0]:
        _family_parts(result, value)
    if count > 9:
        start, end = (get(12), get(13)) if count > 11 else (get(10), get(10, 2))
        if found := period_of(start, end, context):
            result["period"] = found
    return result


_FAMILY_PARTS = {2: "own-prefix", 3: "own-name", 4: "partner-prefix", 5: "partner-name"}
_EXTENSIONS = "http://hl7.org/fhir/StructureDefinition/humanname-"


def _family_parts(name: dict[str, Any], value: Value) -> None:
    """FN.2 to FN.5: own and partner's name and prefix, as extensions on the family name."""
    parts = [
        {"url": _EXTENSIONS + kind, "valueString": text} for n, kind in _FAMILY_PARTS.items() if (text := tidy(value.get(1, n)))
    ]
    if parts and "family" in name:
        name["_family"] = {"extension": parts}


def xcn(value: Value, context: Context) -> dict[str, Any] | None:
    """XCN (CN, CNN, PPN) → HumanName."""
    del context
    get = value.get
    parts = [tidy(get(2)), tidy(get(3)), tidy(get(4)), tidy(get(5)), tidy(get(6)), tidy(get(7)), tidy(get(21))]
    return _name(parts, use=_mapped(_NAME_USE, tidy(get(10))), given_first=get(18) == "G")


def name_text(value: Value, context: Context) -> str | None:
    """XPN → the whole name as text."""
    found = xpn(value, context)
    return found["text"] if found else None


def person_text(value: Value, context: Context) -> str | None:
    """XCN → the person's whole name as text, else the number."""
    found = xcn(value, context)
    return found["text"] if found else tidy(value.get(1)) or None


def text_name(value: Value, context: Context) -> dict[str, Any] | None:
    """ST → HumanName with only its text."""
    del context
    text = tidy(value.whole)
    return {"text": text} if text else None


# --- Address -----------------------------------------------------------------------------------------------------------


def xad(value: Value, context: Context) -> dict[str, Any] | None:
    """XAD (and AD) → Address: street and other designation are its lines, the county its district."""
    get = value.get
    count = len(value.parts)
    kind = tidy(get(7))
    result: dict[str, Any] = {}
    if kind:
        if use := _mapped(_ADDRESS_USE, kind):
            result["use"] = use
        if type_ := _mapped(_ADDRESS_TYPE, kind):
            result["type"] = type_
    lines = [tidy(get(1)), tidy(get(1, 2)), tidy(get(1, 3)), tidy(get(2)), tidy(get(19)) if count > 18 else ""]
    if lines := [line for line in lines if line]:
        result["line"] = lines
    for name, n in (("city", 3), ("district", 9), ("state", 4), ("postalCode", 5), ("country", 6)):
        if n <= count and (text := tidy(get(n))):
            result[name] = text
    if not result.keys() - {"use", "type"}:
        return None
    if count > 11:
        start, end = (get(13), get(14)) if count > 12 else (get(12), get(12, 2))
        if found := period_of(start, end, context):
            result["period"] = found
    return result


def address_text(value: Value, context: Context) -> str | None:
    """XAD → the address on one line."""
    found = xad(value, context) or {}
    parts = [
        *found.get("line", ()),
        *(found[name] for name in ("district", "city", "state", "postalCode", "country") if name in found),
    ]
    return ", ".join(parts) or None


# --- ContactPoint ------------------------------------------------------------------------------------------------------


def xtn(value: Value, context: Context, default_use: str = "") -> dict[str, Any] | None:
    """XTN (and TN) → ContactPoint. A mobile (CP) is a phone in mobile use, an address with @ is e-mail."""
    get = value.get
    equipment = tidy(get(3))
    system = _mapped(_TELECOM_SYSTEM, equipment)
    text = tidy(get(4)) if system == "email" else ""
    text = text or tidy(get(1)) or _number(value) or tidy(get(12)) or tidy(get(4))
    if not text:
        return None
    if not system or (system == "email") != ("@" in text):
        system = "email" if "@" in text else "phone"
    use = _mapped(_TELECOM_USE, tidy(get(2))) or ("mobile" if equipment == "CP" else default_use)
    result: dict[str, Any] = {"system": system, "value": text}
    if use:
        result["use"] = use
    if len(value.parts) > 12:
        rank = get(18)
        if rank.isdecimal() and rank.isascii() and 0 < int(rank) < 100:
            result["rank"] = int(rank)
        if found := period_of(get(13), get(14), context):
            result["period"] = found
    return result


def _number(value: Value) -> str:
    """The number of XTN.5 to XTN.8, as the official map writes it: ``+84 24 38253531 X12``."""
    if len(value.parts) < 7 or not value.get(7):
        return ""
    country, area, local, extension = (tidy(value.get(n)) for n in (5, 6, 7, 8))
    parts = [f"+{country}" if country else "", area, local, f"X{extension}" if extension else ""]
    return " ".join(part for part in parts if part)


def _used(use: str) -> Callable[[Value, Context], dict[str, Any] | None]:
    def convert(value: Value, context: Context) -> dict[str, Any] | None:
        return xtn(value, context, use)

    return convert


def telecom_text(value: Value, context: Context) -> str | None:
    """XTN → the number or address alone."""
    found = xtn(value, context)
    return found["value"] if found else None


_PERSON = Conversion(xcn, "A HumanName; its text is always filled.", (2, 3, 4, 5, 6, 7, 10, 18, 21))
_NAME = Conversion(
    xpn,
    "A HumanName; its text is always filled, family name first unless XPN.11 is G.",
    (1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14),
)
_ADDRESS = Conversion(xad, "An Address.", (1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 19))
_TELECOM = Conversion(xtn, "A ContactPoint.", (1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 18))
_PERSONS = ("XCN", "CN", "CNN", "PPN")

CONVERSIONS = {
    **{(v2, "HumanName"): _NAME for v2 in ("XPN", "PN")},
    **{(v2, "string"): Conversion(name_text, "The whole name.", (1, 2, 3, 4, 5, 6, 7, 11, 14)) for v2 in ("XPN", "PN")},
    **{(v2, "HumanName"): _PERSON for v2 in _PERSONS},
    **{(v2, "string"): Conversion(person_text, "The whole name, else the number.", (1, 2, 3, 4, 5, 6, 7, 21)) for v2 in _PERSONS},
    ("ST", "HumanName"): Conversion(text_name, "A name of which only the text is known."),
    **{(v2, "Address"): _ADDRESS for v2 in ("XAD", "AD")},
    **{(v2, "string"): Conversion(address_text, "The address on one line.", (1, 2, 3, 4, 5, 6, 9, 19)) for v2 in ("XAD", "AD")},
    **{(v2, "ContactPoint"): _TELECOM for v2 in ("XTN", "TN")},
    ("ST", "ContactPoint"): _TELECOM,
    **{(v2, "string"): Conversion(telecom_text, "The number or address alone.", (1, 4, 5, 6, 7, 8, 12)) for v2 in ("XTN", "TN")},
}

PLACES = {
    ("PID", 13, "ContactPoint"): Conversion(_used("home"), "A ContactPoint, home unless it says otherwise.", _TELECOM.reads),
    ("PID", 14, "ContactPoint"): Conversion(_used("work"), "A ContactPoint, work unless it says otherwise.", _TELECOM.reads),
}
