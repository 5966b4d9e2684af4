"""What a mapping makes of a message: values, references, identity, and what it says of what it could not keep."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from interop_engine.core.model import NOTHING_KNOWN, Known
from interop_engine.hl7.message import Message, parse
from interop_engine.mapping.context import Scope, naming
from interop_engine.mapping.program import Draft, Program, load

if TYPE_CHECKING:
    from interop_engine.core.model import Resource

SCOPE = Scope("24001", "http://h.example", "Asia/Ho_Chi_Minh", naming(base="http://h.example"))
MSH_ORU = "MSH|^~\\&|LIS|24001|HUB|HUB|20261121093000||ORU^R01^ORU_R01|1|P|2.5.1"
MSH_ADT = "MSH|^~\\&|HIS|24001|HUB|HUB|20261121093000||ADT^A08^ADT_A01|1|P|2.5.1"
PID = "PID|1||BN001^^^^MR||Nguyễn^An||19800512|M"
ORU = """
mapping: oru
message: ORU_R01
resources:
  patient:
    resource: Patient
    each: PATIENT_RESULT
    key: PID-3 | own_number
    write: if-new
    set: {identifier: PID-3, name: PID-5, gender: PID-8}
  report:
    resource: DiagnosticReport
    each: PATIENT_RESULT.ORDER_OBSERVATION
    key: [OBR-3, OBR-4]
    newer: OBR-22 ?? MSH-7
    set:
      status: OBR-25 ?? 'unknown'
      code: OBR-4
      subject: -> patient
      effective: OBR-7
      result: -> observation
      presentedForm: "OBX[-2 in ['ED', 'RP']]-5"
  observation:
    resource: Observation
    each: PATIENT_RESULT.ORDER_OBSERVATION.OBSERVATION
    when: exists(OBX-3) and OBX-2 not in ['ED', 'RP']
    key: [-> report, OBX-3, OBX-4]
    set:
      status: OBX-11 ?? 'unknown'
      code: OBX-3
      subject: -> patient
      value: OBX-5
      effective: OBX-14 ?? OBR-7
      note: NTE-3
"""


def program(text: str, **more: str) -> Program:
    """The one program of a mapping that has no mistakes."""
    library = load({"mapping.yaml": text, **{f"{name}.yaml": other for name, other in more.items()}}, SCOPE.naming)
    assert [str(mistake) for mistake in library.mistakes] == []
    return next(iter(library.programs.values()))


def message(*segments: str) -> Message:
    """A message of these segments."""
    return parse("\r".join(segments).encode())


def draft(text: str, *segments: str, known: Known = NOTHING_KNOWN, scope: Scope = SCOPE) -> Draft:
    """What a mapping makes of a message."""
    compiled = program(text)
    return compiled.build(compiled.identify(message(*segments), scope), known)


def contents(found: Draft, name: str) -> list[Resource]:
    """The contents of a mapping's resource."""
    assert found.park is None
    return [item.content for item in found.resources if item.name == name]


def patient(line: str, *, key: str = "PID-3 | own_number", more: str = "") -> str:
    """A mapping of ADT_A01 to a Patient with some lines of ``set:``."""
    lines = "\n".join(f"      {part}" for part in line.split("\n"))
    head = "mapping: adt\nmessage: ADT_A01\nresources:\n  patient:\n    resource: Patient\n"
    return f"{head}    key: {key}\n{more}    set:\n{lines}\n"


def value_of(line: str, *segments: str) -> Any:
    """What one line of ``set:`` makes of a Patient."""
    (found,) = contents(draft(patient(line), MSH_ADT, *segments), "patient")
    return {name: value for name, value in found.items() if name not in ("resourceType", "id")}


def obx(number: int, code: str, value: str, *, kind: str = "NM", sub: str = "") -> str:
    """An OBX."""
    return f"OBX|{number}|{kind}|{code}^Test^L|{sub}|{value}|mmol/L|||||F"


OBR = "OBR|1|P1|F1|GLU^Glucose^L|||20261121080000|||||||||||||||20261121090000|||F"


