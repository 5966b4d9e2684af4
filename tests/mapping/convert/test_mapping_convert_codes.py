"""Coded values and the tables' maps."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from interop_engine.engine.single import map_message
from interop_engine.fhir.bundle import encode
from interop_engine.fhir.definitions import members, v2_table
from interop_engine.hl7.message import Segment, parse
from interop_engine.mapping.context import Context, Scope, Unmapped
from interop_engine.mapping.convert import BY_NAME, PLACES, TABLES, CodeTable, coded, translated
from interop_engine.mapping.convert.base import SOURCE_CODE
from interop_engine.mapping.convert.codes import by_table
from interop_engine.mapping.convert.tables import read_table, site_table
from interop_engine.mapping.program import load
from interop_engine.terminology.csv_maps import from_csv

Convert = Callable[[str, str, str], Any]
LOCAL = "http://bv.example/facility/48001/codes/"
VALUE_SET = "http://hl7.org/fhir/ValueSet/"

CONCEPTS = [
    (
        "2345-7^Glucose^LN",
        {"coding": [{"system": "http://loinc.org", "code": "2345-7", "display": "Glucose"}], "text": "Glucose"},
    ),
    (
        "GLU^Đường huyết^99LAB",
        {"coding": [{"system": f"{LOCAL}99LAB", "code": "GLU", "display": "Đường huyết"}], "text": "Đường huyết"},
    ),
    ("GLU", {"coding": [{"system": f"{LOCAL}local", "code": "GLU"}]}),
    ("^Đường huyết", {"text": "Đường huyết"}),
    (
        "A^Abnormal^HL70078",
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0078", "code": "A"}], "text": "Abnormal"},
    ),
    ("ZZ^?^HL70078", {"coding": [{"system": f"{LOCAL}HL70078", "code": "ZZ", "display": "?"}], "text": "?"}),
    ("E11.9^^I10", {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "E11.9"}]}),
    ("X^^HIS", {"coding": [{"system": "http://bv.example/his", "code": "X"}]}),
    ("X^^^^^^^^^^^^^1.2.3.4", {"coding": [{"system": "urn:oid:1.2.3.4", "code": "X"}]}),
    ("X^^LAB^^^^^^^^^^^1.2.3.4", {"coding": [{"system": "urn:oid:1.2.3.4", "code": "X"}]}),
    ("X^^1.2.3.4", {"coding": [{"system": "urn:oid:1.2.3.4", "code": "X"}]}),
    ("X^^urn:oid:1.2.3.4", {"coding": [{"system": "urn:oid:1.2.3.4", "code": "X"}]}),
    ("2345-7^^2.16.840.1.113883.6.1", {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]}),
    ("2345-7^^urn:oid:2.16.840.1.113883.6.1", {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]}),
    ("2345-7^^X^^^^^^^^^^^2.16.840.1.113883.6.1", {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]}),
    ("08^^2.16.840.1.113883.12.292", {"coding": [{"system": "http://hl7.org/fhir/sid/cvx", "code": "08"}]}),
    (
        "A^^2.16.840.1.113883.12.78",
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0078", "code": "A"}]},
    ),
    ("ZZ^^2.16.840.1.113883.12.78", {"coding": [{"system": f"{LOCAL}HL70078", "code": "ZZ"}]}),
    ("150456^^MDC", {"coding": [{"system": "urn:iso:std:iso:11073:10101", "code": "150456"}]}),
    (
        "GLU^Glu^L^2345-7^Glucose^LN^1^2.7^Đường máu",
        {
            "coding": [
                {"system": f"{LOCAL}L", "code": "GLU", "display": "Glu", "version": "1"},
                {"system": "http://loinc.org", "code": "2345-7", "display": "Glucose", "version": "2.7"},
            ],
            "text": "Đường máu",
        },
    ),
    ("A  B^x^L", {"coding": [{"system": f"{LOCAL}L", "code": "A B", "display": "x"}], "text": "x"}),
    ('""', None),
    ("^^LN", None),
]


@pytest.mark.parametrize(("text", "expected"), CONCEPTS)
def test_a_coded_value_keeps_every_coding_and_the_words(convert: Convert, text: str, expected: Any) -> None:
    """CWE → CodeableConcept: known systems by URI, others local to the facility; the sender's words as text."""
    assert convert("CWE", "CodeableConcept", text) == expected


