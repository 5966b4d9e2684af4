"""Concept maps, units and the worklist."""

from __future__ import annotations

import json

import pytest

from interop_engine.terminology.csv_maps import from_csv
from interop_engine.terminology.fhir_maps import from_json
from interop_engine.terminology.units import ucum
from interop_engine.terminology.worklist import Missing, Worklist

HEADER = "source_system,source_code,target_system,target_code,target_display,valid_from,valid_to\n"
ALIASES = {"LN": "http://loinc.org"}
LOCAL = "http://x/facility/1/codes/99LAB"


def test_a_csv_map_gives_every_target_of_a_code() -> None:
    """Rows of one source code are its targets, in order; a system is a URI, a local name, or any."""
    text = f"{HEADER}99LAB,GLU,urn:x,1010001,Định lượng glucose,,\n99LAB,GLU,LN,2345-7,,,\n,HB,LN,718-7,,,\n"
    found, mistakes = from_csv(text, "lab.csv", "lab", ALIASES)
    assert mistakes == []
    national = {"system": "urn:x", "code": "1010001", "display": "Định lượng glucose"}
    assert found.translate(LOCAL, "GLU") == [national, {"system": "http://loinc.org", "code": "2345-7"}]
    assert found.translate("http://other", "HB") == [{"system": "http://loinc.org", "code": "718-7"}]
    assert found.translate("http://other", "GLU") == []


@pytest.mark.parametrize(("day", "expected"), [("2024-12-31", ["old"]), ("2025-01-01", ["new"]), ("", ["new"])])
def test_rows_are_dated(day: str, expected: list[str]) -> None:
    """A target holds between its days; without a day, the one that has not ended."""
    found, _ = from_csv(f"{HEADER},A,urn:x,old,,,2024-12-31\n,A,urn:x,new,,2025-01-01,\n", "lab.csv", "lab", {})
    assert [coding["code"] for coding in found.translate("", "A", day)] == expected


def test_every_mistake_of_a_csv_is_said_with_its_line_and_column() -> None:
    """Unknown columns, rows without a code, systems that are neither URI nor alias, cells too many; good rows remain."""
    text = (
        "source_code,target_system,target_code,target_name,valid_from,valid_to\n"
        "A,LN,1-8,,,\n"
        ",LN,1-8,,,\n"
        'B,LOINK,"1,8",,,\n'
        'C,LN,"a,b",,2025-13-01,\n'
        "D,LN,1-8,,2025-02-01,2025-01-01\n"
        "E,LN,1-8,x,,,more\n"
        'F,LN,"1\n8",,,\n'
        "G,,1-8,,,\n"
    )
    found, mistakes = from_csv(text, "lab.csv", "lab", ALIASES)
    assert [(m.code, m.mark.line, m.mark.column) for m in mistakes] == [
        ("T001", 1, 39),
        ("T003", 3, 1),
        ("T004", 4, 3),
        ("T008", 5, 13),
        ("T008", 6, 22),
        ("T009", 7, 14),
        ("T003", 10, 3),
    ]
    assert found.translate("", "A") == [{"system": "http://loinc.org", "code": "1-8"}]
    assert len(found.rows) == 2
    assert from_csv("a,b\n", "lab.csv", "lab", {})[1][-1].code == "T002"


def concept_map(group: dict[str, object], **more: object) -> str:
    """A FHIR ConceptMap of one group."""
    return json.dumps({"resourceType": "ConceptMap", "status": "active", "group": [{"source": "urn:a", **group}], **more})


def test_a_fhir_concept_map_is_read_alike() -> None:
    """Every target of a code that says no more than the code does, in the map's order."""
    kinds = [
        "equal",
        "equivalent",
        "wider",
        "subsumes",
        "relatedto",
        "narrower",
        "specializes",
        "inexact",
        "unmatched",
        "disjoint",
    ]
    targets = [{"code": kind, "equivalence": kind} for kind in kinds]
    text = concept_map({"target": "urn:b", "element": [{"code": "1", "target": [{"code": "2", "display": "hai"}, *targets]}]})
    found, mistakes = from_json(text, "m.json", "m")
    assert mistakes == []
    assert found.translate("urn:a", "1")[0] == {"system": "urn:b", "code": "2", "display": "hai"}
    assert [coding["code"] for coding in found.translate("urn:a", "1")[1:]] == kinds[:5]
    assert found.translate("urn:a", "9") == []