# --- Values ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "pid", "expected"),
    [
        ("birthDate: PID-7", "PID|||B1^^^^MR||||19800512", {"birthDate": "1980-05-12"}),
        ("birthDate: PID-7 ?? '1900-01-01'", "PID|||B1^^^^MR", {"birthDate": "1900-01-01"}),
        ("gender: PID-8", "PID|||B1^^^^MR|||||F", {"gender": "female"}),
        ("gender: =unknown", "PID|||B1^^^^MR", {"gender": "unknown"}),
        ("active: =true", "PID|||B1^^^^MR", {"active": True}),
        ("name: PID-5[2]", "PID|||B1^^^^MR||A^B~C^D", {"name": [{"text": "C D", "family": "C", "given": ["D"]}]}),
        ("name: {text: PID-5.1 | first | upper}", "PID|||B1^^^^MR||An^B", {"name": [{"text": "AN"}]}),
        ("name: {text: \"concat(PID-7, ' ', PID-8)\"}", "PID|||B1^^^^MR||||1980", {"name": [{"text": "1980"}]}),
        ("name: {text: \"concat(PID-7, ' ', PID-8)\"}", "PID|||B1^^^^MR", {}),
        ("name: {family: PID-5.1 | last}", "PID|||B1^^^^MR||A^B~C^D", {"name": [{"family": "C"}]}),
        ("multipleBirthInteger: PID-25", "PID|||B1^^^^MR" + "|" * 22 + "2", {"multipleBirthInteger": 2}),
        (
            "maritalStatus: =loinc#M",
            "PID|||B1^^^^MR",
            {"maritalStatus": {"coding": [{"system": "http://loinc.org", "code": "M"}]}},
        ),
        ("birthDate: PID-7 | date", "PID|||B1^^^^MR||||198005120930", {"birthDate": "1980-05-12"}),
        ("name: {text: PID-5.2 | join}", "PID|||B1^^^^MR||A^B~C^D", {"name": [{"text": "B\nD"}]}),
        ("telecom: [PID-13, PID-14]", "PID|||B1^^^^MR" + "|" * 9 + "|090|091", {"telecom": "2"}),
    ],
)
def test_a_line_sets_an_element(line: str, pid: str, expected: dict[str, Any]) -> None:
    """Fields convert by their types, literals by the element's; what is empty sets nothing."""
    found = value_of(line, pid)
    if "telecom" in found:
        found = {"telecom": str(len(found["telecom"]))}
    assert found == expected


def test_elements_stand_in_the_order_of_the_specification() -> None:
    """However the lines are ordered, so that the bytes are stable."""
    found = value_of("birthDate: PID-7\nname: PID-5\nidentifier: PID-3", PID)
    assert list(found) == ["identifier", "name", "birthDate"]


def test_a_value_with_companions_takes_its_type_from_them() -> None:
    """OBX-5 by OBX-2 with OBX-6; digits are kept."""
    (found,) = contents(draft(ORU, MSH_ORU, PID, OBR, obx(1, "GLU", "5.20")), "observation")
    assert str(found["valueQuantity"]["value"]) == "5.20"
    assert found["valueQuantity"]["unit"] == "mmol/L"
    (text,) = contents(draft(ORU, MSH_ORU, PID, OBR, obx(1, "GLU", "in^order", kind="ST")), "observation")
    assert text["valueString"].startswith("in^order")


def test_two_times_make_a_period() -> None:
    """OBR-7 with OBR-8."""
    (one,) = contents(draft(ORU, MSH_ORU, PID, OBR), "report")
    assert one["effectiveDateTime"] == "2026-11-21T08:00:00+07:00"
    (two,) = contents(draft(ORU, MSH_ORU, PID, OBR.replace("20261121080000|", "20261121080000|20261121081500")), "report")
    assert two["effectivePeriod"] == {"start": "2026-11-21T08:00:00+07:00", "end": "2026-11-21T08:15:00+07:00"}


def test_what_a_converter_adds_to_a_primitive_stands_beside_it() -> None:
    """HHMM is zero-filled, and an extension says so."""
    (found,) = contents(draft(ORU, MSH_ORU, PID, OBR.replace("20261121080000", "202611210800")), "report")
    assert found["effectiveDateTime"] == "2026-11-21T08:00:00+07:00"
    assert found["_effectiveDateTime"]["extension"][0]["valueCode"] == "minute"


