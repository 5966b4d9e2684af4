"""Messages of unusual shape that real senders make: those of the sample mappings' types give a bundle, or park with a place."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from interop_engine.config.loader import load
from interop_engine.config.site import Site
from interop_engine.core.model import Resource
from interop_engine.engine.single import Mapped, choose, map_message, read
from interop_engine.engine.transform import Parked
from interop_engine.hl7.message import Message

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 1, 1, tzinfo=UTC)
PID = "PID|1||12345^^^H^MR||DOE^JANE||19800315|F"
OBR = "OBR|1|P1|F1|CBC^Blood^L|||20240101|||||||||||||||20240101||LAB|F"
OBX = "OBX|1|NM|GLU^Glucose^L||5.2|mmol/L|3-6|N|||F"
ORDERED = "OBR|1|P1||XR^Chest^L"


@pytest.fixture(scope="module")
def site() -> Site:
    """The sample site."""
    return load(ROOT, {})


def mapped(site: Site, event: str, *segments: str, offset: str = "") -> Mapped:
    """What the sample site makes of a message; ``offset``: of MSH-7."""
    head = f"MSH|^~\\&|A|B|C|D|20240101101010{offset}||{event}|X1|P|2.5.1"
    message = read("\r".join([head, *segments, ""]).encode())
    assert isinstance(message, Message)
    program = choose(message, site.library.programs.values())
    assert not isinstance(program, Parked)
    scope = next(channel.scope for channel in site.channels if channel.programs)
    return map_message(message, program, scope, received_at=AT)


def resources(result: Mapped, type_: str) -> list[Resource]:
    """The resources of a type that came of it."""
    assert result.parked is None, result.parked
    assert result.bundle is not None
    every: list[dict[str, Any]] = [entry["resource"] for entry in result.bundle["entry"]]
    return [resource for resource in every if resource["resourceType"] == type_]


@pytest.mark.parametrize(
    ("event", "segments", "type_", "count"),
    [
        ("ORU^R01", (PID, OBR.replace("|P1|F1|", "|||"), OBX), "Observation", 1),
        ("ORU^R01", (PID, "ORC|RE|P|F", OBR.replace("|P1|F1|", "|||"), OBX), "ServiceRequest", 1),
        ("ORU^R01", (PID, "OBR|1||F1", OBX), "DiagnosticReport", 1),
        ("ORU^R01", ("PV1|1|I|W1", PID, OBR, OBX), "Observation", 1),
        ("ORU^R01", (PID, OBR, OBX, PID.replace("12345", "999"), OBR.replace("F1", "F2"), OBX), "Patient", 2),
        ("ORU^R01", ("PID|1|77|||DOE^JANE", OBR, OBX), "Patient", 1),
        ("ORU^R01", ("PID|1|||77|DOE^JANE", OBR, OBX), "Patient", 1),
        ("ORU^R01", (PID, OBR, OBX.replace("|||F", "|||f")), "Observation", 1),
        ("ORU^R01", (PID, OBR, OBX.replace("|||F", "")), "Observation", 1),
        ("ORU^R01", (PID, OBR, "OBX|1|ZZ|G||5||||||F"), "Observation", 1),
        ("ORU^R01", (PID, OBR, "OBX|1|nm|G||5||||||F"), "Observation", 1),
        ("ORU^R01", (PID, OBR, OBX, OBR, OBX.replace("GLU^Glucose", "NA^Sodium")), "DiagnosticReport", 1),
        ("ADT^A04", (PID, "PV1|1|OUTPATIENT|W||||||||||||||||V1"), "Encounter", 1),
        ("ADT^A40", ("EVN|A40|20240101", PID, "MRG|998^^^H^MR", PID, "MRG|999^^^H^MR"), "Patient", 3),
        ("ADT^A40", ("EVN|A40|20240101", PID, "MRG||||999"), "Patient", 2),
        ("ORM^O01", (PID, "ORC|NW|P1"), "ServiceRequest", 1),
        ("ORM^O01", (PID, "ORC|NW|P1", "RQD|1||I1^Implant"), "ServiceRequest", 1),
        ("ORM^O01", (PID, "ORC|NW|P1", "ODS|D||D1^Low salt^L"), "ServiceRequest", 1),
        ("ORM^O01", (PID, "ORC|NW|P1", "RXO|D1^Aspirin^L|1||mg"), "MedicationRequest", 1),
        ("ORM^O01", (PID, ORDERED), "ServiceRequest", 1),
        ("OML^O21", (PID, "ORC|NW|P1"), "ServiceRequest", 1),
        ("ADT^A03", (PID, "PV1|1|I|||||||||||||||||V1|||||||||||||||||||||||||20240105|20240101"), "Encounter", 1),
        ("ADT^A08", (PID.replace("|F", "|F|||||||ZZZ"),), "Patient", 1),
        ("OUL^R22", (PID, "SPM|1|S1||BLD", OBR.replace("|LAB|", "|RAD|"), OBX), "Observation", 1),
        ("SIU^S12", ("SCH|1|2|||||||30|min|^^^20240101100000", PID, "RGS|1"), "Appointment", 1),
        ("SIU^S15", ("SCH|1|2", PID), "Appointment", 1),
        ("MDM^T02", (PID, "TXA|1|DS|TX|||||||||D1|||||AU", "OBX|1|ED|P||^AP^^Base64"), "DocumentReference", 1),
        (
            "VXU^V04",
            (PID, "ORC|RE||9999", "RXA|0|1|20240101||88^Flu^CVX", "ORC|RE||9999", "RXA|0|1|2023||88^Flu^CVX"),
            "Immunization",
            2,
        ),
        ("PPR^PC1", (PID, "PRB|AD|20240101|I10|PR1"), "Condition", 1),
        ("MFN^M02", ("MFI|PRA", "MFE|MAD|||D1", "STF|||Nguyen^An"), "Practitioner", 1),
        ("OML^O21", (PID, "ORC|NW|P1", ORDERED, "SPM|1|S1||BLD", "ORC|NW|P2", ORDERED, "SPM|1|S1||BLD"), "Specimen", 1),
        ("OML^O21", (PID, "ORC|NW|P1", ORDERED, "SPM|1|S1||BLD", "ORC|NW|P2", ORDERED, "SPM|1|S1||ISLT"), "Specimen", 2),
    ],
)
def test_an_unusual_shape_gives_a_bundle(site: Site, event: str, segments: tuple[str, ...], type_: str, count: int) -> None:
    """What a message says is mapped, whatever it leaves out that HL7 lets it leave out."""
    assert len(resources(mapped(site, event, *segments), type_)) == count


@pytest.mark.parametrize("event", ["ORM^O01", "OML^O21"])
def test_orders_without_a_number_are_named_by_the_message(site: Site, event: str) -> None:
    """Each order of the message has an id of its own, the same on every run, and a finding says that it has no number."""
    segments = (PID, "ORC|NW", "OBR|1|||XR^Chest^L", "ORC|NW", "OBR|2|||XR^Chest^L", "ORC|NW", "OBR|2|||XR^Chest^L")
    first, again = mapped(site, event, *segments), mapped(site, event, *segments)
    ids = [order["id"] for order in resources(first, "ServiceRequest")]
    assert len(set(ids)) == 3
    assert ids == [order["id"] for order in resources(again, "ServiceRequest")]
    assert [finding.code for finding in first.findings].count("number-missing") == 3


def test_a_class_of_the_sites_own_leaves_the_status_open(site: Site) -> None:
    """PV1-2 has codes of the sender's: the encounter's status is then unknown, and the code is kept."""
    (encounter,) = resources(mapped(site, "ADT^A04", PID, "PV1|1|OUTPATIENT|W||||||||||||||||V1"), "Encounter")
    assert encounter["status"] == "unknown"
    assert encounter["class"]["code"] == "OUTPATIENT"


@pytest.mark.parametrize(
    ("event", "segments", "code", "place"),
    [
        ("ORU^R01", ("PID|1||123456789^^^USSSA^SS", "OBR|1|||GLU", OBX), "101", "PID-3"),
        ("ORU^R01", (PID, OBR.replace("|LAB|F", "|LAB|Y"), OBX), "204", "OBR[1]-25"),
        ("ORM^O01", (PID, "ORC|CA|P1"), "204", "ORC-2"),
        ("OML^O21", ("ORC|NW|P1", ORDERED), "101", "PID-3"),
        ("OML^O21", (PID, "ORC|SC|P1||||CM"), "204", "ORC-2"),
        (
            "OML^O21",
            (PID, "ORC|NW|P1", ORDERED, "SPM|1|S1||BLD|||VEN", "ORC|NW|P2", ORDERED, "SPM|1|S1||BLD|||LAN"),
            "205",
            "SPM-2",
        ),
        ("ADT^A08", ("PID|1||||DOE^JANE",), "101", "PID-3"),
        ("ADT^A40", (PID, "MRG|12345^^^H^MR"), "204", "retired"),
    ],
)
def test_what_cannot_be_decided_parks(site: Site, event: str, segments: tuple[str, ...], code: str, place: str) -> None:
    """Who is meant, or which of two, is for a person to say: the message parks, and the place is named."""
    parked = mapped(site, event, *segments).parked
    assert parked is not None
    assert parked.code == code
    assert place in parked.why


def test_the_zone_of_the_header_counts_for_times_that_name_none(site: Site) -> None:
    """Chapter 2: a zone in MSH-7 is the default throughout the message, and of that message alone."""
    found = []
    for offset in ("-0500", "", "+0100"):
        observation = resources(
            mapped(site, "ORU^R01", PID, OBR.replace("20240101|", "20240101083000|", 1), OBX, offset=offset), "Observation"
        )
        found.append(observation[0]["effectiveDateTime"])
    assert found == ["2024-01-01T08:30:00-05:00", "2024-01-01T08:30:00+07:00", "2024-01-01T08:30:00+01:00"]


@pytest.mark.parametrize(
    ("event", "segments", "type_", "path"),
    [
        ("VXU^V04", ("ORC|RE||9", "RXA|0|1|20240101||88^Flu^CVX|0.50|mL^millilitre^UCUM"), "Immunization", "doseQuantity"),
        ("RAS^O17", ("ORC|RE|P1", "RXA|0|1|20240101||D1^Drug^L|0.50|mL", "RXR|PO"), "MedicationAdministration", "dosage.dose"),
        ("RDS^O13", ("ORC|RE|P1", "RXD|1|D1^Drug^L|20240101|0.50|mL||R1"), "MedicationDispense", "quantity"),
        (
            "RDE^O11",
            ("ORC|NW|P1", "RXE||D1^Drug^L|0.50||mL", "RXR|PO"),
            "MedicationRequest",
            "dosageInstruction.0.doseAndRate.0.doseQuantity",
        ),
        ("RDE^O11", ("ORC|NW|P1", "RXE||D1^Drug^L|1||mg|||||0.50|mL", "RXR|PO"), "MedicationRequest", "dispenseRequest.quantity"),
    ],
)
def test_an_amount_has_its_unit_with_the_code_of_ucum(
    site: Site, event: str, segments: tuple[str, ...], type_: str, path: str
) -> None:
    """RXA-6 with RXA-7, RXD-4 with RXD-5, RXE-3 with RXE-5: as a result's, the sender's word stays and the code is UCUM's."""
    (found,) = resources(mapped(site, event, PID, *segments), type_)
    value: Any = found
    for name in path.split("."):
        value = value[int(name)] if name.isdecimal() else value[name]
    assert str(value["value"]) == "0.50"
    assert value["unit"] in ("mL", "millilitre")
    assert (value["system"], value["code"]) == ("http://unitsofmeasure.org", "mL")


