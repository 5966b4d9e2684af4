"""The lexical rules of the primitive types."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop_engine.fhir.primitives import ABSOLUTE, CHECKS, CURRENCY, LONGEST_STRING, MEDIA_TYPE
from interop_engine.fhir.schema import validate

UUID = "urn:uuid:6f0d7c1e-5b0a-4c64-9d0e-3f2a8c1b7e55"

GOOD: dict[str, list[Any]] = {
    ABSOLUTE: ["urn:oid:1.2.840", "http://a.b/c", UUID],
    CURRENCY: ["VND", "USD"],
    MEDIA_TYPE: [
        "text/plain",
        "text/plain; charset=utf-8",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        'multipart/related;type="application/dicom"',
    ],
    "base64Binary": ["YQ==", "YWFh YWFh", "YWFh\nYWFh", "+/+/"],
    "boolean": [True, False],
    "canonical": ["http://a.b/c|1.0#part"],
    "code": ["final", "entered-in-error", "a b", "mg/dL", "ữ"],
    "date": ["2024", "2024-02", "2024-02-29"],
    "dateTime": [
        "2024",
        "2024-02",
        "2024-02-29",
        "2024-02-29T23:59:60Z",
        "2024-02-29T08:30:00.123+07:00",
        "2024-01-01T00:00:00-14:00",
    ],
    "decimal": [5, -5, Decimal("5.20"), Decimal("1E+3"), 0],
    "id": ["a", "A-1.b", "x" * 64],
    "instant": ["2024-02-29T08:30:00Z", "2024-02-29T08:30:00.001+07:00"],
    "integer": [0, -2147483648, 2147483647],
    "markdown": ["# a\n\nb"],
    "oid": ["urn:oid:1.2.840.10008"],
    "positiveInt": [1, 2147483647],
    "string": ["a", " a ", "dòng 1\r\ndòng 2\t", "x" * LONGEST_STRING, "\u200b"],
    "time": ["00:00:00", "23:59:59.9"],
    "unsignedInt": [0],
    "uri": ["a", "http://a.b/ữ", "urn:oid:1.2.840", UUID, "urn:dicom:uid"],
    "url": ["https://a.b/c?d=e"],
    "uuid": [UUID],
    "xhtml": ['<div xmlns="http://www.w3.org/1999/xhtml">a</div>'],
}

BAD: dict[str, list[Any]] = {
    ABSOLUTE: ["a", "", "a b:c"],
    CURRENCY: ["", "vnd", "VN", "đồng", 1],
    MEDIA_TYPE: ["", "pdf", "text/", "text/plain;", "text plain", "/pdf", 1],
    "base64Binary": ["YQ=", "YQ", "Y===", "YWFh=", "@@@@", "", 5],
    "boolean": ["true", 1, 0, None],
    "canonical": ["", "a b"],
    "code": ["", "a\ud800", " a", "a ", "a  b", "a\nb\n", 5, ["a"]],
    "date": ["24", "2024-2", "2023-02-29", "1900-02-29", "2024-13", "2024-01-32", "0000", "2024-01-01T00:00:00Z", "", 2024],
    "dateTime": [
        "2024-02-29T08:30Z",
        "2024-02-29T08:30:00",
        "2024-02-29T24:00:00Z",
        "2023-02-29T08:30:00Z",
        "2024-02-29T08:30:00+15:00",
        "2024-01-01\n",
    ],
    "decimal": [Decimal("NaN"), Decimal("Infinity"), 5.2, float("nan"), "5", True, None],
    "id": ["", "a_b", "a b", "x" * 65, "ữ"],
    "instant": ["2024-02-29", "2024-02-29T08:30:00", "2024-02-30T08:30:00Z"],
    "integer": [2147483648, -2147483649, Decimal(1), "1", True],
    "markdown": ["", "\x00"],
    "oid": ["1.2.3", "urn:oid:3.1", "urn:oid:1.02", ""],
    "positiveInt": [0, -1],
    "string": ["", " ", "\n\t", "a\x00b", "a\x0cb", "\ud800", "x" * (LONGEST_STRING + 1), 5, None, {}, ["a"]],
    "time": ["8:00", "08:00", "24:00:00", "08:00:00Z"],
    "unsignedInt": [-1],
    "uri": ["", "\ud800", "a b", "a\u00a0b", "urn:oid:1.02", "urn:uuid:x", UUID.replace("f", "F"), 5],
    "url": ["https://a b"],
    "uuid": [UUID[9:], UUID.replace("f", "F")],
    "xhtml": [
        "",
        "\ud800",
        "a",
        "<div>a</div>",
        '<div xmlns="http://www.w3.org/1999/xhtml"> </div>',
        '<p xmlns="http://www.w3.org/1999/xhtml">a</p>',
        '<div xmlns="http://www.w3.org/1999/xhtml"><script>a</script></div>',
        '<div xmlns="http://www.w3.org/1999/xhtml" onclick="a">a</div>',
        '<!DOCTYPE a [<!ENTITY b "c">]><div xmlns="http://www.w3.org/1999/xhtml">&b;</div>',
        '<div xmlns="http://www.w3.org/1999/xhtml">a',
        5,
    ],
}


def test_every_primitive_has_examples() -> None:
    """A rule without examples would not be tested."""
    assert set(GOOD) == set(BAD) == set(CHECKS)


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in GOOD.items() for value in values])
def test_what_is_valid_has_no_fault(kind: str, value: Any) -> None:
    """The check gives None."""
    assert CHECKS[kind](value) is None


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in BAD.items() for value in values])
def test_what_is_not_valid_has_one(kind: str, value: Any) -> None:
    """The check says what is wrong."""
    assert CHECKS[kind](value)


@given(st.text(min_size=6, max_size=60))
def test_a_fault_does_not_repeat_the_value(value: str) -> None:
    """Faults are logged: whatever the value, the words are the same for all values with that fault."""
    for check in CHECKS.values():
        fault = check(value)
        assert fault is None or fault in {check(other) for other in _FAULTY}


_FAULTY = (
    *("", " ", "a", "a b", "a\nb\n", "a\x00b", "urn:oid:x", "urn:uuid:x", "<a>", "@", "<div/>"),
    *(value for values in BAD.values() for value in values),
)


def test_a_code_without_a_list_is_asked_for_its_form() -> None:
    """Attachment.contentType and Money.currency must be of value sets that cannot be enumerated."""
    assert [issue.path for issue in validate({"resourceType": "Binary", "contentType": "pdf"})] == ["Binary.contentType"]
    invoice = {"resourceType": "Invoice", "status": "issued", "totalNet": {"value": 1, "currency": "vnd"}}
    assert [issue.path for issue in validate(invoice)] == ["Invoice.totalNet.currency"]
