"""The invariants of appointments, conditions and medicines given: kept and broken."""

from __future__ import annotations

from typing import Any

import pytest

from interop_engine.fhir.schema import validate

Json = dict[str, Any]
TIMED = {"start": "2026-03-02T08:00:00+07:00", "end": "2026-03-02T08:30:00+07:00"}
REASON = {"cancelationReason": {"text": "x"}}
ANYONE = {"type": "Patient", "display": "x"}
CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
WRONG = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": "entered-in-error"}]}


def appointment(status: str, **more: Any) -> Json:
    """An Appointment of somebody."""
    return {"resourceType": "Appointment", "status": status, "participant": [{"actor": ANYONE, "status": "accepted"}], **more}


def condition(clinical: str = "", **more: Any) -> Json:
    """A Condition of somebody."""
    status = {"clinicalStatus": {"coding": [{"system": CLINICAL, "code": clinical}]}} if clinical else {}
    return {"resourceType": "Condition", **status, "subject": ANYONE, **more}


def given(**dosage: Any) -> Json:
    """A MedicationAdministration with a dosage."""
    whole = {"status": "completed", "medicationCodeableConcept": {"text": "x"}, "subject": ANYONE, "effectiveDateTime": "2026"}
    return {"resourceType": "MedicationAdministration", **whole, "dosage": {"text": "x", **dosage}}


@pytest.mark.parametrize(
    ("key", "kept", "broken"),
    [
        ("app-1", appointment("booked", **TIMED), appointment("booked", **TIMED) | {"participant": [{"status": "accepted"}]}),
        ("app-2", appointment("proposed"), appointment("proposed", start=TIMED["start"])),
        ("app-3", appointment("cancelled"), appointment("noshow")),
        ("app-4", appointment("noshow", **TIMED, **REASON), appointment("booked", **TIMED, **REASON)),
        ("con-4", condition("resolved", abatementDateTime="2026"), condition("active", abatementDateTime="2026")),
        ("con-5", condition(verificationStatus=WRONG), condition("active", verificationStatus=WRONG)),
        ("mad-1", given(dose={"unit": "x"}), given()),
    ],
)
def test_what_keeps_an_events_invariant_is_valid_and_what_breaks_it_is_not(key: str, kept: Json, broken: Json) -> None:
    """The broken example has one issue, and it names the key."""
    assert validate(kept) == ()
    assert [issue.message.count(key) for issue in validate(broken)] == [1]
