"""XCN, XON, PL, HD, EI and CX → Reference by identifier and display: what only master files may write as resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interop_engine.mapping.convert.base import Conversion, remembered, tidy
from interop_engine.mapping.convert.codes import codeable_concept
from interop_engine.mapping.convert.identifiers import cx, ei, number, xcn_identifier, xon_identifier
from interop_engine.mapping.convert.names import xcn as person_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from interop_engine.hl7.message import Value
    from interop_engine.mapping.context import Context


def _reference(type_: str, identifier: dict[str, Any] | None, display: str) -> dict[str, Any] | None:
    if not identifier and not display:
        return None
    result: dict[str, Any] = {"type": type_} if type_ else {}
    if identifier:
        result["identifier"] = identifier
    if display:
        result["display"] = display
    return result


def _practitioner(value: Value, context: Context) -> dict[str, Any] | None:
    """XCN (CN, CNN) → Reference to a Practitioner."""
    name = person_name(value, context)
    return _reference("Practitioner", xcn_identifier(value, context), name["text"] if name else "")


practitioner = remembered(_practitioner)


def ndl(value: Value, context: Context) -> dict[str, Any] | None:
    """NDL → Reference to the Practitioner in NDL.1; versions before 2.3 have a CN there, over the components."""
    first = value.component(1)
    name = tidy(value.get(2))
    if name and not name[:1].isdigit() and (first is None or len(first.parts) == 1):
        return practitioner(value, context)
    return practitioner(first, context) if first is not None else None


def organization(value: Value, context: Context) -> dict[str, Any] | None:
    """XON → Reference to an Organization."""
    return _reference("Organization", xon_identifier(value, context), tidy(value.get(1)))


def authority(value: Value, context: Context) -> dict[str, Any] | None:
    """HD → Reference to an Organization by its name; the sender's own facility by its code in the country."""
    name, universal = tidy(value.get(1)), tidy(value.get(2))
    if name == context.scope.facility and (system := context.scope.naming.known("FACILITY")):
        return _reference("Organization", {"system": system, "value": name}, "")
    identifier = number(universal or name, "", ("", "", ""), context, own="organization")
    return _reference("Organization", identifier, name)


_PLACE = (1, 2, 3, 4, 7, 8)


def _place(value: Value) -> list[str]:
    return [text for n in _PLACE if (text := tidy(value.get(n)))]


def location(value: Value, context: Context) -> dict[str, Any] | None:
    """PL → Reference to a Location: named by point of care, room, bed (and facility, building, floor), from large to small."""
    return _located(value, tidy(value.get(9)), context)


def delivery_place(value: Value, context: Context) -> dict[str, Any] | None:
    """LA1, LA2 → Reference to a Location, as a PL; what follows the floor is an address of its own (``.9``)."""
    return _located(value, "", context)


def _located(value: Value, described: str, context: Context) -> dict[str, Any] | None:
    parts = _place(value)
    if not parts:
        return {"type": "Location", "display": described} if described else None
    near = [text for n in (1, 2, 3) if (text := tidy(value.get(n)))]
    system = context.scope.naming.facility_number(context.scope.facility, "location")
    return _reference("Location", {"system": system, "value": "|".join(near or parts)}, described or _spoken(value))


def location_text(value: Value, context: Context) -> str | None:
    """PL → the place as people say it: ``Khoa Nội, 305, 2``."""
    del context
    return _spoken(value) or tidy(value.get(9)) or None


def _spoken(value: Value) -> str:
    return ", ".join(text for n in (4, 7, 8, 1, 2, 3) if (text := tidy(value.get(n))))


def location_identifier(value: Value, context: Context) -> dict[str, Any] | None:
    """PL → Identifier of the place within the facility."""
    found = location(value, context)
    return found.get("identifier") if found else None


def organization_text(value: Value, context: Context) -> str | None:
    """XON → the organization's name, else its number."""
    del context
    return tidy(value.get(1) or value.get(10) or value.get(3)) or None


def _identified(convert: Callable[[Value, Context], dict[str, Any] | None]) -> Callable[[Value, Context], dict[str, Any] | None]:
    def reference(value: Value, context: Context) -> dict[str, Any] | None:
        found = convert(value, context)
        return {"identifier": found} if found else None

    return reference


def coded(value: Value, context: Context) -> dict[str, Any] | None:
    """CWE → Reference by the code as identifier, with its text as display (OBX-15, OBX-18)."""
    found = codeable_concept(value, context)
    if not found:
        return None
    codings = found.get("coding")
    identifier = {"system": codings[0]["system"], "value": codings[0]["code"]} if codings else None
    return _reference("", identifier, found.get("text", ""))


_PERSON = Conversion(practitioner, "A Reference to the Practitioner by identifier and display.", (1, 2, 3, 4, 5, 6, 7, 9, 13, 21))

CONVERSIONS = {
    **{(v2, "Reference"): _PERSON for v2 in ("XCN", "CN", "CNN", "PPN")},
    ("NDL", "Reference"): Conversion(ndl, "A Reference to the Practitioner in NDL.1.", (1,)),
    ("XON", "Reference"): Conversion(
        organization, "A Reference to the Organization by identifier and display.", (1, 3, 6, 7, 10)
    ),
    ("XON", "string"): Conversion(organization_text, "The organization's name.", (1,)),
    ("HD", "Reference"): Conversion(authority, "A Reference to the Organization by name.", (1, 2)),
    ("PL", "Reference"): Conversion(location, "A Reference to the Location by identifier and display.", (*_PLACE, 9)),
    **{
        (v2, "Reference"): Conversion(
            delivery_place, "A Reference to the Location; its address is a part of its own (`.9`).", _PLACE
        )
        for v2 in ("LA1", "LA2")
    },
    ("PL", "Identifier"): Conversion(location_identifier, "The place's identifier within the facility.", (1, 2, 3)),
    ("PL", "string"): Conversion(location_text, "The place as people say it.", (*_PLACE, 9)),
    ("EI", "Reference"): Conversion(_identified(ei), "A Reference by identifier.", (1, 2, 3, 4)),
    ("CX", "Reference"): Conversion(_identified(cx), "A Reference by identifier.", (1, 4, 5)),
    **{(v2, "Reference"): Conversion(coded, "A Reference by code and display.", (1, 2, 3, 9)) for v2 in ("CWE", "CE")},
}
