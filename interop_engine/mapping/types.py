"""What goes into what by itself: HL7 v2 types against FHIR types, and literals read by the element's type.

The conversions are those of ``mapping.convert``; here is decided which of them an element implies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from interop_engine.core.diagnostics import near
from interop_engine.fhir import definitions
from interop_engine.fhir.definitions import PRIMITIVES, ElementDef
from interop_engine.hl7 import dictionary
from interop_engine.mapping.context import Naming
from interop_engine.mapping.convert import COMPANIONS, CONVERSIONS, PLACES, TABLES, coded
from interop_engine.mapping.convert.base import absolute
from interop_engine.mapping.primitives import as_text, read_primitive
from interop_engine.mapping.typed import VARIES, Const, Convert, Node, Primitive, Read

CODED = frozenset({"CWE", "CNE", "CE", "CF", "ID", "IS"})
_TEXTUAL = frozenset({"ST", "TX", "FT", "NM", "SI", "ID", "IS", "GTS", "SNM"})
# Which type an element with a choice takes, where several would do; else the specification's order.
_PREFERRED = {
    "DTM": ("dateTime", "instant", "date", "Period"),
    "DT": ("dateTime", "date"),
    "DR": ("Period", "dateTime"),
    "NM": ("Quantity", "decimal", "integer", "string"),
    "SN": ("Quantity", "Range", "Ratio", "string"),
    "CWE": ("CodeableConcept", "Coding", "code", "string"),
    "ED": ("Attachment",),
    "RP": ("Attachment",),
    "TQ": ("Timing", "Period"),
}
_TEXT_PREFERRED = ("string", "markdown", "code", "uri", "dateTime", "date", "decimal", "integer", "boolean")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something does not go into an element."""

    code: str
    message: str
    hint: str = ""


def same_family(one: str, other: str) -> bool:
    """Whether two HL7 v2 types are read alike (CE and CWE, CN and XCN)."""
    return one == other or VARIES in (one, other) or {one, other} <= CODED - {"ID", "IS"} or {one, other} <= {"XCN", "CNN", "PPN"}


def element_name(definition: ElementDef, written: str, kind: str) -> str:
    """The JSON name of an element for a value of type ``kind``: of a choice with its type."""
    return definitions.choice_name(definition.name, kind) if definition.choice else written


# --- Reads ---------------------------------------------------------------------------------------------------------------


def implied(read: Read, definition: ElementDef, written: str, path: str) -> Convert | Refusal:
    """The conversion of a read into an element."""
    companion = None if read.component else _companion(read, definition, written)
    if companion is not None:
        return companion
    if "Annotation" in definition.types and not definition.choice and read.datatype in _TEXTUAL and not read.component:
        return Convert(read, "notes", element_name(definition, written, "Annotation"), doc="All texts joined, as one Annotation.")
    if read.datatype == VARIES:
        return _varies(read, definition, written, path)
    kinds = _ordered(read.datatype, definition.types) if definition.choice else definition.types
    for kind in kinds:
        place = None if read.component else PLACES.get((read.segment, read.field, kind))
        by_type = CONVERSIONS.get((read.datatype, kind))
        conversion = place or coded(read.datatype, kind, read.table, definition.binding) or by_type
        if conversion is None:
            continue
        if (refusal := _unbound(read, definition, kind, path, written)) is not None:
            return refusal
        return Convert(
            read,
            "value",
            element_name(definition, written, kind),
            absolute(conversion.function) if _names_system(definition) else conversion.function,
            primitive=kind in PRIMITIVES,
            parts=conversion.reads,
            doc=conversion.doc,
        )
    if read.component and not read.subcomponent and (part := _first_part(read)) is not None:
        return implied(part, definition, written, path)
    return _no_conversion(read, definition, written, path)


def _names_system(definition: ElementDef) -> bool:
    """Whether it is the ``system`` of a Coding, an Identifier or a Quantity, which is an absolute URI."""
    return definition.name == "system" and definition.types == ("uri",)


def _first_part(read: Read) -> Read | None:
    """Of a component that has parts the first, which is what PID-5.1 means to everybody."""
    known = dictionary.datatype(read.datatype)
    first = known.components.get(1) if known else None
    return replace(read, subcomponent=1, datatype=first.datatype, table=first.table) if first else None


def _companion(read: Read, definition: ElementDef, written: str) -> Convert | None:
    for kind in ("*", *definition.types) if definition.choice else definition.types:
        found = COMPANIONS.get((read.segment, read.field, kind))
        if found is None or (definition.choice and not found.choice and _alone(read, definition, kind)):
            continue
        name = definition.name if found.choice else element_name(definition, written, kind)
        return Convert(
            read,
            "segment",
            name,
            found.function,
            choice=found.choice,
            many=found.many,
            common=found.common,
            primitive=found.choice or kind in PRIMITIVES,
            also=tuple(number for number in found.fields if number != read.field),
            doc=found.doc,
        )
    return None