def test_an_amount_that_nobody_knows_is_none(site: Site) -> None:
    """RXA-6 = 999, and what is no number."""
    for amount in ("999", "some", "<5"):
        segments = ("ORC|RE||9", f"RXA|0|1|20240101||88^Flu^CVX|{amount}|mL")
        (found,) = resources(mapped(site, "VXU^V04", PID, *segments), "Immunization")
        assert "doseQuantity" not in found


@pytest.mark.parametrize(
    ("number", "system"),
    [
        ("^^^^^^^^24001", "http://fhir.hl7.org.vn/core/sid/ma-cskcb"),
        ("^^^^CLIA&2.16.840.1.113883.4.7&ISO^XX^^^04D0671752", "urn:oid:2.16.840.1.113883.4.7"),
    ],
)
def test_a_laboratory_is_known_by_its_own_authority(site: Site, number: str, system: str) -> None:
    """OBX-23 (XON): the number is of the authority it names (.6), else of the health system."""
    line = f"{OBX}{'|' * 12}Lab^{number}"
    (found,) = resources(mapped(site, "ORU^R01", PID, OBR, line), "Observation")
    assert [each["identifier"]["system"] for each in found["performer"]] == [system]


@pytest.mark.parametrize("event", ["ORM^O01", "OML^O21"])
def test_a_question_at_the_order_may_have_several_answers(site: Site, event: str) -> None:
    """Senders repeat OBX-3 without OBX-4 for a choice of several: each answer is kept, and none parks the order."""
    answers = [f"OBX|{n}|CWE|FEED^Feeding^L||{code}^{code}^L||||||F" for n, code in enumerate(("BREAST", "FORMULA", "TPN"), 1)]
    result = mapped(site, event, PID, "ORC|NW|P1", ORDERED, *answers)
    found = resources(result, "Observation")
    assert [each["valueCodeableConcept"]["text"] for each in found] == ["BREAST", "FORMULA", "TPN"]
    (order,) = resources(result, "ServiceRequest")
    assert order["supportingInfo"] == [{"reference": f"Observation/{each['id']}"} for each in found]
    assert [each["id"] for each in resources(mapped(site, event, PID, "ORC|NW|P1", ORDERED, *answers), "Observation")] == [
        each["id"] for each in found
    ]


