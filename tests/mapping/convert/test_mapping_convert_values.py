"""Numbers, units, observation values, reference ranges, texts and documents."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop_engine.hl7.message import Segment
from interop_engine.mapping.context import Context
from interop_engine.mapping.convert import COMPANIONS, observation_value, reference_range

Convert = Callable[[str, str, str], Any]
Read = Callable[[str], Segment]
MMOL = {"unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"}

VALUES = [
    ("NM||X||5.20|mmol/L", ("Quantity", {"value": Decimal("5.20"), **MMOL}), []),
    ("NM||X||.5|", ("Quantity", {"value": Decimal("0.5")}), []),
    ("NM||X||+05|", ("Quantity", {"value": Decimal(5)}), []),
    ("NM||X||<5|mmol/L", ("Quantity", {"value": Decimal(5), "comparator": "<", **MMOL}), []),
    ("NM||X||>= 100|", ("Quantity", {"value": Decimal(100), "comparator": ">="}), []),
    ("NM||X||1|furlong", ("Quantity", {"value": Decimal(1), "unit": "furlong"}), []),
    (
        "NM||X||4.1|10^9/L^^UCUM",
        ("Quantity", {"value": Decimal("4.1"), "unit": "10^9/L", "system": "http://unitsofmeasure.org", "code": "10*9/L"}),
        [],
    ),
    (
        "NM||X||4.1|10\\S\\9/L^^UCUM",
        ("Quantity", {"value": Decimal("4.1"), "unit": "10^9/L", "system": "http://unitsofmeasure.org", "code": "10*9/L"}),
        [],
    ),
    (
        "NM||X||4.1|^G/L",
        ("Quantity", {"value": Decimal("4.1"), "unit": "G/L", "system": "http://unitsofmeasure.org", "code": "10*9/L"}),
        [],
    ),
    ("NM||X||âm tính|", ("String", "âm tính"), ["not-a-number"]),
    ("NM||X||5,2|mmol/L", ("String", "5,2 mmol/L"), ["not-a-number"]),
    ("NM||X||1~2|mmol/L", ("String", "1; 2 mmol/L"), ["values-joined"]),
    ('NM||X||""|', None, []),
    ("NM||X|||mmol/L", None, []),
    ("SN||X||>^100|mmol/L", ("Quantity", {"value": Decimal(100), "comparator": ">", **MMOL}), []),
    ("SN||X||^1^:^64|", ("Ratio", {"numerator": {"value": Decimal(1)}, "denominator": {"value": Decimal(64)}}), []),
    ("SN||X||^10^-^20|mmol/L", ("Range", {"low": {"value": Decimal(10), **MMOL}, "high": {"value": Decimal(20), **MMOL}}), []),
    ("SN||X||^2^+|", ("String", "2 +"), []),
    ("SN||X||^182|mmol/L", ("Quantity", {"value": Decimal(182), **MMOL}), []),
    ("ST||X||5.2|mmol/L", ("String", "5.2 mmol/L"), []),
    ("ST||X||Âm tính|mmol/L", ("String", "Âm tính"), []),
    ("ST||X||a^b|", ("String", "a^b"), []),
    ("TX||X||dòng 1~dòng 2|", ("String", "dòng 1\ndòng 2"), []),
    ("FT||X||một\\.br\\hai|", ("String", "một\nhai"), []),
    (
        "CWE||X||A^Ạ^L|",
        (
            "CodeableConcept",
            {"coding": [{"system": "http://bv.example/facility/48001/codes/L", "code": "A", "display": "Ạ"}], "text": "Ạ"},
        ),
        [],
    ),
    ("CE||X||A^a^L~B^b^L|", ("String", "a; b"), ["values-joined"]),
    ("DT||X||20250301|", ("DateTime", "2025-03-01"), []),
    ("TS||X||hôm qua|", ("String", "hôm qua"), ["not-a-time"]),
    ("TM||X||0830|", ("Time", "08:30:00"), []),
    ("DR||X||20250301^20250302|", ("Period", {"start": "2025-03-01", "end": "2025-03-02"}), []),
    ("NR||X||1^2|mmol/L", ("Range", {"low": {"value": Decimal(1), **MMOL}, "high": {"value": Decimal(2), **MMOL}}), []),
    ("CQ||X||1^mmol/L|", ("Quantity", {"value": Decimal(1), **MMOL}), []),
    (
        "MO||X||15000^VND|",
        ("Quantity", {"value": Decimal(15000), "unit": "VND", "system": "urn:iso:std:iso:4217", "code": "VND"}),
        [],
    ),
    ("NA||X||1^2^3|", ("String", "1^2^3"), []),
    ("XPN||X||LÊ^HOA|", ("String", "LÊ HOA"), []),
    ("CX||X||123^^^HIS|", ("String", "123"), []),
    ("||X||something|", ("String", "something"), ["value-type-missing"]),
    ("QQ||X||something|", ("String", "something"), ["value-type-unknown"]),
    ("ED||X||^application^pdf^Base64^JVBERi0=|", None, ["document-no-value"]),
]


@pytest.mark.parametrize(("rest", "expected", "codes"), VALUES)
def test_the_value_of_an_observation(segment: Read, context: Context, rest: str, expected: Any, codes: list[str]) -> None:
    """value[x] is chosen by OBX-2, with OBX-6; digits stay; what is not what OBX-2 says becomes text and a finding."""
    kind, _, name, sub, rest_of_it = rest.split("|", 4)
    obx = segment(f"OBX|1|{kind}|{name}|{sub}|{rest_of_it}")
    assert observation_value(obx, context) == expected
    assert [finding.code for finding in context.findings] == codes


RANGES = [
    ("3.9-6.4", {"low": {"value": Decimal("3.9"), **MMOL}, "high": {"value": Decimal("6.4"), **MMOL}, "text": "3.9-6.4"}),
    (
        "3.9 – 6.4 mmol/L",
        {"low": {"value": Decimal("3.9"), **MMOL}, "high": {"value": Decimal("6.4"), **MMOL}, "text": "3.9 – 6.4 mmol/L"},
    ),
    ("<5", {"high": {"value": Decimal(5), **MMOL}, "text": "<5"}),
    (">= 60", {"low": {"value": Decimal(60), **MMOL}, "text": ">= 60"}),
    ("-2--1", {"low": {"value": Decimal(-2), **MMOL}, "high": {"value": Decimal(-1), **MMOL}, "text": "-2--1"}),
    ("Âm tính", {"text": "Âm tính"}),
    ("6.4-3.9", {"text": "6.4-3.9"}),
    ("Nam: 13-17", {"text": "Nam: 13-17"}),
]


@pytest.mark.parametrize(("text", "expected"), RANGES)
def test_a_reference_range_keeps_its_text(segment: Read, context: Context, text: str, expected: Any) -> None:
    """Bounds where they can be read, and always what was sent."""
    assert reference_range(segment(f"OBX|1|NM|X||5|mmol/L|{text}"), context) == [expected]


def test_no_reference_range(segment: Read, context: Context) -> None:
    """An empty OBX-7 gives none."""
    assert reference_range(segment("OBX|1|NM|X||5|mmol/L|"), context) == []


@pytest.mark.parametrize(
    ("v2_type", "fhir_type", "text", "expected"),
    [
        ("NM", "decimal", "5.20", Decimal("5.20")),
        ("NM", "integer", "12", 12),
        ("NM", "integer", "1.5", None),
        ("NM", "positiveInt", "0", None),
        ("NM", "unsignedInt", "0", 0),
        ("NM", "positiveInt", "99999999999", None),
        ("NM", "decimal", "1e5", None),
        ("SN", "Ratio", "^1^:^2", {"numerator": {"value": Decimal(1)}, "denominator": {"value": Decimal(2)}}),
        ("SN", "Range", "^1^:^2", None),
        ("SN", "string", ">^5", "> 5"),
        ("NR", "Range", "1^2", {"low": {"value": Decimal(1)}, "high": {"value": Decimal(2)}}),
        ("NR", "Range", "2^1", None),
        (
            "CQ",
            "Quantity",
            "5^mL&&UCUM",
            {"value": Decimal(5), "unit": "mL", "system": "http://unitsofmeasure.org", "code": "mL"},
        ),
        ("MO", "Money", "15000^VND", {"value": Decimal(15000), "currency": "VND"}),
        ("CP", "Money", "15000&VND^UP", {"value": Decimal(15000), "currency": "VND"}),
        ("FT", "Annotation", "a\\.br\\b", {"text": "a\nb"}),
        ("ST", "string", " a\x07b ", "ab"),
        ("ST", "boolean", "Y", True),
        ("ST", "id", "a b", None),
        ("ST", "uri", "http://x/y", "http://x/y"),
        ("ST", "uri", "a b", None),
        ("EI", "uri", "1.2.840.1^PACS", "urn:oid:1.2.840.1"),
        (
            "RP",
            "Attachment",
            "http://pacs.example/a?b^^image^jpeg",
            {"contentType": "image/jpeg", "url": "http://pacs.example/a?b"},
        ),
        ("RP", "Attachment", "\\\\host\\scan.pdf", {"title": "\\\\host\\scan.pdf"}),
    ],
)
def test_small_types(convert: Convert, v2_type: str, fhir_type: str, text: str, expected: Any) -> None:
    """Each type by a line: what is not what it should be gives nothing, never something invalid."""
    assert convert(v2_type, fhir_type, text) == expected


PDF = b"%PDF-1.4 synthetic"
DOCUMENTS = [
    (f"^application^pdf^Base64^{b64encode(PDF).decode()}", "application/pdf", PDF, []),
    (f"^AP^PDF^Base64^{b64encode(PDF).decode()}", "application/pdf", PDF, []),
    (f"^^^Base64^{b64encode(PDF).decode()}", "application/pdf", PDF, []),
    (f"^AP^PDF^Hex^{PDF.hex()}", "application/pdf", PDF, []),
    ("^TEXT^^A^dòng 1\\.br\\dòng 2", "text/plain", "dòng 1\ndòng 2".encode(), []),
    ("^application^pdf^Base64^%%%", "application/pdf", None, ["document-broken"]),
    ("^application^pdf^Base64^JVBERi0", "application/pdf", None, ["document-broken"]),
]


@pytest.mark.parametrize(("text", "content_type", "content", "codes"), DOCUMENTS)
def test_a_document_is_checked_and_has_size_and_hash(
    convert: Convert, context: Context, text: str, content_type: str, content: bytes | None, codes: list[str]
) -> None:
    """ED → Attachment: base64 is checked; what is broken is left out with an error, and its type stays visible."""
    found = convert("ED", "Attachment", text)
    assert found["contentType"] == content_type
    assert [finding.code for finding in context.findings] == codes
    if content is None:
        assert set(found) == {"contentType"}
    else:
        assert b64decode(found["data"]) == content
        assert found["size"] == len(content)
        assert b64decode(found["hash"]) == hashlib.sha1(content, usedforsecurity=False).digest()


def test_a_document_is_titled_by_its_observation(segment: Read, context: Context) -> None:
    """OBX-5 by OBX-2 → Attachments; other types are not documents."""
    companion = COMPANIONS["OBX", 5, "Attachment"]
    obx = segment(f"OBX|1|ED|PDF^Phiếu kết quả^L||^application^pdf^Base64^{b64encode(PDF).decode()}")
    assert [found["title"] for found in companion.function(obx, context)] == ["Phiếu kết quả"]
    assert companion.function(segment("OBX|1|TX|A||text"), context) == []


@given(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4),
    st.sampled_from(["", "<", ">=", "<= "]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_every_decimal_survives_with_its_digits(segment: Read, context: Context, number: Decimal, mark: str) -> None:
    """The digits sent are the digits of the FHIR number, whatever they are."""
    text = f"{number:f}"
    found = observation_value(segment(f"OBX|1|NM|X||{mark}{text}|"), context)
    assert found is not None
    assert f"{found[1]['value']:f}" == text
    assert found[1].get("comparator", "") == mark.strip()


@given(
    st.text(alphabet=st.characters(exclude_characters="|\r\n", codec="utf-8"), max_size=40),
    st.sampled_from(["NM", "ST", "TX", "SN", "CWE", "DTM", "TM", "NR", "DR", "CQ", "ED", "XPN", ""]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
def test_any_text_gives_a_valid_value_or_none(segment: Read, context: Context, text: str, kind: str) -> None:
    """Whatever a sender writes, there is no exception, and text is text that FHIR allows."""
    obx = segment(f"OBX|1|{kind}|X||{text}|{text}|{text}")
    found = observation_value(obx, context)
    for string in _strings([found, reference_range(obx, context), COMPANIONS["OBX", 5, "Attachment"].function(obx, context)]):
        assert re.fullmatch(r"[ \r\n\t\S]+", string)
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", string)


def _strings(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    if isinstance(content, dict):
        content = list(content.values())
    return [text for part in content for text in _strings(part)] if isinstance(content, list | tuple) else []
