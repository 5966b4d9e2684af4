"""URIs of FHIR → the names HL7 v2 has for them: assigning authorities (HD), code systems (table 0396), codes of HL7 tables."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from interop_engine.mapping.convert.tables import TABLES, V2_SYSTEM, CodeTable, data

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from interop_engine.mapping.context import Naming

Authority = tuple[str, str, str]
"""Namespace, universal id, and its type (HL7 table 0301)."""

_FACILITY = re.compile(r"https?://.+/facility/([^/]+)/([^/]+)")
_AUTHORITY = re.compile(r"https?://.+/authority/([^/]+)")
_CODES = re.compile(r"https?://.+/facility/[^/]+/codes/([^/]+)")
_KINDS = {"mrn": "MR", "visit": "VN", "account": "AN"}


def authority(system: str, naming: Naming) -> Authority:
    """What HL7 v2 calls the system of an Identifier: a name of the site's naming, of an authority, or a universal id.

    Numbers that a facility gives by itself have the facility's code for their authority.
    """
    if not system:
        return "", "", ""
    if found := _names(naming).get(system):
        return found, "", ""
    for pattern in (_FACILITY, _AUTHORITY):
        if match := pattern.fullmatch(system):
            return unquote(match[1]), "", ""
    for prefix, kind in (("urn:oid:", "ISO"), ("urn:uuid:", "UUID"), ("urn:dns:", "DNS")):
        if system.startswith(prefix):
            return "", unquote(system.removeprefix(prefix)), kind
    return "", system, "URI"


def identifier_type(system: str) -> str:
    """The type (HL7 table 0203) that follows from a facility's own range of numbers, or ''."""
    match = _FACILITY.fullmatch(system)
    return _KINDS.get(match[2], "") if match else ""


@lru_cache(maxsize=16)
def _reversed(systems: tuple[tuple[str, str], ...]) -> dict[str, str]:
    names: dict[str, str] = {}
    for name, uri in systems:
        names.setdefault(uri, name)
    return names


def _names(naming: Naming) -> Mapping[str, str]:
    return _reversed(tuple(naming.systems.items()))


@lru_cache(maxsize=1)
def _coding_systems() -> dict[str, str]:
    return _reversed(tuple(data("coding-systems.yaml").items()))


def coding_system(uri: str, naming: Naming) -> str:
    """What CWE.3 calls a code system: its name in HL7 table 0396, ``HL7nnnn``, the sender's local name, else the URI."""
    if found := _coding_systems().get(uri):
        return found
    if uri.startswith(V2_SYSTEM):
        return f"HL7{uri.removeprefix(V2_SYSTEM)}"
    if match := _CODES.fullmatch(uri):
        return "L" if match[1] == "local" else unquote(match[1])
    return _names(naming).get(uri, uri)


# --- Codes ---------------------------------------------------------------------------------------------------------------


def maps(table: str, bindings: Iterable[str]) -> tuple[CodeTable, ...]:
    """The code maps that lead from an HL7 table to the element's value sets; without such a pair, all of the table."""
    bound = tuple(TABLES[table, value_set] for value_set in bindings if (table, value_set) in TABLES)
    return bound or tuple(known for (number, _), known in TABLES.items() if number == table)


def source_code(table: CodeTable, code: str, system: str = "") -> str:
    """The code of the HL7 table that a map turns into ``code`` (of ``system``, where that is known), or ''.

    Of several it is the one that says no more than the target.
    """
    return _sources(table.name, tuple(table.entries.items())).get((system or "", code), "")


@lru_cache(maxsize=256)
def _sources(name: str, entries: tuple[tuple[str, object], ...]) -> dict[tuple[str, str], str]:
    del name
    found: dict[tuple[str, str], tuple[bool, str]] = {}
    for source, target in entries:
        system, code, kept = target.system, target.code, target.kept  # type: ignore[attr-defined]
        for key in ((system, code), ("", code)):
            if key not in found or (found[key][0] and not kept):
                found[key] = (kept, source)
    return {key: source for key, (_, source) in found.items()}
