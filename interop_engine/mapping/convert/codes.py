"""Coded values (CWE, CNE, CE, CF, ID, IS) → CodeableConcept, Coding, code, through a table's map where there is one.

The sender's words are always kept in ``text``. A code system is named by ``tables/coding-systems.yaml``; a system nobody
knows is local to the sender's facility, so that two facilities' local codes never meet.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from interop_engine.mapping.context import is_oid
from interop_engine.mapping.convert.base import SOURCE_CODE, URN, Conversion, code_text, remember, remembered, tidy, uri_text
from interop_engine.mapping.convert.tables import TABLES, V2_SYSTEM, CodeTable, Target, data, v2_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from interop_engine.hl7.message import Value
    from interop_engine.mapping.context import Context, Scope
    from interop_engine.terminology.conceptmap import ConceptMap

_SYSTEMS: dict[str, str] = data("coding-systems.yaml")
SECTION = URN + "report-section"
"""The system of the suffixes of OBX-3: IMP impression, GDT findings, ADT addendum, REC recommendation."""
_HL7_TERMS = "http://terminology.hl7.org/"
_OID = "urn:oid:"
_TABLES = "2.16.840.1.113883.12."  # the tables of HL7 v2, by number


@lru_cache(maxsize=4096)
def _named(name: str) -> str:
    """The URI of a code system by its HL7 name (table 0396), empty for a local one."""
    if found := _SYSTEMS.get(name) or _SYSTEMS.get(name.upper()):
        return found
    table = name[3:].lstrip("-") if name[:3].upper() == "HL7" else ""
    if table.isdecimal() and table.isascii():
        return f"{V2_SYSTEM}{table.zfill(4)}"
    if name.startswith(_OID):
        return _oid(name.removeprefix(_OID))
    return name if name.startswith(("http://", "https://", "urn:")) and uri_text(name) == name else ""


def system_of(name: str, scope: Scope, *, oid: str = "", table: str = "") -> str:
    """The URI for CWE.3 (or CWE.14): a known name, the site's naming, an OID, the field's own HL7 table, else local.

    Some senders write the OID where the name belongs: it is one all the same.
    """
    if name:
        known = _named(name) or scope.naming.known(name) or _oid(name) or _oid(oid)
        return known or scope.naming.local_codes(scope.facility, name)
    return _oid(oid) or (f"{V2_SYSTEM}{table}" if table else scope.naming.local_codes(scope.facility, ""))


@lru_cache(maxsize=4096)
def _oid(oid: str) -> str:
    """The URI of the code system with an OID: FHIR has one of its own for many, and for the tables of HL7 v2."""
    if not oid or not is_oid(oid):
        return ""
    table = oid.removeprefix(_TABLES)
    if found := _SYSTEMS.get(oid):
        return found
    return f"{V2_SYSTEM}{table.zfill(4)}" if table.isdecimal() else f"{_OID}{oid}"


def coding_of(code: str, display: str, system: str, scope: Scope) -> dict[str, Any]:
    """A Coding. A code that its HL7 table does not have is the sender's own; HL7's own displays are not repeated."""
    if system.startswith(_HL7_TERMS):
        if system.startswith(V2_SYSTEM) and (known := v2_codes(system[len(V2_SYSTEM) :])) and code not in known:
            local = scope.naming.local_codes(scope.facility, f"HL7{system[len(V2_SYSTEM) :]}")
            return {"system": local, "code": code, "display": display} if display else {"system": local, "code": code}
        return {"system": system, "code": code}
    return {"system": system, "code": code, "display": display} if display else {"system": system, "code": code}


def codings_of(value: Value, scope: Scope, table: str = "") -> tuple[list[dict[str, Any]], str]:
    """All codings of a CWE, and the sender's words for it."""
    get = value.get
    code, display, name = get(1), tidy(get(2)), get(3)
    count = len(value.parts)
    codings = []
    if code and (code := code_text(code)):
        coding = coding_of(code, display, system_of(tidy(name), scope, oid=get(14) if count > 13 else "", table=table), scope)
        if count > 6 and (version := tidy(get(7))):
            coding["version"] = version
        codings.append(coding)
    if count < 4:
        return codings, display
    if other := code_text(get(4)):
        coding = coding_of(other, tidy(get(5)), system_of(tidy(get(6)), scope, oid=get(17) if count > 16 else ""), scope)
        if count > 7 and (version := tidy(get(8))):
            coding["version"] = version
        codings.append(coding)
    text = display or tidy(get(5))
    if count > 8:
        text = tidy(get(9)) or text or tidy(get(11))
        if other := code_text(get(10)):
            codings.append(coding_of(other, tidy(get(11)), system_of(tidy(get(12)), scope, oid=get(20)), scope))
    return codings, text


