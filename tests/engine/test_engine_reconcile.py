"""What one destination is still to be sent, given what it was sent before (semantics.md, results 3, 6, 15, "Identity")."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from interop_engine.core.model import Known, Sent, digest
from interop_engine.engine.reconcile import Writing, merge_fault, reconcile
from interop_engine.fhir import bundle
from interop_engine.mapping.program import DraftResource

OLD, NEW = "2026-11-21T08:00:00.000Z", "2026-11-21T09:00:00.000Z"


def draft(type_: str = "Observation", id_: str = "o1", **given: Any) -> DraftResource:
    """A resource as a mapping drafts it, newer than OLD."""
    content = {"resourceType": type_, "id": id_, **given.pop("content", {})}
    defaults: dict[str, Any] = {"write": "replace", "version": NEW, "rank": 0, "union": (), "aliases": (), "merged_into": ""}
    return DraftResource(name=type_.lower(), type=type_, id=id_, content=content, **(defaults | given))


def known(item: DraftResource, *, version: str = OLD, rank: int = 0, destination: str = "hub", **content: Any) -> Known:
    """What a destination was sent of it before."""
    encoded = bundle.encode({"resourceType": item.type, "id": item.id, **content})
    object_ = f"{item.type}/{item.id}"
    return Known("", {(destination, object_): Sent(destination, object_, digest(encoded), version, rank, encoded)})


def test_what_was_never_sent_is_sent_whole() -> None:
    """A first message goes out as it is, and its state is remembered with its digest."""
    item = draft(content={"status": "final", "valueQuantity": {"value": Decimal("5.20")}})
    share = reconcile([item], Known(), "hub")
    assert share.resources == (item.content,)
    assert share.sent[0].digest == digest(bundle.encode(item.content))
    assert share.sent[0].version == NEW


def test_unchanged_is_left_out() -> None:
    """The same content, from a newer message, is not sent again."""
    item = draft(content={"status": "final"})
    assert reconcile([item], known(item, status="final"), "hub").resources == ()


@pytest.mark.parametrize("write", ["replace", "merge", "if-new", "add"])
def test_what_is_unchanged_is_sent_again_where_that_is_asked(write: str) -> None:
    """Whole, as the destination had it, and remembered as before."""
    item = draft("Patient", "p1", write=write, content={"gender": "female"})
    before = known(item, version=NEW, gender="female", active=True)
    if write == "replace":
        before = known(item, version=NEW, gender="female")
    (sent,) = before.sent.values()
    share = reconcile([item], before, "hub", resend=True)
    assert share.resources == (bundle.decode(sent.content or b""),)
    assert [(each.digest, each.version) for each in share.sent] == [(sent.digest, NEW)]
    assert reconcile([item], before, "hub").resources == ()


@pytest.mark.parametrize("write", ["merge", "if-new", "add"])
def test_what_is_not_known_whole_is_not_sent_again(write: str) -> None:
    """A stand-in over what its owner said, or a part of a result, would take something away."""
    item = draft(write=write, content={"status": "final"})
    whole = {name: each._replace(content=None) for name, each in known(item, status="final", code={}).sent.items()}
    assert reconcile([item], Known("", whole), "hub", resend=True).resources == ()


def test_what_is_stale_is_not_sent_again_either() -> None:
    """Something newer was sent: its own message brings that."""
    item = draft(version=OLD, content={"status": "final"})
    assert reconcile([item], known(item, version=NEW, status="amended"), "hub", resend=True).stale == ("Observation/o1",)


def test_state_is_kept_per_destination() -> None:
    """What the hub has, the district hospital need not have."""
    item = draft(content={"status": "final"})
    assert reconcile([item], known(item, status="final"), "district").resources == (item.content,)


def test_what_goes_out_as_drafted_is_encoded_once_for_all() -> None:
    """Several destinations get the very same bytes; one that knows an older state gets its own."""
    items = [draft("Patient", "p1", content={"gender": None, "active": True}), draft(content={"status": "final"})]
    before = known(items[1], status="preliminary")
    first: dict[int, Writing] = {}
    shares = [reconcile(items, before, name, first=first) for name in ("district", "province", "hub")]
    assert [share.encoded for share in shares] == [tuple(map(bundle.encode, share.resources)) for share in shares]
    assert [digest(data) for data in shares[0].encoded] == [sent.digest for sent in shares[0].sent]
    assert all(one is other for one, other in zip(shares[0].encoded, shares[1].encoded, strict=True))
    assert shares == [reconcile(items, before, name) for name in ("district", "province", "hub")]


def test_what_is_written_if_new_gains_only_what_its_union_names() -> None:
    """A result adds its filler number to a known order, however old, and touches nothing else; once it is there, no more."""
    order = {"identifier": [{"value": "A17"}], "status": "active"}
    numbers = [{"value": "A17"}, {"value": "F17"}]
    item = draft("ServiceRequest", write="if-new", union=("identifier",), content={"identifier": numbers, "status": "unknown"})
    share = reconcile([item], known(item, version=NEW, rank=3, **order), "hub")
    assert share.resources == ({"resourceType": "ServiceRequest", "id": "o1", "identifier": numbers, "status": "active"},)
    (sent,) = share.sent
    assert (sent.version, sent.rank, sent.content) == (NEW, 3, bundle.encode(share.resources[0]))
    assert reconcile([item], known(item, identifier=numbers, status="active"), "hub").resources == ()
    assert reconcile([draft("ServiceRequest", write="if-new", content=order)], known(item, **order), "hub").resources == ()


def test_older_is_stale_whatever_its_rank() -> None:
    """A message older than what was sent is left out and said so, even when its status ranks higher."""
    item = draft(version=OLD, rank=9, content={"status": "final"})
    share = reconcile([item], known(item, version=NEW, rank=1, status="preliminary"), "hub")
    assert share.resources == ()
    assert share.stale == ("Observation/o1",)


@pytest.mark.parametrize(("version", "before"), [(NEW, NEW), ("", NEW), (NEW, "")])
def test_rank_breaks_ties_and_missing_times(version: str, before: str) -> None:
    """With equal or missing times a preliminary never follows a final, and a final does follow a preliminary."""
    late = draft(version=version, rank=2, content={"status": "preliminary"})
    assert reconcile([late], known(late, version=before, rank=4, status="final"), "hub").stale == ("Observation/o1",)
    final = draft(version=version, rank=4, content={"status": "final"})
    assert reconcile([final], known(final, version=before, rank=2, status="preliminary"), "hub").stale == ()


def test_if_new_is_written_once() -> None:
    """A result does not overwrite demographics that were sent."""
    item = draft("Patient", "p1", write="if-new", content={"gender": "male"})
    assert reconcile([item], Known(), "hub").resources == (item.content,)
    assert reconcile([item], known(item, gender="female"), "hub").resources == ()


def test_merge_fills_from_what_was_sent() -> None:
    """Valued replaces, cleared removes, absent keeps: and what is written is whole."""
    item = draft("Patient", "p1", write="merge", content={"gender": "female", "telecom": None})
    share = reconcile([item], known(item, gender="male", birthDate="1980-01-01", telecom=[{"value": "1"}]), "hub")
    assert share.resources == ({"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1980-01-01"},)


def test_merge_replaces_another_choice() -> None:
    """The element deceasedDateTime takes the place of deceasedBoolean: both would be invalid."""
    item = draft("Patient", "p1", write="merge", content={"deceasedDateTime": "2026-11-01"})
    share = reconcile([item], known(item, deceasedBoolean=False), "hub")
    assert share.resources == ({"resourceType": "Patient", "id": "p1", "deceasedDateTime": "2026-11-01"},)


def test_cleared_without_history_is_absent() -> None:
    """A cleared element of something never sent is just not there."""
    item = draft("Patient", "p1", write="merge", content={"telecom": None})
    assert reconcile([item], Known(), "hub").resources == ({"resourceType": "Patient", "id": "p1"},)


def test_union_keeps_what_was_sent() -> None:
    """The second part of a report adds its results to those of the first, each once."""
    item = draft("DiagnosticReport", "r1", union=("result",), content={"result": [{"reference": "b"}, {"reference": "c"}]})
    share = reconcile([item], known(item, result=[{"reference": "a"}, {"reference": "b"}]), "hub")
    assert share.resources[0]["result"] == [{"reference": "a"}, {"reference": "b"}, {"reference": "c"}]


@pytest.mark.parametrize(
    ("was", "now", "goes"), [("completed", "active", False), ("revoked", "active", False), ("active", "completed", True)]
)
def test_a_closed_order_is_not_reopened(was: str, now: str, *, goes: bool) -> None:
    """A late "new order" does not re-open a completed or revoked one, however new the message."""
    item = draft("ServiceRequest", "s1", write="merge", content={"status": now})
    share = reconcile([item], known(item, status=was), "hub")
    assert bool(share.resources) is goes
    assert bool(share.stale) is not goes


def test_a_stand_in_holds_back_nobody() -> None:
    """What a result wrote of a patient, an order or a visit gives way to what its owner says, though that is older."""
    stand_in = draft("Patient", "p1", write="if-new", version=NEW, rank=5, content={"gender": "male"})
    (sent,) = reconcile([stand_in], Known(), "hub").sent
    assert (sent.version, sent.rank) == ("", 0)
    before = Known("", {("hub", "Patient/p1"): sent})
    owner = draft("Patient", "p1", write="merge", version=OLD, content={"gender": "female"})
    assert reconcile([owner], before, "hub").resources == (owner.content,)


def test_an_order_after_its_result_says_all_but_the_status() -> None:
    """The result made a stand-in of it, completed; the order itself adds what only it knows, and does not re-open."""
    stand_in = draft("ServiceRequest", "s1", write="if-new", content={"status": "completed", "intent": "order"})
    before = Known("", {("hub", "ServiceRequest/s1"): reconcile([stand_in], Known(), "hub").sent[0]})
    order = draft("ServiceRequest", "s1", write="merge", version=OLD, content={"status": "active", "priority": "stat"})
    (written,) = reconcile([order], before, "hub").resources
    assert written == {**stand_in.content, "status": "completed", "priority": "stat"}


@pytest.mark.parametrize(
    ("was", "now", "end"),
    [
        ("active", "completed", "completed"),
        ("on-hold", "revoked", "revoked"),
        ("active", "unknown", "active"),
        ("revoked", "completed", "revoked"),
        ("completed", "revoked", "completed"),
    ],
)
def test_a_result_closes_the_order_that_came_before_it(was: str, now: str, end: str) -> None:
    """As it would be had the result come first; what the order's own sender has closed stays as that left it."""
    order = draft(
        "ServiceRequest", "s1", write="merge", version=OLD, content={"status": was, "intent": "order", "priority": "stat"}
    )
    (sent,) = reconcile([order], Known(), "hub").sent
    before = Known("", {("hub", "ServiceRequest/s1"): sent})
    stand_in = draft("ServiceRequest", "s1", write="if-new", content={"status": now, "intent": "order"})
    share = reconcile([stand_in], before, "hub")
    assert [each["status"] for each in share.resources] == ([end] if end != was else [])
    assert all(each["priority"] == "stat" for each in share.resources)
    assert all(each.version == sent.version for each in share.sent)


