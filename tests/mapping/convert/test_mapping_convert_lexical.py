"""Converters make only what is lexically valid FHIR: on the way out nobody asks again (docs/decisions/fhir-validation.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from interop_engine.fhir.schema import validate
from interop_engine.hl7.message import Segment, parse
from interop_engine.mapping.context import Context, Scope, naming
from interop_engine.mapping.convert import COMPANIONS, CONVERSIONS, PLACES, TABLES, coded
from interop_engine.mapping.convert.base import absolute
from interop_engine.mapping.primitives import READERS, as_text, read_primitive

BASE = "http://bv.example"
SCOPE = Scope("48001", BASE, "Asia/Ho_Chi_Minh", naming(base=BASE, systems={"HIS": "http://bv.example/his"}))
EXTENSION = "http://bv.example/extension"

# What is right in one type and wrong in another, and what no type wants; separators are drawn between them.
PIECES = [
    *(
        "",
        '""',
        " ",
        "a",
        "a  b",
        " a ",
        "Nguyễn Văn A",
        "\t",
        "\xa0",
        "\u2028",
        "\ufeff",
        "\u200b",
        "\x00",
        "\x0b",
        "\x7f",
        "\x85",
    ),
    *("\\X00\\", "\\X0D0A\\", "\\X1B\\", "\\.br\\", "\\F\\", "\\T\\", "\\H\\x\\N\\", "\\", "\\XZZ\\", "\\X20\\", "\\XC2A0\\"),
    *(
        "2024",
        "202402",
        "20240229",
        "20230229",
        "20240230",
        "0000",
        "00010101",
        "20241301",
        "2024010124",
        "202401012460",
        "20240101235960",
    ),
    *("20240301083012.1234+0700", "2024030108-1500", "202403010830+14", "0830", "083012.5", "24", "-0001", "+0700", "99999999"),
    *(
        "5",
        "5.20",
        "+5",
        ".5",
        "5.",
        "-0",
        "1E5",
        "1E-400",
        "NaN",
        "Infinity",
        "٣",
        "²",
        "9" * 40,
        "2147483648",
        "-1",
        "0x1",
        "1_0",
    ),
    *("<", ">=", "<=5", "5-6", "-", ":", "/", "1:2", "mg/dL", "10*3/uL", "%", "Y", "N", "M", "F", "FT", "NM", "SN", "ED", "CWE"),
    *(
        "LN",
        "SCT",
        "99LAB",
        "L",
        "ISO",
        "UUID",
        "URI",
        "DNS",
        "GUID",
        "M10",
        "HIS",
        "MR",
        "urn:oid:1.02",
        "urn:oid:1.2.840",
        "1.2.840",
    ),
    *(
        "urn:uuid:X",
        "URN:UUID:6F0D7C1E-5B0A-4C64-9D0E-3F2A8C1B7E55",
        "6F0D7C1E-5B0A-4C64-9D0E-3F2A8C1B7E55",
        "http://a b",
        "http://a",
    ),
    *(
        "c:\\x",
        "mailto:a@b",
        "a@b",
        "(024) 3 826",
        "PH",
        "Internet",
        "text",
        "plain",
        "text/plain",
        "application",
        "PDF",
        "Base64",
        "Hex",
        "A",
    ),
    *(
        "YQ==",
        "YQ=",
        "Y Q = =",
        "YQ",
        "_-8=",
        "😀",
        "\ue000",
        "\uffff",
        "<div>",
        "&amp;",
        "a" * 70,
        "#a",
        "Patient/1",
        "Patient?x",
    ),
]
fields = st.builds(
    lambda parts, marks: "".join(
        part + mark for part, mark in zip(parts, [*marks, *"^" * len(parts)], strict=False)
    ).removesuffix("^"),
    st.lists(
        st.sampled_from(PIECES) | st.text(st.characters(codec="utf-8", exclude_characters="|\r\n"), max_size=6),
        min_size=1,
        max_size=9,
    ),
    st.lists(st.sampled_from(["^", "^", "^", "&", "~", "", " "]), max_size=9),
)


def segment(text: str) -> Segment:
    """A segment of its text."""
    return parse(f"MSH|^~\\&|LIS|BV|||20250101||ORU^R01|1|P|2.5.1||||||UNICODE UTF-8\r{text}\r".encode()).segments[1]


def faults(kind: str, value: Any) -> list[str]:
    """What the whole check says of a value of a FHIR type, but for what hangs on more than one of the sender's fields."""
    if kind == "BackboneElement":
        resource: dict[str, Any] = {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": "a"},
            "referenceRange": [value],
        }
    else:
        held = {"url": EXTENSION, f"value{kind[0].upper()}{kind[1:]}": value}
        resource = {"resourceType": "Patient", "extension": [held]}
    return [str(issue) for issue in validate(resource) if not issue.message.startswith(("per-1", "rng-2"))]