@pytest.mark.parametrize(
    ("event", "orc", "obr", "priority", "occurrence"),
    [
        ("ORM^O01", "|^^^20240102^^S", "", "stat", "2024-01-02"),
        ("ORM^O01", "|^^^^^Routine", "", "routine", None),
        ("ORM^O01", "", "STAT", "stat", None),  # OBR-5, before 2.3
        ("OML^O21", "|^^^20240102^^A", "", "asap", "2024-01-02"),  # before 2.5, which has TQ1
        ("OML^O21", "", "R", "routine", None),
    ],
)
def test_the_priority_of_an_order_is_where_its_version_has_it(
    site: Site, event: str, orc: str, obr: str, priority: str, occurrence: str | None
) -> None:
    """TQ1, else ORC-7 and OBR-27, else OBR-5; some senders write the word for the code."""
    (order,) = resources(mapped(site, event, PID, f"ORC|NW|P1||||{orc}", f"OBR|1|P1||XR^Chest^L|{obr}"), "ServiceRequest")
    assert order["priority"] == priority
    assert order.get("occurrenceDateTime") == occurrence


WARD = "PV1|1|I|W1^101^1^24001||||D1^Le^An"
ADMITTED = WARD + "|" * 37 + "20240101083000"


def visits(site: Site, event: str, *segments: str) -> list[str]:
    """The ids of the visits that a message tells of."""
    return [each["id"] for each in resources(mapped(site, event, *segments), "Encounter")]


