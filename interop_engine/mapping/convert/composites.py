"""Types of several parts of which the first says what it is: DLN, FC, JCC, DLD, SPS, MOC, MSG, PT, VID, SPD, DIN, NDL; and OG.

What FHIR has one element for is made here; parts that have elements of their own are named by the mapping (``OBR-15.4``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interop_engine.mapping.convert.base import Conversion, code_text, tidy
from interop_engine.mapping.convert.codes import codeable_concept, coding, in_table, words
from interop_engine.mapping.convert.identifiers import type_of, xcn_identifier
from interop_engine.mapping.convert.names import person_text, xcn
from interop_engine.mapping.convert.quantities import money
from interop_engine.mapping.convert.tables import V2_SYSTEM
from interop_engine.mapping.convert.times import date, date_time, period_from, period_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from interop_engine.hl7.message import Value
    from interop_engine.mapping.context import Context

Json = dict[str, Any]


def _of_first(convert: Callable[[Value, Context], Any]) -> Callable[[Value, Context], Any]:
    """A conversion of the first component, by its own type's conversion."""

    def run(value: Value, context: Context) -> Any:
        first = value.component(1)
        return None if first is None else convert(first, context)

    return run


def _coded(table: str, doc: str, type_: str) -> Conversion:
    """The first component, a CWE whose default code system is an HL7 table (empty for none)."""
    found = in_table(table, type_) if table else None
    convert = found.function if found else codeable_concept if type_ == "CodeableConcept" else coding
    return Conversion(_of_first(convert), doc, (1,))


def licence(value: Value, context: Context) -> Json | None:
    """DLN → Identifier, type driver's licence; the system is its issuer's, the expiry the end of its period."""
    number = tidy(value.get(1))
    if not number:
        return None
    scope = context.scope
    issuer = tidy(value.get(2))
    system = scope.naming.system(issuer) if issuer else scope.naming.national("DL", number)
    result: Json = {
        "type": type_of("DL"),
        "system": system or scope.naming.facility_number(scope.facility, "dl"),
        "value": number,
    }
    if found := period_of("", value.get(3), context):
        result["period"] = found
    return result


def event(value: Value, context: Context) -> Json | None:
    """MSG → Coding of the trigger event (HL7 table 0003), which is what MessageHeader.event takes."""
    del context
    code = code_text(value.get(2))
    if not code:
        return None
    display = "^".join(part for part in (tidy(value.get(n)) for n in (1, 2, 3)) if part)
    return {"system": f"{V2_SYSTEM}0003", "code": code, "display": display}


def event_code(value: Value, context: Context) -> str | None:
    """MSG → code of the trigger event."""
    del context
    return code_text(value.get(2)) or None


def processing(value: Value, context: Context) -> Json | None:
    """PT → Coding of the processing id (HL7 table 0103), a tag in Meta."""
    del context
    code = code_text(value.get(1))
    return {"system": f"{V2_SYSTEM}0103", "code": code} if code else None


def first_text(value: Value, context: Context) -> str | None:
    """The first component's text."""
    del context
    return tidy(value.get(1)) or None


def first_code(value: Value, context: Context) -> str | None:
    """The first component as a code."""
    del context
    return code_text(value.get(1)) or None


def specialty(value: Value, context: Context) -> Json | None:
    """SPD → CodeableConcept: the specialty is only named."""
    found = first_text(value, context)
    return {"text": found} if found else None


def whole_id(value: Value, context: Context) -> str | None:
    """OG → the sub-id as written, its parts joined by dots."""
    del context
    return ".".join(part for part in (tidy(value.get(n)) for n in range(1, 5)) if part) or None


_FIRST = {
    "FC": ("0064", "The financial class; the default system is v2-0064."),
    "JCC": ("0327", "The job's code; the class (`.2`) and the description (`.3`) are parts of their own."),
    "DLD": ("0113", "Where the patient was discharged to; the default system is v2-0113."),
    "SPS": ("", "The kind of specimen; additive (`.2`), body site (`.4`) and condition (`.6`) are parts of their own."),
}
_FIRST_WORDS = Conversion(_of_first(words), "The words of its first part, else its code.", (1,))
_FIRST_TEXT = Conversion(first_text, "The first part's text.", (1,))
_FIRST_CODE = Conversion(first_code, "The first part as a code.", (1,))

CONVERSIONS = {
    **{(v2, kind): _coded(table, doc, kind) for v2, (table, doc) in _FIRST.items() for kind in ("CodeableConcept", "Coding")},
    **{(v2, "string"): _FIRST_WORDS for v2 in _FIRST},
    ("DLN", "Identifier"): Conversion(licence, "An Identifier, type driver's licence, with its issuer and expiry.", (1, 2, 3)),
    ("MOC", "Money"): Conversion(_of_first(money), "Money of the amount; the charge's code (`.2`) is a part of its own.", (1,)),
    ("MSG", "Coding"): Conversion(event, "A Coding of the trigger event.", (1, 2, 3)),
    ("MSG", "code"): Conversion(event_code, "The trigger event.", (2,)),
    ("PT", "Coding"): Conversion(processing, "A Coding of the processing id.", (1,)),
    **{(v2, "code"): _FIRST_CODE for v2 in ("PT", "VID")},
    **{(v2, "string"): _FIRST_TEXT for v2 in ("DLN", "PT", "VID", "SPD", "DIN")},
    ("SPD", "CodeableConcept"): Conversion(specialty, "The specialty's name as text.", (1,)),
    **{
        ("DIN", kind): Conversion(_of_first(convert), "The time; the institution (`.2`) is a part of its own.", (1,))
        for kind, convert in (("dateTime", date_time), ("date", date), ("Period", period_from))
    },
    ("NDL", "HumanName"): Conversion(_of_first(xcn), "The person's name in NDL.1.", (1,)),
    ("NDL", "Identifier"): Conversion(_of_first(xcn_identifier), "The person's number in NDL.1.", (1,)),
    ("NDL", "string"): Conversion(_of_first(person_text), "The person's whole name in NDL.1, else the number.", (1,)),
    ("OG", "string"): Conversion(whole_id, "The sub-id as written, its parts joined by dots.", (1, 2, 3, 4)),
}
