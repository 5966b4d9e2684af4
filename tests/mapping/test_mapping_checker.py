"""Every mistake that can be found before a message arrives is found, at its place, with a help text.

For each code ``golden/CODE.yaml`` is a smallest file that has the mistake, ``golden/CODE.txt`` all that the checker says of it.
``UPDATE_GOLDEN=1`` writes the texts anew, to be read before they are committed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from interop_engine.core.codes import CODES
from interop_engine.mapping.context import naming
from interop_engine.mapping.program import load

GOLDEN = Path(__file__).parent / "golden"
NAMES = naming(base="http://hospital.example")
PATIENT = """
mapping: {name}
message: ADT_A01
resources:
  patient:
    resource: Patient
    key: PID-3 | own_number
    set: {{birthDate: PID-7}}
"""


def complaints(**texts: str) -> str:
    """All that is said of some files, as ``check`` prints it."""
    library = load({f"mappings/{name}.yaml": text for name, text in texts.items()}, NAMES)
    return "".join(f"{mistake}\n" for mistake in library.mistakes)


@pytest.mark.parametrize("source", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_mistake_is_told_with_its_place_and_a_help(source: Path) -> None:
    """What is printed is the golden text, and the code that gives the file its name is in it."""
    found = complaints(broken=source.read_text("utf-8"))
    golden = source.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(found, "utf-8")
    assert found == golden.read_text("utf-8")
    assert f": {source.stem} " in found


def test_every_code_of_mappings_has_a_golden_file() -> None:
    """A code nobody can provoke is no code; M213 needs two files, M215 a package: they have tests of their own."""
    ours = {code for code in CODES if code.startswith("M")} - {"M213", "M215"}
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == ours


def test_every_code_that_is_used_is_registered() -> None:
    """The registry is complete: the reference is made of it."""
    room = Path(__file__).parents[2] / "interop_engine" / "mapping"
    used = {code for path in room.rglob("*.py") for code in re.findall(r'"(M[1-5][0-9]{2})"', path.read_text("utf-8"))}
    assert used <= set(CODES)


def test_all_mistakes_of_all_files_are_told_at_once() -> None:
    """Sorted by file and line; a mapping with a mistake does not hide those of the next."""
    one = PATIENT.format(name="one").replace("PID-7", "PID-777")
    two = PATIENT.format(name="two").replace("birthDate", "birthdate").replace("PID-3", "PID-33")
    library = load({"b.yaml": two, "a.yaml": one}, NAMES)
    assert [(m.code, str(m.mark)) for m in library.mistakes] == [
        ("M203", "a.yaml:8:22"),
        ("M307", "b.yaml:7:19"),
        ("M204", "b.yaml:8:11"),
    ]
    assert not library.programs


def test_a_mapping_without_mistakes_is_usable_beside_a_broken_one() -> None:
    """Only what has a mistake has no program."""
    good, bad = PATIENT.format(name="good"), PATIENT.format(name="bad").replace("PID-7", "PID-777")
    assert set(load({"good.yaml": good, "bad.yaml": bad}, NAMES).programs) == {"good"}


def test_two_mappings_of_one_name_are_a_mistake() -> None:
    """M213 names both places."""
    text = PATIENT.format(name="same")
    assert complaints(a=text, b=text) == (
        'mappings/b.yaml:2:10: M213 there are two: mapping "same"\n    help: the other is at mappings/a.yaml:2:10\n'
    )


def test_columns_count_yaml_quotes() -> None:
    """In a quoted scalar a mistake still has the column of its own character."""
    plain = complaints(a=PATIENT.format(name="a").replace("PID-7", "PID-7 | uper"))
    quoted = complaints(a=PATIENT.format(name="a").replace("PID-7", '"PID-7 | uper"'))
    assert plain.startswith("mappings/a.yaml:8:30: M207")
    assert quoted.startswith("mappings/a.yaml:8:31: M207")


def test_other_yaml_files_are_left_alone() -> None:
    """Test cases and code tables are read by others."""
    assert complaints(cases="cases_for: x\ncases: []\n") == ""