def test_a_visit_without_a_number_is_that_of_its_account_or_its_beginning_or_the_patients_only_one(site: Site) -> None:
    """A ward and a doctor are not dropped for a number that the sender never gives; admission and discharge are one visit."""
    account = PID + "|" * 10 + "A77"
    for pid, pv1 in ((account, WARD), (PID, ADMITTED), (PID, WARD)):
        (admitted,) = visits(site, "ADT^A01", pid, pv1)
        assert visits(site, "ADT^A03", pid, pv1) == [admitted]
        assert visits(site, "ORM^O01", pid, pv1, "ORC|NW|P1", ORDERED) == [admitted]
        others = (pid.replace("12345", "54321"), pid.replace("^H^", "^K^"), pid.replace("A77", "A78"))
        assert all(visits(site, "ADT^A01", other, pv1) != [admitted] for other in others if other != pid)
    ids = [visits(site, "ADT^A01", pid, pv1)[0] for pid, pv1 in ((account, ADMITTED), (PID, ADMITTED), (PID, WARD))]
    assert len(set(ids)) == 3
    assert len({*ids, *visits(site, "ADT^A01", PID, f"{WARD}{'|' * 12}12345^^^H")}) == 4


@pytest.mark.parametrize("pv1", ["PV1|1|N|W1", "PV1|1|O", "PV1|1||", "PV1|1|O|^^^||||^^"])
def test_what_tells_of_no_visit_makes_none(site: Site, pv1: str) -> None:
    """A PV1 that stands there because the structure asks for it: not applicable (N), or a class alone."""
    assert visits(site, "ADT^A08", PID, pv1) == []