def values(text: str, context: Context) -> Iterator[tuple[str, str, Any]]:
    """All that the registries make of a field: (which conversion, FHIR type, value)."""
    field = segment(f"ZZZ|{text}").value(1)
    if field is None:
        return
    for (v2_type, kind), conversion in CONVERSIONS.items():
        yield f"{v2_type} → {kind}", kind, conversion.function(field, context)
    for (name, number, kind), conversion in PLACES.items():
        yield f"{name}-{number} → {kind}", kind, conversion.function(field, context)
    for table, value_set in [key for key in TABLES if not key[1].endswith("/boolean")]:
        for v2_type, kind in (("CWE", "code"), ("IS", "code"), ("CWE", "CodeableConcept")):
            if (made := coded(v2_type, kind, table, value_set)) is not None:
                yield f"{v2_type} → {kind} by {table}", kind, made.function(field, context)


@settings(deadline=None)
@given(text=fields)
@example(text="5.20^\\X00\\^LN")
def test_no_conversion_makes_what_is_lexically_wrong(text: str) -> None:
    """Whatever a field holds, each conversion makes a valid value of its type, or none."""
    found = [
        (how, fault) for how, kind, value in values(text, Context(SCOPE)) if value is not None for fault in faults(kind, value)
    ]
    assert found == []


@settings(deadline=None)
@given(
    type_=st.sampled_from(
        [
            *("NM", "SN", "ST", "TX", "FT", "CE", "CWE", "CNE", "CF", "DT", "TM", "TS", "DTM", "DR", "ED", "RP", "NA"),
            *("XPN", "XAD", "XTN", "EI", "CX", "SI", "ID", "IS", "CQ", "MO", "TN", "AD", "PN", "XX"),
        ]
    ),
    texts=st.tuples(fields, fields, fields, fields),
)
def test_no_companion_makes_what_is_lexically_wrong(type_: str, texts: tuple[str, str, str, str]) -> None:
    """Values that take several fields: observations with their units and ranges, times that become periods."""
    first, second, third, fourth = texts
    lines = {
        "OBX": f"OBX|1|{type_}|{fourth}||{first}|{second}|{third}",
        "OBR": f"OBR|1||||||{first}|{second}",
        "SPM": f"SPM|1|{'|' * 15}{first}",
        "PID": f"PID|1||||||{first}",
        "TQ1": f"TQ1|1|{third}|{first}|{second}|{fourth}|{third}|{second}|{fourth}||{first}|{second}||{fourth}|{third}",
        **{name: f"{name}|{'|'.join((*texts, first) * 3)}" for name in ("RXA", "RXD", "RXE", "RXG", "RXO")},
    }
    for (name, _, kind), companion in COMPANIONS.items():
        made = companion.function(segment(lines[name]), Context(SCOPE))
        if made is None:
            continue
        told = [made] if companion.choice else [(kind, one) for one in made] if companion.many else [(kind, made)]
        assert [(name, fault) for each, value in told for fault in faults(each, value)] == []


@given(text=st.sampled_from(PIECES) | st.text(st.characters(codec="utf-8")))
@pytest.mark.parametrize("kind", sorted(READERS))
def test_no_text_of_a_mapping_makes_what_is_lexically_wrong(kind: str, text: str) -> None:
    """Texts that a mapping writes itself, or that its functions give, become valid values of their type, or none."""
    made = read_primitive(kind, as_text(text))
    if made is not None and kind == "system":
        kind, made = "Coding", {"system": made, "code": "a"}
    assert made is None or faults(kind, made) == []


@given(text=st.sampled_from(PIECES))
def test_what_names_a_system_is_absolute(text: str) -> None:
    """A field that goes into ``system`` is a URI with a scheme, or is left out and found fault with."""
    field = segment(f"ZZZ|{text}").value(1)
    if field is not None:
        context = Context(SCOPE)
        made = absolute(CONVERSIONS["ST", "uri"].function)(field, context)
        assert made is None or faults("Coding", {"system": made, "code": "a"}) == []
        assert (made is None) == (bool(context.findings) or field.deleted)
