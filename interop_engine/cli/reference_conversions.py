"""The reference page of conversions: what an HL7 v2 type becomes by itself, and every code of every shipped table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from interop_engine.fhir.definitions import v2_table
from interop_engine.mapping.convert import BY_NAME, COMPANIONS, CONVERSIONS, PLACES, CodeTable
from interop_engine.mapping.outbound.observations import CONVERSIONS as OUTBOUND
from interop_engine.mapping.outbound.values import types_of

_INTRODUCTION = """\
A line such as `identifier: PID-3` needs no function: the field's HL7 v2 type and the element's FHIR type decide. Asked in this
order: fields that are only understood with others, fields whose place says more than their type, coded fields whose HL7 table
has a map to the element's value set, and then the type. The ground is the official v2-to-FHIR maps, of which
[each one is accounted for](../decisions/official-maps.md); where those leave a code blank, it is decided here. A code system is
named by its HL7 name (table 0396), the site's naming or its OID; any other is local to the sending facility. What a conversion
cannot keep is a finding, what it does not read is on the loss ledger."""

_BACK = """\
Of a mapping with `to:`. The types on the right are read alike; what a value has no place for is told by a finding, or listed in
[the decision](../decisions/way-back.md)."""


def page() -> list[str]:
    """The page's lines, without the note that it is generated."""
    lines = ["# Conversions", "", _INTRODUCTION]
    lines += ["", "## Fields read with others", "", *_table("Field", "Into", "What it gives", _companions())]
    lines += ["", "## Fields whose place says more", "", *_table("Field", "Into", "What it gives", _places())]
    lines += ["", "## Types", "", *_table("HL7 v2", "Into", "What it gives", _types())]
    lines += ["", "## The way back", "", _BACK, "", *_table("FHIR", "Into", "What it gives", _outbound())]
    lines += ["", "## Code tables", "", "Named in `| table(NAME)`; those with an HL7 table apply by themselves."]
    for table in BY_NAME.values():
        lines += ["", *_codes(table)]
    return lines


def _table(first: str, second: str, third: str, rows: Iterator[tuple[str, str, str]]) -> list[str]:
    return [f"| {first} | {second} | {third} |", "| --- | --- | --- |", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]


def _companions() -> Iterator[tuple[str, str, str]]:
    for (segment, field, kind), companion in COMPANIONS.items():
        yield f"{segment}-{field}", "any choice of types" if kind == "*" else kind, companion.doc


def _places() -> Iterator[tuple[str, str, str]]:
    for (segment, field, kind), conversion in sorted(PLACES.items()):
        yield f"{segment}-{field}", kind, conversion.doc


def _types() -> Iterator[tuple[str, str, str]]:
    for (v2_type, kind), conversion in sorted(CONVERSIONS.items()):
        yield v2_type, kind, conversion.doc


def _outbound() -> Iterator[tuple[str, str, str]]:
    rows: dict[tuple[str, str], list[str]] = {}
    for (kind, family), convert in sorted(OUTBOUND.items()):
        said = (convert.__doc__ or "").partition("\n")[0].rpartition(" → ")[2]
        rows.setdefault((", ".join(types_of(family)), said[:1].upper() + said[1:]), []).append(kind)
    for (types, said), kinds in rows.items():
        yield ", ".join(kinds), types, said


def _codes(table: CodeTable) -> list[str]:
    names: Mapping[str, str] = v2_table(table.table) or {}
    targets = ", ".join(f"<{url}>" for url in (table.value_set, *table.also))
    lines = [f"### {table.name}", "", f"HL7 table {table.table} → {targets}"]
    if table.unmapped == "keep":
        lines[-1] += "; a code that is not here keeps its own coding"
    lines += ["", "| Code | Meaning | Becomes |", "| --- | --- | --- |"]
    for code, target in table.entries.items():
        kept = " (the code stays in an extension)" if target.kept else ""
        lines.append(f"| `{code}` | {_short(names.get(code, ''))} | `{target.code}`{kept} |")
    for code in sorted(table.none):
        lines.append(f"| `{code}` | {_short(names.get(code, ''))} | nothing: FHIR has no code for it |")
    for code, condition in table.parks.items():
        lines.append(f"| `{code}` | {_short(names.get(code, ''))} | the message parks ({condition}) |")
    return lines


def _short(text: str) -> str:
    text = " ".join(text.replace("|", "/").split())
    return text if len(text) <= 80 else f"{text[:78]} …"
