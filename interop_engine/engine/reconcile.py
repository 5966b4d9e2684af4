"""What one destination is still to be sent of a draft, given what it was sent before. Pure.

Here are decided: a stale object after a newer one, what is unchanged, what a ``merge`` fills in, what a ``union`` adds
(semantics.md, results 3, 6 and 15, and "Identity"). Nothing is patched afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from interop_engine.core.model import Park, Sent, digest
from interop_engine.fhir import bundle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from interop_engine.core.model import Known, Resource
    from interop_engine.mapping.program import DraftResource

# A completed or revoked order is never re-opened, however new the message (semantics.md, result 15).
_CLOSED_ORDER = frozenset({"completed", "revoked", "entered-in-error"})
_FINAL, _WRONG = 4, 6  # ranks of a result's status: final, entered-in-error
_OPEN_RESULT = frozenset({"registered", "preliminary"})
_ORDER_RANK = {"draft": 0, "active": 1, "on-hold": 1, "unknown": 1, "completed": 2, "revoked": 3, "entered-in-error": 4}


@dataclass(frozen=True, slots=True)
class Share:
    """One destination's share: the resources to send, and what it will have been sent."""

    destination: str
    resources: tuple[Resource, ...]
    encoded: tuple[bytes, ...]  # of each of the resources
    sent: tuple[Sent, ...]
    stale: tuple[str, ...]  # objects left out because something newer was sent


class Writing(NamedTuple):
    """A resource as it is written: its content, the bytes of it, and their digest."""

    content: Resource
    encoded: bytes
    digest: str


def reconcile(
    draft: Sequence[DraftResource],
    known: Known,
    destination: str,
    *,
    first: dict[int, Writing] | None = None,
    keeps_results: bool = False,
    resend: bool = False,
) -> Share:
    """The share of ``destination``. Resources keep the draft's order.

    ``first`` is kept by who asks for several destinations: what goes out as drafted, by its place, is encoded once for all.
    ``keeps_results``: every result's content is kept, since a later message may withdraw it. ``resend``: what is unchanged is
    sent too, as far as it is known whole.
    """
    first = {} if first is None else first
    keeps = frozenset({"Observation"}) if keeps_results else frozenset()
    writings: list[Writing] = []
    sent: list[Sent] = []
    stale: list[str] = []
    for place, item in enumerate(draft):
        object_ = f"{item.type}/{item.id}"
        before = known.sent.get((destination, object_))
        if before is None and item.write == "add":
            continue  # there is nothing to add to
        if before is None:
            if (writing := first.get(place)) is None:
                writing = first[place] = _writing(_said(item))
            writings.append(writing)
            sent.append(_sent(item, destination, object_, writing, keeps))
        elif item.write in ("if-new", "add"):
            if (grown := _grown(item, before, resend=resend)) is not None:
                writing = _writing(grown)
                writings.append(writing)
                sent.append(Sent(destination, object_, writing.digest, before.version, before.rank, writing.encoded))
        elif is_stale(item, before):
            stale.append(object_)
        elif (changed := _changed(item, before, resend=resend)) is not None:
            writings.append(changed[1])
            sent.append(_sent(changed[0], destination, object_, changed[1], keeps))
    resources, encoded = tuple([one.content for one in writings]), tuple([one.encoded for one in writings])
    return Share(destination, resources, encoded, tuple(sent), tuple(stale))


def _writing(content: Resource) -> Writing:
    encoded = bundle.encode(content)
    return Writing(content, encoded, digest(encoded))


def _changed(item: DraftResource, before: Sent, *, resend: bool) -> tuple[DraftResource, Writing] | None:
    """What is to be written over what was sent; None where that is the same (unless it is sent again), or says it already."""
    item = _still_closed(_withdrawn(item, before), before)
    if before.content is None and item.type == "Observation" and item.write == "merge":
        return None  # it was sent whole as final: there is nothing to add
    writing = _writing(_content(item, before))
    return None if writing.digest == before.digest and not resend else (item, writing)


def is_stale(item: DraftResource, before: Sent) -> bool:
    """Whether something newer was sent: by time where both have one that differs, else by rank of the status."""
    if before.version and _reopens(item, before):
        return True
    if item.version and before.version and item.version != before.version:
        return item.version < before.version
    return item.rank < before.rank


_OF_STATUS = frozenset({"status", "_status", "issued", "_issued"})


def says_the_same(item: DraftResource, before: Sent | None) -> bool:
    """Whether what was sent is the same result, if perhaps with another status."""
    if before is None:
        return False
    content = _said(item)
    if digest(bundle.encode(content)) == before.digest:
        return True
    old = bundle.decode(before.content) if before.content is not None else {}
    return all(content.get(name) == old.get(name) for name in {*content, *old} - _OF_STATUS)