def test_separators_alone_are_no_value(site: Site) -> None:
    """An ORC-2 of ``^`` does not stand in the way of OBR-2, nor an OBX-3 of carets for a code."""
    (order,) = resources(mapped(site, "ORM^O01", PID, "ORC|NW|^", ORDERED), "ServiceRequest")
    assert [each["value"] for each in order["identifier"]] == ["P1"]
    assert resources(mapped(site, "ADT^A01", PID, "OBX|1|TX|^^^^^||words"), "Observation") == []


@pytest.mark.parametrize(
    ("obr", "spm", "expected"),
    [
        ("", "SPM|1|||BLD^Blood^L||||ARM^Arm^L|||||||||202401010800|202401010900", ("BLD", "2024-01-01T09:00:00+07:00")),
        ("", "SPM|1|S1||BLD^Blood^L||||ARM^Arm^L|||||||||202401010800|202401010900", ("BLD", "2024-01-01T09:00:00+07:00")),
        ("||||202401010930|BLD", "", ("BLD", "2024-01-01T09:30:00+07:00")),
    ],
)
def test_a_sample_is_told_with_or_without_a_number(site: Site, obr: str, spm: str, expected: tuple[str, str]) -> None:
    """SPM with its number is shared between orders; without one, and in OBR-15, the sample is that of its report."""
    report = "OBR|1|P1|F1|CBC^Blood^L|||202401010800|||" + (obr or "|||||")
    result = mapped(site, "ORU^R01", PID, f"{report}|||||||20240101|||F", OBX, *([spm] if spm else ()))
    (specimen,) = resources(result, "Specimen")
    assert (specimen["type"]["coding"][0]["code"], specimen["receivedTime"]) == expected
    assert specimen["collection"]["collectedDateTime"] == "2024-01-01T08:00:00+07:00"
    for kind in ("DiagnosticReport", "Observation"):
        (found,) = resources(result, kind)
        assert f"Specimen/{specimen['id']}" in str(found["specimen"])


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (
            "CWE^^HL70125",
            "260373001^Detected^SCT",
            {
                "valueCodeableConcept": {
                    "coding": [{"system": "http://snomed.info/sct", "code": "260373001", "display": "Detected"}],
                    "text": "Detected",
                }
            },
        ),
        ("nm", "5.20", {"valueQuantity": {"value": Decimal("5.20")}}),
    ],
)
def test_a_value_is_of_its_type_however_that_is_written(site: Site, kind: str, value: str, expected: dict[str, Any]) -> None:
    """OBX-2 as a code of table 0125 with its system, or in small letters, is that type, and no text."""
    (found,) = resources(mapped(site, "ORU^R01", PID, OBR, f"OBX|1|{kind}|G||{value}||||||F"), "Observation")
    assert {name: each for name, each in found.items() if name.startswith("value")} == expected


