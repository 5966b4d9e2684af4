"""Which thing is which: keys, repeats, references, orders, merges."""

from __future__ import annotations

from dataclasses import replace

import pytest

from interop_engine.core.model import Known
from tests.support.mappings import (
    MSH_ADT,
    MSH_ORU,
    OBR,
    ORU,
    PID,
    SCOPE,
    contents,
    draft,
    message,
    obx,
    patient,
    program,
)


def test_the_same_message_gives_the_same_draft() -> None:
    """Ids follow from keys, and nothing else enters."""
    segments = (MSH_ORU, PID, OBR, obx(1, "GLU", "5"))
    assert draft(ORU, *segments) == draft(ORU, *segments)


def test_references_stay_within_the_shared_group() -> None:
    """Two patients in one message: each result refers to its own patient and is listed in its own report."""
    second = PID.replace("BN001", "BN002")
    found = draft(ORU, MSH_ORU, PID, OBR, obx(1, "GLU", "5"), second, OBR.replace("F1", "F2"), obx(1, "GLU", "6"))
    one, two = contents(found, "patient")
    reports, observations = contents(found, "report"), contents(found, "observation")
    assert [r["subject"]["reference"] for r in reports] == [f"Patient/{one['id']}", f"Patient/{two['id']}"]
    assert [r["result"] for r in reports] == [[{"reference": f"Observation/{o['id']}"}] for o in observations]


@pytest.mark.parametrize(
    ("numbers", "authority", "kind", "own"),
    [
        ("A^^^X^NI~B^^^Y^MR", "", "", "B"),
        ("A^^^X^PI~B^^^Y^MR", "", "", "B"),
        ("A^^^X^NI~B^^^Y^PI~C", "", "", "B"),
        ("A^^^X^NI~B^^^Y^PPN~C^^^Z", "", "", "C"),
        ("A^^^X^MR~B^^^Y^MR", "Y", "MR", "B"),
        ("A^^^X^MR~B^^^Y^XX", "Y", "", "B"),
    ],
)
def test_the_patient_is_named_by_the_hospitals_own_number(numbers: str, authority: str, kind: str, own: str) -> None:
    """The channel's authority and type; else MR, else PI, else the first of no national or foreign type."""
    scope = replace(SCOPE, authority=authority, identifier_type=kind)
    mapping = patient("gender: PID-8")
    (found,) = draft(mapping, MSH_ADT, f"PID|||{numbers}", scope=scope).resources
    single = next(number for number in numbers.split("~") if number.startswith(own))
    (alone,) = draft(mapping, MSH_ADT, f"PID|||{single}", scope=scope).resources
    assert found.id == alone.id


def test_a_number_is_only_unique_within_its_authority() -> None:
    """CX.4 is the scope of the id; without it the channel's facility."""
    ids = {
        draft(patient("gender: PID-8"), MSH_ADT, f"PID|||A1^^^{authority}^MR").resources[0].id
        for authority in ("", "24001", "BV1", "BV2", "&1.2.3.4&ISO")
    }
    assert len(ids) == 4  # the facility's own name says no more than nothing does


def test_without_a_number_of_its_own_a_patient_gets_a_temporary_id() -> None:
    """From the visit, flagged; a national number is never a key; with nothing else the message parks."""
    pid = "PID|||012345678901^^^^NI||Nguyễn^An"
    found = draft(patient("name: PID-5"), MSH_ADT, pid, "PV1|1" + "|" * 18 + "V77")
    assert [finding.code for finding in found.findings] == ["temporary-identity"]
    other = draft(patient("name: PID-5"), MSH_ADT, "PID|||V77^^^^MR||Nguyễn^An")
    assert found.resources[0].id != other.resources[0].id
    parked = draft(patient("name: PID-5"), MSH_ADT, pid)
    assert parked.park is not None
    assert parked.park.code == "101"


@pytest.mark.parametrize(
    ("orc", "place"), [("ORC|RE|A17^HIS|F1", "ORC[1]-2"), ("ORC|RE", "OBR[1]-2"), ("ORC|RE||F9", "OBR[1]-2")]
)
def test_without_a_visit_either_the_order_names_the_patient_for_now(orc: str, place: str) -> None:
    """The placer's number, which the order's message and its result's have in common; the finding says which."""
    national = "PID|1||012345678901^^^^NI||Nguyễn^An"
    found = draft(ORU, MSH_ORU, national, orc, OBR)
    assert [(each.code, each.path) for each in found.findings] == [("temporary-identity", place)]
    assert "the order's" in found.findings[0].message
    again = draft(ORU, MSH_ORU, "PID|1||||Nguyễn^An", orc, OBR)
    assert again.resources[0].id == found.resources[0].id
    numbered = draft(ORU, MSH_ORU, "PID|1||A17^^^^MR||Nguyễn^An", orc, OBR)
    assert numbered.resources[0].id != found.resources[0].id