def test_mapping_changes_nothing_that_is_remembered(scope: Scope) -> None:
    """Values are shared between messages: after a second run all that was remembered is as it was, and the bytes are equal."""
    mappings = Path(__file__).parents[3] / "mappings"
    files = [path for pattern in ("*.yaml", "tables/*.yaml", "terminology/*.csv") for path in mappings.glob(pattern)]
    library = load({f"mappings/{path.relative_to(mappings)}": path.read_text("utf-8") for path in files}, scope.naming)
    scope = replace(scope, tables=library.tables, terminology=library.terminology)
    at = datetime(2026, 1, 1, tzinfo=UTC)

    def run() -> list[bytes]:
        made = []
        for path in sorted(mappings.glob("cases/samples/*.hl7")):
            message = parse(path.read_bytes())
            mapped = map_message(message, library.fitting(message)[0], scope, received_at=at)
            made.append(encode(mapped.bundle) if mapped.bundle else b"")
        return made

    first, remembered = run(), deepcopy(list(scope.memo.values()))
    assert len(remembered) > 10
    assert run() == first
    assert list(scope.memo.values()) == remembered


BESIDE = {
    "administrative-gender": {"1", "2", "3"},
    "appointment-status": {code.upper() for code in v2_table("0278")},
    "request-priority": {"U", "STAT", "ASAP", "ROUTINE", "URGENT"},
    "order-priority": {"U"},
    "observation-interpretation": {"CAR", "E", "EX", "EXP", "NCL", "UNE"},
    "address-use": {"HP", "TMP"},
}
"""What senders write that is not in the HL7 table as R4 publishes it."""

BEYOND = {
    "relationship": {("http://terminology.hl7.org/CodeSystem/v2-0131", "O")},  # "other" is not in it; the binding is extensible
    "language": {("urn:ietf:bcp:47", code) for code in ("vi", "th", "uk")},  # preferred are the common ones; all are allowed
}
"""Targets outside the value set, on purpose."""

OF_SOME_EVENTS = {"appointment-ended", "document-relation", "event-encounter-status"}
"""Maps of table 0003: a mapping asks them only for the events it is for."""


@pytest.mark.parametrize("table", BY_NAME.values(), ids=lambda table: table.name)
def test_every_code_of_a_table_is_decided(table: CodeTable) -> None:
    """Each code of the HL7 table has a target, a reason to park, or is named as one that FHIR has nothing for."""
    if table.name not in OF_SOME_EVENTS and table.unmapped != "keep":
        assert set(v2_table(table.table)) - set(table.entries) - set(table.parks) - table.none == set()


@pytest.mark.parametrize(("table", "value_set"), [(t, v) for (_, v), t in TABLES.items()], ids=lambda x: getattr(x, "name", ""))
def test_targets_are_codes_of_the_value_set(table: CodeTable, value_set: str) -> None:
    """A map never leads outside the element's value set, as far as that has the target's system."""
    known = members(value_set) or frozenset()
    systems = {system for system, _ in known}
    beyond = {(t.system, t.code) for t in table.entries.values() if t.system in systems} - known
    assert beyond <= BEYOND.get(table.name, set())


@pytest.mark.parametrize("table", BY_NAME.values(), ids=lambda table: table.name)
def test_sources_are_codes_of_the_hl7_table(table: CodeTable) -> None:
    """A code that the HL7 table does not have is there on purpose: what senders write beside it."""
    known = set(v2_table(table.table))
    assert not known or set(table.entries) - known <= BESIDE.get(table.name, set())


STATUSES = [
    ("0085", "observation-status", "F", "final", False),
    ("0085", "observation-status", "C", "corrected", False),
    ("0085", "observation-status", "D", "entered-in-error", True),
    ("0085", "observation-status", "W", "entered-in-error", True),
    ("0085", "observation-status", "X", "cancelled", False),
    ("0085", "observation-status", "I", "registered", True),
    ("0085", "observation-status", "U", "final", True),
    ("0123", "diagnostic-report-status", "P", "preliminary", False),
    ("0123", "diagnostic-report-status", "I", "registered", True),
    ("0123", "diagnostic-report-status", "A", "partial", False),
]


