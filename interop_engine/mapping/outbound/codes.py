"""FHIR codes → ID, IS, CWE and their kin: through the maps of ``mapping.convert`` backwards, or as the codings that were sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interop_engine.mapping.convert.base import SOURCE_CODE
from interop_engine.mapping.convert.codes import SECTION
from interop_engine.mapping.convert.tables import V2_SYSTEM, v2_codes
from interop_engine.mapping.outbound import naming as names
from interop_engine.mapping.outbound.values import WORDS, Context, Conversions, Part, Target, written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interop_engine.mapping.outbound.fhirpath import Node


def code(node: Node, target: Target, context: Context) -> Part | None:
    """A code through its table's map backwards; the code that was sent, where FHIR's says less."""
    sent = next((each["valueCoding"].get("code", "") for each in node.extensions if each.get("url") == SOURCE_CODE), "")
    if sent:
        return str(sent)
    tables = names.maps(target.table, target.bindings) if target.table else ()
    plain = written(node.data)
    found = next((known for table in tables if (known := names.source_code(table, plain))), "")
    if found or not tables:
        return found or plain
    context.note("code-unmapped", f"A code has no counterpart in HL7 table {target.table}; it is left out.", target)
    return None


def literal(node: Node, target: Target, context: Context) -> Part | None:
    """Text into a coded field: a code where the field has an HL7 table, else only words."""
    del context
    found = written(node.data)
    return found if target.table else ("", found)


def concept(node: Node, target: Target, context: Context) -> Part | None:
    """A CodeableConcept (or a Coding): three codings and the words. The first may come from the field's table, as sent."""
    codings, words = _codings(node)
    suffix = next((each["code"] for each in codings if each.get("system") == SECTION and "code" in each), "")
    codings = [each for each in codings if each.get("system") != SECTION]
    if codings and (sent := _of_table(codings[0], target)):
        return (sent, words) if words else sent
    parts: list[Part] = [""] * 12
    for place, version, coding in zip((0, 3, 9), (6, 7, 12), codings, strict=False):
        system = names.coding_system(coding.get("system", ""), context.naming)
        parts[place : place + 3] = [coding.get("code", ""), coding.get("display", ""), system]
        if coding.get("version"):
            parts += [""] * (version + 1 - len(parts))
            parts[version] = coding["version"]
    if len(codings) > 3:
        context.note("codings-dropped", "CWE takes three codings; the others are left out.", target)
    parts[0] = (parts[0], suffix) if suffix else parts[0]
    if words and not parts[1]:
        parts[1] = words
    elif words != parts[1]:
        parts[8] = words
    return tuple(parts) if any(parts) else None


def _codings(node: Node) -> tuple[list[dict[str, Any]], str]:
    if node.type == "Coding":
        return [node.data], node.data.get("display", "")
    return list(node.data.get("coding", ())), node.data.get("text", "")


def _of_table(coding: Mapping[str, Any], target: Target) -> str:
    """The code of the field's own HL7 table for a coding, or ''."""
    system, plain = coding.get("system", ""), coding.get("code", "")
    if not target.table or not plain:
        return ""
    if system == f"{V2_SYSTEM}{target.table}":
        return str(plain)
    tables = names.maps(target.table, target.bindings)
    return next((found for table in tables if (found := names.source_code(table, plain, system or "?"))), "")


def bare_code(node: Node, target: Target, context: Context) -> Part | None:
    """A CodeableConcept (or a Coding) into ID or IS: the code of the field's table, else the first code."""
    codings, words = _codings(node)
    found = next((sent for each in codings if (sent := _of_table(each, target))), "")
    if not found and target.table and v2_codes(target.table):
        context.note("code-unmapped", f"No coding has a counterpart in HL7 table {target.table}.", target)
        return None
    return found or next((each["code"] for each in codings if "code" in each), "") or words or None


def words(node: Node, target: Target, context: Context) -> Part | None:
    """A CodeableConcept (or a Coding) as words."""
    del target, context
    codings, said = _codings(node)
    shown = [each.get("display") or each.get("code", "") for each in codings]
    return said or next((each for each in shown if each), "") or None


CONVERSIONS: Conversions = {
    ("code", "code"): code,
    ("code", "coded"): code,
    **{(kind, "coded"): literal for kind in WORDS if kind != "code"},
    **{(kind, "coded"): concept for kind in ("CodeableConcept", "Coding")},
    **{(kind, "code"): bare_code for kind in ("CodeableConcept", "Coding")},
    **{(kind, "text"): words for kind in ("CodeableConcept", "Coding")},
}
"""(FHIR type, HL7 v2 type or its family) → conversion."""
