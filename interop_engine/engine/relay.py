"""A bundle that another node made: checked, and handed on byte for byte. Reconciling was done where HL7 v2 was read. Pure.

Bundles arrive in the order they are to be written, so nothing is asked before they are handed on. A replay comes late: what it
carries that a later bundle has brought meanwhile is left out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from interop_engine.core.model import NOTHING_KNOWN, Known, Question, Received, Resource, Sent, new_id
from interop_engine.engine.transform import Parked, invalid
from interop_engine.fhir import bundle
from interop_engine.journal.base import Forward, NewDelivery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interop_engine.config.site import ChannelConfig

_KEPT = frozenset({"sender", "kind", "event", "control-digest", "config", "mapping", "delivery-id"})


def forward(received: Received, channel: ChannelConfig, known: Known = NOTHING_KNOWN) -> Forward | Parked:
    """The bundle to every destination of the channel; parked where it is not a valid bundle.

    ``known``: what the destinations were sent of its objects, for a replay; what came later than this bundle stays.
    """
    content = _read(received.data)
    if isinstance(content, Parked):
        return content
    if (fault := invalid(content)) is not None:
        return fault
    at = _moment(content)
    headers = {name: value for name, value in received.headers.items() if name in _KEPT}
    deliveries: list[NewDelivery] = []
    left_out: dict[str, None] = {}
    for place, destination in places(channel).items():
        stale = {name for name in _objects(content) if _is_later(known.sent.get((place, name)), at)}
        left_out.update(dict.fromkeys(sorted(stale)))
        left = (
            {**content, "entry": [each for each in content.get("entry", ()) if _object(each) not in stale]} if stale else content
        )
        if stale and not [name for name in _objects(left) if not name.startswith("Provenance/")]:
            continue
        sent = tuple(Sent(place, name, received.digest, at) for name in _objects(left)) if at else ()
        body = bundle.encode(left) if stale else received.data
        deliveries.append(NewDelivery(new_id(), destination, received.lanes, body, "fhir", headers, sent))
    code, why = ("stale", "Something newer was sent already.") if left_out and not deliveries else ("", "")
    findings = tuple(f"stale {name}" for name in left_out)
    return Forward(tuple(deliveries), stamp=known.stamp, code=code, why=why, findings=findings)


def question(received: Received) -> Question:
    """What a replay must know: of each object in the bundle what was sent."""
    content = _read(received.data)
    return Question() if isinstance(content, Parked) else Question(objects=tuple(_objects(content)))


def places(channel: ChannelConfig) -> Mapping[str, str]:
    """Whose last-sent state counts → the destination."""
    return {f"{channel.name}/{each.name}": each.name for each in channel.destinations}


def _read(data: bytes) -> Resource | Parked:
    try:
        content = bundle.decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        return Parked("invalid-bundle", f"The body is not a FHIR resource in JSON: {type(error).__name__}")
    if content.get("resourceType") != "Bundle":
        return Parked("invalid-bundle", "The body is not a Bundle.")
    return content


def _moment(content: Resource) -> str:
    """When the sender received what the bundle was made of, in UTC; empty where it does not say."""
    try:
        return bundle.instant(datetime.fromisoformat(content["timestamp"]).astimezone(UTC))
    except (KeyError, TypeError, ValueError):
        return ""


def _objects(content: Resource) -> list[str]:
    return list(dict.fromkeys(name for entry in content.get("entry", ()) if (name := _object(entry))))


def _object(entry: Any) -> str:
    """``Type/id`` of an entry; empty where it has none to be known by."""
    resource = entry.get("resource") or {}
    return f"{resource['resourceType']}/{resource['id']}" if "id" in resource else ""


def _is_later(before: Sent | None, at: str) -> bool:
    return before is not None and bool(at) and before.version > at
