"""Values of observations → OBX-5 with OBX-2 and OBX-6; reference ranges, notes and documents (HL7 v2 chapter 7.4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interop_engine.mapping.outbound import codes, people, values
from interop_engine.mapping.outbound.values import Context, Conversions, Part, Target, family, written
from interop_engine.terminology.units import UCUM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interop_engine.mapping.outbound.fhirpath import Node
    from interop_engine.mapping.outbound.values import Convert

# --- Numbers with units ----------------------------------------------------------------------------------------------------


def unit(quantity: Mapping[str, Any]) -> Part | None:
    """The unit of a Quantity as CWE: the code of UCUM with the unit as people write it, else that alone."""
    shown, code = quantity.get("unit", ""), quantity.get("code", "")
    if quantity.get("system") != UCUM or not code:
        return shown or code or None
    return (code, "" if shown == code else shown, "UCUM")


def number(node: Node, target: Target, context: Context) -> Part | None:
    """Quantity → its number alone."""
    del target, context
    return _number(node.data) or None


def _number(quantity: Mapping[str, Any]) -> str:
    value = quantity.get("value")
    return "" if value is None else written(value)


def quantity_text(node: Node, target: Target, context: Context) -> Part | None:
    """Quantity → text with its comparator and unit."""
    del target, context
    data = node.data
    found = f"{data.get('comparator', '')}{_number(data)} {data.get('unit') or data.get('code', '')}".strip()
    return found or None


def composite(node: Node, target: Target, context: Context) -> Part | None:
    """Quantity → CQ; its unit has sub-components there."""
    del target, context
    return (_number(node.data), unit(node.data) or "") if "value" in node.data else None


def structured(node: Node, target: Target, context: Context) -> Part | None:
    """Quantity with a comparator, Range and Ratio → SN."""
    del target, context
    data = node.data
    if node.type == "Ratio":
        first, second = data.get("numerator", {}), data.get("denominator", {})
        return "", _number(first), ":", _number(second)
    if node.type == "Range":
        low, high = _number(data.get("low", {})), _number(data.get("high", {}))
        if low and high:
            return "", low, "-", high
        return (">=", low) if low else ("<=", high) if high else None
    return (data.get("comparator", ""), _number(data)) if "value" in data else None


def unit_alone(node: Node, target: Target, context: Context) -> Part | None:
    """Quantity → its unit alone."""
    del target, context
    return unit(node.data)


def money(node: Node, target: Target, context: Context) -> Part | None:
    """Money → MO."""
    del target, context
    return (_number(node.data), node.data.get("currency", "")) if "value" in node.data else None


def reference_range(node: Node, target: Target, context: Context) -> Part | None:
    """Observation.referenceRange → its text, else its bounds as people write them: ``3.9-6.4``, ``>=60``, ``<=5``."""
    del target, context
    low, high = (_number(node.data.get(name, {})) for name in ("low", "high"))
    bounds = f"{low}-{high}" if low and high else f">={low}" if low else f"<={high}" if high else ""
    return node.data.get("text") or bounds or None


# --- Notes and documents -----------------------------------------------------------------------------------------------------


def note(node: Node, target: Target, context: Context) -> Part | None:
    """Annotation → its text."""
    del target, context
    return node.data.get("text") or None


def document(node: Node, target: Target, context: Context) -> Part | None:
    """Attachment → ED with its data in base64; one of which only the place is known has no data to carry."""
    data = node.data
    kind, _, subtype = data.get("contentType", "application/octet-stream").partition(";")[0].strip().partition("/")
    if not data.get("data"):
        context.note("document-empty", "An attachment has no data; it is left out.", target)
        return None
    return "", kind, subtype, "Base64", data["data"]


def pointer(node: Node, target: Target, context: Context) -> Part | None:
    """Attachment → RP with its URL."""
    del target, context
    kind, _, subtype = node.data.get("contentType", "").partition(";")[0].strip().partition("/")
    return (node.data["url"], "", kind, subtype) if node.data.get("url") else None


# --- value[x] ------------------------------------------------------------------------------------------------------------


def observed(node: Node) -> str:
    """The data type that OBX-2 names for a value; '' where HL7 v2 has none for it."""
    data = node.data
    if node.type == "Quantity":
        return "SN" if data.get("comparator") else "NM"
    if node.type == "Attachment":
        return "ED" if data.get("data") else "RP"
    if node.type in ("string", "markdown"):
        return "TX" if "\n" in data else "ST"
    return _OBSERVED.get(node.type, "")


def unit_of(node: Node) -> Part | None:
    """OBX-6 of a value."""
    if node.type == "Quantity":
        return unit(node.data)
    if node.type == "Range":
        return unit(node.data.get("low") or node.data.get("high") or {})
    return None


def yes_no(node: Node, target: Target, context: Context) -> Part | None:
    """A boolean as a code of HL7 table 0136."""
    del target, context
    return ("Y", "Yes", "HL70136") if node.data else ("N", "No", "HL70136")


_OBSERVED = {
    "Range": "SN",
    "Ratio": "SN",
    "CodeableConcept": "CWE",
    "Coding": "CWE",
    "boolean": "CWE",
    "integer": "NM",
    "decimal": "NM",
    "dateTime": "TS",
    "date": "DT",
    "instant": "TS",
    "time": "TM",
    "Period": "DR",
    "code": "ST",
    "uri": "ST",
    "Reference": "ST",
    "Annotation": "TX",
}

_OWN: Conversions = {
    ("Quantity", "number"): number,
    ("Quantity", "text"): quantity_text,
    ("Quantity", "CQ"): composite,
    ("Quantity", "coded"): unit_alone,
    **{(kind, "SN"): structured for kind in ("Quantity", "Range", "Ratio")},
    ("Money", "MO"): money,
    ("Observation.referenceRange", "text"): reference_range,
    ("Annotation", "text"): note,
    ("Attachment", "ED"): document,
    ("Attachment", "RP"): pointer,
    ("boolean", "coded"): yes_no,
}
CONVERSIONS: Conversions = {**values.CONVERSIONS, **codes.CONVERSIONS, **people.CONVERSIONS, **_OWN}
"""(FHIR type, HL7 v2 type or its family) → conversion."""

ANYTHING = frozenset({"Quantity", "Attachment", "string", "markdown", *_OBSERVED})
"""The types that OBX-5 takes."""


def conversion(fhir_type: str, datatype: str) -> Convert | None:
    """What turns a FHIR type into an HL7 v2 type; None where nothing does."""
    return CONVERSIONS.get((fhir_type, family(datatype)))