def _reopens(item: DraftResource, before: Sent) -> bool:
    if item.type != "ServiceRequest" or (was := _status(before.content)) not in _CLOSED_ORDER:
        return False
    return _ORDER_RANK.get(item.content.get("status", ""), 0) < _ORDER_RANK[was]


def _still_closed(item: DraftResource, before: Sent) -> DraftResource:
    """An order that came after its result says all but the status, which the result has settled."""
    if not _reopens(item, before):
        return item
    return item._replace(content={**item.content, "status": _status(before.content)})


def _withdrawn(item: DraftResource, before: Sent) -> DraftResource:
    """A result that is cancelled after it was final was wrong (semantics.md, result 5): X in OBX-11 or OBR-25."""
    if before.rank < _FINAL or item.content.get("status") != "cancelled":
        return item
    return item._replace(content={**item.content, "status": "entered-in-error"}, rank=_WRONG)


def merge_fault(draft: Sequence[DraftResource], known: Known) -> Park | None:
    """A merge of a record into itself, directly or around a circle, parks: no later message could undo it."""
    for item in draft:
        if item.merged_into and known.survivor(item.merged_into) == f"{item.type}/{item.id}":
            return Park("204", "The message merges a record into itself, or into one that was merged into it.")
    return None


def _content(item: DraftResource, before: Sent) -> Resource:
    if before.content is None:
        return _said(item)
    old: Resource = bundle.decode(before.content)
    content = _merged(old, item.content) if item.write == "merge" else item.content
    for element in item.union:
        content = _united(content, element, old.get(element, ()))
    return content


def _said(item: DraftResource) -> Resource:
    """What an item says without the elements that it clears, which only a merge can."""
    return _without_cleared(item.content) if item.write == "merge" else item.content


def _without_cleared(content: Mapping[str, Any]) -> Resource:
    return {key: value for key, value in content.items() if value is not None}


def _grown(item: DraftResource, before: Sent, *, resend: bool) -> Resource | None:
    """What is there already, with what it lacks of ``union``, such as an order's second number; None where it lacks none.

    What is there is given, too, where it is sent again.

    An open order is closed by its result, as it would be had the result come first (semantics.md, result 15).
    """
    if before.content is None:
        return None
    old: Resource = bundle.decode(before.content)
    content = old
    if item.type == "ServiceRequest" and (status := item.content.get("status")) in _CLOSED_ORDER:
        closed = old.get("status") in _CLOSED_ORDER
        content = old if closed else {**old, "status": status}
    for element in item.union:
        if new := item.content.get(element):
            content = _united({**content, element: new}, element, old.get(element, ()))
    return content if content != old or resend else None


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Resource:
    """Valued replaces, cleared (None, from ``""``) removes, absent keeps. One choice of value[x] replaces another."""
    kept = {key: value for key, value in old.items() if key not in new and not _other_choice(key, new)}
    return _without_cleared({**{key: new.get(key, kept.get(key)) for key in _order(new, kept)}})


def _order(new: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    return [*new, *(key for key in kept if key not in new)]


def _other_choice(key: str, new: Mapping[str, Any]) -> bool:
    stem = next((stem for stem in _CHOICES if key.startswith(stem) and key[len(stem) : len(stem) + 1].isupper()), "")
    return bool(stem) and any(
        other.startswith(stem) and other != key and other[len(stem) : len(stem) + 1].isupper() for other in new
    )


_CHOICES = ("deceased", "multipleBirth", "value", "effective", "occurrence", "onset", "performed")


def _united(content: Resource, element: str, old: Any) -> Resource:
    new = content.get(element, [])
    added = [item for item in new if item not in old]
    united = [*old, *added]
    return {**content, element: united} if united else content


def _status(content: bytes | None) -> str:
    return str(bundle.decode(content).get("status", "")) if content is not None else ""


def _looked_back(item: DraftResource) -> bool:
    """Whether a later message may need the content: a plain replace never looks back.

    But OBX-11 = U makes an open result final without sending its value again, and an antibiogram adds its results to those
    of an organism, which is no number (OBR-26, chapter 4.5.3.26).
    """
    if item.write != "replace":
        return True
    if item.type != "Observation":
        return bool(item.union)
    return item.content.get("status") in _OPEN_RESULT or (bool(item.union) and "valueQuantity" not in item.content)


def _sent(item: DraftResource, destination: str, object_: str, writing: Writing, keeps: frozenset[str]) -> Sent:
    whole = writing.encoded if item.type in keeps or _looked_back(item) else None
    if item.write == "if-new":  # a stand-in has no time: it must not hold back what the owner says, however late that comes
        return Sent(destination, object_, writing.digest, "", 0, whole)
    return Sent(destination, object_, writing.digest, item.version, item.rank, whole)
