"""What a conversion may know besides the value: the sender's scope, and where to say what could not be kept.

Naming follows the site's data: an assigning authority, a coding system or an identifier type of HL7 v2 becomes a URI,
always the same one. Nothing here reads a clock, a file of the site or the network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import quote

from interop_engine.core import yaml
from interop_engine.core.diagnostics import Finding, Severity
from interop_engine.core.model import Park
from interop_engine.fhir.primitives import ABSOLUTE, CHECKS

if TYPE_CHECKING:
    from interop_engine.hl7.message import Delimiters, Segment
    from interop_engine.mapping.convert.tables import CodeTable
    from interop_engine.terminology.conceptmap import ConceptMap

Memory = defaultdict[Callable[..., Any], dict[str | tuple[str, ...], list[Any]]]
"""Conversion → raw text of a field, or of several → what it makes of each value (None where nothing)."""

_EMPTY: Mapping[str, str] = {}


@lru_cache(maxsize=4096)
def _quoted(name: str) -> str:
    """A name as a part of a URI's path. Few names come again and again."""
    return quote(name, safe="")


@dataclass(frozen=True)
class Naming:
    """The names of a site: which URI stands for which authority, identifier type or facility.

    ``systems``: an authority's name, OID or alias, in capitals → the URI emitted. ``types``: an identifier type (HL7
    table 0203), alone or with the number's length (``NI:12``) → the name in ``systems`` of the one system it has in the
    whole country. ``base`` is what every name made here begins with: ``http://hospital.example``.
    """

    base: str
    systems: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    foreign: frozenset[str] = frozenset()  # identifier types that are never a hospital's own number

    def known(self, authority: str) -> str:
        """The URI the site or its naming profile gives an authority, empty where it gives none."""
        return self.systems.get(authority) or self.systems.get(authority.upper(), "")

    def system(self, authority: str, universal_id: str = "", universal_type: str = "") -> str:
        """The URI of an assigning authority (HD, or EI.2–4): a known name, else its OID, UUID or URI, else one made of it.

        Empty where the value names no authority at all.
        """
        if authority and (found := self.known(authority)):
            return found
        if universal_id:
            if found := self.known(universal_id):
                return found
            if found := universal_uri(universal_id, universal_type):
                return self.known(found) or found
        name = authority or universal_id
        return f"{self.base}/authority/{_quoted(name)}" if name else ""

    def national(self, kind: str, value: str) -> str:
        """The URI of a number whose identifier type (and length) has one system in the whole country, or empty."""
        name = self.types.get(f"{kind}:{len(value)}") or self.types.get(kind)
        return self.systems.get(name, "") if name else ""

    def facility_number(self, facility: str, kind: str = "mrn") -> str:
        """The URI of numbers a facility gives by itself: ``{base}/facility/{code}/{kind}``."""
        return f"{self.base}/facility/{_quoted(facility)}/{_quoted(kind)}"

    def local_codes(self, facility: str, name: str) -> str:
        """The URI of a code system that is a facility's own (99zzz, L): two facilities never share one."""
        return f"{self.base}/facility/{_quoted(facility)}/codes/{_quoted(name or 'local')}"


_SHORTEST_OWNER = 3  # characters before the last dot of the shortest OID that HL7's validator takes


def is_oid(text: str) -> bool:
    """Whether a text is an object identifier (ISO/IEC 8824): arcs of digits, the first 0, 1 or 2, none with a leading zero.

    Of ``2.8`` or ``1.2.3`` nobody is the owner: such stand in for one that is missing, and validators refuse them.
    """
    arcs = text.split(".")
    return (
        text.rfind(".") > _SHORTEST_OWNER
        and arcs[0] in ("0", "1", "2")
        and all(a.isdecimal() and a.isascii() and (a == "0" or a[0] != "0") for a in arcs)
    )


_TYPED = frozenset({"UUID", "GUID", "URI", "DNS"})  # universal ids of another form (HL7 table 0301)


def universal_uri(universal_id: str, universal_type: str) -> str:
    """HD.2 with its type (HL7 table 0301) as a URI, empty where the type has no URI form or the id is not of that form."""
    kind = universal_type.upper()
    if kind == "ISO" or (kind not in _TYPED and universal_id.count(".") > 1):  # an OID is one, whatever else it is called
        return f"urn:oid:{universal_id}" if is_oid(universal_id) else ""
    if kind in ("UUID", "GUID"):
        found = f"urn:uuid:{universal_id.lower()}"
        return "" if CHECKS["uuid"](found) else found
    if kind == "URI":
        return "" if CHECKS[ABSOLUTE](universal_id) else universal_id
    if kind == "DNS":
        return f"urn:dns:{quote(universal_id, safe='.-')}"
    return ""


@cache
def _profile(profile: str) -> yaml.Document:
    file = f"naming-{profile}.yaml"
    text = resources.files("interop_engine.mapping.tables").joinpath(file).read_text("utf-8")
    return yaml.load(text, file)


