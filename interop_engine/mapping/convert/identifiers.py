"""CX, EI, HD and the identifiers inside XCN and XON → Identifier (or their text).

The system is the assigning authority's URI. A number without an authority is national where its type says so, else the
sending facility's own, by type: ``{base}/facility/{code}/mrn``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from interop_engine.mapping.context import is_oid, universal_uri
from interop_engine.mapping.convert.base import Conversion, code_text, is_absolute, tidy, uri_text
from interop_engine.mapping.convert.tables import V2_SYSTEM, v2_codes
from interop_engine.mapping.convert.times import period_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from interop_engine.hl7.message import Value
    from interop_engine.mapping.context import Context, Scope

_KINDS = {"": "mrn", "MR": "mrn", "VN": "visit", "AN": "account"}
_TYPES = f"{V2_SYSTEM}0203"
_TYPE_NAMES = {"PLAC": "Placer Identifier", "FILL": "Filler Identifier", "ACSN": "Accession ID"}


@lru_cache(maxsize=1024)
def type_of(code: str) -> dict[str, Any]:
    """Identifier.type for a code of HL7 table 0203; a code the table does not have is only text. Shared."""
    if code in v2_codes("0203"):
        coding = {"system": _TYPES, "code": code}
        if code in _TYPE_NAMES:
            coding["display"] = _TYPE_NAMES[code]
        return {"coding": [coding]}
    return {"text": code}


def number(value: str, kind: str, authority: tuple[str, str, str], context: Context, *, own: str = "") -> dict[str, Any] | None:
    """An Identifier of a number, its type (table 0203, or '') and its authority (namespace, universal id, its type).

    ``own`` names the facility's number range where there is no authority; without it the type does.
    """
    text = tidy(value)
    if not text:
        return None
    naming, scope = context.scope.naming, context.scope
    result: dict[str, Any] = {}
    if kind:
        result["type"] = type_of(kind)
    result["system"] = (
        _system(authority, scope)
        or naming.national(kind, text)
        or naming.facility_number(scope.facility, own or _KINDS.get(kind, kind.lower()))
    )
    result["value"] = text
    if authority[0] and (naming.known(authority[1]) or universal_uri(authority[1], authority[2])):
        result["assigner"] = {"display": tidy(authority[0])}  # else the system is made of the name
    return result


def _system(authority: tuple[str, str, str], scope: Scope) -> str:
    """The authority's URI; none where it is the hospital's own, as the channel names it: its ranges are the facility's."""
    if scope.authority and authority[0] == scope.authority and not authority[1] and not scope.naming.known(authority[0]):
        return ""
    return scope.naming.system(*authority)


def authority_of(value: Value, n: int) -> tuple[str, str, str]:
    """The HD in component ``n``."""
    parts = value.parts
    if n > len(parts) or not parts[n - 1]:
        return "", "", ""
    return tidy(value.get(n)), tidy(value.get(n, 2)), tidy(value.get(n, 3))


def cx(value: Value, context: Context) -> dict[str, Any] | None:
    """CX → Identifier."""
    result = number(value.get(1), tidy(value.get(5)), authority_of(value, 4), context)
    if result is not None and len(value.parts) > 6 and (found := period_of(value.get(7), value.get(8), context)):
        assigner = result.pop("assigner", None)
        result["period"] = found
        if assigner:
            result["assigner"] = assigner
    return result


def ei(value: Value, context: Context, kind: str = "", own: str = "") -> dict[str, Any] | None:
    """EI → Identifier; its authority is EI.2 to EI.4."""
    get = value.get
    authority = tidy(get(2)), tidy(get(3)), tidy(get(4))
    return number(get(1), kind, authority, context, own=own or "id")


def order_number(kind: str, own: str) -> Callable[[Value, Context], dict[str, Any] | None]:
    """EI → Identifier of a place that says what the number is: placer, filler, accession."""

    def convert(value: Value, context: Context) -> dict[str, Any] | None:
        return ei(value, context, kind, own)

    return convert