def test_an_empty_key_parks() -> None:
    """Else everything without a number would be one thing."""
    found = draft(ORU, MSH_ORU, PID, OBR.replace("F1", ""))
    assert found.park is not None
    assert (found.park.code, found.park.why) == ("101", "report: the key OBR-3 is empty.")


def test_consecutive_texts_of_one_code_are_one_observation() -> None:
    """TX, FT and ST lines with the same code join (semantics.md, result 2)."""
    found = draft(ORU, MSH_ORU, PID, OBR, obx(1, "MIC", "line 1", kind="TX"), obx(2, "MIC", "line 2", kind="TX"))
    (one,) = contents(found, "observation")
    assert one["valueString"].splitlines() == ["line 1 mmol/L", "line 2"]
    assert "OBX-5" not in found.unread


def test_the_same_thing_twice_is_one() -> None:
    """Two groups for one patient with the same content give one Patient; with different content the message parks."""
    found = draft(ORU, MSH_ORU, PID, OBR, PID, OBR.replace("F1", "F2"))
    assert len(contents(found, "patient")) == 1
    mapping = ORU.replace("    write: if-new\n", "")
    parked = draft(mapping, MSH_ORU, PID, OBR, PID.replace("|M", "|F"), OBR.replace("F1", "F2"))
    assert parked.park is not None
    assert parked.park.code == "205"


def test_versions_are_ordered_by_time_in_utc_and_rank() -> None:
    """``newer:``, else MSH-7; the rank is that of the status (semantics.md, result 6)."""
    found = draft(ORU, MSH_ORU, PID, OBR, obx(1, "GLU", "5"))
    report = next(item for item in found.resources if item.name == "report")
    observation = next(item for item in found.resources if item.name == "observation")
    assert (report.version, report.rank, report.union) == ("2026-11-21T02:00:00.000000Z", 4, ("result",))
    assert (observation.version, observation.rank) == ("2026-11-21T02:30:00.000000Z", 4)
    preliminary = draft(ORU, MSH_ORU, PID, OBR.replace("|F", "|P")).resources[1]
    assert preliminary.rank < report.rank


ORDER = """
mapping: order
message: ORM_O01
resources:
  order:
    resource: ServiceRequest
    each: ORDER
    known_as: {placer: ORC-2, filler: ORC-3}
    set:
      status: =active
      intent: =order
      subject: =Patient/p
      identifier: [ORC-2, ORC-3]
"""
MSH_ORM = "MSH|^~\\&|HIS|24001|HUB|HUB|20261121093000||ORM^O01|1|P|2.5.1"


def test_an_order_is_found_by_any_of_its_numbers() -> None:
    """The first number names it; later ones are aliases; a known alias gives the id (semantics.md, result 15)."""
    first = draft(ORDER, MSH_ORM, "ORC|NW|A17^HIS").resources[0]
    assert first.aliases == ("ServiceRequest|placer|http://h.example/authority/HIS|A17",)
    both = draft(ORDER, MSH_ORM, "ORC|SC|A17^HIS|F9").resources[0]
    assert both.id == first.id
    assert both.aliases[1] == "ServiceRequest|filler|24001|F9"
    known = Known(aliases={both.aliases[1]: f"ServiceRequest/{first.id}"})
    assert draft(ORDER, MSH_ORM, "ORC|SC||F9", known=known).resources[0].id == first.id


def test_numbers_of_two_different_orders_park() -> None:
    """Two matches: nobody can say which (204)."""
    aliases = draft(ORDER, MSH_ORM, "ORC|NW|A17|F9").resources[0].aliases
    known = Known(aliases={aliases[0]: "ServiceRequest/one", aliases[1]: "ServiceRequest/two"})
    found = draft(ORDER, MSH_ORM, "ORC|NW|A17|F9", known=known)
    assert found.park is not None
    assert found.park.code == "204"


def test_an_order_without_a_number_parks() -> None:
    """Nothing would ever find it again."""
    found = draft(ORDER, MSH_ORM, "ORC|NW")
    assert found.park is not None
    assert found.park.code == "101"


def test_a_program_asks_for_what_it_needs_to_know() -> None:
    """Aliases of orders, every object, and the content of those that are merged or united, and of results that may be open."""
    compiled = program(ORU)
    question = compiled.identify(message(MSH_ORU, PID, OBR, obx(1, "GLU", "5")), SCOPE).question
    assert [thing.partition("/")[0] for thing in question.objects] == ["Patient", "DiagnosticReport", "Observation"]
    assert [thing.partition("/")[0] for thing in question.whole] == ["DiagnosticReport", "Observation"]
    orders = program(ORDER)
    assert orders.identify(message(MSH_ORM, "ORC|NW|A17|F9"), SCOPE).question.aliases == (
        "ServiceRequest|placer|24001|A17",
        "ServiceRequest|filler|24001|F9",
    )


