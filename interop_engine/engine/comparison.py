"""What two configurations make of one message, and where that differs, element by element. Pure.

Resources are matched by type and id. Provenance is left out: it names the mapping and the configuration, which differ by design.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from interop_engine.core.errors import CharsetError, ParseError
from interop_engine.core.model import digest
from interop_engine.engine.transform import Parked
from interop_engine.fhir import bundle as bundles
from interop_engine.hl7.message import parse

if TYPE_CHECKING:
    from interop_engine.core.model import Resource
    from interop_engine.engine.single import Mapped
    from interop_engine.journal.base import Forward

Kind = Literal["changed", "added", "removed"]
_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Made:
    """What a configuration makes of a message. ``fate`` says what becomes of it where it is not simply sent.

    ``things``: resources by ``Type/id``, and HL7 v2 messages by their destination. ``findings`` and ``unread`` as told.
    """

    things: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fate: str = ""
    destinations: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. ``what`` is the same for like changes in many messages, ``place`` is where it is in this one.

    ``before`` and ``after`` are elements and resources; None where there is none, and for what is only said.
    """

    kind: Kind
    what: str
    place: str
    before: Any = None
    after: Any = None


# --- What was made -------------------------------------------------------------------------------------------------------


def made_alone(mapped: Mapped | Parked) -> Made:
    """Of a message that went through a mapping by itself."""
    if isinstance(mapped, Parked):
        return Made(fate=_parks(mapped))
    findings = tuple(str(finding) for finding in mapped.findings)
    if mapped.parked is not None:
        return Made(fate=_parks(mapped.parked), findings=findings, unread=mapped.unread)
    return Made(_resources(mapped.bundle or {}), findings=findings, unread=mapped.unread)


def made_for_all(forward: Forward | Parked) -> Made:
    """Of a message that went through a channel: what all its destinations together are sent."""
    if isinstance(forward, Parked):
        return Made(fate=_parks(forward), findings=tuple(str(finding) for finding in forward.findings))
    things: dict[str, Mapping[str, Any]] = {}
    for delivery in forward.deliveries:
        if delivery.media == "fhir":
            things |= _resources(json.loads(delivery.body, parse_float=Decimal))
        else:
            things[f"HL7v2/{delivery.destination}"] = _segments(delivery.body)
    addresses = (" ".join(filter(None, (each.destination, each.headers.get("receiver")))) for each in forward.deliveries)
    fate = f"is not sent: {forward.why}" if not forward.deliveries else ""
    return Made(things, fate, tuple(dict.fromkeys(addresses)), forward.findings, forward.ledger)


def _parks(parked: Parked) -> str:
    return f"parks with {parked.code}: {parked.why}"


def _resources(bundle: Resource) -> dict[str, Mapping[str, Any]]:
    found = (entry["resource"] for entry in bundle.get("entry", ()))
    return {f"{each['resourceType']}/{each['id']}": each for each in found if each["resourceType"] != "Provenance"}


def _segments(data: bytes) -> dict[str, Any]:
    """A message as elements: ``OBX[2]`` → ``5`` → the field as it stands; as its digest where only its channel can read it."""
    try:
        message = parse(data)
    except (ParseError, CharsetError):
        return {"digest": digest(data)}
    return {
        f"{segment.name}[{segment.number}]": {str(number): raw for number, raw in enumerate(segment.fields[1:], 1) if raw}
        for segment in message.segments
    }


# --- Where it differs ----------------------------------------------------------------------------------------------------


def compare(before: Made, after: Made) -> list[Change]:
    """Every difference, the fate first, then resources, then what is said about them.

    Of a message that only one of the two sends, not each resource is named again.
    """
    sent = not before.fate and not after.fate
    return [
        *(_destinations(before.destinations, after.destinations) if sent else _fate(before.fate, after.fate)),
        *(_things(before.things, after.things) if sent else ()),
        *_said("finding", before.findings, after.findings),
        *_said("read by nothing:", before.unread, after.unread),
    ]


def _fate(before: str, after: str) -> Iterator[Change]:
    if before == after:
        return
    kind: Kind = "changed" if before and after else "removed" if before else "added"
    yield Change(kind, _general(after or before), "the message", before or "is mapped", after or "is mapped")


def _destinations(before: Sequence[str], after: Sequence[str]) -> Iterator[Change]:
    for kind, these, others in _both(before, after):
        for name in these:
            if name not in others:
                yield Change(kind, f"destination {name}", f"destination {name}")


def _both(before: Sequence[str], after: Sequence[str]) -> tuple[tuple[Kind, Sequence[str], Sequence[str]], ...]:
    return ("removed", before, after), ("added", after, before)


def _general(fate: str) -> str:
    """``parks with 204`` of what parks for a reason of its own each time."""
    return fate.partition(":")[0] if fate.startswith("parks") else fate


def _things(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> Iterator[Change]:
    for name, old in before.items():
        if name not in after:
            yield Change("removed", name.partition("/")[0], name, old)
        elif old != after[name]:
            yield from _values(name.partition("/")[0], name, "", old, after[name])
    for name, new in after.items():
        if name not in before:
            yield Change("added", name.partition("/")[0], name, None, new)


def _values(kind: str, thing: str, path: str, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys((*old, *new)):
            below = f"{path}.{name}" if path else name
            if name not in new:
                yield _change("removed", kind, thing, below, old[name], None)
            elif name not in old:
                yield _change("added", kind, thing, below, None, new[name])
            elif old[name] != new[name]:
                yield from _values(kind, thing, below, old[name], new[name])
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(kind, thing, path, old, new)
    else:
        yield _change("changed", kind, thing, path, old, new)


def _lists(kind: str, thing: str, path: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Change]:
    """Items that stayed are left alone wherever they stand now; those between are compared one by one."""
    texts = ([bundles.encode(item) for item in old], [bundles.encode(item) for item in new])
    for tag, i, j, k, m in difflib.SequenceMatcher(None, *texts, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        both = min(j - i, m - k)
        for n in range(both):
            yield from _values(kind, thing, f"{path}[{k + n}]", old[i + n], new[k + n])
        for n in range(i + both, j):
            yield _change("removed", kind, thing, f"{path}[{n}]", old[n], None)
        for n in range(k + both, m):
            yield _change("added", kind, thing, f"{path}[{n}]", None, new[n])


def _change(kind: Kind, of: str, thing: str, path: str, old: Any, new: Any) -> Change:
    return Change(kind, f"{of}.{_INDEX.sub('', path)}", f"{thing} {path}", old, new)


def _said(noun: str, before: Sequence[str], after: Sequence[str]) -> Iterator[Change]:
    for kind, these, others in _both(before, after):
        for text in these:
            if text not in others:
                yield Change(kind, _INDEX.sub("", f"{noun} {_head(text)}"), f"{noun} {text}")


def _head(said: str) -> str:
    """``OBX[3]-5: value-dropped`` of a finding with its words."""
    return " ".join(said.split(" ", 2)[:2])