def _concept(value: Value, context: Context, table: str = "") -> dict[str, Any] | None:
    """A CodeableConcept with every coding that was sent; the sender's words are its text."""
    codings, text = codings_of(value, context.scope, table)
    if codings:
        return {"coding": codings, "text": text} if text else {"coding": codings}
    return {"text": text} if text else None


codeable_concept = remembered(_concept)


def _observed(value: Value, context: Context) -> dict[str, Any] | None:
    """OBX-3: with the suffix that says which part of a report it is (``36643-5&IMP``, chapter 7.2.4) as a coding more."""
    found = _concept(value, context)
    suffix = code_text(value.get(1, 2))
    if not suffix:
        return found
    before = found or {}
    return {**before, "coding": [*before.get("coding", ()), {"system": SECTION, "code": suffix}]}


def coding(value: Value, context: Context, table: str = "") -> dict[str, Any] | None:
    """The first Coding."""
    codings, text = codings_of(value, context.scope, table)
    if codings:
        return codings[0]
    return {"display": text} if text else None


def code(value: Value, context: Context) -> str | None:
    """The bare code, where the element's binding leaves it open."""
    del context
    return code_text(value.text) or None


def words(value: Value, context: Context) -> str | None:
    """The sender's words: the original text, else the text, else the code."""
    _, text = codings_of(value, context.scope)
    return text or tidy(value.text) or None


def uri(value: Value, context: Context) -> str | None:
    """The code (else the alternate code) as a URI."""
    found = uri_text(value.get(1) or value.get(4))
    if not found and value.raw:
        context.note("not-a-uri", "The text is no URI; it is left out.")
    return found or None


def identifier(value: Value, context: Context) -> dict[str, Any] | None:
    """The code with its system as an Identifier."""
    codings, _ = codings_of(value, context.scope)
    return {"system": codings[0]["system"], "value": codings[0]["code"]} if codings else None


# --- Through a table's map -----------------------------------------------------------------------------------------------


def _target(value: Value, table: CodeTable, context: Context) -> tuple[str, Target | None]:
    source = code_text(value.text)
    found = table.entries.get(source) or (table.entries.get(source.upper()) if source else None)
    if found is None and source:
        if (reason := table.parks.get(source)) is not None:
            context.refuse(reason, f"a code of {table.name} after which there is nothing to map")
            return source, None
        if not decided(table, source):
            context.unknown_code(table.name, table.source, source)
        if table.default is not None and table.table:
            context.note("code-defaulted", f"The code has no target in {table.name}; the target is {table.default.code}.")
        elif table.default is None and table.unmapped == "drop":
            context.note("code-unmapped", f"The code has no target in {table.name}; it is left out.")
    return source, found or table.default


def decided(table: CodeTable, source: str) -> bool:
    """Whether a code without a target is so on purpose: FHIR has nothing for it, or HL7's own code is kept as it is."""
    return source in table.none or (table.unmapped == "keep" and source in v2_codes(table.table))


def _foreign(value: Value, table: CodeTable) -> bool:
    """Whether the value names another code system than the map's own: then the map does not apply (unless it is closed)."""
    name = "" if table.closed else value.get(3)
    return bool(name) and bool(table.table) and (_named(name) or _oid(name)) != table.source


def code_by(table: CodeTable) -> Callable[[Value, Context], str | None]:
    """A conversion to ``code`` through a map; a source code that says more stays in an extension."""
    simple = {source: target.code for source, target in table.entries.items() if not target.kept}

    def convert(value: Value, context: Context) -> str | None:
        if (ready := simple.get(value.raw)) is not None:
            return ready
        source, found = _target(value, table, context)
        if found is None:
            return None
        if found.kept and source:
            kept = coding_of(source, "", table.source, context.scope) if table.source else {"code": source}
            context.extend({"url": SOURCE_CODE, "valueCoding": kept})
        return found.code

    return convert


def boolean_by(table: CodeTable) -> Callable[[Value, Context], bool | None]:
    """A conversion to ``boolean`` through a map whose targets are true and false."""

    def convert(value: Value, context: Context) -> bool | None:
        _, found = _target(value, table, context)
        return None if found is None else found.code == "true"

    return convert


def concept_by(table: CodeTable) -> Callable[[Value, Context], dict[str, Any] | None]:
    """A conversion to CodeableConcept through a map; the sender's words stay its text."""
    to_coding = coding_by(table)
    simple = {source: {"coding": [_coding(target)]} for source, target in table.entries.items()}

    def convert(value: Value, context: Context) -> dict[str, Any] | None:
        if (ready := simple.get(value.raw)) is not None:
            return ready  # shared: nobody changes FHIR content once made
        found = to_coding(value, context)
        text = tidy(value.get(9) or value.get(2))
        if found is None or "code" not in found:
            text = text or tidy(value.text)
            return {"text": text} if text else None
        return {"coding": [found], "text": text} if text else {"coding": [found]}

    return convert


