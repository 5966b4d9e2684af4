"""Mappings as a whole: fragments, what extends what, what fits; and that what is lost is said."""

from __future__ import annotations

from decimal import Decimal

import pytest

from interop_engine.mapping.program import load
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


def test_what_is_said_of_one_structure_is_not_inherited_by_another() -> None:
    """``events:``, ``when:`` and ``ignore:`` of what it lacks stay with the structure they are said of."""
    base = patient("gender: PID-8").replace("resources:", "events: [A01]\nwhen: PID-8 = 'M'\nignore: [NK1, PID-5]\nresources:")
    child = "mapping: child\nmessage: ADT_A02\nextends: adt\n"
    library = load({"a.yaml": base, "b.yaml": child}, SCOPE.naming)
    assert library.mistakes == ()
    transfer = message(MSH_ADT.replace("A08", "A02").replace("ADT_A01", "ADT_A02"), PID.replace("|M", "|F"))
    assert library.programs["child"].fits(transfer)
    own = load({"a.yaml": base, "b.yaml": child + "ignore: [NK1]\n"}, SCOPE.naming)
    assert [mistake.code for mistake in own.mistakes] == ["M201"]


def test_a_mapping_fits_by_structure_event_and_condition() -> None:
    """A04 and A08 share the structure of A01; ``when:`` asks the whole message."""
    adt = program(patient("gender: PID-8").replace("resources:", "events: [A01, A08]\nwhen: PID-8 = 'M'\nresources:"))
    assert adt.fits(message(MSH_ADT, PID))
    assert not adt.fits(message(MSH_ADT, PID.replace("|M", "|F")))
    assert not adt.fits(message(MSH_ADT.replace("A08", "A04"), PID))
    assert not adt.fits(message(MSH_ORU, PID))
    assert (adt.takes("ADT^A08"), adt.takes("ADT^A04"), adt.takes("ORU^R01")) == (True, False, False)


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
    order = (
        "mapping: order\nmessage: ORM_O01\nresources:\n  order:\n    resource: ServiceRequest\n    each: ORDER\n    key: ORC-2\n"
        "    set: {status: ORC-5 ?? 'active', intent: =order, subject: =Patient/p}\n"
    )
    found = draft(order, MSH_ORU.replace("ORU^R01^ORU_R01", "ORM^O01"), "ORC|NW|A17|||q")
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


def test_a_field_that_should_not_repeat_says_what_it_leaves() -> None:
    """The first value counts, and a finding says that there were others, once."""
    found = draft(patient("gender: PID-8\nactive: PID-30"), MSH_ADT, PID + "~F")
    assert contents(found, "patient")[0]["gender"] == "male"
    assert [(finding.code, finding.path) for finding in found.findings] == [("repetition-dropped", "PID[1]-8")]