@pytest.mark.parametrize(("table", "value_set", "code", "expected", "kept"), STATUSES)
def test_a_status_goes_through_its_table(
    segment: Callable[[str], Segment], context: Context, table: str, value_set: str, code: str, expected: str, *, kept: bool
) -> None:
    """The map decides the status; a source code that says more stays in an extension."""
    conversion = coded("ID", "code", table, VALUE_SET + value_set)
    assert conversion is not None
    assert conversion.function(segment(f"ZZZ|{code}").value(1), context) == expected
    source = {"system": f"http://terminology.hl7.org/CodeSystem/v2-{table}", "code": code}
    assert context.extensions == ([{"url": SOURCE_CODE, "valueCoding": source}] if kept else None)


@pytest.mark.parametrize("code", ["Y", "Z"])
def test_a_report_without_order_or_patient_parks(segment: Callable[[str], Segment], context: Context, code: str) -> None:
    """OBR-25 = Y or Z: the message parks with condition 204, unknown key identifier."""
    conversion = coded("ID", "code", "0123", f"{VALUE_SET}diagnostic-report-status")
    assert conversion is not None
    assert conversion.function(segment(f"ZZZ|{code}").value(1), context) is None
    assert context.park is not None
    assert context.park.code == "204"


def test_a_code_without_target_is_dropped_listed_and_on_the_worklist(segment: Callable[[str], Segment], context: Context) -> None:
    """Default policy: left out, a finding, and one more on the worklist."""
    conversion = coded("IS", "code", "0001", f"{VALUE_SET}administrative-gender")
    assert conversion is not None
    assert conversion.function(segment("ZZZ|9").value(1), context) is None
    assert [finding.code for finding in context.findings] == ["code-unmapped"]
    assert context.unmapped == [Unmapped("administrative-gender", "http://terminology.hl7.org/CodeSystem/v2-0001", "9")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "H",
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
                        "code": "H",
                        "display": "High",
                    }
                ]
            },
        ),
        ("QCF", {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0078", "code": "QCF"}]}),
        ("cao^Cao^99LAB", {"coding": [{"system": f"{LOCAL}99LAB", "code": "cao", "display": "Cao"}], "text": "Cao"}),
        (
            "H^^2.16.840.1.113883.12.78",
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
                        "code": "H",
                        "display": "High",
                    }
                ]
            },
        ),
    ],
)
def test_an_interpretation_goes_through_its_table_or_keeps_its_coding(
    segment: Callable[[str], Segment], context: Context, text: str, expected: Any
) -> None:
    """Mapped where the table knows it; else the source coding stays; another system's code is not the table's."""
    conversion = coded("CWE", "CodeableConcept", "0078", f"{VALUE_SET}observation-interpretation")
    assert conversion is not None
    assert conversion.function(segment(f"ZZZ|{text}").value(1), context) == expected


def test_a_field_of_a_table_without_map_names_the_table_as_system(segment: Callable[[str], Segment], context: Context) -> None:
    """SPM-4 = BLD without a system is of HL7 table 0487."""
    conversion = coded("CWE", "CodeableConcept", "0487", "")
    assert conversion is not None
    found = conversion.function(segment("ZZZ|BLD^Máu").value(1), context)
    assert found == {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0487", "code": "BLD"}], "text": "Máu"}


def test_yes_and_no_are_booleans(segment: Callable[[str], Segment], context: Context) -> None:
    """Table 0136 → boolean."""
    conversion = coded("ID", "boolean", "0136", "")
    assert conversion is not None
    assert [conversion.function(segment(f"ZZZ|{code}").value(1), context) for code in "YN"] == [True, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vie^Tiếng Việt^ISO639", {"coding": [{"system": "urn:ietf:bcp:47", "code": "vi"}], "text": "Tiếng Việt"}),
        ("EN", {"coding": [{"system": "urn:ietf:bcp:47", "code": "en"}]}),
        ("klingon", {"text": "klingon"}),
    ],
)
def test_a_language_is_of_bcp_47_or_text(segment: Callable[[str], Segment], context: Context, text: str, expected: Any) -> None:
    """R4 takes no other system there, whatever the sender names; what is unknown stays as text."""
    conversion = coded("CWE", "CodeableConcept", "0296", f"{VALUE_SET}languages")
    assert conversion is not None
    assert conversion.function(segment(f"ZZZ|{text}").value(1), context) == expected


