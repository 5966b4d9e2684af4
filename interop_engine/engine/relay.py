"""A bundle that another node made: checked, and handed on byte for byte, or as HL7 v2. Reconciling was done at its origin. Pure.

Bundles arrive in the order they are to be written, so nothing is asked before they are handed on. Two things ask: a replay, which
comes late (what a later bundle has brought meanwhile is left out), and a message of HL7 v2, which says the whole report (what
an earlier bundle has brought is added, see ``completion``).

What goes on over the exchange goes as this node's own: the broker lets it send as nobody else, and its receiver tells it what
became of it. Whom it had the bundle from stands in the header ``via``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from interop_engine.connectors.exchange import VIA
from interop_engine.core.model import NOTHING_KNOWN, Known, Learned, Park, Question, Received, Resource, Sent, digest, new_id
from interop_engine.engine import completion
from interop_engine.engine.parcels import goes_round, way
from interop_engine.engine.routing import addresses_of
from interop_engine.engine.transform import Parked, invalid
from interop_engine.fhir import bundle
from interop_engine.hl7.message import parse
from interop_engine.journal.base import Forward, NewDelivery

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig, DestinationConfig
    from interop_engine.mapping.outbound.program import Made, MessageProgram

_RESULTS = frozenset({"lab", "imaging"})  # kinds of the exchange in which a result belongs to a report
_KEPT = frozenset({"sender", "kind", "event", "control-digest", "config", "mapping"})
_NO_MESSAGE = parse(b"MSH|^~\\&|\r")  # a bundle has no fields: of a receiver only a name that is written down can be told


@dataclass(frozen=True, slots=True)
class Waiting:
    """A bundle of which more must be known. ``question`` and ``destinations`` are what the journal is to be asked."""

    received: Received
    content: Resource
    late: bool
    question: Question
    destinations: tuple[str, ...]


def begin(received: Received, channel: ChannelConfig, *, late: bool = False) -> Forward | Parked | Waiting:
    """The bundle to every destination of the channel; parked where it is not a valid bundle. ``late``: it is a replay."""
    content = _read(received.data)
    if isinstance(content, Parked):
        return content
    if (fault := invalid(content) or _foreign(content)) is not None:
        return fault
    question = Question(objects=tuple(_objects(content))) if late else Question()
    if _makes(channel):
        question = completion.asks(content, channel.name, question)
    waiting = Waiting(received, content, late, question, tuple(f"{channel.name}/{each.name}" for each in channel.destinations))
    return waiting if late or _makes(channel) else _forward(waiting, NOTHING_KNOWN, channel)


def go_on(waiting: Waiting, known: Known, channel: ChannelConfig) -> Forward | Parked | Waiting:
    """The same with what is known by now; a Waiting where that leads to more that must be known."""
    more = completion.still_to_ask(waiting.content, known, waiting.question) if _makes(channel) else None
    return replace(waiting, question=more) if more is not None else _forward(waiting, known, channel)


def _forward(waiting: Waiting, known: Known, channel: ChannelConfig) -> Forward | Parked:
    deliveries: list[NewDelivery] = []
    findings: dict[str, None] = {}
    code, why = "", ""
    for destination in channel.destinations:
        place = f"{channel.name}/{destination.name}"
        if waiting.late and _is_undated(waiting, place, known):
            return Parked(
                "undated", f"Something else was sent to {destination.name} of what it holds: which is newer is not said."
            )
        left, stale = _left(waiting, place, known)
        findings.update(dict.fromkeys(f"stale {name}" for name in stale))
        if left is None:
            code, why = "stale", "Something newer was sent already."
            continue
        addresses = _addresses(waiting.received, destination, channel)
        if isinstance(addresses, Parked):
            return addresses
        program = destination.message_program
        made = _message(waiting, left, destination, channel, known) if program else _bundle(waiting, left, destination, channel)
        if isinstance(made, Parked):
            return made
        delivery, said = made
        findings.update(dict.fromkeys(said))
        if delivery is not None:
            deliveries += (replace(delivery, id=new_id(), headers={**delivery.headers, **each}) for each in addresses)
        elif program is not None:
            code, why = "nothing-to-send", f"The bundle holds nothing of which {program.name} makes a message."
    learned = Learned(completion.learned(waiting.content, channel.name)) if _makes(channel) else Learned()
    code, why = ("", "") if deliveries else (code, why)
    return Forward(tuple(deliveries), learned, known.stamp, code, why, tuple(findings))


def _addresses(received: Received, destination: DestinationConfig, channel: ChannelConfig) -> list[dict[str, str]] | Parked:
    """What the headers say of each place a destination sends to: of the exchange whom to, and whom the bundle came from."""
    found = addresses_of(_NO_MESSAGE, channel, destination)
    if isinstance(found, Park):
        return Parked(found.code, found.why)
    if destination.receivers is None:
        return [{}]
    if why := goes_round(received.headers):
        return Parked("loop", why)
    return [{**each.headers, "sender": channel.scope.facility, VIA: " ".join(way(received.headers))} for each in found]


def _left(waiting: Waiting, place: str, known: Known) -> tuple[Resource | None, list[str]]:
    """What a destination is still to be sent of a bundle that comes late, None where that is nothing; and what it is not."""
    content = waiting.content
    if not waiting.late:
        return content, []
    stale = sorted(name for name in _objects(content) if _is_later(known.sent.get((place, name)), _moment(content)))
    if not stale:
        return content, []
    left = {**content, "entry": [each for each in content.get("entry", ()) if _object(each) not in stale]}
    remains = any(not name.startswith("Provenance/") for name in _objects(left))
    return (left if remains else None), stale


def _is_undated(waiting: Waiting, place: str, known: Known) -> bool:
    """Whether something else was sent of an object that it holds, and one of the two does not say when it was made."""
    at = _moment(waiting.content)
    for entry in waiting.content.get("entry", ()):
        before = known.sent.get((place, _object(entry)))
        if before is not None and not (at and before.version):
            own = waiting.received.digest, digest(bundle.encode(entry["resource"]))  # of a bundle, and of a message made of one
            if before.digest not in own:
                return True
    return False


_Made = tuple[NewDelivery | None, tuple[str, ...]]


def _bundle(waiting: Waiting, left: Resource, destination: DestinationConfig, channel: ChannelConfig) -> _Made:
    received, at = waiting.received, _moment(waiting.content)
    place = f"{channel.name}/{destination.name}"
    sent = tuple(Sent(place, name, received.digest, at) for name in _objects(left))
    body = received.data if left is waiting.content else bundle.encode(left)
    return NewDelivery(new_id(), destination.name, received.lanes, body, "fhir", _headers(received), sent), ()


def _message(
    waiting: Waiting, left: Resource, destination: DestinationConfig, channel: ChannelConfig, known: Known
) -> _Made | Parked:
    """The bundle as HL7 v2. What it holds is kept whole, since a later bundle may only say what has changed."""
    received, program = waiting.received, destination.message_program
    assert program is not None
    place = f"{channel.name}/{destination.name}"
    whole = completion.completed(left, place, known)
    made = program.make(whole, channel.scope.naming, destination.envelope(received.control_id or received.digest))
    said = tuple(str(finding) for finding in made.findings)
    if received.headers.get("kind") in _RESULTS and completion.astray(whole):
        why = f"{program.name}: a result's report is neither in the bundle nor in what came before it."
        return Parked("101", why, made.findings)
    if (fault := unmade(made, program)) is not None:
        return (None, said) if made.nothing else fault
    headers = {**_headers(received), "mapping": f"{program.name}/{program.digest}"}
    sent = completion.kept(left, place, _moment(waiting.content))
    return NewDelivery(new_id(), destination.name, received.lanes, destination.asking(made.body), "hl7v2", headers, sent), said


def unmade(made: Made, program: MessageProgram) -> Parked | None:
    """Why there is no message; None where there is one."""
    if made.body:
        return None
    if made.fault:
        return Parked("102", f"{program.name}: {made.fault}", made.findings)
    if made.nothing:
        return Parked("nothing-to-send", f"The bundle holds nothing of which {program.name} makes a message.", made.findings)
    why = f"{program.name}: {made.lacking}, neither in the bundle nor in what came before it."
    return Parked("101", why, made.findings)


def _makes(channel: ChannelConfig) -> bool:
    return any(each.message_program is not None for each in channel.destinations)


def _headers(received: Received) -> dict[str, str]:
    return {name: value for name, value in received.headers.items() if name in _KEPT}


def _read(data: bytes) -> Resource | Parked:
    try:
        content = bundle.decode(data)
        ambiguous = bundle.is_ambiguous(data, content)
    except (msgspec.DecodeError, ValueError) as error:
        return Parked("invalid-bundle", f"The body is not a FHIR resource in JSON: {type(error).__name__}")
    if content.get("resourceType") != "Bundle":
        return Parked("invalid-bundle", "The body is not a Bundle.")
    if ambiguous:  # what is handed on must be what was looked at
        return Parked("invalid-bundle", "A property stands twice in one object of the body.")
    return content


def _foreign(content: Resource) -> Parked | None:
    """An entry that does not write the resource it holds: nobody deletes, or runs an operation, at a server in our name."""
    for number, entry in enumerate(content.get("entry", ())):
        request = entry.get("request") or {}
        if request.get("method") != "PUT" or not (name := _object(entry)) or request.get("url") != name:
            return Parked("invalid-bundle", f"Bundle.entry[{number}] is no PUT of the resource it holds, by its type and id.")
        if not entry["resource"]["id"].strip("."):  # FHIR allows it; in a path it names the folder above, or none
            return Parked("invalid-bundle", f"Bundle.entry[{number}] has an id of dots alone, which no URL can name.")
    return None


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
