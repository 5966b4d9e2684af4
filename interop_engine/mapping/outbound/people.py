"""HumanName, Address, ContactPoint and References to people, organizations and places → XPN, XAD, XTN, XCN, XON, NDL, PL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interop_engine.mapping.outbound import naming as names
from interop_engine.mapping.outbound.times import dtm
from interop_engine.mapping.outbound.values import Context, Conversions, Part, Target, authority_of, type_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interop_engine.core.model import Resource
    from interop_engine.mapping.outbound.fhirpath import Node

_NAME_USE = {"official": "L", "usual": "D", "maiden": "M", "nickname": "N", "anonymous": "S", "old": "NOUSE", "temp": "TEMP"}
_ADDRESS_USE = {"home": "H", "work": "B", "temp": "C", "old": "BA", "billing": "BI"}
_TELECOM_USE = {"home": "PRN", "work": "WPN", "mobile": "PRS", "temp": "VHN"}
_EQUIPMENT = {"phone": "PH", "fax": "FX", "email": "Internet", "pager": "BP"}


def _name_parts(data: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    """Family, given, further given names, suffix, prefix. A name that is only text stands in the first."""
    family, givens = data.get("family", ""), data.get("given", ())
    if not family and not givens:
        return data.get("text", ""), "", "", "", ""
    joined = [" ".join(data.get(name, ())) for name in ("suffix", "prefix")]
    return family, givens[0] if givens else "", " ".join(givens[1:]), joined[0], joined[1]


def _given_first(data: Mapping[str, Any]) -> str:
    """G where the text has the family name last (XPN.11, HL7 table 0444); '' for the family name first."""
    family, given, middle, suffix, prefix = _name_parts(data)
    order = " ".join(part for part in (prefix, given, middle, family, suffix) if part)
    return "G" if given and family and data.get("text") == order else ""


def xpn(node: Node, target: Target, context: Context) -> Part | None:
    """HumanName → XPN."""
    del target, context
    data = node.data
    parts = _name_parts(data)
    if not any(parts):
        return None
    span = data.get("period", {})
    start, end = dtm(span.get("start", "")), dtm(span.get("end", ""))
    return (*parts, "", _NAME_USE.get(data.get("use", ""), ""), "", "", "", _given_first(data), start, end)


def xad(node: Node, target: Target, context: Context) -> Part | None:
    """Address → XAD: the first line is the street, the second the other designation, more of them XAD.19."""
    del target, context
    data = node.data
    lines = data.get("line") or ([data["text"]] if "text" in data and "city" not in data else [])
    street, other, more = [*lines, "", ""][0], [*lines, "", ""][1], ", ".join(lines[2:])
    kind = _ADDRESS_USE.get(data.get("use", "")) or ("M" if data.get("type") == "postal" else "")
    place = [data.get(name, "") for name in ("city", "state", "postalCode", "country")]
    span = data.get("period", {})
    period_ = (dtm(span.get("start", "")), dtm(span.get("end", "")))
    parts: tuple[Part, ...] = (street, other, *place, kind, "", data.get("district", ""), "", "", "", *period_)
    return (*parts, "", "", "", "", more) if any((street, other, *place, data.get("district"))) else None


def xtn(node: Node, target: Target, context: Context) -> Part | None:
    """ContactPoint → XTN: a number in XTN.1 and XTN.12, an e-mail address in XTN.4."""
    del target, context
    data = node.data
    value, system = data.get("value", ""), data.get("system", "phone")
    if not value:
        return None
    if system == "email":
        return "", "NET", "Internet", value
    use = _TELECOM_USE.get(data.get("use", ""), "")
    return value, use, "CP" if use == "PRS" else _EQUIPMENT.get(system, "")


# --- People, organizations and places ----------------------------------------------------------------------------------------


def _referred(data: Mapping[str, Any], context: Context) -> tuple[Mapping[str, Any], Mapping[str, Any], str]:
    """Of a Reference the identifier, the name (HumanName or {}) and the words, from the bundle where it has the resource."""
    found: Resource | None = context.bundled.resource(data)
    if found is not None and found.get("resourceType") == "PractitionerRole":
        return _referred(found.get("practitioner", {}), context)
    identifier, name, said = data.get("identifier", {}), {}, data.get("display", "")
    if found is not None:
        identifier = next(iter(found.get("identifier", ())), identifier)
        named = found.get("name")
        if isinstance(named, list) and named:
            name = named[0]
        said = named if isinstance(named, str) else said
    return identifier, name, said


def _person(node: Node, context: Context) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    identifier, name, said = _referred(node.data, context)
    return identifier, _name_parts(name) if name else (said, "", "", "", "")


def xcn(node: Node, target: Target, context: Context) -> Part | None:
    """Reference → XCN: number, name, authority, and the number's type."""
    del target
    identifier, name = _person(node, context)
    number = identifier.get("value", "")
    if not number and not any(name):
        return None
    authority = authority_of(identifier, context) if number else ""
    return (number, *name, "", "", authority, "", "", "", type_code(identifier))


def ndl(node: Node, target: Target, context: Context) -> Part | None:
    """Reference → NDL with the person (CNN) in its first component."""
    del target
    identifier, name = _person(node, context)
    number = identifier.get("value", "")
    return ((number, *name, "", "", *authority_of(identifier, context)),) if number or any(name) else None


def xon(node: Node, target: Target, context: Context) -> Part | None:
    """Reference → XON: name, authority, type and number."""
    del target
    identifier, _, said = _referred(node.data, context)
    number = identifier.get("value", "")
    if not number and not said:
        return None
    authority = authority_of(identifier, context) if number else ""
    return (said, "", "", "", "", authority, type_code(identifier), "", "", number)


def pl(node: Node, target: Target, context: Context) -> Part | None:
    """Reference → PL: point of care, room and bed, where the identifier has them; the words as its description."""
    del target
    identifier, _, said = _referred(node.data, context)
    places = [*identifier.get("value", "").split("|"), "", "", ""][:3]
    return (*places, "", "", "", "", "", said) if any(places) or said else None


def shown(node: Node, target: Target, context: Context) -> Part | None:
    """Reference → its words, else its number."""
    del target
    identifier, name, said = _referred(node.data, context)
    return name.get("text", "") or said or identifier.get("value") or None


def coded_reference(node: Node, target: Target, context: Context) -> Part | None:
    """Reference → CWE of its identifier and its words."""
    del target
    identifier, _, said = _referred(node.data, context)
    number = identifier.get("value", "")
    system = names.coding_system(identifier.get("system", ""), context.naming) if number else ""
    return (number, said, system) if number or said else None


CONVERSIONS: Conversions = {
    ("HumanName", "XPN"): xpn,
    ("Address", "XAD"): xad,
    ("ContactPoint", "XTN"): xtn,
    **{("Reference", kind): made for kind, made in (("XCN", xcn), ("NDL", ndl), ("XON", xon), ("PL", pl))},
    ("Reference", "text"): shown,
    ("Reference", "coded"): coded_reference,
}
"""(FHIR type, HL7 v2 type or its family) → conversion."""