def test_a_sites_table_has_a_policy(segment: Callable[[str], Segment], context: Context) -> None:
    """A site's own list: found, or the default it names."""
    table = site_table("rooms", {"codes": {"A": "B"}, "unmapped": "C", "system": "http://x"})
    conversion = by_table(table, "Coding")
    assert conversion is not None
    found = [conversion.function(segment(f"ZZZ|{code}").value(1), context) for code in "AX"]
    assert found == [{"system": "http://x", "code": "B"}, {"system": "http://x", "code": "C"}]
    assert [table.get("A"), table.get("X"), site_table("r", {"codes": {}, "unmapped": "keep"}).get("X")] == ["B", "C", "X"]


def test_translation_adds_targets_and_keeps_the_local_coding(convert: Convert, context: Context) -> None:
    """The local coding stays first; a code without target goes to the worklist."""
    text = "source_system,source_code,target_system,target_code\n99LAB,GLU,LN,2345-7\n"
    mapping, mistakes = from_csv(text, "lab.csv", "lab", {"LN": "http://loinc.org"})
    assert mistakes == []
    found = translated(convert("CWE", "CodeableConcept", "GLU^Glu^99LAB"), mapping, context)
    assert [coding["code"] for coding in found["coding"]] == ["GLU", "2345-7"]
    other = convert("CWE", "CodeableConcept", "HB^Hb^99LAB")
    assert translated(other, mapping, context) == other
    assert context.unmapped == [Unmapped("lab", f"{LOCAL}99LAB", "HB")]


def test_a_sites_table_is_read_from_its_file() -> None:
    """Its name is the file's stem; what is wrong is said with its line."""
    table, mistakes = read_table("unmapped: keep\ncodes:\n  A: B\n", "mappings/tables/rooms.yaml")
    assert mistakes == []
    assert table is not None
    assert (table.name, table.get("A"), table.get("X")) == ("rooms", "B", "X")
    assert [(m.code, m.mark.line) for m in read_table("kodes: {A: B}\n", "t.yaml")[1]] == [("T006", 1)]
    assert [(m.code, m.mark.line) for m in read_table("codes: {A: B}\nunmaped: drop\n", "t.yaml")[1]] == [("T007", 2)]
    assert [(m.code, m.mark.line) for m in read_table("codes:\n  A:\n    B: C\n", "t.yaml")[1]] == [("T006", 3)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("36643-5&IMP^X-quang ngực^LN", [("http://loinc.org", "36643-5"), ("urn:interop-engine:report-section", "IMP")]),
        ("&GDT", [("urn:interop-engine:report-section", "GDT")]),
        ("GLU^Glucose^99LIS", [(f"{LOCAL}99LIS", "GLU")]),
    ],
)
def test_the_suffix_of_a_report_part_is_a_coding_of_its_own(
    segment: Callable[[str], Segment], context: Context, text: str, expected: list[tuple[str, str]]
) -> None:
    """OBX-3 with a suffix says which part of a report it is; findings and impression stay apart."""
    found = PLACES["OBX", 3, "CodeableConcept"].function(segment(f"ZZZ|{text}").value(1), context)
    assert [(coding["system"], coding["code"]) for coding in found["coding"]] == expected


@pytest.mark.parametrize(
    ("day", "expected"), [("2024-06-01", ["GLU", "old"]), ("2026-06-01", ["GLU", "new"]), ("", ["GLU", "new"])]
)
def test_dated_terminology_is_read_by_the_messages_day(convert: Convert, scope: Scope, day: str, expected: list[str]) -> None:
    """The target that holds on the day of the message (MSH-7); without a day the one that has not ended."""
    rows = "source_code,target_system,target_code,valid_from,valid_to\nGLU,urn:x,old,,2024-12-31\nGLU,urn:x,new,2025-01-01,\n"
    mapping, mistakes = from_csv(rows, "lab.csv", "lab", {})
    assert mistakes == []
    found = translated(convert("CWE", "CodeableConcept", "GLU^^99LIS"), mapping, Context(scope, day))
    assert [coding["code"] for coding in found["coding"]] == expected
