"""Bundles and contained resources as a whole: what one element cannot know."""

from __future__ import annotations

from typing import Any

import pytest

from interop_engine.fhir.schema import validate
from tests.support.resources import BASE, valid

Json = dict[str, Any]
UUID = "urn:uuid:6f0d7c1e-5b0a-4c64-9d0e-3f2a8c1b7e55"
OTHER = "urn:uuid:6f0d7c1e-5b0a-4c64-9d0e-3f2a8c1b7e56"


def observation(subject: Json) -> Json:
    """An Observation that refers to nothing but its subject."""
    return {"resourceType": "Observation", "id": "o1", "status": "final", "code": {"text": "a"}, "subject": subject}


def collection(*entries: Json, kind: str = "collection") -> Json:
    """A Bundle."""
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def at(url: str, resource: Json, **more: Any) -> Json:
    """An entry."""
    return {"fullUrl": url, "resource": resource, **more}


def faults(resource: Json, *, complete: bool = False) -> list[str]:
    """Issues as text."""
    return [str(issue) for issue in validate(resource, complete=complete)]


def test_a_urn_uuid_resolves_in_its_bundle() -> None:
    """The entry with that fullUrl, of a type the element allows."""
    own = observation({"reference": UUID})
    assert faults(collection(at(OTHER, own), at(UUID, valid("Patient")))) == []
    assert faults(collection(at(OTHER, own))) == [
        "Bundle.entry[0].resource.subject.reference: the urn:uuid is no entry of the bundle"
    ]
    assert faults(collection(at(OTHER, own), at(UUID, valid("Practitioner")))) == [
        "Bundle.entry[0].resource.subject.reference: refers to an entry of a type that may not stand here"
    ]


def test_relative_references_resolve_in_a_complete_bundle_only() -> None:
    """Patient/x may be at the server already, unless the bundle claims to be complete."""
    alone = collection(at(f"{BASE}/Observation/o1", observation({"reference": "Patient/p9"})))
    assert faults(alone) == []
    assert faults(alone, complete=True) == ["Bundle.entry[0].resource.subject.reference: is no entry of the bundle"]
    whole = collection(*alone["entry"], at(f"{BASE}/Patient/p9", {"resourceType": "Patient", "id": "p9"}))
    assert faults(whole, complete=True) == []


def test_an_inner_bundle_resolves_its_own() -> None:
    """A urn:uuid of an inner bundle is not looked for in the outer one."""
    inner = collection(at(OTHER, observation({"reference": UUID})))
    outer = collection(at(UUID, {"resourceType": "Patient"}), at(f"{BASE}/Bundle/b", inner))
    assert faults(outer) == [
        "Bundle.entry[1].resource.entry[0].resource.subject.reference: the urn:uuid is no entry of the bundle"
    ]


def test_contained_resources_are_of_the_right_type() -> None:
    """#id leads to a contained resource of a type the element allows, # to the resource around it."""
    patient = {"resourceType": "Patient", "id": "c1"}
    specimen = {"resourceType": "Specimen", "id": "c1"}
    assert faults(observation({"reference": "#c1"}) | {"contained": [patient]}) == []
    assert faults(observation({"reference": "#c1"}) | {"contained": [specimen]}) == [
        "Observation.subject.reference: refers to a resource of a type that may not stand here"
    ]
    back = {"resourceType": "Specimen", "id": "c2", "subject": {"reference": "#"}}
    assert faults({"resourceType": "Patient", "contained": [back]}) == []
    assert faults(observation({"display": "a"}) | {"contained": [back]}) == [
        "Observation.contained[0].subject.reference: refers to a resource of a type that may not stand here"
    ]


def test_a_fault_in_a_contained_resource_is_named_by_its_path() -> None:
    """Contained resources are checked as thoroughly as others."""
    patient = {"resourceType": "Patient", "id": "c1", "gender": "F"}
    found = faults(observation({"reference": "#c1"}) | {"contained": [patient]})
    assert found == ["Observation.contained[0].gender: is not a code of http://hl7.org/fhir/ValueSet/administrative-gender"]


def put(url: str, method: str = "PUT") -> Json:
    """A request."""
    return {"request": {"method": method, "url": url}}


PATIENT = f"{BASE}/Patient/p1"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([at(PATIENT, valid("Patient"), **put("Patient/p1"))], []),
        ([at(UUID, valid("Patient"), **put("Patient?identifier=a|b"))], []),
        ([at(UUID, valid("Patient"), **put("Patient", "POST"))], []),
        ([{"request": {"method": "DELETE", "url": "Patient/p1"}}], []),
        ([{"resource": valid("Patient"), **put("Patient/p1")}], []),
        (
            [at(PATIENT, valid("Patient"), **put("Patient/p2"))],
            [".entry[0].request.url: must name the resource's type and id, or a condition"],
        ),
        ([at(PATIENT, valid("Patient"), **put("Observation", "POST"))], [".entry[0].request.url: must name the resource's type"]),
        ([{"fullUrl": PATIENT, **put("Patient/p1")}], [".entry[0].resource: a PUT needs a resource"]),
        (
            [at(f"{BASE}/Patient/p2", valid("Patient"), **put("Patient/p1"))],
            [".entry[0].fullUrl: must end with the resource's type and id"],
        ),
        ([at("Patient/p1", valid("Patient"), **put("Patient/p1"))], [".entry[0].fullUrl: must be an absolute URL or a urn"]),
        (
            [at(PATIENT, valid("Patient"), **put("Patient/p1")), {"request": {"method": "DELETE", "url": "Patient/p1"}}],
            [".entry[1].request.url: a transaction may write a resource only once"],
        ),
        ([at(PATIENT, valid("Patient"), request={"method": "PUT"})], [".entry[0].request.url: is required"]),
        (
            [at(PATIENT, valid("Patient"), **put("Patient/p1", "WRITE"))],
            [".entry[0].request.method: is not a code of http://hl7.org/fhir/ValueSet/http-verb"],
        ),
    ],
)
def test_requests_fit_their_resources(entries: list[Json], expected: list[str]) -> None:
    """What a transaction asks of a server is what its entry holds."""
    assert faults(collection(*entries, kind="transaction")) == [f"Bundle{one}" for one in expected]


def test_entries_that_are_not_written_have_a_full_url() -> None:
    """Only what is written or answers may lack it."""
    assert faults(collection({"resource": valid("Patient")})) == [
        "Bundle.entry[0].fullUrl: is required unless the bundle is written or answers"
    ]