def eip(value: Value, context: Context) -> dict[str, Any] | None:
    """EIP → Identifier: the placer's part, else the filler's."""
    for n, kind, own in ((1, "PLAC", "placer"), (2, "FILL", "filler")):
        part = value.component(n)
        if part is not None and part.get(1):
            return ei(part, context, kind, own)
    return None


def requisition(value: Value, context: Context) -> dict[str, Any] | None:
    """ORC-4 → Identifier of the requisition: the placer's number, else the filler's."""
    for n in (1, 2):
        part = value.component(n)
        if part is not None and part.get(1):
            return ei(part, context, "", "requisition")
    return None


def ei_coding(value: Value, context: Context) -> dict[str, Any] | None:
    """EI → Coding: the id as a code of its authority's system."""
    code = code_text(value.get(1))
    if not code:
        return None
    system = context.scope.naming.system(*(tidy(value.get(n)) for n in (2, 3, 4)))
    return {"system": system, "code": code} if system else {"code": code}


def specimen(value: Value, context: Context) -> dict[str, Any] | None:
    """EIP of a specimen → Identifier: the placer's number (which the result repeats), else the filler's."""
    for n in (1, 2):
        part = value.component(n)
        if part is not None and part.get(1):
            return ei(part, context, "", "specimen")
    return None


def text_of(value: Value, context: Context) -> str | None:
    """The number alone."""
    del context
    return tidy(value.text) or None


def hd_uri(value: Value, context: Context) -> str | None:
    """HD → uri."""
    return context.scope.naming.system(*(tidy(value.get(n)) for n in (1, 2, 3))) or None


def hd(value: Value, context: Context) -> dict[str, Any] | None:
    """HD → Identifier: the universal id where there is one, else the name in the facility's own range."""
    name, universal, kind = (tidy(value.get(n)) for n in (1, 2, 3))
    naming, scope = context.scope.naming, context.scope
    if uri := naming.system("", universal, kind) if universal else "":
        return {"system": "urn:ietf:rfc:3986", "value": uri}
    return {"system": naming.facility_number(scope.facility, "name"), "value": name} if name else None


def plain(value: Value, context: Context) -> dict[str, Any] | None:
    """ST → Identifier in the facility's own range."""
    return number(value.text, "", ("", "", ""), context, own="id")


def uid(value: Value, context: Context) -> str | None:
    """EI → uri: a URI as it is, an OID (a DICOM UID) with its scheme."""
    text = uri_text(value.get(1))
    if is_oid(text):
        return f"urn:oid:{text}"
    if is_absolute(text):
        return text
    if text:
        context.note("not-a-uri", "The identifier is no URI; it is left out.")
    return None


def xon_identifier(value: Value, context: Context) -> dict[str, Any] | None:
    """XON → Identifier: XON.10, else the number in XON.3."""
    return number(value.get(10) or value.get(3), tidy(value.get(7)), authority_of(value, 6), context, own="organization")


def xcn_identifier(value: Value, context: Context) -> dict[str, Any] | None:
    """XCN (CN, and CNN of sub-components) → Identifier of the person; a staff number where no authority is named."""
    if value.level:  # a CNN: its authority is spread over three sub-components
        authority = tidy(value.get(9)), tidy(value.get(10)), tidy(value.get(11))
        return number(value.get(1), "", authority, context, own="staff")
    return number(value.get(1), tidy(value.get(13)), authority_of(value, 9), context, own="staff")


def staff_number(value: Value, context: Context) -> dict[str, Any] | None:
    """PLN → Identifier of the practitioner: PLN names no authority, so it is a staff number of the facility."""
    kind = tidy(value.get(2))
    result = number(value.get(1), "", ("", "", ""), context, own="staff")
    if result is None:
        return None
    if kind:
        table = f"{V2_SYSTEM}0338"
        known = kind in v2_codes("0338")
        result = {"type": {"coding": [{"system": table, "code": kind}]} if known else {"text": kind}, **result}
    if found := period_of("", value.get(4), context):
        result["period"] = found
    return result