def test_notes_belong_to_the_segment_they_follow_and_are_joined_once() -> None:
    """An OBR's note does not land on the OBX, nor the other way (semantics.md, result 11)."""
    found = draft(
        ORU, MSH_ORU, PID, OBR, "NTE|1||of the order", obx(1, "GLU", "5"), "NTE|1||one", "NTE|2||two", obx(2, "URE", "6")
    )
    one, two = contents(found, "observation")
    assert one["note"] == [{"text": "one\ntwo"}]
    assert "note" not in two


def test_documents_become_attachments_of_the_report() -> None:
    """ED has no value[x]: presentedForm takes the OBX that pass the test, the observation leaves them."""
    found = draft(ORU, MSH_ORU, PID, OBR, "OBX|1|ED|PDF^Report^L||^application^pdf^Base64^JVBERi0=||||||F", obx(2, "GLU", "5"))
    (report,) = contents(found, "report")
    assert report["presentedForm"][0]["contentType"] == "application/pdf"
    assert len(contents(found, "observation")) == 1


def test_nested_blocks_repeat_and_are_left_out_where_only_literals_would_stand() -> None:
    """``each:`` in a block; a block of which the message says nothing is not made."""
    line = "contact:\n  each: NK1\n  when: exists(NK1-2)\n  set:\n    relationship: =http://x.example#N\n    name: NK1-2 | first"
    found = value_of(line, PID, "NK1|1|Lê^Bình", "NK1|2", "NK1|3|Võ^Chi")
    assert [contact["name"]["family"] for contact in found["contact"]] == ["Lê", "Võ"]
    assert value_of("contact:\n  relationship: [=http://x.example#N]\n  name: NK1-2 | first", PID) == {}


def test_values_of_a_field_may_be_the_scope_of_a_block() -> None:
    """``each: PID-15`` with paths relative to the value."""
    assert value_of("communication:\n  each: PID-15\n  set: {language: {text: .1}}", "PID|||B1^^^^MR" + "|" * 12 + "vi") == {
        "communication": [{"language": {"text": "vi"}}]
    }


def test_extensions_have_a_short_form() -> None:
    """``extension: {URL: path}``; the value's type follows from the field's."""
    line = "extension:\n  http://x.example/religion: PID-17\n  http://x.example/birth: PID-7"
    assert value_of(line, "PID|||B1^^^^MR||||19800512") == {
        "extension": [{"url": "http://x.example/birth", "valueDateTime": "1980-05-12"}]
    }


def test_a_deleted_value_is_absent_or_cleared() -> None:
    """``""``: with replace the element is absent, with merge it is cleared (None), and ``??`` goes on."""
    pid = 'PID|||B1^^^^MR||||""|F'
    assert value_of("birthDate: PID-7", pid) == {}
    (merged,) = contents(draft(patient("birthDate: PID-7\ngender: PID-8", more="    write: merge\n"), MSH_ADT, pid), "patient")
    assert merged["birthDate"] is None
    assert merged["gender"] == "female"
    assert value_of("birthDate: PID-7 ?? '1900'", pid) == {"birthDate": "1900"}
    assert value_of("active: =true\ngender: PID-8\nbirthDate: PID-29 ?? PID-7", pid.replace('""', "1980")) == {
        "active": True,
        "gender": "female",
        "birthDate": "1980",
    }


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("PID-8 = 'M'", True),
        ("PID-8 != 'M'", False),
        ("PID-8 in ['M', 'F']", True),
        ("PID-8 not in ['M', 'F']", False),
        ("exists(PID-7)", True),
        ("exists(PID-9) or exists(PID-7)", True),
        ("exists(PID-9) and exists(PID-7)", False),
        ("exists(NK1)", False),
        ("not exists(NK1)", True),
        ("count(PID-3) = 2", True),
        ("count(PID-3) > 2", False),
        ("PID-3.5 = 'NI'", True),
        ("all(PID-3.5 = 'NI')", False),
        ("any(PID-3.5 != 'NI')", True),
        ("all(PID-3.5 in ['NI', 'MR'])", True),
        ("exists(PID-3[.5 = 'NI'])", True),
        ("PID-3[.5 = 'NI'].1 = '012345678901'", True),
        ("matches(PID-3[2].1, '[0-9]{12}')", True),
        ("matches(PID-3[2].1, '[0-9]{3}')", False),
        ("PID-7 > 19791231", True),
        ("PID-7 < '1979'", False),
        ("PID-10 < 5", False),
        ("deleted(PID-11)", True),
        ("deleted(PID-7)", False),
        ("exists(PID-11)", False),
        ("(PID-9 ?? PID-8) = 'M'", True),
        ("PID-8 | lower = 'm'", True),
    ],
)
def test_conditions_have_two_values(condition: str, holds: bool) -> None:
    """``=`` on repeats asks whether any is equal, ``!=`` is its negation; what is absent is equal to nothing."""
    pid = 'PID|||BN001^^^^MR~012345678901^^^^NI||Nguyễn^An||19800512|M|||""'
    found = draft(patient("gender: PID-8", more=f'    when: "{condition}"\n'), MSH_ADT, pid)
    assert bool(contents(found, "patient")) is holds


