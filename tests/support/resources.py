"""Valid R4 resources of the types the engine writes, and ways to break them one fault at a time. All data is synthetic."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from interop_engine.fhir import bundle

Json = dict[str, Any]

BASE = "https://fhir.hospital.example"
UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"

PATIENT: Json = {
    "resourceType": "Patient",
    "id": "p1",
    "meta": {"lastUpdated": "2024-03-01T09:30:00.000Z", "profile": ["http://hl7.org/fhir/StructureDefinition/Patient"]},
    "extension": [{"url": "https://hospital.example/ext/ethnic-group", "valueString": "Kinh"}],
    "identifier": [
        {
            "use": "official",
            "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
            "system": "https://hospital.example/mrn",
            "value": "0001234",
            "period": {"start": "2020-01-01", "end": "2030-01-01"},
            "assigner": {"display": "Bệnh viện đa khoa tỉnh"},
        }
    ],
    "active": True,
    "name": [{"use": "official", "text": "Nguyễn Thị Hoa", "family": "Nguyễn", "given": ["Thị", "Hoa"]}],
    "telecom": [{"system": "phone", "value": "0912345678", "use": "mobile", "rank": 1}],
    "gender": "female",
    "birthDate": "1980-02-29",
    "deceasedBoolean": False,
    "address": [{"use": "home", "type": "physical", "line": ["12 Lê Lợi"], "city": "Huế", "country": "VN"}],
    "maritalStatus": {"text": "đã kết hôn"},
    "contact": [{"name": {"text": "Trần Văn An"}, "telecom": [{"system": "phone", "value": "0912000000"}]}],
    "managingOrganization": {"reference": "Organization/o1"},
    "link": [{"other": {"reference": "Patient/p0"}, "type": "seealso"}],
}

OBSERVATION: Json = {
    "resourceType": "Observation",
    "id": "obs1",
    "identifier": [{"system": "https://hospital.example/obs", "value": "F123-1"}],
    "basedOn": [{"reference": "ServiceRequest/sr1"}],
    "status": "final",
    "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}],
    "code": {"coding": [{"system": LOINC, "code": "718-7", "display": "Hemoglobin"}], "text": "Huyết sắc tố"},
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2024-03-01T08:30:00+07:00",
    "issued": "2024-03-01T09:30:00+07:00",
    "performer": [{"type": "Organization", "identifier": {"system": "https://hospital.example/org", "value": "XN"}}],
    "valueQuantity": {"value": Decimal("13.50"), "unit": "g/dL", "system": UCUM, "code": "g/dL"},
    "interpretation": [
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "code": "N"}]}
    ],
    "note": [{"text": "Mẫu đạt yêu cầu"}],
    "specimen": {"reference": "Specimen/sp1"},
    "referenceRange": [{"low": {"value": Decimal("12.0"), "unit": "g/dL"}, "high": {"value": Decimal("16.0"), "unit": "g/dL"}}],
    "component": [
        {"code": {"text": "đợt 1"}, "valueRange": {"low": {"value": 1}, "high": {"value": 2}}},
        {"code": {"text": "hiệu giá"}, "valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}},
    ],
}

REPORT: Json = {
    "resourceType": "DiagnosticReport",
    "id": "dr1",
    "identifier": [{"system": "https://hospital.example/report", "value": "R1"}],
    "basedOn": [{"reference": "ServiceRequest/sr1"}],
    "status": "final",
    "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "LAB"}]}],
    "code": {"coding": [{"system": LOINC, "code": "58410-2"}]},
    "subject": {"reference": "Patient/p1"},
    "effectivePeriod": {"start": "2024-03-01T08:30:00+07:00", "end": "2024-03-01T08:40:00+07:00"},
    "issued": "2024-03-01T09:30:00+07:00",
    "specimen": [{"reference": "Specimen/sp1"}],
    "result": [{"reference": "Observation/obs1"}],
    "conclusion": "Bình thường.\nKhông thấy bất thường.",
    "presentedForm": [{"contentType": "application/pdf", "data": "JVBERi0xLjQK", "size": 9, "title": "Phiếu kết quả"}],
}

ORDER: Json = {
    "resourceType": "ServiceRequest",
    "id": "sr1",
    "identifier": [{"system": "https://hospital.example/placer", "value": "24001"}],
    "status": "active",
    "intent": "order",
    "priority": "stat",
    "code": {"coding": [{"system": LOINC, "code": "58410-2"}], "text": "Công thức máu"},
    "orderDetail": [{"text": "lấy máu lúc đói"}],
    "subject": {"reference": "Patient/p1"},
    "encounter": {"reference": "Encounter/e1"},
    "occurrenceTiming": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
    "authoredOn": "2024-03-01T08:00:00+07:00",
    "requester": {"reference": "Practitioner/pr1", "display": "BS. Lê Văn Bình"},
}

SPECIMEN: Json = {
    "resourceType": "Specimen",
    "id": "sp1",
    "accessionIdentifier": {"system": "https://hospital.example/accession", "value": "A17"},
    "status": "available",
    "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0487", "code": "BLD"}]},
    "subject": {"reference": "Patient/p1"},
    "receivedTime": "2024-03-01T08:20:00+07:00",
    "request": [{"reference": "ServiceRequest/sr1"}],
    "collection": {"collectedDateTime": "2024-03-01T08:10:00+07:00", "quantity": {"value": 2, "unit": "mL"}},
}

ENCOUNTER: Json = {
    "resourceType": "Encounter",
    "id": "e1",
    "identifier": [{"system": "https://hospital.example/visit", "value": "V1"}],
    "status": "in-progress",
    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
    "subject": {"reference": "Patient/p1"},
    "participant": [{"individual": {"reference": "Practitioner/pr1"}}],
    "period": {"start": "2024-02-28T07:00:00+07:00"},
    "location": [{"location": {"reference": "Location/l1"}, "status": "active"}],
    "serviceProvider": {"reference": "Organization/o1"},
}

STUDY: Json = {
    "resourceType": "ImagingStudy",
    "id": "is1",
    "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.840.99999.1"}],
    "status": "available",
    "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}],
    "subject": {"reference": "Patient/p1"},
    "started": "2024-03-01T08:30:00+07:00",
    "numberOfSeries": 1,
    "series": [
        {
            "uid": "1.2.840.99999.1.1",
            "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"},
            "instance": [
                {
                    "uid": "1.2.840.99999.1.1.1",
                    "sopClass": {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"},
                }
            ],
        }
    ],
}

DOCUMENT: Json = {
    "resourceType": "DocumentReference",
    "id": "d1",
    "status": "current",
    "docStatus": "final",
    "type": {"coding": [{"system": LOINC, "code": "18748-4"}]},
    "subject": {"reference": "Patient/p1"},
    "date": "2024-03-01T09:30:00+07:00",
    "content": [
        {
            "attachment": {
                "contentType": "application/pdf",
                "url": "https://pacs.hospital.example/d1",
                "hash": "2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
            }
        }
    ],
}

PRACTITIONER: Json = {
    "resourceType": "Practitioner",
    "id": "pr1",
    "name": [{"family": "Lê", "given": ["Văn", "Bình"], "prefix": ["BS."]}],
    "qualification": [{"code": {"text": "bác sĩ"}}],
}
ORGANIZATION: Json = {
    "resourceType": "Organization",
    "id": "o1",
    "name": "Bệnh viện đa khoa tỉnh",
    "telecom": [{"system": "phone", "value": "02343822325", "use": "work"}],
    "address": [{"use": "work", "text": "16 Lê Lợi, Huế"}],
}
LOCATION: Json = {
    "resourceType": "Location",
    "id": "l1",
    "status": "active",
    "name": "Khoa Nội",
    "mode": "instance",
    "position": {"longitude": Decimal("107.58"), "latitude": Decimal("16.46")},
}
PROVENANCE: Json = bundle.provenance(
    "pv1",
    ["Patient/p1", "Observation/obs1"],
    origin=bundle.Origin(
        sender=("https://hospital.example/facility", "75001"),
        digest="ab" * 32,
        mapping="lab-results",
        mapping_digest="cd" * 32,
        config_digest="ef" * 32,
        node=("https://hospital.example/node", "edge-1"),
        control_digest="01" * 32,
        event="ORU^R01",
    ),
    recorded=datetime(2024, 3, 1, 2, 30, tzinfo=UTC),
    base=BASE,
)

VALID: dict[str, Json] = {
    one["resourceType"]: one
    for one in (
        *(PATIENT, OBSERVATION, REPORT, ORDER, SPECIMEN, ENCOUNTER, STUDY, DOCUMENT),
        *(PRACTITIONER, ORGANIZATION, LOCATION, PROVENANCE),
    )
}


def valid(name: str) -> Json:
    """A valid resource to change at will."""
    return copy.deepcopy(VALID[name])


def whole_bundle() -> Json:
    """All of them as a transaction."""
    moment = datetime(2024, 3, 1, 2, 30, tzinfo=UTC)
    return copy.deepcopy(bundle.transaction(list(VALID.values()), base=BASE, timestamp=moment))


# --- Breaking them --------------------------------------------------------------------------------------------------


def mutants(name: str) -> Iterator[tuple[str, Json]]:
    """The resource with one fault each, and what was done, as "fault path"."""
    for path in places(VALID[name]):
        for fault, replacement in _replacements(VALID[name], path):
            yield f"{fault} {'.'.join(map(str, path))}", _with(VALID[name], path, replacement)


GONE = object()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything below an object, list items included, resourceType excepted."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        if name != "resourceType":
            yield (*path, name)
            yield from places(member, (*path, name))


def _replacements(resource: Json, path: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    value = _at(resource, path)
    yield "drop", GONE
    yield ("unlist", value[0]) if isinstance(value, list) else ("list", [value])
    yield "null", None
    if isinstance(value, dict):
        yield "empty", {}
        yield "unknown", {**value, "unknownElement": "x"}
        yield "text", "x"
    elif isinstance(value, list):
        yield "empty", []
    elif isinstance(value, str):
        yield "empty", ""
        yield "number", 5
        yield "blanks", "a  b "
    else:
        yield "text", "5"


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _with(value: Any, path: tuple[Any, ...], replacement: Any) -> Json:
    changed: Json = copy.deepcopy(value)
    put(changed, path, replacement)
    return changed


def put(value: Any, path: tuple[Any, ...], replacement: Any) -> None:
    """Replace what is at a path, in place; ``GONE`` removes it."""
    holder = _at(value, path[:-1])
    if replacement is GONE:
        del holder[path[-1]]
    else:
        holder[path[-1]] = replacement
