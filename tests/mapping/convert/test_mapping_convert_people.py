"""Identifiers, names, addresses, telecoms and references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from interop_engine.hl7.message import Segment
from interop_engine.mapping.context import Context, Scope, naming
from interop_engine.mapping.convert import CONVERSIONS, PLACES

Convert = Callable[[str, str, str], Any]
OWN = "http://bv.example/facility/48001/"
CCCD = "http://fhir.hl7.org.vn/core/sid/cccd"


def typed(code: str, display: str = "") -> dict[str, Any]:
    """Identifier.type of a code of table 0203."""
    coding = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": code}
    return {"coding": [{**coding, "display": display} if display else coding]}


IDENTIFIERS = [
    ("CX", "24001", {"system": f"{OWN}mrn", "value": "24001"}),
    ("CX", "24001^^^^MR", {"type": typed("MR"), "system": f"{OWN}mrn", "value": "24001"}),
    ("CX", "24001^^^HIS^MR", {"type": typed("MR"), "system": "http://bv.example/his", "value": "24001"}),
    ("CX", "1^^^BV B^PI", {"type": typed("PI"), "system": "http://bv.example/authority/BV%20B", "value": "1"}),
    ("CX", "1^^^BV&2.16.3&ISO", {"system": "urn:oid:2.16.3", "value": "1", "assigner": {"display": "BV"}}),
    ("CX", "001090012345^^^CCCD^NI", {"type": typed("NI"), "system": CCCD, "value": "001090012345"}),
    ("CX", "001090012345^^^^NI", {"type": typed("NI"), "system": CCCD, "value": "001090012345"}),
    ("CX", "012345678^^^^NI", {"type": typed("NI"), "system": "http://fhir.hl7.org.vn/core/sid/cmnd", "value": "012345678"}),
    (
        "CX",
        "DN4010012345678^^^BHYT^HC",
        {"type": typed("HC"), "system": "http://fhir.hl7.org.vn/core/sid/bhyt", "value": "DN4010012345678"},
    ),
    ("CX", "V1^^^^VN", {"type": typed("VN"), "system": f"{OWN}visit", "value": "V1"}),
    ("CX", "1^^^^ODD", {"type": {"text": "ODD"}, "system": f"{OWN}odd", "value": "1"}),
    (
        "CX",
        "1^^^HIS^MR^^20250101^20251231",
        {
            "type": typed("MR"),
            "system": "http://bv.example/his",
            "value": "1",
            "period": {"start": "2025-01-01", "end": "2025-12-31"},
        },
    ),
    ("CX", "1^^^BV&3.4.5&ISO", {"system": "http://bv.example/authority/BV", "value": "1"}),
    ("CX", '""', None),
    ("CX", "^^^HIS^MR", None),
    ("EI", "A1^HIS", {"system": "http://bv.example/his", "value": "A1"}),
    ("EI", "A1", {"system": f"{OWN}id", "value": "A1"}),
    ("EIP", "P1&HIS^F1", {"type": typed("PLAC", "Placer Identifier"), "system": "http://bv.example/his", "value": "P1"}),
    ("HD", "LIS^2.16.3^ISO", {"system": "urn:ietf:rfc:3986", "value": "urn:oid:2.16.3"}),
    ("HD", "LIS", {"system": f"{OWN}name", "value": "LIS"}),
    ("XON", "BV A^^^^^HIS^^^^48001", {"system": "http://bv.example/his", "value": "48001"}),
    ("XCN", "D1^Lê^Hoa^^^^^^HIS", {"system": "http://bv.example/his", "value": "D1"}),
    ("XCN", "D1^Lê^Hoa", {"system": f"{OWN}staff", "value": "D1"}),
    ("PLN", "D1^NPI", {"type": {"text": "NPI"}, "system": f"{OWN}staff", "value": "D1"}),
    ("CX", "1^^^BV&2.8&ISO", {"system": "http://bv.example/authority/BV", "value": "1"}),
    ("CX", "1^^^BV&1.2.840.5&HCD", {"system": "urn:oid:1.2.840.5", "value": "1", "assigner": {"display": "BV"}}),
]


@pytest.mark.parametrize(("v2_type", "text", "expected"), IDENTIFIERS)
def test_an_identifier_has_its_authoritys_system(convert: Convert, v2_type: str, text: str, expected: Any) -> None:
    """The authority's URI; without one a national system by type, else the facility's own range."""
    assert convert(v2_type, "Identifier", text) == expected


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        (("OBR", 2), "P1", {"type": typed("PLAC", "Placer Identifier"), "system": f"{OWN}placer", "value": "P1"}),
        (("OBR", 3), "F1^HIS", {"type": typed("FILL", "Filler Identifier"), "system": "http://bv.example/his", "value": "F1"}),
        (("OBR", 18), "ACC1", {"type": typed("ACSN", "Accession ID"), "system": f"{OWN}accession", "value": "ACC1"}),
        (("SPM", 2), "^S1", {"system": f"{OWN}specimen", "value": "S1"}),
        (("PV1", 19), "V1", {"type": typed("VN"), "system": f"{OWN}visit", "value": "V1"}),
    ],
)
def test_a_place_says_what_its_number_is(
    segment: Callable[[str], Segment], context: Context, place: tuple[str, int], text: str, expected: Any
) -> None:
    """OBR-2 is a placer's number whatever its authority, OBR-18 an accession."""
    assert PLACES[(*place, "Identifier")].function(segment(f"ZZZ|{text}").value(1), context) == expected


