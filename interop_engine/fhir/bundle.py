"""Bundles (https://hl7.org/fhir/R4/bundle.html), their Provenance, their bytes, and the references in a resource.

References are relative, ``Type/id``, and every entry's fullUrl is ``base/Type/id``: so they resolve inside the bundle and
at the server alike, and never change between the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from interop_engine.core.model import Resource

Kind = Literal["transaction", "batch"]

_OPERATIONS = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
_AGENT_TYPES = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(float_hook=Decimal)


def encode(resource: Resource) -> bytes:
    """JSON in UTF-8, elements in the order they were inserted, decimals with the digits they have (5.20 stays 5.20)."""
    return _encoder.encode(resource)


def encode_spliced(bundle: Resource, encoded: Sequence[bytes]) -> bytes:
    """The bytes that ``encode`` gives, made of those of the first entries' resources, which are not encoded again."""
    entries = bundle.get("entry", [])
    ready = [{**entry, "resource": msgspec.Raw(data)} for entry, data in zip(entries, encoded, strict=False)]
    return _encoder.encode({**bundle, "entry": [*ready, *entries[len(ready) :]]} if ready else bundle)


def decode(data: bytes) -> Resource:
    """The resource in JSON bytes; numbers with a fraction or exponent become Decimal.

    Raises msgspec.DecodeError when it is not JSON, and ValueError when the JSON is not an object.
    """
    try:
        found = _decoder.decode(data)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("a resource is a JSON object")  # noqa: TRY004  (content, not a type of ours, is wrong)
    return found


def is_ambiguous(data: bytes, decoded: Resource) -> bool:
    """Whether a property stands twice in one object, so that another reader of the bytes may see what ``decode`` did not.

    JSON of FHIR forbids it (https://hl7.org/fhir/R4/json.html). Raises ValueError where the JSON is nested too deeply.
    """
    if _encoder.encode(decoded) == data:  # as this engine writes it: the usual case, and a fast one
        return False
    repeated = False

    def look(pairs: list[tuple[str, object]]) -> None:
        nonlocal repeated
        repeated = repeated or len({name for name, _ in pairs}) < len(pairs)

    try:
        json.loads(data, object_pairs_hook=look, parse_int=str, parse_float=str)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    return repeated


def instant(moment: datetime) -> str:
    """A FHIR instant in UTC with milliseconds. ``moment`` must be aware."""
    if moment.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def transaction(resources: Sequence[Resource], *, base: str, timestamp: datetime | None, kind: Kind = "transaction") -> Resource:
    """A bundle that writes each resource by its own id (PUT). Every resource has an id; ``base`` is a URL without final slash."""
    bundle: Resource = {"resourceType": "Bundle", "type": kind}
    if timestamp is not None:
        bundle["timestamp"] = instant(timestamp)
    entries = []
    for resource in resources:
        local = f"{resource['resourceType']}/{resource['id']}"
        entries.append({"fullUrl": f"{base}/{local}", "resource": resource, "request": {"method": "PUT", "url": local}})
    if entries:
        bundle["entry"] = entries
    return bundle


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a bundle comes from, without patient data: who sent what, and which configuration mapped it.

    ``sender`` and ``node`` are identifiers (system, value) of the sending facility and of the engine's node; ``digest``
    and ``control_digest`` are SHA-256 of the message and of its control id; ``event`` is MSH-9 as "ORU^R01".
    """

    sender: tuple[str, str]
    digest: str
    mapping: str
    mapping_digest: str
    config_digest: str
    node: tuple[str, str] | None = None
    control_digest: str = ""
    event: str = ""


def provenance(id_: str, targets: Sequence[str], *, origin: Origin, recorded: datetime, base: str) -> Resource:
    """The Provenance of the resources ``targets`` ("Type/id", at least one); ``recorded`` is the time of receipt.

    The policies name, by digest, the mapping and the configuration that made the resources
    (https://hl7.org/fhir/R4/provenance.html).
    """
    agents = [_agent("author", "Author", "Organization", origin.sender)]
    if origin.node is not None:
        agents.append(_agent("assembler", "Assembler", "Device", origin.node))
    sources = [("message-digest", origin.digest), ("control-digest", origin.control_digest)]
    made: Resource = {
        "resourceType": "Provenance",
        "id": id_,
        "target": [{"reference": target} for target in targets],
        "recorded": instant(recorded),
        "policy": [f"{base}/mapping/{origin.mapping}/{origin.mapping_digest}", f"{base}/config/{origin.config_digest}"],
    }
    if origin.event:
        made["activity"] = {"coding": [{"system": _OPERATIONS, "code": "UPDATE"}], "text": origin.event}
    made["agent"] = agents
    made["entity"] = [
        {"role": "source", "what": {"identifier": {"system": f"{base}/sid/{name}", "value": value}}}
        for name, value in sources
        if value
    ]
    return made


def _agent(code: str, display: str, kind: str, identifier: tuple[str, str]) -> dict[str, Any]:
    system, value = identifier
    who = {"type": kind, "identifier": {"system": system, "value": value} if system else {"value": value}}
    return {"type": {"coding": [{"system": _AGENT_TYPES, "code": code, "display": display}]}, "who": who}


def references(resource: Resource) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every Reference that has a ``reference``, with its path; contained resources and a bundle's entries included.

    The objects are the resource's own: changing one changes the resource.
    """
    waiting: list[tuple[str, Any]] = [(str(resource.get("resourceType", "")), resource)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("reference"), str):
                yield path, value
            waiting.extend(
                [(f"{path}.{name}", member) for name, member in reversed(value.items()) if isinstance(member, dict | list)]
            )
        elif isinstance(value, list):
            waiting.extend([(f"{path}[{index}]", value[index]) for index in range(len(value) - 1, -1, -1)])