# --- Identity ----------------------------------------------------------------------------------------------------------------


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
    """From the visit, flagged; a national number is never a key; without either the message parks."""
    pid = "PID|||012345678901^^^^NI||Nguyễn^An"
    found = draft(patient("name: PID-5"), MSH_ADT, pid, "PV1|1" + "|" * 18 + "V77")
    assert [finding.code for finding in found.findings] == ["temporary-identity"]
    other = draft(patient("name: PID-5"), MSH_ADT, "PID|||V77^^^^MR||Nguyễn^An")
    assert found.resources[0].id != other.resources[0].id
    parked = draft(patient("name: PID-5"), MSH_ADT, pid)
    assert parked.park is not None
    assert parked.park.code == "101"


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


def test_a_repeat_that_nothing_tells_apart_parks() -> None:
    """Two numbers for one code in one report; with different sub-ids both stay."""
    found = draft(ORU, MSH_ORU, PID, OBR, obx(1, "GLU", "5"), obx(2, "GLU", "6"))
    assert found.park is not None
    assert found.park.code == "205"
    told_apart = draft(ORU, MSH_ORU, PID, OBR, obx(1, "GLU", "5", sub="a"), obx(2, "GLU", "6", sub="b"))
    assert len(contents(told_apart, "observation")) == 2


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


# --- Orders and merges ---------------------------------------------------------------------------------------------------------

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
    """Aliases of orders, every object, and the content of those that are merged or united."""
    compiled = program(ORU)
    question = compiled.identify(message(MSH_ORU, PID, OBR, obx(1, "GLU", "5")), SCOPE).question
    assert [thing.partition("/")[0] for thing in question.objects] == ["Patient", "DiagnosticReport", "Observation"]
    assert [thing.partition("/")[0] for thing in question.whole] == ["DiagnosticReport"]
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


# --- Fragments, extends, what fits ---------------------------------------------------------------------------------------------

COMMON = """
fragments:
  doctor:
    of: XCN
    resource: Practitioner
    key: .1
    set: {identifier: {value: .1}, name: {family: .2.1, given: .3}}
"""
WITH_DOCTOR = """
mapping: adt
message: ADT_A01
use: [common]
resources:
  patient:
    resource: Patient
    key: PID-3 | own_number
    set: {generalPractitioner: PV1-7 | doctor}
"""


def test_a_fragment_adds_a_resource_and_gives_its_reference() -> None:
    """Implicit resources with one key are one; the question names them too."""
    compiled = program(WITH_DOCTOR, common=COMMON)
    plan = compiled.identify(message(MSH_ADT, PID, "PV1|1||||||D1^Lê^Bình~D1^Lê^Bình~D2^Võ"), SCOPE)
    found = compiled.build(plan)
    doctors = [item for item in found.resources if item.type == "Practitioner"]
    assert [doctor.content["name"][0]["family"] for doctor in doctors] == ["Lê", "Võ"]
    assert found.resources[0].content["generalPractitioner"][2] == {"reference": f"Practitioner/{doctors[1].id}"}
    assert f"Practitioner/{doctors[0].id}" in plan.question.objects
    assert compiled.writes == ("Patient", "Practitioner")


