"""Dialects: a sender's habits put right before anything else reads its messages."""

from __future__ import annotations

import pytest

from interop_engine.hl7.message import parse
from interop_engine.mapping.context import Scope, naming
from interop_engine.mapping.program import Library, load

NAMES = naming(base="http://h.example")
MSH = "MSH|^~\\&|LIS|24001|HUB|HUB|20261121093000||ADT^A08^ADT_A01|1|P|2.5.1"


def library(*lens: str, more: str = "") -> Library:
    """The library of one dialect with some lines of ``lens:``."""
    lines = "".join(f"  - {line}\n" for line in lens)
    return load({"mappings/dialects/sakura.yaml": f"dialect: sakura\nlens:\n{lines or '  []'}\n{more}"}, NAMES)


def right(line: str, *segments: str) -> list[str]:
    """The segments after one line of lens."""
    found = library(line)
    assert [str(mistake) for mistake in found.mistakes] == []
    message = found.dialects["sakura"].apply(parse("\r".join((MSH, *segments)).encode()))
    return [segment.text for segment in message.segments[1:]]


@pytest.mark.parametrize(
    ("line", "before", "after"),
    [
        ("PID-3 := PID-2 when not exists(PID-3)", "PID|1|B1", "PID|1|B1|B1"),
        ("PID-3 := PID-2 when not exists(PID-3)", "PID|1|B1|C1", "PID|1|B1|C1"),
        ("PID-5 := PID-5.2 when not exists(PID-5.1)", "PID|1||||^Nguyễn", "PID|1||||Nguyễn"),
        ("PID-3.4 := 'BV1'", "PID|||B1^^^~C1", "PID|||B1^^^BV1~C1"),
        ("PID-3[2].5 := 'NI'", "PID|||B1~C1", "PID|||B1~C1^^^^NI"),
        ("PID-3.4.2 := '1.2'", "PID|||B1", "PID|||B1^^^&1.2"),
        ("PID-8 := PID-8 | lower", "PID||||||||M", "PID||||||||m"),
        ("PID-11 := concat(PID-12, '^', PID-8)", "PID||||||||M||||x", "PID||||||||M|||x\\S\\M|x"),
        ("PID-7 := PV1-44", "PID|1|B1", "PID|1|B1"),
    ],
)
def test_a_line_puts_a_field_right(line: str, before: str, after: str) -> None:
    """Where its condition holds and its source has a value; separators in a text are escaped, a field is copied as it is."""
    assert right(line, before) == [after]


def test_a_line_runs_on_each_segment_of_its_name() -> None:
    """A path of the target's segment means that very one, of another segment its first value."""
    found = right("OBX-6 := OBX-5.2", "OBX|1|NM|a||5^mg", "OBX|2|NM|b||6", "OBX|3|NM|c||7^g")
    assert found == ["OBX|1|NM|a||5^mg|mg", "OBX|2|NM|b||6", "OBX|3|NM|c||7^g|g"]
    assert right("OBX-14 := OBR-7", "OBR|1||||||2026", "OBX|1")[1] == "OBX|1" + "|" * 13 + "2026"


def test_the_header_counts_its_separator() -> None:
    """MSH-1 is the separator itself."""
    found = library("MSH-4 := MSH-3")
    message = found.dialects["sakura"].apply(parse(MSH.encode()))
    assert message.msh.raw(4) == "LIS"
    assert message.msh.raw(2) == "^~\\&"


def test_what_needs_no_putting_right_stays_the_same_message() -> None:
    """Nothing is copied for nothing."""
    message = parse(f"{MSH}\rPID|1||B1".encode())
    assert library("PID-3 := PID-2").dialects["sakura"].apply(message) is message


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("PID-3 := PDI-2", "M201 HL7 v2 has no segment PDI"),
        ("PID-300 := PID-2", "M203 PID has no field 300"),
        ("PID := PID-2", "M107 the left side of := is one field"),
        ("PID-3[.5 = 'MR'] := PID-2", "M107 the left side of := is one field"),
        ("PID-8 := PID-8 | table(administrative-gender)", "M307 table asks for the channel's tables"),
        ("PID-8 := PID-8 |", "M101 expected the name of a function"),
        ("PID-8 := PID-8 when PID-8", "M102 expected a comparison"),
    ],
)
def test_mistakes_in_a_dialect_are_found(line: str, complaint: str) -> None:
    """With the file, the line and the column of the very part."""
    (found,) = library(line).mistakes
    assert complaint in str(found)
    assert found.mark.line == 3


def test_z_segments_of_a_dialect_behave_like_any_other() -> None:
    """``segments:`` gives them types; mappings read them, and losses in them are listed."""
    dialect = "dialect: sakura\nsegments: {ZLB: {1: {name: analyser, type: ST}, 2: {name: made, type: DTM}}}\n"
    mapping = (
        "mapping: adt\nmessage: ADT_A01\nresources:\n  patient:\n    resource: Patient\n    key: PID-3 | own_number\n"
        "    set: {name: {text: ZLB-analyser}, deceasedDateTime: ZLB-2}\n"
    )
    found = load({"dialect.yaml": dialect, "mapping.yaml": mapping}, NAMES)
    assert found.mistakes == ()
    program = found.programs["adt"]
    scope = Scope("24001", "http://h.example", "Asia/Ho_Chi_Minh", NAMES)
    draft = program.build(program.identify(parse(f"{MSH}\rPID|||B1^^^^MR\rZLB|X1|2026|lost".encode()), scope))
    assert draft.resources[0].content["name"] == [{"text": "X1"}]
    assert draft.resources[0].content["deceasedDateTime"] == "2026"
    assert draft.unread == ("ZLB-3",)


def test_what_a_dialect_ignores_is_no_loss() -> None:
    """Fields, and whole segments."""
    dialect = library("PID-3 := PID-2", more="ignore: [OBX-12, PV2]\n").dialects["sakura"]
    assert dialect.losses(("PID-18", "OBX-12", "OBX-13", "PV2-1", "PV2-3")) == ("PID-18", "OBX-13")
