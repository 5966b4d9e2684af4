"""Concept maps, units and the worklist."""

from __future__ import annotations

import pytest

from interop_engine.terminology.conceptmap import from_csv, from_json
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


def test_every_mistake_of_a_csv_is_said_with_its_line() -> None:
    """Unknown columns, rows without a code, systems that are neither URI nor alias; good rows remain."""
    text = "source_code,target_system,target_code,target_name\nA,LN,1-8,\n,LN,1-8,\nB,LOINK,1-8,\n"
    found, mistakes = from_csv(text, "lab.csv", "lab", ALIASES)
    assert [(m.code, m.mark.line) for m in mistakes] == [("T001", 1), ("T003", 3), ("T004", 4)]
    assert found.translate("", "A") == [{"system": "http://loinc.org", "code": "1-8"}]
    assert from_csv("a,b\n", "lab.csv", "lab", {})[1][-1].code == "T002"


def test_a_fhir_concept_map_is_read_alike() -> None:
    """Targets of groups; unmatched ones are none."""
    text = (
        '{"resourceType":"ConceptMap","group":[{"source":"urn:a","target":"urn:b","element":[{"code":"1","target":'
        '[{"code":"2","display":"hai","equivalence":"equal"},{"equivalence":"unmatched"}]}]}]}'
    )
    found, mistakes = from_json(text, "m.json", "m")
    assert mistakes == []
    assert found.translate("urn:a", "1") == [{"system": "urn:b", "code": "2", "display": "hai"}]
    assert [m.code for m in from_json("[]", "m.json", "m")[1]] == ["T005"]


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