def test_a_mapping_extends_another() -> None:
    """Lines are replaced or added, null removes one."""
    child = "mapping: child\nextends: adt\nresources:\n  patient: {set: {gender: null, active: =true, birthDate: PID-29}}\n"
    library = load({"a.yaml": patient("gender: PID-8\nbirthDate: PID-7\nname: PID-5"), "b.yaml": child}, SCOPE.naming)
    assert library.mistakes == ()
    compiled = library.programs["child"]
    (found,) = contents(compiled.build(compiled.identify(message(MSH_ADT, PID), SCOPE)), "patient")
    assert list(found) == ["resourceType", "id", "active", "name"]
    assert compiled.extends == "adt"


def test_a_mapping_fits_by_structure_event_and_condition() -> None:
    """A04 and A08 share the structure of A01; ``when:`` asks the whole message."""
    adt = program(patient("gender: PID-8").replace("resources:", "events: [A01, A08]\nwhen: PID-8 = 'M'\nresources:"))
    assert adt.fits(message(MSH_ADT, PID))
    assert not adt.fits(message(MSH_ADT, PID.replace("|M", "|F")))
    assert not adt.fits(message(MSH_ADT.replace("A08", "A04"), PID))
    assert not adt.fits(message(MSH_ORU, PID))
    assert (adt.takes("ADT^A08"), adt.takes("ADT^A04"), adt.takes("ORU^R01")) == (True, False, False)


# --- What is lost is said ------------------------------------------------------------------------------------------------


def test_populated_fields_that_nobody_read_are_listed() -> None:
    """By path, once each; what the engine reads of MSH and set ids are no loss."""
    found = draft(patient("gender: PID-8"), MSH_ADT, PID + "|||1 Lê Lợi", "PV1|1|I", "ZZZ|x")
    assert found.unread == ("PID-5", "PID-7", "PID-11", "PV1-2", "ZZZ-1")


def test_a_field_that_a_rule_might_have_read_is_listed_where_it_did_not() -> None:
    """``a ?? b`` reads b only without a; a rule whose ``when:`` is false reads nothing."""
    mapping = patient("birthDate: PID-7 ?? PID-29")
    assert "PID-29" in draft(mapping, MSH_ADT, PID + "|" * 21 + "2026").unread
    assert draft(patient("gender: PID-8", more="    when: PID-8 = 'F'\n"), MSH_ADT, PID).unread == (
        "PID-3",
        "PID-5",
        "PID-7",
        "PID-8",
    )


def test_what_is_ignored_is_no_loss() -> None:
    """``ignore:`` takes fields and whole segments."""
    mapping = patient("gender: PID-8\nbirthDate: PID-7").replace("resources:", "ignore: [PID-5, PV1]\nresources:")
    assert draft(mapping, MSH_ADT, PID, "PV1|1|I|x").unread == ()


def test_a_required_element_without_a_value_parks() -> None:
    """With the path it was to come from, never with content."""
    mapping = ORU.replace("when: exists(OBX-3) and", "when:").replace("key: [-> report, OBX-3, OBX-4]", "key: [-> report, OBX-1]")
    found = draft(mapping, MSH_ORU, PID, OBR, "OBX|1|NM|||5||||||F")
    assert found.park is not None
    assert (found.park.code, found.park.why) == ("101", "Observation.code is required and has no value (from OBX-3).")


def test_a_required_code_without_a_target_parks() -> None:
    """103: table value not found. An optional one is dropped, and that is said."""
    found = draft(ORU, MSH_ORU, PID, OBR.replace("|F", "|q"))
    assert found.park is not None
    assert found.park.code == "103"
    optional = draft(patient("gender: PID-8"), MSH_ADT, PID.replace("|M", "|q"))
    assert [(str(finding.path), finding.code) for finding in optional.findings] == [("PID[1]-8", "code-unmapped")]