def test_the_hospitals_own_authority_is_the_facilitys_range(segment: Callable[[str], Segment], scope: Scope) -> None:
    """A number of the authority that the channel names, and one without any, have one system."""
    context = Context(replace(scope, authority="BV48", identifier_type="MR"))
    texts = ("1^^^BV48^MR", "1", "1^^^BV48^VN", "1^^^BV49^MR")
    found = [CONVERSIONS["CX", "Identifier"].function(segment(f"ZZZ|{text}").value(1), context)["system"] for text in texts]
    assert found == [f"{OWN}mrn", f"{OWN}mrn", f"{OWN}visit", "http://bv.example/authority/BV49"]


def test_the_two_naming_profiles_understand_each_other() -> None:
    """Either profile takes the other's URI and emits its own."""
    one, other = naming("vncore", base="http://x"), naming("moh2021", base="http://x")
    assert one.system("CCCD") == CCCD
    assert one.system("http://fhir.ehealth.gov.vn/core/sid/national_id") == CCCD
    assert other.system(CCCD) == other.system("CCCD") == "http://fhir.ehealth.gov.vn/core/sid/national_id"


NAMES = [
    ("XPN", "NGUYỄN^AN^VĂN", {"text": "NGUYỄN VĂN AN", "family": "NGUYỄN", "given": ["AN", "VĂN"]}),
    ("XPN", "NGUYỄN VĂN AN", {"text": "NGUYỄN VĂN AN"}),
    ("XPN", "^NGUYỄN VĂN AN", {"text": "NGUYỄN VĂN AN"}),
    ("XPN", "LÊ", {"text": "LÊ", "family": "LÊ"}),
    (
        "XPN",
        "Duck^Donald^D^JR^DR^PHD^L",
        {
            "use": "official",
            "text": "DR Duck D Donald JR PHD",
            "family": "Duck",
            "given": ["Donald", "D"],
            "prefix": ["DR"],
            "suffix": ["JR", "PHD"],
        },
    ),
    ("XPN", "Duck^Donald^^^^^^^^^G", {"text": "Donald Duck", "family": "Duck", "given": ["Donald"]}),
    (
        "XPN",
        "Lê^Hoa^^^^^M^^^^^20200101^20210101",
        {
            "use": "maiden",
            "text": "Lê Hoa",
            "family": "Lê",
            "given": ["Hoa"],
            "period": {"start": "2020-01-01", "end": "2021-01-01"},
        },
    ),
    ("XCN", "D1^LÊ^HOA^THỊ^^BS", {"text": "BS LÊ THỊ HOA", "family": "LÊ", "given": ["HOA", "THỊ"], "prefix": ["BS"]}),
    ("ST", "Lê Hoa", {"text": "Lê Hoa"}),
    ("XPN", '""', None),
    ("XPN", "^^^^^^L", None),
]


@pytest.mark.parametrize(("v2_type", "text", "expected"), NAMES)
def test_a_name_has_its_text_and_only_the_parts_that_were_sent(convert: Convert, v2_type: str, text: str, expected: Any) -> None:
    """Family first unless XPN.11 is G; a whole name in one component is not split."""
    assert convert(v2_type, "HumanName", text) == expected