def _alone(read: Read, definition: ElementDef, kind: str) -> bool:
    """Whether a field has a value for a choice by itself: ``occurrence: TQ1-7`` is a dateTime, not the whole TQ1."""
    return any((read.datatype, other) in CONVERSIONS for other in definition.types if other != kind)


def _varies(read: Read, definition: ElementDef, written: str, path: str) -> Convert | Refusal:
    """By OBX-2, which is only known when a message arrives: every type that has a conversion."""
    for kind in definition.types:
        choices: dict[str, Callable[..., Any]] = {v2: c.function for (v2, to), c in CONVERSIONS.items() if to == kind}
        if choices:
            name = element_name(definition, written, kind)
            doc = f"By OBX-2, to {kind}."
            return Convert(read, "varies", name, primitive=kind in PRIMITIVES, also=(2,), choices=choices, doc=doc)
    return _no_conversion(read, definition, written, path)


def _unbound(read: Read, definition: ElementDef, kind: str, path: str, written: str) -> Refusal | None:
    """A code that must be of a value set, from a field without a map into it."""
    if kind != "code" or definition.strength != "required" or definitions.codes(definition.binding) is None:
        return None
    if not read.component and _mapped(read.table, definition.binding):
        return None
    if read.component and read.table and _mapped(read.table, definition.binding):
        return None
    table = f"HL7 table {read.table}" if read.table else "no HL7 table"
    message = f"{read.label} ({table}) has no map to the codes of {path}.{written}"
    return Refusal("M505", message, f"{read.label} | table(NAME), or a literal")


def _mapped(table: str, value_set: str) -> bool:
    return (table, value_set) in TABLES


def _ordered(datatype: str, kinds: tuple[str, ...]) -> tuple[str, ...]:
    preferred = tuple(kind for kind in _PREFERRED.get(datatype, _TEXT_PREFERRED) if kind in kinds)
    return (*preferred, *(kind for kind in kinds if kind not in preferred))


def _no_conversion(read: Read, definition: ElementDef, written: str, path: str) -> Refusal:
    wanted = " or ".join(definition.types[:4])
    message = f"{read.label} is {_a(read.datatype)}, {path}.{written} takes {wanted}"
    into = sorted({to for v2, to in CONVERSIONS if v2 == read.datatype})
    hint = f"{read.datatype} converts to {', '.join(into)}" if into else "name a component: .1"
    return Refusal("M302", message, "; ".join(part for part in (_others(read, definition.types), hint) if part))


_MOST_OTHERS = 4


def _others(read: Read, kinds: tuple[str, ...]) -> str:
    """Fields of the segment that do convert: what may have been meant."""
    segment = dictionary.segment(read.segment)
    fields = segment.fields.items() if segment else ()
    found = [f"{read.segment}-{n}" for n, field in fields if any((field.datatype, kind) in CONVERSIONS for kind in kinds)]
    if not found or len(found) > _MOST_OTHERS:
        return ""
    return f"did you mean {found[0]}?" if len(found) == 1 else f"{', '.join(found)} would fit"


def _a(datatype: str) -> str:
    return f"an {datatype}" if datatype[:1] in "AEFHILMNRSX" else f"a {datatype}"


# --- Text ----------------------------------------------------------------------------------------------------------------


def from_text(node: Node, definition: ElementDef, written: str) -> Node | Refusal:
    """Text that a function made, into an element: a primitive, or the text of a CodeableConcept or Annotation."""
    kinds = tuple(k for k in _TEXT_PREFERRED if k in definition.types) if definition.choice else definition.types
    for kind in kinds:
        if kind in PRIMITIVES:
            bound = definitions.codes(definition.binding) if kind == "code" and definition.strength == "required" else None
            type_ = "system" if _names_system(definition) else kind
            return Primitive(node, type_, element_name(definition, written, kind), bound)
        if kind in ("CodeableConcept", "Annotation"):
            return Primitive(node, kind, element_name(definition, written, kind))
    return Refusal("M302", f"{written} takes {' or '.join(definition.types[:4])}, this is text", "name its elements: {…: …}")


# --- Literals --------------------------------------------------------------------------------------------------------------


def literal(text: str, definition: ElementDef, written: str, naming: Naming | None) -> Const | Refusal:
    """``=text`` as the element's type reads it; a required binding is checked."""
    if not definition.choice:
        return _literal(text, definition.types[0], definition, written, naming)
    kinds = [kind for kind in _TEXT_PREFERRED if kind in definition.types] or list(definition.types[:1])
    if "#" in text and "CodeableConcept" in definition.types:
        kinds = ["CodeableConcept"]
    found = [_literal(text, kind, definition, written, naming) for kind in kinds]
    return next((each for each in found if isinstance(each, Const)), found[0])