def coding_by(table: CodeTable) -> Callable[[Value, Context], dict[str, Any] | None]:
    """A conversion to Coding through a map."""

    def convert(value: Value, context: Context) -> dict[str, Any] | None:
        if _foreign(value, table):
            return coding(value, context)
        _, found = _target(value, table, context)
        if found is None:
            return coding(value, context, table.table if v2_codes(table.table) else "") if table.unmapped == "keep" else None
        return _coding(found)

    return convert


def _coding(target: Target) -> dict[str, Any]:
    result = {"system": target.system, "code": target.code}
    if target.display:
        result["display"] = target.display
    return result


def in_table(table: str, type_: str) -> Conversion | None:
    """The conversion of a coded field whose codes are of an HL7 table that has no map: the table is its system."""
    if type_ == "CodeableConcept":
        return Conversion(
            remembered(lambda v, c: _concept(v, c, table)), f"Codings; the default system is v2-{table}.", tuple(range(1, 23))
        )
    if type_ == "Coding":
        return Conversion(lambda v, c: coding(v, c, table), f"The first coding; the default system is v2-{table}.", (1, 2, 3))
    return None


_MAKERS: dict[str, Callable[[CodeTable], Callable[[Value, Context], Any]]] = {
    "code": code_by,
    "CodeableConcept": concept_by,
    "Coding": coding_by,
    "boolean": boolean_by,
}


def by_table(table: CodeTable, type_: str) -> Conversion | None:
    """The conversion of a coded field through a map, to code, CodeableConcept, Coding or boolean; None for other types."""
    maker = _MAKERS.get(type_)
    return None if maker is None else Conversion(maker(table), f"Through the table {table.name}.", (1, 2, 3, 9))


def mapped(v2_type: str, type_: str, table: str, value_set: str) -> Conversion | None:
    """What a field's HL7 table makes of it: its map to ``value_set``, else the table as default system; None without."""
    if type_ == "boolean":
        value_set = "http://hl7.org/fhir/ValueSet/boolean"
    if (found := TABLES.get((table, value_set))) is not None:
        return by_table(found, type_)
    return in_table(table, type_) if table and v2_type in CODED and v2_codes(table) else None


def translated(concept: dict[str, Any], mapping: ConceptMap, context: Context) -> dict[str, Any]:
    """A CodeableConcept with the targets of its codings added, the local coding kept first."""
    memo = context.scope.memo
    key = (mapping.name, context.date, id(concept))
    found = memo.get(key)
    if found is None or found[0] is not concept:  # an id alone could be another concept's by now
        found = (concept, _translated(concept, mapping, context.date))
        remember(memo, key, found)
    result: dict[str, Any] = found[1]
    if result is concept and (codings := concept.get("coding")):
        context.unknown_code(mapping.name, codings[0].get("system", ""), codings[0]["code"])
    return result


def _translated(concept: dict[str, Any], mapping: ConceptMap, day: str) -> dict[str, Any]:
    """The concept itself where the map has nothing for it."""
    codings = concept.get("coding", ())
    added = [target for local in codings for target in mapping.translate(local.get("system", ""), local["code"], day)]
    if not added:
        return concept
    seen = {(c.get("system"), c["code"]) for c in codings}
    return {**concept, "coding": [*codings, *(c for c in added if (c["system"], c["code"]) not in seen)]}


CODED = frozenset({"CWE", "CNE", "CE", "CF", "ID", "IS"})
_WIDE = ("CWE", "CNE", "CE", "CF")
_ALL = tuple(range(1, 23))

CONVERSIONS = {
    **{
        (v2, "CodeableConcept"): Conversion(codeable_concept, "Every coding sent; the sender's words as text.", _ALL)
        for v2 in sorted(CODED)
    },
    **{(v2, "Coding"): Conversion(coding, "The first coding.", (1, 2, 3, 7, 14)) for v2 in sorted(CODED)},
    **{
        (v2, "code"): Conversion(code, "The code itself, where no table's map leads to the element.", (1,))
        for v2 in sorted(CODED)
    },
    **{(v2, "string"): Conversion(words, "The sender's words, else the code.", (1, 2, 5, 9, 11)) for v2 in sorted(CODED)},
    **{(v2, "uri"): Conversion(uri, "The code as a URI.", (1, 4)) for v2 in _WIDE},
    **{(v2, "Identifier"): Conversion(identifier, "The code with its system.", (1, 3)) for v2 in _WIDE},
}

PLACES = {
    ("OBX", 3, "CodeableConcept"): Conversion(
        remembered(_observed), "Every coding sent, and the suffix of a report's part.", _ALL
    ),
}
