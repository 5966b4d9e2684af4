"""FHIR data types through HL7 v2 and back: what v2 can hold is the same again."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations
from typing import Any
from unicodedata import is_normalized

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop_engine.hl7.message import Delimiters, Segment, Value
from interop_engine.mapping.context import Context as Inward
from interop_engine.mapping.context import Scope, naming
from interop_engine.mapping.convert import CONVERSIONS, observation_value
from interop_engine.mapping.outbound.fhirpath import Bundled, Node
from interop_engine.mapping.outbound.observations import conversion, observed, unit_of
from interop_engine.mapping.outbound.program import Written, written
from interop_engine.mapping.outbound.values import Context, Target

BASE = "http://bv.example"
NAMES = naming(base=BASE)
D = Delimiters()
WORD = st.text(
    st.characters(categories=("L", "N", "P", "S"), exclude_characters="\u037e\u0387\u1fef\u2126\u212a\u212b"),
    min_size=1,
    max_size=12,
)
NORMAL = WORD.filter(lambda text: is_normalized("NFC", text) and text != '""' and text.strip() == text)
NAME = NORMAL.filter(lambda text: " " not in text)
CODE = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,10}", fullmatch=True)


def context(*resources: dict[str, Any]) -> Context:
    """A run over a bundle."""
    return Context(NAMES, Bundled({"resourceType": "Bundle", "entry": [{"resource": each} for each in resources]}))


def out(kind: str, data: Any, datatype: str, table: str = "", *, bindings: frozenset[str] = frozenset(), **more: Any) -> str:
    """A value as the text of a field of some type."""
    convert = conversion(kind, datatype)
    assert convert is not None
    part = convert(Node(kind, data, **more), Target("ZZZ-1", datatype, table, bindings), context())
    return written(Written("ZZZ", {1: [part]}))[4:] if part is not None else ""


def back(text: str, datatype: str, kind: str) -> Any:
    """What the mapping of that text to FHIR makes."""
    scope = Scope("24001", BASE, "", NAMES)
    return CONVERSIONS[datatype, kind].function(Value(text, D), Inward(scope))


SYSTEMS = st.sampled_from(
    [
        "http://fhir.hl7.org.vn/core/sid/cccd",
        f"{BASE}/authority/LAB",
        "urn:oid:2.16.840.1.113883.4.1",
        "urn:uuid:0e5a1f3a-8b0c-4c3e-9d1c-1f2e3d4c5b6a",
        "http://other.example/numbers",
    ]
)


@given(SYSTEMS, NORMAL, st.sampled_from(["", "MR", "NI", "VN"]))
def test_identifiers(system: str, value: str, kind: str) -> None:
    """Number, type and system come back: by a name of the site, an authority, or a universal id."""
    type_ = {"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": kind}]}} if kind else {}
    identifier = {**type_, "system": system, "value": value}
    assert back(out("Identifier", identifier, "CX"), "CX", "Identifier") == identifier
    plain = {"system": system, "value": value}
    assert back(out("Identifier", plain, "EI"), "EI", "Identifier") == plain


@given(NAME, st.lists(NAME, min_size=1, max_size=2), st.booleans())
def test_names(family: str, given_names: list[str], given_first: bool) -> None:
    """Family, given and further given names, and the order in which people say them."""
    order = [*given_names, family] if given_first else [family, *reversed(given_names)]
    name = {"use": "official", "text": " ".join(order), "family": family, "given": given_names}
    found = back(out("HumanName", name, "XPN"), "XPN", "HumanName")
    ambiguous = given_names[0] == family or len({*given_names, family}) < 3
    assert found == name or (ambiguous and {**found, "text": ""} == {**name, "text": ""})


def test_a_name_of_one_piece_stays_whole() -> None:
    """Where a name splits is not ours to say, in either direction."""
    name = {"text": "NGUYỄN VĂN AN"}
    assert back(out("HumanName", name, "XPN"), "XPN", "HumanName") == name


@given(st.lists(NORMAL, min_size=1, max_size=3), NORMAL, NORMAL, st.sampled_from(["home", "work", "temp", "old"]))
def test_addresses(lines: list[str], city: str, district: str, use: str) -> None:
    """Up to three lines, and the parts of a place."""
    address = {"use": use, "line": lines, "city": city, "district": district, "country": "VNM"}
    assert back(out("Address", address, "XAD"), "XAD", "Address") == address


@pytest.mark.parametrize(
    "telecom",
    [
        {"system": "phone", "value": "0900000301", "use": "home"},
        {"system": "phone", "value": "0900000301", "use": "mobile"},
        {"system": "fax", "value": "024 3825 3531", "use": "work"},
        {"system": "email", "value": "a@b.example"},
    ],
)
def test_telecoms(telecom: dict[str, str]) -> None:
    """A number with its use, an address for e-mail."""
    assert back(out("ContactPoint", telecom, "XTN"), "XTN", "ContactPoint") == telecom


@given(CODE, NORMAL, CODE, NORMAL)
def test_concepts(code: str, display: str, other: str, text: str) -> None:
    """Codings with their systems, and the sender's words."""
    concept = {
        "coding": [
            {"system": f"{BASE}/facility/24001/codes/99LIS", "code": code, "display": display},
            {"system": "http://loinc.org", "code": other, "display": display},
        ],
        "text": text,
    }
    assert back(out("CodeableConcept", concept, "CWE"), "CWE", "CodeableConcept") == concept