def _literal(text: str, kind: str, definition: ElementDef, written: str, naming: Naming | None) -> Const | Refusal:
    name = element_name(definition, written, kind)
    if kind in PRIMITIVES:
        return _primitive_literal(text, kind, definition, name)
    if kind in ("CodeableConcept", "Coding"):
        return _coded_literal(text, kind, name, naming)
    if kind == "Identifier":
        system, mark, value = text.rpartition("#")
        found = _system(system, naming) if mark else ""
        return (
            found if isinstance(found, Refusal) else Const({"system": found, "value": value} if mark else {"value": text}, name)
        )
    if kind == "Reference":
        if re.fullmatch(r"[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64}", text):
            return Const({"reference": text}, name)
        return Const({"display": text}, name)
    if kind == "Annotation":
        return Const({"text": text}, name)
    return Refusal("M303", f"{written} is of type {kind}, which has no literal", "name its elements: {…: …}")


_FORMS = {
    "boolean": "true or false",
    "date": "2026-03-01, 2026-03 or 2026",
    "dateTime": "2026-03-01T08:00:00+07:00, or only its date",
    "instant": "2026-03-01T08:00:00+07:00",
    "time": "08:00:00",
    "uri": "a URI without spaces: https://hospital.example/x or urn:oid:1.2.3",
    "url": "a URL without spaces: https://hospital.example/x",
    "oid": "urn:oid:1.2.840.113619",
    "uuid": "urn:uuid:426d2726-51fc-49fe-a946-8596e80a80eb",
    "id": "letters, digits, - and . , 64 at most",
    "base64Binary": "base64: SGVsbG8=",
}


def _primitive_literal(text: str, kind: str, definition: ElementDef, name: str) -> Const | Refusal:
    bound = definitions.codes(definition.binding) if kind == "code" and definition.strength == "required" else None
    if bound is not None and text not in bound:
        return Refusal("M303", f'"{text}" is not a code of {definition.name}', near(text, bound) or _some(bound))
    if kind in ("decimal", "integer", "positiveInt", "unsignedInt"):
        try:
            number = Decimal(text)
        except InvalidOperation:
            return Refusal("M303", f'"{text}" is no {kind}', "digits, and a point: 5.20")
        return Const(number if kind == "decimal" else int(number), name)
    value = read_primitive("system" if _names_system(definition) else kind, as_text(text))
    return Refusal("M303", f'"{text}" is no {kind}', _FORMS.get(kind, "")) if value is None else Const(value, name)


def _coded_literal(text: str, kind: str, name: str, naming: Naming | None) -> Const | Refusal:
    system, mark, code = text.rpartition("#")
    if not mark:
        return Const({"text": text}, name) if kind == "CodeableConcept" else Const({"display": text}, name)
    found = _system(system, naming)
    if isinstance(found, Refusal):
        return found
    coding = {"system": found, "code": code} if found else {"code": code}
    return Const({"coding": [coding]} if kind == "CodeableConcept" else coding, name)


_HL7 = "http://terminology.hl7.org/CodeSystem/"
_ALIASES = {
    "loinc": "http://loinc.org",
    "snomed": "http://snomed.info/sct",
    "ucum": "http://unitsofmeasure.org",
    "icd10": "http://hl7.org/fhir/sid/icd-10",
    "dicom": "http://dicom.nema.org/resources/ontology/DCM",
}


def _system(written: str, naming: Naming | None) -> str | Refusal:
    """The URI of a code system by its alias: a URL, a well-known one, HL7's own (``v2-0074``), or one of the site's naming."""
    if not written or ":" in written:
        return written
    if written in _ALIASES:
        return _ALIASES[written]
    if naming is not None and (found := naming.known(written)):
        return found
    if written in _NAMED or re.fullmatch(r"v3-[A-Z]\w+", written) or (written[:3] == "v2-" and definitions.v2_table(written[3:])):
        return _HL7 + written
    hint = near(written, [*_ALIASES, *_NAMED, *(naming.systems if naming else ())])
    return Refusal("M504", f'"{written}" is no known code system', hint or "write its URL: =http://…#code")


_NAMED = frozenset(
    {
        "observation-category",
        "condition-category",
        "condition-clinical",
        "condition-ver-status",
        "allergyintolerance-clinical",
        "allergyintolerance-verification",
        "diagnosis-role",
        "service-category",
        "service-type",
        "practitioner-role",
        "organization-type",
        "referencerange-meaning",
        "data-absent-reason",
        "contactentity-type",
        "subscriber-relationship",
        "coverage-class",
        "provenance-participant-type",
        "location-physical-type",
        "appointment-cancellation-reason",
        "encounter-type",
    }
)


def _some(codes: frozenset[str]) -> str:
    names = sorted(codes)
    return f"codes: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}"