def test_a_fault_in_a_mapping_parks_and_tells_no_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in generated code ends at the border of the program."""
    compiled = program(patient("gender: PID-8"))

    def fail(*_: object) -> None:
        raise ValueError("Nguyễn An")

    monkeypatch.setitem(compiled.compiled.build, "patient", fail)  # type: ignore[arg-type]
    park = compiled.build(compiled.identify(message(MSH_ADT, PID), SCOPE)).park
    assert park is not None
    assert park.code == "internal"
    assert "Nguyễn" not in park.why


def test_only_names_of_the_compilers_own_and_constants_enter_the_code() -> None:
    """A text of a mapping cannot become code."""
    mapping = patient("name: {text: \"concat(PID-5.1 | first, '''+__import__(chr(111))+''')\"}")
    (found,) = contents(draft(mapping, MSH_ADT, PID), "patient")
    assert found["name"] == [{"text": "Nguyễn'+__import__(chr(111))+'"}]


def test_decimals_of_literals_keep_their_digits() -> None:
    """``=1.50`` is not 1.5."""
    mapping = (
        patient("gender: PID-8")
        .replace("Patient", "Observation")
        .replace("gender: PID-8", "status: =final\n      code: =x\n      valueQuantity: {value: =1.50}")
    )
    (found,) = contents(draft(mapping, MSH_ADT, PID), "patient")
    assert found["valueQuantity"]["value"] == Decimal("1.50")
    assert str(found["valueQuantity"]["value"]) == "1.50"


def test_an_observation_refers_to_its_own_specimen() -> None:
    """One in scope is the one; of several that whose SPM it follows; else none, and a finding says so (result 8)."""
    specimen = (
        "  specimen:\n    resource: Specimen\n    each: PATIENT_RESULT.ORDER_OBSERVATION.SPECIMEN\n    key: [-> report, SPM-2]\n"
        "    set: {type: SPM-4}\n"
    )
    mapping = ORU.replace("      value: OBX-5\n", "      value: OBX-5\n      specimen: -> specimen\n") + specimen
    one, two = "SPM|1|S1||BLD", "SPM|2|S2||UR"
    single = draft(mapping, MSH_ORU, PID, OBR, obx(1, "GLU", "5"), one)
    (kept,) = contents(single, "specimen")
    assert contents(single, "observation")[0]["specimen"] == {"reference": f"Specimen/{kept['id']}"}
    after = draft(mapping, MSH_ORU, PID, OBR, one, obx(1, "GLU", "5"), two, obx(2, "GLU", "6", sub="2"))
    references = [f"Specimen/{item['id']}" for item in contents(after, "specimen")]
    assert [item["specimen"]["reference"] for item in contents(after, "observation")] == references
    unclear = draft(mapping, MSH_ORU, PID, OBR, obx(1, "GLU", "5"), one, two)
    assert "specimen" not in contents(unclear, "observation")[0]
    assert [finding.code for finding in unclear.findings] == ["reference-ambiguous"]


def test_a_key_that_ends_in_a_literal_is_refused() -> None:
    """All without a number would be one thing."""
    library = load({"a.yaml": ORU.replace("key: [OBR-3, OBR-4]", "key: [OBR-3 ?? 'none', OBR-4]")}, SCOPE.naming)
    assert [mistake.code for mistake in library.mistakes] == ["M404"]


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [("POS^Positive^L", "CWE", "Positive"), ("a^b", "ST", "a^b"), ("5.20", "NM", "5.20"), (">^5", "SN", ">^5")],
)
def test_a_value_that_varies_is_text_as_people_read_it(value: str, kind: str, text: str) -> None:
    """``OBX-5 | join``: of a code its words. Compared with something, a code is its code."""
    mapping = ORU.replace("      result: -> observation\n", "      result: -> observation\n      conclusion: OBX-5 | join\n")
    (report,) = contents(draft(mapping, MSH_ORU, PID, OBR, obx(1, "X", value, kind=kind)), "report")
    assert report["conclusion"] == text
    only = ORU.replace("when: exists(OBX-3) and", "when: OBX-5 = 'POS' and exists(OBX-3) and")
    assert bool(contents(draft(only, MSH_ORU, PID, OBR, obx(1, "X", value, kind=kind)), "observation")) is (kind == "CWE")


def test_a_table_in_a_condition_may_park() -> None:
    """A code after which there is nothing to map parks, wherever it is met."""
    asks = "when: (OBR-25 | table(diagnostic-report-status)) = 'final' and exists(OBX-3) and"
    mapping = ORU.replace("when: exists(OBX-3) and", asks).replace("status: OBR-25 ?? 'unknown'", "status: =final")
    assert len(contents(draft(mapping, MSH_ORU, PID, OBR, obx(1, "X", "5")), "observation")) == 1
    parked = draft(mapping, MSH_ORU, PID, OBR.removesuffix("F") + "Y", obx(1, "X", "5"))
    assert parked.park is not None