def test_a_decomposed_name_is_composed(convert: Convert) -> None:
    """Text is normalised to NFC: base letters with combining marks become single letters."""
    assert convert("XPN", "HumanName", "Le\u0302^Hoa") == {"text": "Lê Hoa", "family": "Lê", "given": ["Hoa"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "12 Lê Lợi^P. Bến Nghé^TP. Hồ Chí Minh^HCM^700000^VNM^H^^Quận 1",
            {
                "use": "home",
                "line": ["12 Lê Lợi", "P. Bến Nghé"],
                "city": "TP. Hồ Chí Minh",
                "district": "Quận 1",
                "state": "HCM",
                "postalCode": "700000",
                "country": "VNM",
            },
        ),
        ("12&Lê Lợi&3^^Huế", {"line": ["12", "Lê Lợi", "3"], "city": "Huế"}),
        ("x^^^^^^M", {"type": "postal", "line": ["x"]}),
        ("^^^^^^H", None),
    ],
)
def test_an_address_keeps_its_lines(convert: Convert, text: str, expected: Any) -> None:
    """XAD → Address; a use without anything else is no address."""
    assert convert("XAD", "Address", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0912345678", {"system": "phone", "value": "0912345678"}),
        ("0912345678^PRN^PH", {"system": "phone", "value": "0912345678", "use": "home"}),
        ("0912345678^^CP", {"system": "phone", "value": "0912345678", "use": "mobile"}),
        ("^NET^Internet^an@bv.example", {"system": "email", "value": "an@bv.example"}),
        ("^WPN^PH^^84^24^38253531^12", {"system": "phone", "value": "+84 24 38253531 X12", "use": "work"}),
        ("^WPN^FX^^^24^38253531", {"system": "fax", "value": "24 38253531", "use": "work"}),
        ("an@bv.example", {"system": "email", "value": "an@bv.example"}),
        ("^PRN^PH", None),
    ],
)
def test_a_telecom_has_a_system_and_a_value(convert: Convert, text: str, expected: Any) -> None:
    """XTN → ContactPoint; FHIR wants a system with every value (cpt-2)."""
    assert convert("XTN", "ContactPoint", text) == expected


def test_pid_13_is_home_and_pid_14_work(segment: Callable[[str], Segment], context: Context) -> None:
    """Unless the value says otherwise."""
    values = [segment(f"ZZZ|{text}").value(1) for text in ("1", "1^^CP")]
    assert [PLACES["PID", 13, "ContactPoint"].function(value, context)["use"] for value in values] == ["home", "mobile"]
    assert PLACES["PID", 14, "ContactPoint"].function(values[0], context)["use"] == "work"


@pytest.mark.parametrize(
    ("v2_type", "text", "expected"),
    [
        (
            "XCN",
            "D1^LÊ^HOA",
            {"type": "Practitioner", "identifier": {"system": f"{OWN}staff", "value": "D1"}, "display": "LÊ HOA"},
        ),
        ("XCN", "^COLLECT^JOHN", {"type": "Practitioner", "display": "COLLECT JOHN"}),
        (
            "NDL",
            "D1&LÊ&HOA^20250101",
            {"type": "Practitioner", "identifier": {"system": f"{OWN}staff", "value": "D1"}, "display": "LÊ HOA"},
        ),
        (
            "NDL",
            "D1^LÊ^HOA",
            {"type": "Practitioner", "identifier": {"system": f"{OWN}staff", "value": "D1"}, "display": "LÊ HOA"},
        ),
        ("NDL", "D1", {"type": "Practitioner", "identifier": {"system": f"{OWN}staff", "value": "D1"}}),
        (
            "XON",
            "BV A^^48001",
            {"type": "Organization", "identifier": {"system": f"{OWN}organization", "value": "48001"}, "display": "BV A"},
        ),
        (
            "PL",
            "NOI^305^2^BVA",
            {"type": "Location", "identifier": {"system": f"{OWN}location", "value": "NOI|305|2"}, "display": "BVA, NOI, 305, 2"},
        ),
        ("PL", '""', None),
        ("XCN", '""', None),
    ],
)
def test_a_person_or_place_is_a_reference_by_identifier_and_display(
    convert: Convert, v2_type: str, text: str, expected: Any
) -> None:
    """Only master files write them; elsewhere they are named."""
    assert convert(v2_type, "Reference", text) == expected


def test_the_parts_of_a_family_name_are_extensions_of_it(convert: Convert) -> None:
    """FN.2 to FN.5 (own prefix and name, partner's prefix and name) are those that FHIR has for them."""
    found = convert("XPN", "HumanName", "van Beek-de Vries&van&Beek&de&Vries^Anna")
    kinds = {each["url"].rpartition("humanname-")[2]: each["valueString"] for each in found["_family"]["extension"]}
    assert found["family"] == "van Beek-de Vries"
    assert kinds == {"own-prefix": "van", "own-name": "Beek", "partner-prefix": "de", "partner-name": "Vries"}
    assert "_family" not in convert("XPN", "HumanName", "Beek^Anna")