@pytest.mark.parametrize(
    ("unmapped", "expected"),
    [
        ({"mode": "fixed", "code": "OTH", "display": "khác"}, [{"system": "urn:b", "code": "OTH", "display": "khác"}]),
        ({"mode": "provided"}, [{"system": "urn:b", "code": "9"}]),
    ],
)
def test_a_group_says_what_becomes_of_every_other_code(unmapped: dict[str, str], expected: list[dict[str, str]]) -> None:
    """``fixed`` is one code for them all, ``provided`` the source's own; of that group's system only."""
    found, mistakes = from_json(concept_map({"target": "urn:b", "unmapped": unmapped}), "m.json", "m")
    assert mistakes == []
    assert found.translate("urn:a", "9") == expected
    assert found.translate("urn:other", "9") == []
    assert found.systems == {"urn:b"}


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("[]", "T005", 1, 1),
        ('{"resourceType": "Patient"}', "T005", 1, 1),
        ('{"resourceType": "ConceptMap",\n  "group": x}', "T005", 2, 12),
        (concept_map({"target": 5}), "T005", 1, 92),
        (concept_map({"element": []}), "T004", 1, 62),
        (concept_map({"target": "urn:b", "unmapped": {"mode": "other-map", "url": "urn:m"}}), "T010", 1, 113),
        (
            concept_map(
                {"target": "urn:b", "element": [{"code": "1", "target": [{"code": "2", "dependsOn": [{"value": "x"}]}]}]}
            ),
            "T010",
            1,
            113,
        ),
    ],
)
def test_what_is_wrong_with_a_fhir_concept_map_is_said(text: str, code: str, line: int, column: int) -> None:
    """What is no ConceptMap, where it stops being JSON, and what is not followed here."""
    (mistake,) = from_json(text, "m.json", "m")[1]
    assert (mistake.code, mistake.mark.line, mistake.mark.column) == (code, line, column)


def test_a_map_of_many_rows_is_looked_up_as_fast_as_one_of_few() -> None:
    """Twenty thousand rows are read, and looking one up asks for a system and a code, not for rows."""
    text = HEADER + "".join(f"99LAB,T{n},LN,{n}-{n % 10},,,\n" for n in range(20_000))
    found, mistakes = from_csv(text, "lab.csv", "lab", ALIASES)
    assert mistakes == []
    assert len(found.rows) == 20_000
    assert found.translate(LOCAL, "T19999") == [{"system": "http://loinc.org", "code": "19999-9"}]


UNITS = [
    ("mg/dL", "mg/dL"),
    ("MG/DL", "mg/dL"),
    ("G/L", "10*9/L"),
    ("g/L", "g/L"),
    ("10^9/L", "10*9/L"),
    ("x10^12/L", "10*12/L"),
    ("µmol/L", "umol/L"),
    ("μmol/L", "umol/L"),
    ("mIU/mL", "m[IU]/mL"),
    ("phút", "min"),
    ("MDC_DIM_MMHG", "mm[Hg]"),
    ("gm/dl", "g/dL"),
    ("m", "m"),
    ("furlong", ""),
    ("", ""),
]


@pytest.mark.parametrize(("text", "expected"), UNITS)
def test_a_unit_is_ucum_where_the_table_knows_it(text: str, expected: str) -> None:
    """Case decides first; nothing is guessed."""
    assert ucum(text) == expected


def test_the_worklist_counts_and_keeps_an_example() -> None:
    """The most frequent first; the first message is the example."""
    worklist = Worklist()
    for code, message in (("A", "1"), ("B", "2"), ("B", "3")):
        worklist.add("lab", "urn:x", code, message)
    assert worklist.missing() == [Missing("lab", "urn:x", "B", 2, "2"), Missing("lab", "urn:x", "A", 1, "1")]
