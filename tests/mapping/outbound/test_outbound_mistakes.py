"""Every mistake in a mapping that makes messages is found before a bundle arrives, at its place, with a help text."""

from __future__ import annotations

import pytest

from interop_engine.mapping.context import naming
from interop_engine.mapping.program import load

MAPPING = """\
mapping: back
to: ORU_R01
set:
  PATIENT_RESULT:
    each: entry.resource.ofType(DiagnosticReport)
    ORDER_OBSERVATION:
      OBR-4: code
"""
PLANTED = [
    ("to: ORU_R01", "to: ORU_R1", '2:5: M200 there is no message structure "ORU_R1"\n    help: did you mean "ORU_R01"?'),
    ("set:\n", "event: A08\nset:\n", "3:8: M214 ORU_R01 has no trigger event A08"),
    ("OBR-4: code", "OBR-44444: code", "7:7: M203 OBR has no field 44444"),
    ("OBR-4: code", "OBR-4.99: code.text", "7:7: M205 OBR-4 has no such component"),
    ("OBR-4: code", "OBR-4: cod", '7:14: M204 DiagnosticReport has no element "cod"\n    help: did you mean "code"?'),
    ("OBR-4: code", "OBR-4: code.coding.", "7:26: M101 this is not FHIRPath"),
    ("OBR-4: code", "OBR-4: now()", '7:14: M207 there is no function "now"'),
    ("OBR-4: code", "OBR-4: '%REPORT.code'", "7:15: M207 there is no %REPORT here"),
    ("OBR-4: code", "OBR-4: code | category", "M101 | is not taken here"),
    ("OBR-4: code", "OBR-4: effective", "7:14: M302 OBR-4 is of type CWE, this is Period or dateTime"),
    ("OBR-4: code", "OBR-4: category", "7:14: M301 OBR-4 takes one value here, and there may be several"),
    ("OBR-4: code", "OBR-4: code\n      OBR-4.1: id", "8:7: M308 OBR-4.1 is set twice"),
    ("OBR-4: code", "OBR-4: code\n      ORD: {each: code}", '8:7: M201 ORDER_OBSERVATION has no segment "ORD"'),
    ("ORDER_OBSERVATION", "ORDER_OBSERVATIONS", '6:5: M202 PATIENT_RESULT has no group "ORDER_OBSERVATIONS"'),
    ("OBR-4: code", "NTE-3: conclusion", "6:5: M304 ORDER_OBSERVATION needs OBR, and nothing makes it"),
    ("OBR-4: code", "OBR: {when: code, OBR-4: code}", "7:19: M102 this is no condition"),
    ("OBR-4: code", "OBR-4: code\n      PID: {each: subject.resolve()}", "M201"),
    ("  PATIENT_RESULT:", "  MSH-10: id\n  PATIENT_RESULT:", "4:3: M204 MSH-10 is written by the engine"),
    ("set:\n", "sett: {}\nset:\n", '3:1: M100 "sett:" is not a key here\n    help: did you mean "set"?'),
    ("OBR-4: code", "obr-4: code", '7:7: M100 "obr-4:" is not a key here'),
    ("OBR-4: code", "OBR-4: entry.resource", '7:14: M204 DiagnosticReport has no element "entry"'),
    ("OBR-4: code", "OBR-4: code.ofType(Codeable)", '7:26: M207 there is no FHIR type "Codeable"'),
]


def complaints(text: str) -> str:
    """All that is said of one file, as ``check`` prints it."""
    library = load({"mappings/back.yaml": text}, naming(base="http://hospital.example"))
    return "".join(f"{mistake}\n" for mistake in library.mistakes)


def test_a_mapping_without_mistakes_has_a_program() -> None:
    """What nothing is said of can be run."""
    assert complaints(MAPPING) == ""


@pytest.mark.parametrize(("right", "wrong", "expected"), PLANTED, ids=[wrong for _, wrong, _ in PLANTED])
def test_a_planted_mistake_is_told(right: str, wrong: str, expected: str) -> None:
    """File, line, column, code and what is wrong."""
    assert MAPPING.count(right) == 1
    assert expected in complaints(MAPPING.replace(right, wrong))


LENS = "mapping: fix\nmessage: ORU_R01\nto: ORU_R01\nlens:\n  - drop PID-19\n"


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ("to: ORU_R01", "to: ORU_R30", "3:5: M105 a message is put right as what it is"),
        ("message: ORU_R01", "message: ORU_R0", '2:10: M200 there is no message structure "ORU_R0"'),
        ("drop PID-19", "drop PID-199", "5:10: M203"),
        ("drop PID-19", "drop MSH", "5:10: M107 the header of a message cannot be dropped"),
        ("drop PID-19", "dorp PID-19", "5:5: M107 a line of lens: is neither FIELD := EXPRESSION nor drop FIELD"),
        ("drop PID-19", "OBX-8 := OBX-8 | table(nowhere)", "5:"),
        ("  - drop PID-19\n", "  []\n", "1:10: M103"),
        ("lens:", "lenses:", '4:1: M100 "lenses:" is not a key here'),
    ],
)
def test_a_mistake_in_a_correction_is_told(right: str, wrong: str, expected: str) -> None:
    """The same of a mapping that puts originals right."""
    assert complaints(LENS) == ""
    assert expected in complaints(LENS.replace(right, wrong))


def test_a_name_stands_once() -> None:
    """A mapping to FHIR and one from it do not share a name."""
    other = (
        "mapping: back\nmessage: ADT_A01\nresources: {p: {resource: Patient, key: PID-3 | own_number, set: {birthDate: PID-7}}}\n"
    )
    library = load({"mappings/a.yaml": other, "mappings/b.yaml": MAPPING}, naming(base="http://hospital.example"))
    assert 'mappings/b.yaml:1:10: M213 there are two: mapping "back"' in "".join(map(str, library.mistakes))


def test_a_dialect_drops_fields_only() -> None:
    """A dialect knows no groups: without them the notes of a dropped OBX would be the next one's."""
    assert "M107 a dialect drops fields" in complaints("dialect: d\nlens: [drop OBX when OBX-2 = 'ED']\n")
    assert complaints("dialect: d\nlens: [drop PID-19]\n") == ""