def test_a_merge_into_itself_parks() -> None:
    """Directly, or around a circle of earlier merges."""
    itself = draft("Patient", "p1", merged_into="Patient/p1")
    fault = merge_fault([itself], Known())
    assert fault is not None
    assert fault.code == "204"
    circle = draft("Patient", "p1", merged_into="Patient/p2")
    assert merge_fault([circle], Known(merged={"Patient/p2": "Patient/p1"})) is not None
    assert merge_fault([circle], Known()) is None


@pytest.mark.parametrize(("status", "kept"), [("preliminary", True), ("registered", True), ("final", False)])
def test_the_content_of_an_open_result_is_kept(status: str, *, kept: bool) -> None:
    """It may become final without its value being sent again (OBX-11 = U); what is final needs no looking back."""
    share = reconcile([draft(content={"status": status})], Known(), "hub")
    assert (share.sent[0].content is not None) == kept


def test_a_result_that_becomes_final_keeps_its_value() -> None:
    """OBX-11 = U: the open result's value stays; one that was final already is left alone."""
    item = draft(write="merge", rank=4, content={"status": "final"})
    value = {"value": Decimal("5.20")}
    (resource,) = reconcile([item], known(item, status="preliminary", valueQuantity=value), "hub").resources
    assert (resource["status"], resource["valueQuantity"]) == ("final", value)
    object_ = f"{item.type}/{item.id}"
    was_final = Known("", {("hub", object_): Sent("hub", object_, "other", OLD, 4, None)})
    assert reconcile([item], was_final, "hub").resources == ()


@pytest.mark.parametrize(("rank", "expected"), [(3, "cancelled"), (4, "entered-in-error"), (5, "entered-in-error")])
def test_a_result_cancelled_after_its_final_was_wrong(rank: int, expected: str) -> None:
    """OBX-11 = X before any final is cancelled, after it entered-in-error."""
    item = draft(rank=3, content={"status": "cancelled"})
    share = reconcile([item], known(item, rank=rank, status="any"), "hub")
    assert [resource["status"] for resource in share.resources] == [expected]
    assert share.sent[0].rank == {"cancelled": 3, "entered-in-error": 6}[expected]
