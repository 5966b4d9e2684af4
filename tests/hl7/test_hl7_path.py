"""Paths: their grammar, their types, and what they read."""

from __future__ import annotations

import pytest

from interop_engine.hl7.message import parse
from interop_engine.hl7.path import Path, PathError, Predicate, parse_path, read, resolve_type

MESSAGE = parse(
    b"MSH|^~\\&|LIS|24001|||20260102||ORU^R01|1|P|2.5\r"
    b"PID|1||A1^^^BV^MR~B2^^^BHYT&1.2&ISO^NI||Nguy^An\r"
    b"OBX|1|TX|GDT||text\r"
    b"OBX|2|TX|IMP^Impression||clear~second\r"
)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("PID-3", Path("PID", 3)),
        ("PID-3.4.2", Path("PID", 3, 4, 2)),
        ("PID-3[2]", Path("PID", 3, repetition=2)),
        ("PID-3[2].1", Path("PID", 3, 1, repetition=2)),
        ("PID-3[.5 = 'NI']", Path("PID", 3, repetition=Predicate(0, 5, 0, ("NI",)))),
        ("PID-3[.5 != 'NI'].1", Path("PID", 3, 1, repetition=Predicate(0, 5, 0, ("NI",), negated=True))),
        ("PID-3[.5 in ['NI', 'MR']]", Path("PID", 3, repetition=Predicate(0, 5, 0, ("NI", "MR")))),
        ("OBX[2]-5", Path("OBX", 5, segment_choice=2)),
        ("OBX[-3.1 = 'IMP']-5", Path("OBX", 5, segment_choice=Predicate(3, 1, 0, ("IMP",)))),
        ("OBX[-2 in ['ED','RP']]-5", Path("OBX", 5, segment_choice=Predicate(2, 0, 0, ("ED", "RP")))),
        ("PID-patient_identifier_list.1", Path("PID", 3, 1)),
        ("OBX[-value_type = 'TX']-5", Path("OBX", 5, segment_choice=Predicate(2, 0, 0, ("TX",)))),
        ("OBX[-3.1 = 'a''b']-5", Path("OBX", 5, segment_choice=Predicate(3, 1, 0, ("a'b",)))),
        ("ZDS-1.2", Path("ZDS", 1, 2)),
    ],
)
def test_grammar(text: str, path: Path) -> None:
    """Every form of a path."""
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 0, "a segment"),
        ("pid-3", 0, "is not a segment"),
        ("PID", 3, 'expected "-"'),
        ("PID-", 4, "number or the name"),
        ("PID-0", 4, "count from 1"),
        ("PID-3.x", 6, "number of a component"),
        ("PID-patient_nam", 4, 'did you mean "patient_name"'),
        ("PID-3[", 6, "component"),
        ("PID-3[2", 7, 'expected "]"'),
        ("PID-3[.5 = NI]", 10, "text in single quotes"),
        ("PID-3[.5 > 'NI']", 8, 'expected "="'),
        ("OBX[.1 = 'a']-5", 4, 'expected "-"'),
        ("PID-3.4.1.2", 9, "expected the end"),
        ("ZDS-study", 4, "has no field"),
    ],
)
def test_mistakes_have_a_column(text: str, column: int, message: str) -> None:
    """What is wrong is named with its column, counted from 0."""
    with pytest.raises(PathError) as caught:
        parse_path(text)
    assert message in str(caught.value)
    assert caught.value.column == column


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("PID-3", ("CX", True)),
        ("PID-3[1]", ("CX", False)),
        ("PID-3.4", ("HD", True)),
        ("PID-3.4.2", ("ST", True)),
        ("PID-7", ("DTM", False)),
        ("PID-7.1", ("DTM", False)),  # TS of old had components; a primitive is its own first
        ("PID-7.2", None),
        ("PID-99", None),
        ("ZPI-1", None),
    ],
)
def test_types(text: str, type_: tuple[str, bool] | None) -> None:
    """A path has the data type at its end, and may repeat where its field does."""
    assert resolve_type(parse_path(text)) == type_


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("PID-3", ["A1", "B2"]),
        ("PID-3[2]", ["B2"]),
        ("PID-3[3]", []),
        ("PID-3[.5 = 'NI'].1", ["B2"]),
        ("PID-3[.5 != 'NI'].1", ["A1"]),
        ("PID-3[.4.2 = '1.2'].1", ["B2"]),
        ("PID-3.4.1", ["BV", "BHYT"]),
        ("PID-5.2", ["An"]),
        ("PID-6", []),
        ("OBX-5", ["text", "clear", "second"]),
        ("OBX[2]-5[2]", ["second"]),
        ("OBX[-3.1 = 'IMP']-5[1]", ["clear"]),
        ("OBX[-3.1 in ['GDT', 'ADT']]-5", ["text"]),
        ("OBX[-3.2 != 'Impression']-5", ["text"]),
    ],
)
def test_reading(text: str, values: list[str]) -> None:
    """A path gives the valued places it names, in order."""
    path = parse_path(text)
    assert [value.text for value in read(MESSAGE.all(path.segment), path)] == values
