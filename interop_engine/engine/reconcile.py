"""What one destination is still to be sent of a draft, given what it was sent before. Pure.

Here are decided: a stale object after a newer one, what is unchanged, what a ``merge`` fills in, what a ``union`` adds
(semantics.md, results 3, 6 and 15, and "Identity"). Nothing is patched afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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
    sent: tuple[Sent, ...]
    stale: tuple[str, ...]  # objects left out because something newer was sent


def reconcile(draft: Sequence[DraftResource], known: Known, destination: str) -> Share:
    """The share of ``destination``. Resources keep the draft's order."""
    resources: list[Resource] = []
    sent: list[Sent] = []
    stale: list[str] = []
    for item in draft:
        before = known.sent.get((destination, f"{item.type}/{item.id}"))
        if before is not None and item.write == "if-new":
            if (grown := _grown(item, before)) is not None:
                encoded = bundle.encode(grown)
                resources.append(grown)
                sent.append(Sent(destination, before.object, digest(encoded), before.version, before.rank, encoded))
            continue
        if before is not None and is_stale(item, before):
            stale.append(before.object)
            continue
        item = _withdrawn(item, before)  # noqa: PLW2901 - what is said of it depends on what was said before
        if before is not None and before.content is None and item.type == "Observation" and item.write == "merge":
            continue  # it was sent whole as final: there is nothing to add
        content = _content(item, before)
        encoded = bundle.encode(content)
        name = digest(encoded)
        if before is not None and before.digest == name:
            continue
        resources.append(content)
        sent.append(_sent(item, destination, encoded, name))
    return Share(destination, tuple(resources), tuple(sent), tuple(stale))


def is_stale(item: DraftResource, before: Sent) -> bool:
    """Whether something newer was sent: by time where both have one that differs, else by rank of the status."""
    if item.type == "ServiceRequest":
        was = _status(before.content)
        if was in _CLOSED_ORDER and _ORDER_RANK.get(item.content.get("status", ""), 0) < _ORDER_RANK[was]:
            return True
    if item.version and before.version and item.version != before.version:
        return item.version < before.version
    return item.rank < before.rank


def _withdrawn(item: DraftResource, before: Sent | None) -> DraftResource:
    """A result that is cancelled after it was final was wrong (semantics.md, result 5): X in OBX-11 or OBR-25."""
    if before is None or before.rank < _FINAL or item.content.get("status") != "cancelled":
        return item
    return replace(item, content={**item.content, "status": "entered-in-error"}, rank=_WRONG)


def merge_fault(draft: Sequence[DraftResource], known: Known) -> Park | None:
    """A merge of a record into itself, directly or around a circle, parks: no later message could undo it."""
    for item in draft:
        if item.merged_into and known.survivor(item.merged_into) == f"{item.type}/{item.id}":
            return Park("204", "The message merges a record into itself, or into one that was merged into it.")
    return None


def _content(item: DraftResource, before: Sent | None) -> Resource:
    if before is None or before.content is None:
        return _without_cleared(item.content)
    old: Resource = bundle.decode(before.content)
    content = _merged(old, item.content) if item.write == "merge" else _without_cleared(item.content)
    for element in item.union:
        content = _united(content, element, old.get(element, ()))
    return content


def _without_cleared(content: Mapping[str, Any]) -> Resource:
    return {key: value for key, value in content.items() if value is not None}


def _grown(item: DraftResource, before: Sent) -> Resource | None:
    """What is there already, with what it lacks of ``union``, such as an order's second number; None where it lacks none."""
    if before.content is None:
        return None
    old: Resource = bundle.decode(before.content)
    content = old
    for element in item.union:
        if new := item.content.get(element):
            content = _united({**content, element: new}, element, old.get(element, ()))
    return content if content != old else None


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


def _sent(item: DraftResource, destination: str, encoded: bytes, name: str) -> Sent:
    # Content is kept only where a later message may need it: a plain replace never looks back, but OBX-11 = U makes an open
    # result final without sending its value again.
    open_result = item.type == "Observation" and item.content.get("status") in _OPEN_RESULT
    whole = encoded if item.write != "replace" or item.union or open_result else None
    return Sent(destination, f"{item.type}/{item.id}", name, item.version, item.rank, whole)
