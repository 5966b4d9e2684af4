"""FHIR data types → HL7 v2 data types: the way back of ``mapping.convert``.

A value is text, or a tuple of components, each of which is text or a tuple of sub-components; nothing in it is escaped yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from interop_engine.core.diagnostics import Finding
from interop_engine.fhir.definitions import PRIMITIVES
from interop_engine.mapping.convert.base import SOURCE_TEXT
from interop_engine.mapping.convert.tables import V2_SYSTEM
from interop_engine.mapping.outbound import naming as names
from interop_engine.mapping.outbound.times import dtm, time_of_day

if TYPE_CHECKING:
    from interop_engine.mapping.context import Naming
    from interop_engine.mapping.outbound.fhirpath import Bundled, Node

Part = str | tuple["Part", ...]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a value goes: ``OBX-8``, its data type, its HL7 table, and the value sets of the codes that come."""

    label: str
    datatype: str
    table: str = ""
    bindings: frozenset[str] = frozenset()


@dataclass(slots=True)
class Context:
    """One bundle on its way: how the site names things, the bundle, and what could not be kept."""

    naming: Naming
    bundled: Bundled
    findings: list[Finding] = field(default_factory=list)
    place: str = ""  # of the segment that is being written: OBX[3]

    def note(self, code: str, message: str, target: Target) -> None:
        """Add a finding where the value goes. Never content."""
        self.findings.append(Finding(code, message, f"{self.place}-{target.label.partition('-')[2]}"))


Convert = Callable[["Node", Target, Context], Part | None]
Conversions = Mapping[tuple[str, str], Convert]

_FAMILIES = {
    **dict.fromkeys(("ST", "TX", "FT", "GTS"), "text"),
    **dict.fromkeys(("ID", "IS"), "code"),
    **dict.fromkeys(("CWE", "CNE", "CE", "CF"), "coded"),
    **dict.fromkeys(("NM", "SI"), "number"),
    **dict.fromkeys(("DTM", "TS", "DT"), "time"),
    **dict.fromkeys(("XCN", "CN", "PPN"), "XCN"),
    **dict.fromkeys(("XPN", "PN"), "XPN"),
    **dict.fromkeys(("XAD", "AD"), "XAD"),
    **dict.fromkeys(("XTN", "TN"), "XTN"),
}


def types_of(family_: str) -> tuple[str, ...]:
    """The HL7 v2 types that are read like one another."""
    return tuple(name for name, found in _FAMILIES.items() if found == family_) or (family_,)


def family(datatype: str) -> str:
    """What an HL7 v2 type is read like: CE like CWE, TS like DTM."""
    return _FAMILIES.get(datatype, datatype)


# --- Text, numbers, times ------------------------------------------------------------------------------------------------


def text(node: Node, target: Target, context: Context) -> Part | None:
    """A primitive as text; numbers keep their digits."""
    del target, context
    return written(node.data) or None


def written(data: Any) -> str:
    """A JSON primitive as HL7 v2 writes it."""
    if isinstance(data, bool):
        return "Y" if data else "N"
    if isinstance(data, Decimal):
        return format(data, "f")
    return str(data)


def time(node: Node, target: Target, context: Context) -> Part | None:
    """A date, dateTime or instant, as precise as it is; what was sent where FHIR had to say less (PID-7)."""
    sent = next((each["valueString"] for each in node.extensions if each.get("url") == SOURCE_TEXT), "")
    found = sent or dtm(str(node.data), node.extensions)
    if not found:
        context.note("not-a-time", "The value is no time of HL7 v2; it is left out.", target)
    return found[:8] if target.datatype == "DT" else found or None


def clock(node: Node, target: Target, context: Context) -> Part | None:
    """A time of day."""
    del target, context
    return time_of_day(str(node.data)) or None


def period(node: Node, target: Target, context: Context) -> Part | None:
    """A Period: DR has both its ends, a single time is its start."""
    del context
    start, end = (dtm(node.data.get(name, ""), _extensions(node.data, name)) for name in ("start", "end"))
    return (start, end) if target.datatype == "DR" else start or None


def instant_range(node: Node, target: Target, context: Context) -> Part | None:
    """A single time as the start of a DR."""
    found = time(node, target, context)
    return None if found is None else (found,)


def _extensions(data: Mapping[str, Any], name: str) -> Any:
    return (data.get(f"_{name}") or {}).get("extension", ())


# --- Identifiers ---------------------------------------------------------------------------------------------------------


def hd(node: Node, target: Target, context: Context) -> Part | None:
    """Identifier → HD: what its system is called."""
    del target
    return names.authority(node.data.get("system", ""), context.naming)


def type_code(identifier: Mapping[str, Any]) -> str:
    """The code of HL7 table 0203 that an Identifier's type has, or that its range of numbers says."""
    kind = identifier.get("type", {})
    found = next((each.get("code", "") for each in kind.get("coding", ()) if each.get("system") == f"{V2_SYSTEM}0203"), "")
    return found or kind.get("text", "") or names.identifier_type(identifier.get("system", ""))


def cx(node: Node, target: Target, context: Context) -> Part | None:
    """Identifier → CX."""
    del target
    return _cx(node.data, context)


def _cx(data: Mapping[str, Any], context: Context) -> Part | None:
    if not data.get("value"):
        return None
    span = data.get("period", {})
    return (
        data["value"],
        "",
        "",
        authority_of(data, context),
        type_code(data),
        "",
        dtm(span.get("start", ""))[:8],
        dtm(span.get("end", ""))[:8],
    )


def authority_of(data: Mapping[str, Any], context: Context) -> tuple[str, str, str]:
    """The HD of an Identifier's system; its assigner's name where the system is a universal id."""
    name, universal, kind = names.authority(data.get("system", ""), context.naming)
    return name or data.get("assigner", {}).get("display", ""), universal, kind


def ei(node: Node, target: Target, context: Context) -> Part | None:
    """Identifier → EI."""
    del target
    return (node.data["value"], *authority_of(node.data, context)) if node.data.get("value") else None


def eip(node: Node, target: Target, context: Context) -> Part | None:
    """Identifier → EIP: the filler's part for a filler's number, else the placer's."""
    found = ei(node, target, context)
    return None if found is None else ("", found) if type_code(node.data) in ("FILL", "") else (found,)


def number_of(node: Node, target: Target, context: Context) -> Part | None:
    """Identifier → its number alone."""
    del target, context
    return node.data.get("value") or None


# --- The registry ----------------------------------------------------------------------------------------------------------

TIMES = ("date", "dateTime", "instant")
WORDS = tuple(sorted(PRIMITIVES - {*TIMES, "time", "xhtml"}))

CONVERSIONS: Conversions = {
    **{(kind, "text"): text for kind in WORDS},
    **{(kind, "code"): text for kind in WORDS if kind != "code"},
    **{(kind, composite): text for kind in ("string", "code", "id", "uri") for composite in ("HD", "EI", "CX")},  # the first part
    **{(kind, "number"): text for kind in ("decimal", "integer", "positiveInt", "unsignedInt", "string")},
    **{(kind, family_): time for kind in TIMES for family_ in ("time", "text")},
    **{(kind, "DR"): instant_range for kind in TIMES},
    ("time", "TM"): clock,
    ("Period", "DR"): period,
    ("Period", "time"): period,
    ("Identifier", "CX"): cx,
    ("Identifier", "EI"): ei,
    ("Identifier", "EIP"): eip,
    ("Identifier", "HD"): hd,
    ("Identifier", "text"): number_of,
}
"""(FHIR type, HL7 v2 type or its family) → conversion."""
