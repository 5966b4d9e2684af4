"""What a report that was sent before says of the results of a message: repeats, and what a snapshot withdraws. Pure.

Which results a destination has of a report is in the report it was sent: its list ``result`` (semantics.md, results 2 and 3).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from interop_engine.core.diagnostics import Finding
from interop_engine.core.model import Park, Question
from interop_engine.engine.reconcile import Share, Writing, is_stale, reconcile, says_the_same
from interop_engine.fhir import bundle
from interop_engine.mapping.draft import DraftResource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from interop_engine.core.model import Known
    from interop_engine.mapping.context import Scope

_DUPLICATE = "205"  # HL7 table 0357: duplicate key identifier
_WRONG, _WRONG_RANK = "entered-in-error", 6


def share_of(
    draft: Sequence[DraftResource],
    known: Known,
    destination: str,
    scope: Scope,
    *,
    first: dict[int, Writing] | None = None,
    resend: bool = False,
) -> Share | Park:
    """What a destination is sent of a draft, by the channel's ``results:``; a Park where that would be a guess."""
    if scope.results == "snapshot":
        withdrawn = tuple(_withdrawn(draft, known, destination))
        return reconcile((*draft, *withdrawn), known, destination, first=first, keeps_results=True, resend=resend)
    fault = _repeat_fault(draft, known, destination)
    return fault or reconcile(draft, known, destination, first=first, resend=resend)


# --- Snapshots -------------------------------------------------------------------------------------------------------------


def still_to_ask(
    draft: Sequence[DraftResource], known: Known, destinations: Sequence[str], scope: Scope, asked: Question
) -> Question | None:
    """The question with what a snapshot withdraws, whose content must be known; None where all of that was asked."""
    if scope.results != "snapshot":
        return None
    missing = dict.fromkeys(thing for name in destinations for _, thing in _missing(draft, known, name))
    more = [thing for thing in missing if thing not in asked.whole]
    return replace(asked, objects=(*asked.objects, *more), whole=(*asked.whole, *more)) if more else None


def kept(draft: Sequence[DraftResource], known: Known, destinations: Sequence[str], scope: Scope) -> list[Finding]:
    """Results that a snapshot should withdraw and cannot: they were sent before the channel was one, and not kept whole."""
    if scope.results != "snapshot":
        return []
    missing = {thing: known.sent.get((name, thing)) for name in destinations for _, thing in _missing(draft, known, name)}
    said = "The report no longer has it, but what was sent of it is not kept: it stays as it is."
    return [Finding("result-kept", said, thing) for thing, before in missing.items() if before is None or before.content is None]


def _withdrawn(draft: Sequence[DraftResource], known: Known, destination: str) -> Iterator[DraftResource]:
    """Results that were sent, and that the report has no longer: entered in error, else as they were."""
    for report, thing in _missing(draft, known, destination):
        before = known.sent.get((destination, thing))
        if before is None or before.content is None:
            continue
        content = bundle.decode(before.content)
        if content.get("status") != _WRONG:
            type_, _, id_ = thing.partition("/")
            yield DraftResource(
                "withdrawn", type_, id_, {**content, "status": _WRONG}, "replace", version=report.version, rank=_WRONG_RANK
            )


def _missing(draft: Sequence[DraftResource], known: Known, destination: str) -> Iterator[tuple[DraftResource, str]]:
    """(report, result that it was sent with and has no more). A report without any result says nothing of them."""
    results = _known_results(draft, known, destination)
    for report in draft:
        if report.id in results and (now := report.content.get("result")):
            here = {each["reference"] for each in now}
            yield from ((report, thing) for thing in results[report.id] if thing not in here)


# --- Repeats ---------------------------------------------------------------------------------------------------------------


def _repeat_fault(draft: Sequence[DraftResource], known: Known, destination: str) -> Park | None:
    """Why the repeats of a partial report cannot be told apart; None where they can.

    Repeats have occurrence numbers. Where a report is known with more or fewer of one key, which of them is meant is a guess,
    unless those that both have are unchanged: then there are only further ones at the end.
    """
    before = _known_results(draft, known, destination)
    if not before:
        return None
    repeats: dict[tuple[str, ...], list[DraftResource]] = {}
    for item in draft:
        if item.type == "Observation" and item.key and item.key[0] in before:
            repeats.setdefault(item.key, []).append(item)
    for key, items in repeats.items():
        if _guessed(items, before[key[0]], known, destination):
            why = f"{items[0].name}: the report was sent with another number of results that have the same key and nothing else"
            return Park(_DUPLICATE, f"{why} to tell them apart: which of them are meant is for a person to say.")
    return None


def _known_results(draft: Sequence[DraftResource], known: Known, destination: str) -> dict[str, tuple[str, ...]]:
    """Reports of the draft that the destination has already, none of them newer: id → references of their results."""
    found: dict[str, tuple[str, ...]] = {}
    for item in draft:
        before = known.sent.get((destination, f"{item.type}/{item.id}")) if item.type == "DiagnosticReport" else None
        if before is not None and before.content is not None and not is_stale(item, before):
            found[item.id] = tuple(each["reference"] for each in bundle.decode(before.content).get("result", ()))
    return found


def _guessed(items: Sequence[DraftResource], results: Sequence[str], known: Known, destination: str) -> bool:
    count = 0
    while items[0].occurrence(count + 1) in results:
        count += 1
    if count in (0, len(items)):
        return False
    by_id: Mapping[str, DraftResource] = {f"{item.type}/{item.id}": item for item in items}
    both = [items[0].occurrence(number) for number in range(1, min(count, len(items)) + 1)]
    return not all(says_the_same(by_id[each], known.sent.get((destination, each))) for each in both)
