"""Concept maps: a sender's code → the codes of a country and of the world, dated, from CSV or a FHIR ConceptMap.

CSV has a header and one row for each target::

    source_system,source_code,target_system,target_code,target_display,valid_from,valid_to

``source_system`` is a URI, the name a sender writes (CWE.3), or empty for any system. ``target_system`` is a URI or an alias
the caller knows. Dates are ISO days, inclusive, empty for no bound. Rows are never invented: what is not here is unmapped.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from interop_engine.core.diagnostics import Mark, Mistake, near

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = ("source_system", "source_code", "target_system", "target_code", "target_display", "valid_from", "valid_to")
_NEEDED = ("source_code", "target_system", "target_code")
_LOCAL = "/codes/"


@dataclass(frozen=True, slots=True)
class Row:
    """A target, and the days between which it holds."""

    coding: dict[str, str]
    valid_from: str = ""
    valid_to: str = ""

    def holds(self, day: str) -> bool:
        """Whether it holds on a day; without a day, whether it has not ended."""
        if not day:
            return not self.valid_to
        return (not self.valid_from or self.valid_from <= day) and (not self.valid_to or day <= self.valid_to)


@dataclass(frozen=True)
class ConceptMap:
    """A map as loaded. ``digest`` names its content in Provenance."""

    name: str
    digest: str
    rows: Mapping[tuple[str, str], tuple[Row, ...]] = field(default_factory=dict)

    def translate(self, system: str, code: str, day: str = "") -> list[dict[str, str]]:
        """The codings a code has on a day, in the map's order; of its URI, else its local name, else any system."""
        rows = self.rows
        found = rows.get((system, code))
        if found is None and _LOCAL in system:
            found = rows.get((unquote(system.rpartition(_LOCAL)[2]), code))
        if found is None:
            found = rows.get(("", code), ())
        return [row.coding.copy() for row in found if row.holds(day)]

    @property
    def systems(self) -> frozenset[str]:
        """The systems of all targets."""
        return frozenset(row.coding["system"] for rows in self.rows.values() for row in rows)


def from_csv(text: str, file: str, name: str, aliases: Mapping[str, str]) -> tuple[ConceptMap, list[Mistake]]:
    """Read a CSV map and say everything that is wrong with it (codes T001–T004); rows with a mistake are left out."""
    mistakes: list[Mistake] = []
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    header = [column.strip() for column in reader.fieldnames or ()]
    reader.fieldnames = header
    mistakes += [
        Mistake("T001", f'unknown column "{column}"', Mark(file, 1, 1), near(column, COLUMNS))
        for column in header
        if column not in COLUMNS
    ]
    missing = [column for column in _NEEDED if column not in header]
    if missing:
        mistakes.append(Mistake("T002", f"the header lacks {', '.join(missing)}", Mark(file, 1, 1), ",".join(COLUMNS)))
        return ConceptMap(name, _digest(text)), mistakes
    rows: dict[tuple[str, str], list[Row]] = {}
    for cells in reader:
        row = {k: (v or "").strip() for k, v in cells.items() if isinstance(k, str)}
        mark = Mark(file, reader.line_num, 1)
        if (fault := _fault(row, aliases)) is not None:
            column, code, message, hint = fault
            before = header[: header.index(column)]
            mistakes.append(Mistake(code, message, replace(mark, column=1 + sum(len(row[name]) + 1 for name in before)), hint))
        else:
            _add(rows, row, aliases)
    return ConceptMap(name, _digest(text), {key: tuple(found) for key, found in rows.items()}), mistakes


def _fault(cells: Mapping[str, str], aliases: Mapping[str, str]) -> tuple[str, str, str, str] | None:
    """What is wrong with a row: the column, the code, what, and what to do."""
    empty = [column for column in _NEEDED if not cells.get(column)]
    if empty:
        hint = "each row has its source_code, target_system and target_code; a code without a target has no row"
        return empty[0], "T003", f"the row has no {', '.join(empty)}", hint
    system = aliases.get(cells["target_system"], cells["target_system"])
    if ":" not in system:
        hint = near(system, aliases) or "a URI (http://loinc.org), or an alias: LN, SCT, UCUM"
        return "target_system", "T004", f'the system "{system}" is no URI and no known alias', hint
    return None


def _add(rows: dict[tuple[str, str], list[Row]], cells: Mapping[str, str], aliases: Mapping[str, str]) -> None:
    system = aliases.get(cells["target_system"], cells["target_system"])
    coding = {"system": system, "code": cells["target_code"]}
    if cells.get("target_display"):
        coding["display"] = cells["target_display"]
    source = cells.get("source_system", "")
    key = (aliases.get(source, source), cells["source_code"])
    rows.setdefault(key, []).append(Row(coding, cells.get("valid_from", ""), cells.get("valid_to", "")))


def from_json(text: str, file: str, name: str) -> tuple[ConceptMap, list[Mistake]]:
    """Read a FHIR R4 ConceptMap; targets that are unmatched or disjoint are left out."""
    try:
        resource: dict[str, Any] = msgspec.json.decode(text)
    except msgspec.DecodeError:
        resource = {}
    if not isinstance(resource, dict) or resource.get("resourceType") != "ConceptMap":
        return ConceptMap(name, _digest(text)), [Mistake("T005", "not a FHIR ConceptMap in JSON", Mark(file, 1, 1))]
    rows: dict[tuple[str, str], list[Row]] = {}
    for group in resource.get("group", ()):
        for element in group.get("element", ()):
            for target in element.get("target", ()):
                if target.get("equivalence") in ("unmatched", "disjoint") or "code" not in target:
                    continue
                coding = {"system": group.get("target", ""), "code": target["code"]}
                if "display" in target:
                    coding["display"] = target["display"]
                rows.setdefault((group.get("source", ""), element.get("code", "")), []).append(Row(coding))
    return ConceptMap(name, _digest(text), {key: tuple(found) for key, found in rows.items()}), []


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
