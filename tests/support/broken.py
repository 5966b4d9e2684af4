"""One example that keeps each invariant and one that breaks it, as whole resources: (key, kept, broken)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.support.resources import BASE, LOINC, UCUM, valid, whole_bundle

Json = dict[str, Any]


def _with(name: str, /, **changes: Any) -> Json:
    return valid(name) | changes


def _observed(**value: Any) -> Json:
    """An Observation with another value."""
    resource = valid("Observation")
    del resource["valueQuantity"], resource["component"]
    return resource | value


def _extended(kind: str, value: Json) -> Json:
    """A Patient with a value of any data type, in an extension."""
    return _with("Patient", extension=[{"url": "https://hospital.example/ext/any", f"value{kind}": value}])


def _timed(**repeat: Any) -> Json:
    return _with("ServiceRequest", occurrenceTiming={"repeat": repeat})


def _contained(inner: Json, *, reference: str = "#c1") -> Json:
    return _with("Observation", contained=[inner], specimen={"reference": reference})


def _bundle(**changes: Any) -> Json:
    return whole_bundle() | changes


def _entries(kind: str, *entries: Json, **more: Any) -> Json:
    return {"resourceType": "Bundle", "type": kind, **more, "entry": list(entries)}


def _entry(name: str, **more: Any) -> Json:
    resource = valid(name)
    return {"fullUrl": f"{BASE}/{name}/{resource['id']}", "resource": resource, **more}


_SPECIMEN = {"resourceType": "Specimen", "id": "c1", "type": {"text": "máu"}}
_CODE = {"coding": [{"system": LOINC, "code": "718-7", "display": "Hemoglobin"}]}
_PUT = {"request": {"method": "PUT", "url": "Patient/p1"}}
_COMPOSITION: Json = {
    "fullUrl": f"{BASE}/Composition/c1",
    "resource": {
        "resourceType": "Composition",
        "id": "c1",
        "status": "final",
        "type": {"text": "giấy ra viện"},
        "title": "Giấy ra viện",
        "date": "2024-03-01",
        "author": [{"display": "BS. Bình"}],
        "subject": {"reference": "Patient/p1"},
    },
}
_HEADER: Json = {
    "fullUrl": f"{BASE}/MessageHeader/m1",
    "resource": {
        "resourceType": "MessageHeader",
        "id": "m1",
        "eventUri": "https://hospital.example/event",
        "source": {"endpoint": "https://hospital.example"},
    },
}
_DOCUMENT: Json = {
    "identifier": {"system": "https://hospital.example/doc", "value": "1"},
    "timestamp": "2024-03-01T09:30:00Z",
}
_PERIOD = {"start": "2024-03-01", "end": "2024-02-01"}


def _age(**age: Any) -> Json:
    return _extended("Age", age)


EXAMPLES: list[tuple[str, Json, Json]] = [
    ("age-1", _age(value=3, system=UCUM, code="a"), _age(value=3)),
    ("age-1", _age(value=3, system=UCUM, code="a"), _age(value=-3, system=UCUM, code="a")),
    (
        "att-1",
        _with("DiagnosticReport", presentedForm=[{"contentType": "text/plain", "data": "YQ=="}]),
        _with("DiagnosticReport", presentedForm=[{"data": "YQ=="}]),
    ),
    ("bdl-1", _entries("searchset", _entry("Patient"), total=1), _entries("collection", _entry("Patient"), total=1)),
    (
        "bdl-2",
        _entries("searchset", _entry("Patient", search={"mode": "match"})),
        _entries("collection", _entry("Patient", search={"mode": "match"})),
    ),
    ("bdl-3", _entries("transaction", _entry("Patient", **_PUT)), _entries("transaction", _entry("Patient"))),
    ("bdl-3", _entries("collection", _entry("Patient")), _entries("collection", _entry("Patient", **_PUT))),
    (
        "bdl-4",
        _entries("transaction-response", {"response": {"status": "200"}}),
        _entries("collection", _entry("Patient", response={"status": "200"})),
    ),
    ("bdl-5", _entries("collection", _entry("Patient")), _entries("collection", {"fullUrl": f"{BASE}/Patient/p1"})),
    (
        "bdl-7",
        _entries("collection", _entry("Patient"), _entry("Specimen")),
        _entries("collection", _entry("Patient"), _entry("Patient")),
    ),
    (
        "bdl-8",
        _entries("collection", _entry("Patient")),
        _entries("collection", {**_entry("Patient"), "fullUrl": f"{BASE}/Patient/p1/_history/1"}),
    ),
    (
        "bdl-9",
        _entries("document", _COMPOSITION, _entry("Patient"), **_DOCUMENT),
        _entries("document", _COMPOSITION, _entry("Patient"), timestamp="2024-03-01T09:30:00Z"),
    ),
    (
        "bdl-10",
        _entries("document", _COMPOSITION, _entry("Patient"), **_DOCUMENT),
        _entries("document", _COMPOSITION, _entry("Patient"), identifier=_DOCUMENT["identifier"]),
    ),
    (
        "bdl-11",
        _entries("document", _COMPOSITION, _entry("Patient"), **_DOCUMENT),
        _entries("document", _entry("Patient"), _COMPOSITION, **_DOCUMENT),
    ),
    ("bdl-12", _entries("message", _HEADER, _entry("Patient")), _entries("message", _entry("Patient"), _HEADER)),
    ("cnt-3", _extended("Count", {"value": 2, "system": UCUM, "code": "1"}), _extended("Count", {"value": 2})),
    (
        "cnt-3",
        _extended("Count", {"value": 2, "system": UCUM, "code": "1"}),
        _extended("Count", {"value": Decimal("2.5"), "system": UCUM, "code": "1"}),
    ),
    (
        "cpt-2",
        _with("Patient", telecom=[{"system": "phone", "value": "0912345678"}]),
        _with("Patient", telecom=[{"value": "0912345678"}]),
    ),
    ("dis-1", _extended("Distance", {"value": 2, "system": UCUM, "code": "km"}), _extended("Distance", {"value": 2})),
    (
        "dom-2",
        _contained(_SPECIMEN),
        _contained({**_SPECIMEN, "contained": [{"resourceType": "Specimen", "id": "c2"}]}),
    ),
    ("dom-3", _contained(_SPECIMEN), _contained(_SPECIMEN, reference="Specimen/sp1")),
    ("dom-4", _contained(_SPECIMEN), _contained({**_SPECIMEN, "meta": {"versionId": "1"}})),
    ("dom-5", _contained(_SPECIMEN), _contained({**_SPECIMEN, "meta": {"security": [{"code": "R"}]}})),
    (
        "drt-1",
        _extended("Duration", {"value": 2, "system": UCUM, "code": "h"}),
        _extended("Duration", {"value": 2, "system": "https://hospital.example/units", "code": "h"}),
    ),
    ("ele-1", _with("Patient", maritalStatus={"text": "độc thân"}), _with("Patient", maritalStatus={})),
    ("ele-1", _with("Patient", maritalStatus={"text": "độc thân"}), _with("Patient", maritalStatus={"id": "a"})),
    (
        "exp-1",
        _extended("Expression", {"language": "text/fhirpath", "expression": "id"}),
        _extended("Expression", {"language": "text/fhirpath"}),
    ),
    ("ext-1", _with("Patient", extension=[{"url": "urn:x", "valueCode": "a"}]), _with("Patient", extension=[{"url": "urn:x"}])),
    (
        "ext-1",
        _with("Patient", extension=[{"url": "urn:x", "extension": [{"url": "a", "valueCode": "a"}]}]),
        _with("Patient", extension=[{"url": "urn:x", "valueCode": "a", "extension": [{"url": "a", "valueCode": "a"}]}]),
    ),
    (
        "obs-3",
        _with("Observation", referenceRange=[{"text": "âm tính"}]),
        _with("Observation", referenceRange=[{"age": {"low": {"value": 1}}}]),
    ),
    (
        "obs-6",
        _observed(dataAbsentReason={"text": "hỏng mẫu"}),
        _observed(dataAbsentReason={"text": "hỏng mẫu"}, valueString="x"),
    ),
    (
        "obs-7",
        _observed(code=_CODE, valueString="x", component=[{"code": {"text": "khác"}, "valueString": "y"}]),
        _observed(code=_CODE, valueString="x", component=[{"code": _CODE, "valueString": "y"}]),
    ),
    ("org-1", _with("Organization", name="Khoa Nội"), {"resourceType": "Organization", "id": "o1", "active": True}),
    (
        "org-2",
        _with("Organization", address=[{"use": "work", "city": "Huế"}]),
        _with("Organization", address=[{"use": "home", "city": "Huế"}]),
    ),
    (
        "org-3",
        _with("Organization", telecom=[{"use": "work", "system": "phone", "value": "1"}]),
        _with("Organization", telecom=[{"use": "home", "system": "phone", "value": "1"}]),
    ),
    ("pat-1", _with("Patient", contact=[{"name": {"text": "An"}}]), _with("Patient", contact=[{"gender": "male"}])),
    ("per-1", _with("Encounter", period={"start": "2024-03-01", "end": "2024-03-01"}), _with("Encounter", period=_PERIOD)),
    (
        "per-1",
        _with("Encounter", period={"start": "2024-03-01T08:00:00+07:00", "end": "2024-03-01T01:00:01Z"}),
        _with("Encounter", period={"start": "2024-03-01T08:00:00+07:00", "end": "2024-03-01T00:59:59Z"}),
    ),
    (
        "prr-1",
        valid("ServiceRequest"),
        {name: value for name, value in valid("ServiceRequest").items() if name != "code"},
    ),
    (
        "qty-3",
        _observed(valueQuantity={"value": 1, "system": UCUM, "code": "g"}),
        _observed(valueQuantity={"value": 1, "code": "g"}),
    ),
    (
        "rat-1",
        _observed(valueRatio={"numerator": {"value": 1}, "denominator": {"value": 8}}),
        _observed(valueRatio={"numerator": {"value": 1}}),
    ),
    ("ref-1", _contained(_SPECIMEN), _with("Observation", specimen={"reference": "#c1"})),
    (
        "rng-2",
        _observed(valueRange={"low": {"value": 1}, "high": {"value": 2}}),
        _observed(valueRange={"low": {"value": 3}, "high": {"value": 2}}),
    ),
    (
        "sqty-1",
        _with("Specimen", collection={"quantity": {"value": 2}}),
        _with("Specimen", collection={"quantity": {"value": 2, "comparator": "<"}}),
    ),
    ("tim-1", _timed(duration=1, durationUnit="h"), _timed(duration=1)),
    ("tim-2", _timed(period=1, periodUnit="d"), _timed(period=1)),
    ("tim-4", _timed(duration=1, durationUnit="h"), _timed(duration=-1, durationUnit="h")),
    ("tim-5", _timed(period=1, periodUnit="d"), _timed(period=-1, periodUnit="d")),
    ("tim-6", _timed(period=1, periodMax=2, periodUnit="d"), _timed(periodMax=2, periodUnit="d")),
    ("tim-7", _timed(duration=1, durationMax=2, durationUnit="h"), _timed(durationMax=2, durationUnit="h")),
    ("tim-8", _timed(count=1, countMax=2), _timed(countMax=2)),
    ("tim-9", _timed(offset=30, when=["ACM"]), _timed(offset=30)),
    ("tim-9", _timed(offset=30, when=["ACM"]), _timed(offset=30, when=["C"])),
    ("tim-10", _timed(timeOfDay=["08:00:00"]), _timed(timeOfDay=["08:00:00"], when=["ACM"])),
    (
        "txt-1",
        _with("Patient", text={"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><p>Hoa</p></div>'}),
        _with(
            "Patient", text={"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>'}
        ),
    ),
    (
        "txt-2",
        _with("Patient", text={"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><p>Hoa</p></div>'}),
        _with("Patient", text={"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><p> </p></div>'}),
    ),
]