@pytest.mark.parametrize(
    ("event", "segments", "type_"),
    [
        ("ORM^O01", ("ORC|NW|P1", "OBR|1|P1||XR^Chest^L|||||||||^Fasting"), "ServiceRequest"),
        ("OML^O21", ("ORC|NW|P1", "OBR|1|P1||XR^Chest^L|||||||||F^Fasting^L"), "ServiceRequest"),
        ("ORM^O01", ("ORC|NW|P1", "RXO|D1^Drug^L|||||^Fasting"), "MedicationRequest"),
        ("RDE^O11", ("ORC|NW|P1", f"RXE||D1^Drug^L|1||mg{'|' * 16}^Fasting", "RXR|PO"), "MedicationRequest"),
        ("RDS^O13", ("ORC|RE|P1", f"RXD|1|D1^Drug^L|20240101|1{'|' * 11}^Fasting"), "MedicationDispense"),
        ("VXU^V04", ("ORC|RE||9", "RXA|0|1|20240101||88^Flu^CVX|1|||01^Fasting^NIP001"), "Immunization"),
    ],
)
def test_a_remark_that_comes_as_a_code_has_its_words(site: Site, event: str, segments: tuple[str, ...], type_: str) -> None:
    """A CWE with words alone parked its message, and one with a code gave the code for the words."""
    (found,) = resources(mapped(site, event, PID, *segments), type_)
    assert found["note"] == [{"text": "Fasting"}]


def test_a_medicine_ordered_by_orm_has_its_dose_and_times(site: Site) -> None:
    """RXO-2 with RXO-4, ORC-7, RXO-7, RXO-11 and RXO-13."""
    segments = ("ORC|NW|P1|||||^BID^^^^S", "RXO|D1^Drug^L|0.50||mL|||^With food||||15|mL|2")
    (found,) = resources(mapped(site, "ORM^O01", PID, *segments), "MedicationRequest")
    (dosage,) = found["dosageInstruction"]
    assert dosage["text"] == "With food"
    assert dosage["timing"]["repeat"] == {"frequency": 2, "period": 1, "periodUnit": "d"}
    assert str(dosage["doseAndRate"][0]["doseQuantity"]["value"]) == "0.50"
    assert found["priority"] == "stat"
    assert found["dispenseRequest"]["quantity"]["code"] == "mL"
    assert found["dispenseRequest"]["numberOfRepeatsAllowed"] == 2


def test_the_employer_holds_the_policy_and_depends_on_nobody(site: Site) -> None:
    """IN1-10 is the number of the insured's employer, IN1-11 its name; a dependent's number is neither."""
    (found,) = resources(mapped(site, "ADT^A01", PID, "IN1|1|PLAN|INS|Insurer||||||E77^^^H|Employer"), "Coverage")
    assert "dependent" not in found
    assert (found["policyHolder"]["identifier"]["value"], found["policyHolder"]["display"]) == ("E77", "Employer")


def test_what_older_versions_say_elsewhere_is_not_lost(site: Site) -> None:
    """OBR-15 of an order is its specimen, RXA-11 the place of a vaccination, SCH-9 the minutes of an appointment."""
    order = "OBR|1|P1||CBC^Blood^L|||202401010800||||||||BLD&Blood&HL70487^^^ARM&Arm&L"
    result = mapped(site, "ORM^O01", PID, "ORC|NW|P1", order)
    (specimen,), (request,) = resources(result, "Specimen"), resources(result, "ServiceRequest")
    assert request["specimen"] == [{"reference": f"Specimen/{specimen['id']}"}]
    assert specimen["type"]["coding"][0]["code"] == "BLD"
    assert specimen["collection"]["bodySite"]["coding"][0]["code"] == "ARM"

    (given,) = resources(
        mapped(site, "VXU^V04", PID, "ORC|RE||9", "RXA|0|1|20240101||88^Flu^CVX|1|||||^^^CLINIC"), "Immunization"
    )
    assert given["location"]["display"] == "CLINIC"

    for unit, minutes in (("MIN^minutes^L", 30), ("H", None)):
        segments = (f"SCH|1|2|||||||30|{unit}|^^^20240101100000^20240101103000", PID, "RGS|1")
        (booked,) = resources(mapped(site, "SIU^S12", *segments), "Appointment")
        assert booked.get("minutesDuration") == minutes