MERGE = """
mapping: merge
message: ADT_A39
resources:
  survivor:
    resource: Patient
    each: PATIENT
    key: PID-3 | own_number
    write: merge
    set: {gender: PID-8}
  retired:
    resource: Patient
    each: PATIENT
    key: MRG-1 | own_number
    write: merge
    merged_into: survivor
    set: {identifier: MRG-1}
"""


def test_a_merge_retires_one_record_and_links_both() -> None:
    """The survivor replaces, the other is inactive and replaced-by (semantics.md, result 16); repeated PID/MRG pairs."""
    msh = "MSH|^~\\&|HIS|24001|HUB|HUB|20261121093000||ADT^A40^ADT_A39|1|P|2.5.1"
    found = draft(MERGE, msh, "EVN|A40", "PID|||B1^^^^MR|||||F", "MRG|B2^^^^MR", "PID|||C1^^^^MR", "MRG|C2^^^^MR")
    assert found.park is None
    survivors = [item for item in found.resources if item.name == "survivor"]
    retired = [item for item in found.resources if item.name == "retired"]
    for kept, gone in zip(survivors, retired, strict=True):
        assert gone.content["active"] is False
        assert gone.content["link"] == [{"other": {"reference": f"Patient/{kept.id}"}, "type": "replaced-by"}]
        assert kept.content["link"] == [{"other": {"reference": f"Patient/{gone.id}"}, "type": "replaces"}]
        assert (gone.merged_into, kept.merged_into) == (f"Patient/{kept.id}", "")
        assert "link" in kept.union


def test_a_retired_patient_is_never_activated_again_and_new_results_go_to_the_survivor() -> None:
    """What a later message says of a retired record stays inactive and linked."""
    before = draft(ORU, MSH_ORU, PID, OBR, obx(1, "GLU", "5"))
    retired = before.resources[0].id
    known = Known(merged={f"Patient/{retired}": "Patient/kept"})
    found = draft(ORU, MSH_ORU, PID, OBR, obx(1, "GLU", "5"), known=known)
    record, report, observation = (item.content for item in found.resources)
    assert (record["id"], record["active"]) == (retired, False)
    assert record["link"] == [{"other": {"reference": "Patient/kept"}, "type": "replaced-by"}]
    assert report["subject"] == observation["subject"] == {"reference": "Patient/kept"}


def test_a_plan_can_be_built_again_with_something_else_known() -> None:
    """The journal may find its answer outdated: the second build owes nothing to the first."""
    compiled = program(ORDER)
    plan = compiled.identify(message(MSH_ORM, "ORC|NW|A17"), SCOPE)
    alias = plan.question.aliases[0]
    assert compiled.build(plan, Known(aliases={alias: "ServiceRequest/other"})).resources[0].id == "other"
    assert compiled.build(plan) == draft(ORDER, MSH_ORM, "ORC|NW|A17")


def test_a_merge_of_a_record_into_itself_parks() -> None:
    """204, before anything is said of equal keys."""
    msh = "MSH|^~\\&|HIS|24001|HUB|HUB|20261121093000||ADT^A40^ADT_A39|1|P|2.5.1"
    found = draft(MERGE, msh, "EVN|A40", "PID|||B1^^^^MR|||||F", "MRG|B1^^^^MR")
    assert found.park is not None
    assert (found.park.code, found.park.why) == (
        "204",
        "retired: the message merges a record into itself, by MRG-1 | own_number.",
    )


def test_a_repeating_segment_may_give_a_resource_each() -> None:
    """``each: DG1``; parts with an equal key get an occurrence number, and that is said."""
    mapping = patient("gender: PID-8") + (
        "  diagnosis:\n    resource: Condition\n    each: DG1\n    when: exists(DG1-3)\n    key: [-> patient, DG1-3]\n"
        "    set: {code: DG1-3, subject: -> patient, recordedDate: DG1-5}\n"
    )
    found = draft(mapping, MSH_ADT, PID, "DG1|1||J18^^I10||2026", "DG1|2", "DG1|3||A01^^I10", "DG1|4||J18^^I10")
    diagnoses = contents(found, "diagnosis")
    assert [each["code"]["coding"][0]["code"] for each in diagnoses] == ["J18", "A01", "J18"]
    assert len({each["id"] for each in diagnoses}) == 3
    assert [finding.code for finding in found.findings] == ["key-repeated"]
    assert diagnoses[0]["subject"] == {"reference": f"Patient/{contents(found, 'patient')[0]['id']}"}
