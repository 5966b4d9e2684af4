"""Types of several parts of which the first says what it is."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

Convert = Callable[[str, str, str], Any]
V2 = "http://terminology.hl7.org/CodeSystem/v2-"
FACILITY = "http://bv.example/facility/48001"

VALUES = [
    ("FC", "CodeableConcept", "BHYT&Bảo hiểm y tế&99HIS^20260101", ("coding", 0, "code"), "BHYT"),
    ("FC", "string", "BHYT&Bảo hiểm y tế^20260101", (), "Bảo hiểm y tế"),
    ("JCC", "CodeableConcept", "N&Giáo viên^F^dạy học", ("text",), "Giáo viên"),
    ("DLD", "CodeableConcept", "H^20260101", ("coding", 0, "code"), "H"),
    ("SPS", "CodeableConcept", "BLD&Máu&HL70487^EDTA", ("coding", 0), {"system": f"{V2}0487", "code": "BLD"}),
    ("SPS", "string", "BLD&Máu&HL70487", (), "Máu"),
    ("MOC", "Money", "120000&VND^KHAM", (), {"value": Decimal(120000), "currency": "VND"}),
    ("MSG", "Coding", "ADT^A08^ADT_A01", (), {"system": f"{V2}0003", "code": "A08", "display": "ADT^A08^ADT_A01"}),
    ("MSG", "code", "ADT^A08^ADT_A01", (), "A08"),
    ("MSG", "Coding", "ACK", (), None),
    ("PT", "Coding", "P^T", (), {"system": f"{V2}0103", "code": "P"}),
    ("VID", "code", "2.5.1^VNM", (), "2.5.1"),
    ("NDL", "HumanName", "D1&Trần&Minh^20260101", ("text",), "Trần Minh"),
    ("NDL", "Identifier", "D1&Trần&Minh^20260101", (), {"system": f"{FACILITY}/staff", "value": "D1"}),
    ("NDL", "string", "D1&Trần&Minh^20260101", (), "Trần Minh"),
    ("OG", "string", "1^2^3", (), "1.2.3"),
    ("SPD", "CodeableConcept", "Nội tim mạch^BYT^C", ("text",), "Nội tim mạch"),
    ("DIN", "date", "20200115^BV", (), "2020-01-15"),
    ("DIN", "Period", "20200115^BV", (), {"start": "2020-01-15"}),
    ("CQ", "string", "30^mg&milligram", (), "30 milligram"),
    ("CP", "string", "120000&VND^UP", (), "120000 VND"),
    ("MO", "string", "5^USD", (), "5 USD"),
    ("EI", "Coding", "X1^HIS", (), {"system": "http://bv.example/his", "code": "X1"}),
    ("EI", "Coding", "X1", (), {"code": "X1"}),
    ("LA1", "Reference", "KHOA^305^2^^^^^^12 Đường Mẫu", ("display",), "KHOA, 305, 2"),
    ("LA2", "Reference", "^^^^^^^^12 Đường Mẫu", (), None),
]


@pytest.mark.parametrize(("v2", "to", "text", "where", "expected"), VALUES, ids=[f"{v2}-{to}-{t}" for v2, to, t, *_ in VALUES])
def test_the_first_part_says_what_it_is(
    v2: str, to: str, text: str, where: tuple[str | int, ...], expected: Any, convert: Convert
) -> None:
    """Parts that have elements of their own in FHIR are left for the mapping to name."""
    found = convert(v2, to, text)
    for step in where:
        found = found[step]

    assert found == expected


def test_a_drivers_licence_has_its_issuer_and_its_expiry(convert: Convert) -> None:
    """DLN.2 is the system where it is one that is known or can be named, DLN.3 the end of its period."""
    own = convert("DLN", "Identifier", "790123456789")
    issued = convert("DLN", "Identifier", "790123456789^HIS^20300101")

    kind = {"coding": [{"system": f"{V2}0203", "code": "DL"}]}
    assert own == {"type": kind, "system": f"{FACILITY}/dl", "value": "790123456789"}
    assert issued == {
        "type": kind,
        "system": "http://bv.example/his",
        "value": "790123456789",
        "period": {"end": "2030-01-01"},
    }


def test_a_practitioners_number_has_its_type_and_expiry(convert: Convert) -> None:
    """PLN.2 is of HL7 table 0338, another is only named; the number stays one of the facility's staff."""
    assert convert("PLN", "Identifier", "D1^SL^^20301231") == {
        "type": {"coding": [{"system": f"{V2}0338", "code": "SL"}]},
        "system": f"{FACILITY}/staff",
        "value": "D1",
        "period": {"end": "2030-12-31"},
    }
    assert convert("PLN", "Identifier", "D1") == {"system": f"{FACILITY}/staff", "value": "D1"}