_EI = Conversion(ei, "An Identifier; the system is the assigning authority's.", (1, 2, 3, 4))

CONVERSIONS = {
    ("CX", "Identifier"): Conversion(cx, "An Identifier; the system is the assigning authority's.", (1, 4, 5, 7, 8)),
    ("CX", "string"): Conversion(text_of, "The number alone.", (1,)),
    ("EI", "Identifier"): _EI,
    ("EI", "Coding"): Conversion(ei_coding, "The id as a code of its authority's system.", (1, 2, 3, 4)),
    ("EI", "string"): Conversion(text_of, "The number alone.", (1,)),
    ("EI", "uri"): Conversion(uid, "An OID or a URI.", (1,)),
    ("EI", "url"): Conversion(uid, "An OID or a URI.", (1,)),
    ("EIP", "Identifier"): Conversion(eip, "The placer's number, else the filler's.", (1, 2)),
    ("EIP", "string"): Conversion(text_of, "The placer's number alone.", (1,)),
    ("HD", "Identifier"): Conversion(hd, "An Identifier of the universal id, else of the name.", (1, 2, 3)),
    ("HD", "uri"): Conversion(hd_uri, "The authority's URI.", (1, 2, 3)),
    ("HD", "string"): Conversion(text_of, "The name alone.", (1,)),
    ("ST", "Identifier"): Conversion(plain, "An Identifier in the facility's own range.", (1,)),
    ("NM", "Identifier"): Conversion(plain, "An Identifier in the facility's own range.", (1,)),
    ("PLN", "Identifier"): Conversion(staff_number, "The practitioner's number, its type and expiry.", (1, 2, 4)),
    ("XON", "Identifier"): Conversion(xon_identifier, "The organization's number.", (3, 6, 7, 10)),
    **{(v2, "Identifier"): Conversion(xcn_identifier, "The person's number.", (1, 9, 13)) for v2 in ("XCN", "CN", "CNN", "PPN")},
}

_PLACER = Conversion(order_number("PLAC", "placer"), "An Identifier, type placer.", (1, 2, 3, 4))
_FILLER = Conversion(order_number("FILL", "filler"), "An Identifier, type filler.", (1, 2, 3, 4))
_ACCESSION = Conversion(order_number("ACSN", "accession"), "An Identifier, type accession.", (1, 2, 3, 4))
_SPECIMEN = Conversion(specimen, "The placer's specimen number, else the filler's.", (1, 2))

PLACES = {
    **{(segment, 2, "Identifier"): _PLACER for segment in ("OBR", "ORC")},
    **{(segment, 3, "Identifier"): _FILLER for segment in ("OBR", "ORC")},
    ("ORC", 4, "Identifier"): Conversion(requisition, "The placer's number of the requisition, else the filler's.", (1, 2)),
    ("OBR", 18, "Identifier"): _ACCESSION,
    ("IPC", 1, "Identifier"): _ACCESSION,
    ("SPM", 2, "Identifier"): _SPECIMEN,
    ("SPM", 30, "Identifier"): Conversion(order_number("ACSN", "accession"), "An Identifier, type accession.", (1, 4)),
    ("PV1", 19, "Identifier"): Conversion(
        lambda value, context: number(value.get(1), tidy(value.get(5)) or "VN", authority_of(value, 4), context),
        "The visit number.",
        (1, 4, 5),
    ),
    ("PID", 18, "Identifier"): Conversion(
        lambda value, context: number(value.get(1), tidy(value.get(5)) or "AN", authority_of(value, 4), context),
        "The account number.",
        (1, 4, 5),
    ),
}
"""Conversions of fields whose place says more than their type: (segment, field, FHIR type)."""
