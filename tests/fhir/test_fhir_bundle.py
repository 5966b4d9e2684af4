"""Bundles, their bytes, Provenance, and the references in a resource."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from interop_engine.fhir import bundle
from interop_engine.fhir.schema import validate
from tests.support.resources import BASE, PROVENANCE, valid, whole_bundle

MOMENT = datetime(2024, 3, 1, 9, 30, tzinfo=timezone(timedelta(hours=7)))


def test_a_transaction_writes_each_resource_by_its_id() -> None:
    """The fullUrl is base/Type/id, the request a PUT of Type/id, the timestamp in UTC."""
    made = bundle.transaction([valid("Patient")], base=BASE, timestamp=MOMENT)
    assert made == {
        "resourceType": "Bundle",
        "type": "transaction",
        "timestamp": "2024-03-01T02:30:00.000Z",
        "entry": [
            {
                "fullUrl": f"{BASE}/Patient/p1",
                "resource": valid("Patient"),
                "request": {"method": "PUT", "url": "Patient/p1"},
            }
        ],
    }


def test_a_batch_and_an_empty_bundle_are_valid() -> None:
    """Kind is the bundle's type; without resources there is no entry, since FHIR has no empty arrays."""
    assert validate(bundle.transaction([valid("Patient")], base=BASE, timestamp=None, kind="batch")) == ()
    assert bundle.transaction([], base=BASE, timestamp=None) == {"resourceType": "Bundle", "type": "transaction"}


def test_digits_survive() -> None:
    """5.20 stays 5.20 through encode and decode; whole numbers stay whole."""
    data = b'{"resourceType":"X","a":5.20,"b":5,"c":1E+2,"d":0.000000000000000000001}'
    assert bundle.decode(data)["a"] == Decimal("5.20")
    assert bundle.encode(bundle.decode(data)) == b'{"resourceType":"X","a":5.20,"b":5,"c":1E+2,"d":1E-21}'


def test_bytes_are_the_same_for_the_same_bundle() -> None:
    """Elements keep their order, and text is UTF-8, not escaped: the same bundle is the same bytes."""
    data = bundle.encode(whole_bundle())
    assert data == bundle.encode(whole_bundle()) == bundle.encode(bundle.decode(data))
    assert "Nguyễn Thị Hoa".encode() in data
    assert json.loads(data)["entry"][0]["resource"]["name"][0]["given"] == ["Thị", "Hoa"]


def test_what_is_encoded_already_goes_in_as_it_is() -> None:
    """The bytes are those of encoding the whole, however many of the resources were encoded before."""
    whole = whole_bundle()
    encoded = [bundle.encode(entry["resource"]) for entry in whole["entry"]]
    for ready in (encoded, encoded[:-1], []):
        assert bundle.encode_spliced(whole, ready) == bundle.encode(whole)
    empty = bundle.transaction([], base=BASE, timestamp=None)
    assert bundle.encode_spliced(empty, []) == bundle.encode(empty)


@pytest.mark.parametrize("data", [b"[]", b"5", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_resource_is_refused(data: bytes) -> None:
    """JSON that is not an object, or nested beyond all bounds, is a ValueError (msgspec's DecodeError is one)."""
    with pytest.raises(ValueError, match=r"object|truncated|deeply"):
        bundle.decode(data)


def test_an_instant_has_a_zone() -> None:
    """A time without zone cannot be made an instant."""
    with pytest.raises(ValueError, match="time zone"):
        bundle.instant(datetime(2024, 3, 1))  # noqa: DTZ001  (naive on purpose)


def test_a_provenance_says_who_what_and_how_and_nothing_of_the_patient() -> None:
    """Sender and node by identifier, the source by digest, mapping and configuration by policy, time of receipt."""
    assert validate(PROVENANCE) == ()
    assert PROVENANCE["recorded"] == "2024-03-01T02:30:00.000Z"
    assert [one["reference"] for one in PROVENANCE["target"]] == ["Patient/p1", "Observation/obs1"]
    assert [agent["who"]["identifier"]["value"] for agent in PROVENANCE["agent"]] == ["75001", "edge-1"]
    assert PROVENANCE["policy"] == [f"{BASE}/mapping/lab-results/{'cd' * 32}", f"{BASE}/config/{'ef' * 32}"]
    assert [(one["role"], one["what"]["identifier"]["value"]) for one in PROVENANCE["entity"]] == [
        ("source", "ab" * 32),
        ("source", "01" * 32),
    ]


def test_a_provenance_needs_only_sender_and_digests() -> None:
    """What is not known is left out, never empty."""
    origin = bundle.Origin(sender=("", "75001"), digest="ab", mapping="m", mapping_digest="cd", config_digest="ef")
    made = bundle.provenance("pv1", ["Patient/p1"], origin=origin, recorded=datetime(2024, 3, 1, tzinfo=UTC), base=BASE)
    assert validate(made) == ()
    assert len(made["agent"]) == len(made["entity"]) == 1
    assert "activity" not in made


def test_references_are_found_wherever_they_are() -> None:
    """In lists, in parts, in contained resources and in a bundle's entries, in order, with their paths."""
    report = valid("DiagnosticReport")
    assert [(path, one["reference"]) for path, one in bundle.references(report)] == [
        ("DiagnosticReport.basedOn[0]", "ServiceRequest/sr1"),
        ("DiagnosticReport.subject", "Patient/p1"),
        ("DiagnosticReport.specimen[0]", "Specimen/sp1"),
        ("DiagnosticReport.result[0]", "Observation/obs1"),
    ]
    whole = bundle.transaction([report], base=BASE, timestamp=None)
    assert [path for path, _ in bundle.references(whole)][1] == "Bundle.entry[0].resource.subject"
    for _, one in bundle.references(report):
        one["reference"] = "Patient/changed"
    assert report["subject"]["reference"] == "Patient/changed"
