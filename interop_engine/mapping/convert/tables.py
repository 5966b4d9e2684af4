"""Code maps: from an HL7 v2 table (or a site's own list) to a FHIR code system.

The shipped ones are ``tables/codes.yaml`` and ``tables/concepts.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from interop_engine.core import yaml
from interop_engine.core.diagnostics import Mistake, near
from interop_engine.fhir.definitions import v2_table

if TYPE_CHECKING:
    from collections.abc import Mapping

Unmapped = Literal["drop", "keep"]

V2_SYSTEM = "http://terminology.hl7.org/CodeSystem/v2-"
"""With the four digits of a table of HL7 v2: the URI that FHIR has for it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a source code becomes. ``kept``: the source code says more and stays in an extension."""

    system: str
    code: str
    display: str = ""
    kept: bool = False


@dataclass(frozen=True)
class CodeTable:
    """A code map. ``table`` is the HL7 table of its sources (empty for a site's list), ``source`` their system's URI.

    ``parks``: source code → condition of HL7 table 0357. ``none``: codes for which FHIR has nothing. ``unmapped``: whether
    a code without a target is dropped (and a required element then parks) or keeps its own coding; ``default`` is the
    target of such a code where there is one. ``closed``: the element takes no other system, so a value that names one goes
    through the map too. ``also``: other value sets that have the same targets.
    """

    name: str
    table: str
    value_set: str
    entries: Mapping[str, Target]
    parks: Mapping[str, str] = field(default_factory=dict)
    none: frozenset[str] = frozenset()
    unmapped: Unmapped = "drop"
    default: Target | None = None
    closed: bool = False
    also: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The system of the source codes, empty for a site's own list."""
        return f"{V2_SYSTEM}{self.table}" if self.table else ""

    @property
    def targets(self) -> dict[str, str]:
        """Source code → target code."""
        return {source: target.code for source, target in self.entries.items()}

    def get(self, code: str) -> str:
        """The target of a code as text; without one the code itself (``keep``), the default, or ''."""
        found = self.entries.get(code) or self.default
        return found.code if found else code if self.unmapped == "keep" else ""


@cache
def data(name: str) -> Any:
    """A shipped YAML file of ``mapping/tables``, read once."""
    text = resources.files("interop_engine.mapping.tables").joinpath(name).read_text("utf-8")
    return yaml.load(text, name).data


_KEYS = ("table", "system", "unmapped", "codes")


def read_table(text: str, file: str) -> tuple[CodeTable | None, list[Mistake]]:
    """A site's own list from its file, ``mappings/tables/NAME.yaml``; the name is ``table:``, else the file's stem.

    Mistakes have the codes T006 (no table), T007 (unknown key) and those of YAML.
    """
    document = yaml.load(text, file)
    mistakes, entry = document.mistakes, document.data
    if not isinstance(entry, dict) or not isinstance(entry.get("codes"), dict):
        mistakes.append(Mistake("T006", 'a code table has "codes:" with a line a code', document.mark(()), "codes: {A: B}"))
        return None, mistakes
    for key in entry:
        if key not in _KEYS:
            mistakes.append(
                Mistake(
                    "T007",
                    f'there is no key "{key}" in a code table',
                    document.mark((key,), key=True),
                    near(key, _KEYS) or f"keys: {', '.join(_KEYS)}",
                )
            )
    for source, target in entry["codes"].items():
        if not isinstance(target, str):
            hint = f"{source}: the one code it becomes; several targets are for mappings/terminology/"
            mistakes.append(Mistake("T006", "a code has one target", document.mark(("codes", source)), hint))
    if mistakes:
        return None, mistakes
    return site_table(str(entry.get("table") or PurePosixPath(file).stem), entry), mistakes


def site_table(name: str, entry: Mapping[str, Any]) -> CodeTable:
    """A site's own list, as ``mappings/tables/*.yaml`` has it: ``codes:`` source → target, and the policy ``unmapped:``.

    ``unmapped`` is ``drop``, ``keep``, or else the target of every other code.
    """
    policy: str = entry.get("unmapped") or "drop"
    system = entry.get("system") or ""
    entries = {source: Target(system, target) for source, target in entry["codes"].items()}
    if policy in ("drop", "keep"):
        return CodeTable(name, "", "", entries, unmapped="keep" if policy == "keep" else "drop")
    return CodeTable(name, "", "", entries, default=Target(system, policy))


def _table(name: str, entry: dict[str, Any]) -> CodeTable:
    kept = frozenset(entry.get("kept", ()))
    displays = entry.get("displays", {})
    entries = {}
    for source, target in entry["codes"].items():
        system, mark, code = target.rpartition("#")
        entries[source] = Target(system if mark else entry["system"], code, displays.get(source, ""), source in kept)
    policy = entry.get("unmapped", "drop")
    return CodeTable(
        name,
        entry["table"],
        entry["value_set"],
        entries,
        entry.get("parks", {}),
        frozenset(entry.get("none", ())),
        policy if policy == "keep" else "drop",
        None if policy in ("drop", "keep") else Target(entry["system"], policy, kept=True),
        closed=entry.get("closed") == "true",
        also=tuple(entry.get("also", ())),
    )


BY_NAME: Mapping[str, CodeTable] = {
    name: _table(name, entry) for file in ("codes.yaml", "concepts.yaml") for name, entry in data(file).items()
}
"""Every shipped code map by its name: ``| table(order-control)``."""

TABLES: Mapping[tuple[str, str], CodeTable] = {
    (t.table, value_set): t for t in BY_NAME.values() for value_set in (t.value_set, *t.also)
}
"""The map a coded field goes through by itself: (HL7 table, value set of the element) → map."""


@cache
def v2_codes(table: str) -> frozenset[str]:
    """The codes of an HL7 v2 table, empty for a table the standard leaves to sites."""
    return frozenset(v2_table(table) or ())