def test_codes_go_through_their_tables_backwards() -> None:
    """Of several sources of one code the one that says no more; a code that was kept comes back as it was."""
    statuses = frozenset({"http://hl7.org/fhir/ValueSet/observation-status"})
    assert out("code", "final", "ID", "0085", bindings=statuses) == "F"
    assert out("code", "cancelled", "ID", "0085", bindings=statuses) == "X"
    kept = [{"url": "urn:interop-engine:source-code", "valueCoding": {"code": "S"}}]
    assert out("code", "preliminary", "ID", "0085", bindings=statuses, extensions=kept) == "S"
    assert out("code", "unheard-of", "ID", "0085", bindings=statuses) == ""


TIMES = [
    ("1980", "1980"),
    ("1980-05", "198005"),
    ("2026-03-02", "20260302"),
    ("2026-03-02T08:00:00+07:00", "20260302080000+0700"),
    ("2026-03-02T01:00:00.125Z", "20260302010000.125+0000"),
]


@pytest.mark.parametrize(("fhir", "v2"), TIMES)
def test_times(fhir: str, v2: str) -> None:
    """As precise as they are, with their zone; back again the same moment."""
    assert out("dateTime", fhir, "DTM") == v2
    assert back(v2, "DTM", "dateTime") == fhir.replace("Z", "+00:00")


def test_a_minute_that_was_sent_without_seconds() -> None:
    """The zeros that FHIR wants are not sent on."""
    told = [{"url": "urn:interop-engine:precision", "valueCode": "minute"}]
    assert out("dateTime", "2026-03-02T08:00:00+07:00", "DTM", extensions=told) == "202603020800+0700"


UNIT = {"unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"}
VALUES = [
    ("Quantity", {"value": Decimal("5.20"), **UNIT}),
    ("Quantity", {"value": Decimal(5), "comparator": "<", **UNIT}),
    ("Quantity", {"value": Decimal("7.1"), "unit": "chiếc"}),
    ("Range", {"low": {"value": Decimal(2), **UNIT}, "high": {"value": Decimal(4), **UNIT}}),
    ("Ratio", {"numerator": {"value": Decimal(1)}, "denominator": {"value": Decimal(128)}}),
    ("CodeableConcept", {"coding": [{"system": "http://loinc.org", "code": "X", "display": "Âm tính"}], "text": "Âm tính"}),
    ("string", "một | hai ^ ba ~ bốn \\ & năm"),
    ("string", "dòng một\ndòng hai"),
    ("dateTime", "2026-03-02T08:00:00+07:00"),
    ("time", "08:00:00"),
    ("Period", {"start": "2026-03-02T08:00:00+07:00", "end": "2026-03-02T09:00:00+07:00"}),
]


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[f"{kind} {number}" for number, (kind, _) in enumerate(VALUES)])
def test_values_of_observations(kind: str, value: Any) -> None:
    """OBX-5 with its type in OBX-2 and its unit in OBX-6 is read as the same value[x]."""
    node = Node(kind, value)
    v2 = observed(node)
    convert = conversion(kind, v2)
    assert convert is not None
    part, unit = convert(node, Target("OBX-5", v2), context()), unit_of(node)
    assert part is not None
    text = written(Written("OBX", {2: [v2], 3: ["X"], 5: [part], 6: [unit] if unit is not None else []}))
    found = observation_value(Segment("OBX", 0, 1, text, D), Inward(Scope("24001", BASE, "", NAMES)))
    assert found == (kind[0].upper() + kind[1:], value)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_numbers_keep_their_digits(number: Decimal) -> None:
    """5.200 stays 5.200."""
    assert str(back(out("decimal", number, "NM"), "NM", "decimal")) == f"{number:f}"