def naming(profile: str = "vncore", *, base: str, systems: Mapping[str, str] = _EMPTY) -> Naming:
    """The names of a shipped profile (``vncore`` or ``moh2021``), with a site's own ``systems`` on top.

    A site may name an authority in terms of another: ``{"BHYT-HN": "BHYT"}``. Raises FileNotFoundError for an unknown
    profile.
    """
    data = _profile(profile).data
    known: dict[str, str] = {name.upper(): uri for name, uri in data["systems"].items()}
    for alias, name in data["aliases"].items():
        known[alias] = known[alias.upper()] = known[name]
    for name, uri in systems.items():
        known[name] = known[name.upper()] = known.get(uri.upper(), uri)
    return Naming(base.rstrip("/"), known, dict(data["types"]), frozenset(data["foreign"]))


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose message it is: the channel's facility, its default zone and its number for patients.

    ``timezone`` is an IANA name, or empty: then a time without a zone becomes a date. ``authority`` and
    ``identifier_type`` say which repetition of PID-3 is the hospital's own number. ``results``: whether a report says all it has.
    """

    facility: str
    base: str
    timezone: str
    naming: Naming
    authority: str = ""
    identifier_type: str = ""
    results: Literal["delta", "snapshot"] = "delta"
    tables: Mapping[str, CodeTable] = field(default_factory=dict)
    terminology: Mapping[str, ConceptMap] = field(default_factory=dict)
    memo: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)  # of ``convert.base.remembered``

    def memory(self, delimiters: Delimiters | None, timezone: str) -> Memory:
        """What conversions made of whole fields before in messages with these delimiters and zone; without them an empty one."""
        if delimiters is None:
            return defaultdict(dict)
        found: Memory | None = self.memo.get((delimiters, timezone))
        if found is None:
            found = self.memo[delimiters, timezone] = defaultdict(dict)
        return found


class Unmapped(NamedTuple):
    """A code without a target, for the worklist: codes are no patient data, but texts may be, so no display is kept."""

    map: str
    system: str
    code: str


class Context:
    """One run over one message. The generated program sets the place, converters add findings.

    The place is kept in three cheap attributes (``segment``, ``field``, ``repetition``, the last 0-based) and only
    written out when there is something to say. ``extensions`` is what a conversion to a primitive had to add: the
    program moves it to ``_element.extension`` and sets it back to None. ``park`` is set where the message must park.
    ``date`` (ISO, empty where unknown) is the day of the message, by which dated terminology is read. ``memory`` is the
    scope's, for the message's delimiters. ``timezone`` is the zone of times that name none: MSH-7's offset, else the scope's.
    """

    __slots__ = (
        "date",
        "extensions",
        "field",
        "findings",
        "memory",
        "park",
        "repetition",
        "scope",
        "segment",
        "timezone",
        "unmapped",
    )

    def __init__(self, scope: Scope, date: str = "", delimiters: Delimiters | None = None, timezone: str | None = None) -> None:
        self.scope = scope
        self.date = date
        self.timezone = scope.timezone if timezone is None else timezone
        self.memory = scope.memory(delimiters, self.timezone)
        self.findings: list[Finding] = []
        self.unmapped: list[Unmapped] = []
        self.extensions: list[dict[str, Any]] | None = None
        self.park: Park | None = None
        self.segment: Segment | None = None
        self.field = 0
        self.repetition = 0

    def at(self, segment: Segment, field: int, repetition: int = 0) -> None:
        """Set the place that later notes name."""
        self.segment = segment
        self.field = field
        self.repetition = repetition

    @property
    def where(self) -> str:
        """The place as integrators write it: ``OBX[3]-5[2]``; the repetition only where it is not the first."""
        if self.segment is None:
            return ""
        place = f"{self.segment.name}[{self.segment.number}]"
        if self.field:
            place += f"-{self.field}"
        return f"{place}[{self.repetition + 1}]" if self.repetition else place

    def note(self, code: str, message: str, part: str = "", *, severity: Severity = "warning", hl7_code: str = "") -> None:
        """Add a finding at the current place. ``part`` is a component within it: ``1`` or ``4.2``. Never content."""
        place = self.where
        self.findings.append(Finding(code, message, f"{place}.{part}" if part else place, severity, hl7_code))

    def extend(self, extension: dict[str, Any]) -> None:
        """Add a FHIR extension to the primitive that the running conversion returns."""
        if self.extensions is None:
            self.extensions = []
        self.extensions.append(extension)

    def refuse(self, hl7_code: str, why: str) -> None:
        """Park the message with a condition of HL7 table 0357; the first reason stays. Never content."""
        if self.park is None:
            place = self.where
            self.park = Park(hl7_code, f"{place}: {why}" if place else why)

    def unknown_code(self, map_name: str, system: str, code: str) -> None:
        """Put a code that has no target on the worklist."""
        self.unmapped.append(Unmapped(map_name, system, code))
