"""Concept maps from a FHIR R4 ConceptMap in JSON (https://hl7.org/fhir/R4/conceptmap.html).

A target is taken where it says no more than the source: equal, equivalent, wider, subsumes, relatedto. What is narrower,
specializes or is inexact would claim more than the sender said, and unmatched and disjoint are no targets. A group's
``unmapped`` is followed where it is ``fixed`` or ``provided``. What depends on other codes, and ``other-map``, are mistakes.
"""

from __future__ import annotations

import re

import msgspec

from interop_engine.core import yaml
from interop_engine.core.diagnostics import Mark, Mistake
from interop_engine.terminology.conceptmap import ConceptMap, Row, digest_of, filed

_TAKEN = frozenset({"relatedto", "equivalent", "equal", "wider", "subsumes"})
_SHAPE = "group: a list of {source, target, element: [{code, target: [{code, equivalence}]}]}"

_Said = tuple[str, str, yaml.Path]  # a mistake's code, its words, and where it stands
_STEP = re.compile(r"\w+")  # of a path as msgspec writes it: ``.group[0].target``
_HELP = {
    "T004": "target: the URI of the code system",
    "T010": "followed are targets by themselves, and unmapped by fixed or provided; write the others as rows of a CSV map",
}


class _Target(msgspec.Struct):
    code: str = ""
    display: str = ""
    equivalence: str = "relatedto"
    dependsOn: list[msgspec.Raw] = []  # noqa: N815 - FHIR's own name
    product: list[msgspec.Raw] = []


class _Element(msgspec.Struct):
    code: str = ""
    target: list[_Target] = []


class _Unmapped(msgspec.Struct):
    mode: str = ""
    code: str = ""
    display: str = ""


class _Group(msgspec.Struct):
    source: str = ""
    target: str = ""
    element: list[_Element] = []
    unmapped: _Unmapped | None = None


class _Map(msgspec.Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's own name
    group: list[_Group] = []


def from_json(text: str, file: str, name: str) -> tuple[ConceptMap, list[Mistake]]:
    """Read a map and say what is wrong with it: T004 (no target system), T005 (no ConceptMap), T010 (not followed here)."""
    empty = ConceptMap(name, digest_of(text))
    try:
        found = msgspec.json.decode(text, type=_Map)
    except msgspec.ValidationError as error:
        at = tuple(int(step) if step.isdecimal() else step for step in _STEP.findall(str(error).rpartition("`$")[2]))
        return empty, [Mistake("T005", "not a FHIR ConceptMap in JSON", yaml.load(text, file).mark(at), f"{error}")]
    except msgspec.DecodeError as error:
        return empty, [Mistake("T005", f"not readable as JSON: {error}", _place(text, file, str(error)))]
    if found.resourceType != "ConceptMap":
        return empty, [Mistake("T005", "not a FHIR ConceptMap in JSON", Mark(file, 1, 1), _SHAPE)]
    rows: dict[tuple[str, str], list[Row]] = {}
    otherwise: dict[str, Row] = {}
    said: list[_Said] = []
    for number, group in enumerate(found.group):
        said += [*_group(group, number, rows), *_otherwise(group, number, otherwise)]
    return ConceptMap(name, digest_of(text), filed(rows), otherwise), _mistakes(said, text, file)


def _mistakes(said: list[_Said], text: str, file: str) -> list[Mistake]:
    """JSON is YAML, of which every place is known: read once more, but only where something is wrong."""
    if not said:
        return []
    document = yaml.load(text, file)
    return [Mistake(code, message, document.mark(path), _HELP[code]) for code, message, path in said]


def _group(group: _Group, number: int, rows: dict[tuple[str, str], list[Row]]) -> list[_Said]:
    said: list[_Said] = []
    if ":" not in group.target:
        return [("T004", f"group {number + 1} names no target system by its URI", ("group", number, "target"))]
    for index, element in enumerate(group.element):
        for target in element.target:
            if not target.code or target.equivalence not in _TAKEN:
                continue
            if target.dependsOn or target.product:
                said.append(("T010", f'the target of "{element.code}" hangs on other codes', ("group", number, "element", index)))
                continue
            row = Row(group.target, target.code, target.display)
            rows.setdefault((group.source, element.code), []).append(row)
    return said


def _otherwise(group: _Group, number: int, otherwise: dict[str, Row]) -> list[_Said]:
    rule = group.unmapped
    if rule is None or ":" not in group.target:
        return []
    if rule.mode == "fixed" and rule.code:
        otherwise[group.source] = Row(group.target, rule.code, rule.display)
    elif rule.mode == "provided":
        otherwise[group.source] = Row(group.target, "")
    else:
        return [("T010", f'group {number + 1}: its unmapped codes go by "{rule.mode}"', ("group", number, "unmapped"))]
    return []


def _place(text: str, file: str, said: str) -> Mark:
    """The line and column of ``(byte N)`` at the end of a message, else the beginning."""
    digits = said.rpartition("byte ")[2].rstrip(")")
    before = text.encode()[: int(digits)].decode(errors="replace") if digits.isdecimal() else ""
    return Mark(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