def test_people_by_their_resource_or_by_identifier() -> None:
    """A Practitioner in the bundle gives its name in parts; without one the words are all there is."""
    doctor = {
        "resourceType": "Practitioner",
        "id": "d",
        "identifier": [{"system": "http://fhir.hl7.org.vn/core/sid/cchn", "value": "7/BYT"}],
        "name": [{"family": "Vũ", "given": ["Thu", "Hà"]}],
    }
    convert = conversion("Reference", "XCN")
    assert convert is not None
    here = context(doctor)
    for reference in ({"reference": "Practitioner/d"}, {"reference": "Practitioner/d", "display": "other"}):
        part = convert(Node("Reference", reference), Target("OBX-16", "XCN"), here)
        assert written(Written("ZZZ", {1: [part or ""]})) == "ZZZ|7/BYT^Vũ^Thu^Hà^^^^^CCHN"
    said = {"identifier": doctor["identifier"][0], "display": "Vũ Hà Thu"}  # type: ignore[index]
    assert out("Reference", said, "XCN") == "7/BYT^Vũ Hà Thu^^^^^^^CCHN"
    assert out("Reference", said, "NDL") == "7/BYT&Vũ Hà Thu&&&&&&&CCHN"


def test_documents() -> None:
    """Data go in base64, a place as a pointer; of an attachment with neither there is nothing to carry."""
    pdf = {"contentType": "application/pdf", "data": "JVBERg==", "title": "x"}
    assert out("Attachment", pdf, "ED") == "^application^pdf^Base64^JVBERg=="
    assert out("Attachment", {"contentType": "application/dicom", "url": "https://pacs.example/1"}, "RP") == (
        "https://pacs.example/1^^application^dicom"
    )
    assert out("Attachment", {"title": "x"}, "ED") == ""


@pytest.mark.parametrize(
    ("given_range", "text"),
    [
        ({"low": {"value": Decimal("3.9")}, "high": {"value": Decimal("6.4")}, "text": "3.90-6.40"}, "3.90-6.40"),
        ({"low": {"value": Decimal("3.9")}, "high": {"value": Decimal("6.4")}}, "3.9-6.4"),
        ({"low": {"value": Decimal(60)}}, ">=60"),
        ({"high": {"value": Decimal(5)}}, "<=5"),
    ],
)
def test_reference_ranges(given_range: dict[str, Any], text: str) -> None:
    """The text where there is one, else the bounds as people write them."""
    assert out("Observation.referenceRange", given_range, "ST") == text


WHOLE = {
    ("Address", "XAD"): {
        "use": "home",
        "type": "postal",
        "text": "1 A, HN",
        "line": ["1 A"],
        "city": "HN",
        "district": "BĐ",
        "country": "VN",
    },
    ("HumanName", "XPN"): {
        "use": "official",
        "text": "Nguyễn Ánh",
        "family": "Nguyễn",
        "given": ["Ánh"],
        "period": {"start": "2020"},
    },
    ("ContactPoint", "XTN"): {"system": "phone", "value": "0243", "use": "home", "period": {"end": "2020"}},
    ("Identifier", "CX"): {"type": {"text": "MR"}, "system": "http://x.example", "value": "1", "assigner": {"display": "A"}},
    ("Identifier", "EI"): {"type": {"text": "FILL"}, "system": "http://x.example", "value": "1"},
    ("CodeableConcept", "CWE"): {"coding": [{"system": "http://loinc.org", "code": "1-8", "display": "x"}], "text": "x"},
    ("Quantity", "SN"): {"value": Decimal(5), "comparator": "<", "unit": "g", "system": "http://unitsofmeasure.org", "code": "g"},
    ("Range", "SN"): {"low": {"value": Decimal(1)}, "high": {"value": Decimal(2)}},
    ("Ratio", "SN"): {"numerator": {"value": Decimal(1)}, "denominator": {"value": Decimal(2)}},
    ("Attachment", "ED"): {"contentType": "application/pdf", "data": "QUJD", "url": "http://x.example/a", "title": "t"},
    ("Reference", "XCN"): {"reference": "Practitioner/1", "type": "Practitioner", "identifier": {"value": "1"}, "display": "x"},
    ("Annotation", "text"): {"text": "x", "time": "2026-03-02"},
}


@pytest.mark.parametrize("types", WHOLE, ids=" → ".join)
def test_any_element_may_be_missing(types: tuple[str, str]) -> None:
    """Each of them optional in FHIR, others' bundles lack what ours have: a value is made of what is there."""
    whole = WHOLE[types]
    convert = conversion(*types)
    assert convert is not None
    for size in range(len(whole) + 1):
        for names in combinations(whole, size):
            part = {name: whole[name] for name in names}
            made = convert(Node(types[0], part), Target("PID-3", types[1]), context())
            assert made is None or any(flat(made)), part


def flat(part: Any) -> list[str]:
    """The texts in a part of a message."""
    return [part] if isinstance(part, str) else [text for each in part for text in flat(each)]
