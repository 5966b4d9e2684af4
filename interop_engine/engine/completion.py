"""What a bundle leaves out because it was sent before, added from what the journal keeps: a message of HL7 v2 says it all. Pure.

A bundle on the exchange says what has changed. Of a corrected result it may hold the one Observation, neither its report nor the
patient. So of what came for a receiver of HL7 v2 the content is kept, and of each result the report it belongs to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from interop_engine.core.model import Known, Question, Resource, Sent, digest
from interop_engine.fhir import bundle
from interop_engine.fhir.references import read_reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MOST = 2_000  # objects that one bundle may lead to


def asks(content: Resource, channel: str, question: Question) -> Question:
    """The question with what a bundle refers to, and the reports of its results."""
    held = _held(content)
    aliases = tuple(_alias(channel, name) for name in held if name.startswith("Observation/"))
    missing = tuple(name for name in _referred(held.values()) if name not in held)
    objects = (*question.objects, *missing)
    return Question(aliases, objects, objects)


def still_to_ask(content: Resource, known: Known, asked: Question) -> Question | None:
    """The question with what the answer refers to in its turn; None where all of that was asked."""
    more = [name for name in _lacking(content, _answer(known), known) if name not in asked.whole]
    if not more or len(asked.whole) + len(more) > _MOST:
        return None
    return replace(asked, objects=(*asked.objects, *more), whole=(*asked.whole, *more))


def completed(content: Resource, place: str, known: Known) -> Resource:
    """The bundle with all that it leads to, of what came for one receiver."""
    there = {name: sent.content for (destination, name), sent in known.sent.items() if destination == place}
    held, entries = _held(content), list(content.get("entry", ()))
    waiting = list(_lacking(content, there, known))
    seen = {*held, *waiting}
    while waiting:
        name = waiting.pop(0)
        encoded = there.get(name)
        if encoded is None:
            continue
        resource = bundle.decode(encoded)
        entries.append({"resource": resource})
        more = [each for each in _referred([resource]) if each not in seen]
        seen.update(more)
        waiting += more
    return {**content, "entry": entries}


def kept(content: Resource, place: str, at: str) -> tuple[Sent, ...]:
    """What is kept of a bundle for one receiver."""
    return tuple(
        Sent(place, name, digest(encoded), at, 0, encoded)
        for name, resource in _held(content).items()
        if not name.startswith("Provenance/") and (encoded := bundle.encode(resource))
    )


def astray(content: Resource) -> list[str]:
    """The results that belong to no report, nor to another result, of a completed bundle."""
    held = _held(content)
    claimed: set[str] = set()
    for resource in held.values():
        for reference in (*resource.get("result", ()), *resource.get("hasMember", ())):
            claimed.add(read_reference(reference.get("reference", "")).target)
    return [name for name in held if name.startswith("Observation/") and name not in claimed]


def learned(content: Resource, channel: str) -> dict[str, str]:
    """Of each result the report it belongs to."""
    found: dict[str, str] = {}
    for name, resource in _held(content).items():
        if name.startswith("DiagnosticReport/"):
            for result in resource.get("result", ()):
                found[_alias(channel, read_reference(result.get("reference", "")).target)] = name
    return found


def _alias(channel: str, observation: str) -> str:
    return f"report|{channel}|{observation}"


def _held(content: Resource) -> dict[str, Resource]:
    resources = [entry.get("resource", {}) for entry in content.get("entry", ())]
    return {f"{each['resourceType']}/{each['id']}": each for each in resources if "id" in each}


def _referred(resources: Iterable[Resource]) -> Iterator[str]:
    seen: set[str] = set()
    for resource in resources:
        if resource.get("resourceType") == "Provenance":
            continue
        for _, reference in bundle.references(resource):
            target = read_reference(reference["reference"])
            if target.form == "local" and target.target not in seen:
                seen.add(target.target)
                yield target.target


def _answer(known: Known) -> dict[str, bytes | None]:
    return {name: sent.content for (_, name), sent in known.sent.items()}


def _lacking(content: Resource, there: dict[str, bytes | None], known: Known) -> Iterator[str]:
    """What a bundle, with what is known of it, refers to and does not hold; and the reports that its results belong to."""
    held = _held(content)
    waiting = [*_referred(held.values()), *known.aliases.values()]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        if name in held or name in seen:
            continue
        seen.add(name)
        yield name
        encoded = there.get(name)
        if encoded is not None:
            waiting += _referred([bundle.decode(encoded)])
