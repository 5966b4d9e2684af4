"""Concept maps: a sender's code → the codes of a country and of the world, dated. Looked up by system and code, at once.

Read from CSV (``csv_maps``) or from a FHIR ConceptMap (``fhir_maps``). Rows are never invented: what is not here is unmapped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

_LOCAL = "/codes/"


@dataclass(frozen=True, slots=True)
class Row:
    """A target, and the days (ISO, inclusive, empty for no bound) between which it holds."""

    system: str
    code: str
    display: str = ""
    valid_from: str = ""
    valid_to: str = ""

    def holds(self, day: str) -> bool:
        """Whether it holds on a day; without a day, whether it has not ended."""
        if not day:
            return not self.valid_to
        return (not self.valid_from or self.valid_from <= day) and (not self.valid_to or day <= self.valid_to)

    def coding(self, source: str) -> dict[str, str]:
        """The Coding; the code is the source's own where the row has none (``unmapped: provided``)."""
        found = {"system": self.system, "code": self.code or source}
        if self.display:
            found["display"] = self.display
        return found


Rows = Mapping[tuple[str, str], tuple[Row, ...]]


@dataclass(frozen=True)
class ConceptMap:
    """A map as loaded. ``digest`` names its content in Provenance.

    ``rows`` are by source system and code. ``otherwise``: what every other code of a source system becomes, where the map
    says so.
    """

    name: str
    digest: str
    rows: Rows = field(default_factory=dict)
    otherwise: Mapping[str, Row] = field(default_factory=dict)

    def translate(self, system: str, code: str, day: str = "") -> list[dict[str, str]]:
        """The codings a code has on a day, in the map's order; of its URI, else its local name, else any system."""
        rows = self.rows
        found = rows.get((system, code))
        local = unquote(system.rpartition(_LOCAL)[2]) if found is None and _LOCAL in system else ""
        if local:
            found = rows.get((local, code))
        if found is None:
            found = rows.get(("", code))
        if found is None and self.otherwise:
            other = self.otherwise.get(system) or self.otherwise.get(local) or self.otherwise.get("")
            found = (other,) if other is not None else None
        return [row.coding(code) for row in found or () if row.holds(day)]

    @property
    def systems(self) -> frozenset[str]:
        """The systems of all targets."""
        every = frozenset(row.system for rows in self.rows.values() for row in rows)
        return every | {row.system for row in self.otherwise.values()}


def digest_of(text: str) -> str:
    """The digest of a map's file."""
    return hashlib.sha256(text.encode()).hexdigest()


def filed(rows: dict[tuple[str, str], list[Row]]) -> Rows:
    """Rows as a map keeps them."""
    return {key: tuple(found) for key, found in rows.items()}
