"""The grammar of expressions and conditions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop_engine.mapping.expression import (
    Call,
    Coalesce,
    Comparison,
    FieldPath,
    Junction,
    Literal,
    Not,
    Pipe,
    Reference,
    SyntaxProblem,
    Text,
    Word,
    parse_condition,
    parse_expression,
)
from interop_engine.mapping.expression import (
    Test as NamedTest,
)


def path(
    segment: str, field: int | str | None, component: int | None = None, sub: int | None = None, column: int = 0
) -> FieldPath:
    """A path without choices."""
    return FieldPath(segment, None, field, None, component, sub, column)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("PID-5", path("PID", 5)),
        ("PID-3.4.2", path("PID", 3, 4, 2)),
        ("PID-patient_name", path("PID", "patient_name")),
        ("PID-3[2]", FieldPath("PID", None, 3, 2, None, None, 0)),
        ("PID-3[2].4.1", FieldPath("PID", None, 3, 2, 4, 1, 0)),
        ("OBX[3]-5", FieldPath("OBX", 3, 5, None, None, None, 0)),
        ("SPM", path("SPM", None)),
        (".9.2", path("", None, 9, 2)),
        (".", path("", None)),
        ("-3.1", path("", 3, 1)),
    ],
)
def test_a_path_is_written_as_integrators_write_it(text: str, tree: FieldPath) -> None:
    """Segment, field by number or name, repetition after the field, component, subcomponent; relative without a segment."""
    assert parse_expression(text) == tree


def test_segments_and_repetitions_can_be_chosen_by_a_condition() -> None:
    """``OBX[-3.1 = 'IMP']-5`` and ``PID-3[.5 = 'NI']``: relative to the segment, and to the value."""
    chosen = parse_expression("OBX[-3.1 = 'IMP']-5")
    assert chosen == FieldPath("OBX", Comparison("=", path("", 3, 1, column=4), (Text("IMP", 11),), 4), 5, None, None, None, 0)
    repetition = parse_expression("PID-3[.5 = 'NI'].1")
    assert repetition == FieldPath("PID", None, 3, Comparison("=", path("", None, 5, column=6), (Text("NI", 11),), 6), 1, None, 0)


def test_coalesce_binds_tighter_than_pipe() -> None:
    """``a ?? b | f`` is ``(a ?? b) | f``."""
    tree = parse_expression("OBX-14 ?? OBR-7 | date")
    assert tree == Pipe(Coalesce((path("OBX", 14), path("OBR", 7, column=10)), 0), Call("date", (), 18), 0)


def test_parentheses_group() -> None:
    """``a ?? (b | f)`` applies f to b alone."""
    tree = parse_expression("A01-1 ?? (B01-1 | upper)")
    assert tree == Coalesce((path("A01", 1), Pipe(path("B01", 1, column=10), Call("upper", (), 18), 10)), 0)


def test_arguments_are_names_texts_or_expressions() -> None:
    """A bare name (with dashes) is a table or map; a quote inside a text is written twice."""
    assert parse_expression("OBR-4 | translate(lab-tests)") == Pipe(
        path("OBR", 4), Call("translate", (Word("lab-tests", 18),), 8), 0
    )
    tree = parse_expression("concat(PID-5.1, ' d''', PID-5.2)")
    assert tree == Call("concat", (path("PID", 5, 1, column=7), Text(" d'", 16), path("PID", 5, 2, column=24)), 0)


def test_a_reference_names_a_resource() -> None:
    """``-> name``; a field's dash is another thing."""
    assert parse_expression("-> patient") == Reference("patient", 0)


def test_a_literal_goes_to_the_end_of_the_scalar() -> None:
    """``=`` at the start: nothing in it is read as an expression."""
    assert parse_expression("=http://example.org/a#b | c") == Literal("http://example.org/a#b | c", 0)


def test_conditions_have_two_values_and_the_usual_order() -> None:
    """``not`` binds tighter than ``and``, ``and`` tighter than ``or``."""
    tree = parse_condition("exists(OBX-3) and not OBX-2 in ['ED', 'RP'] or OBX-11 = 'F'")
    members = Comparison("in", path("OBX", 2, column=22), (Text("ED", 32), Text("RP", 38)), 22)
    both = Junction("and", (NamedTest("exists", path("OBX", 3, column=7), "", 0), Not(members, 18)), 0)
    assert tree == Junction("or", (both, Comparison("=", path("OBX", 11, column=47), (Text("F", 56),), 47)), 0)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("OBX-2 not in ['ED']", Comparison),
        ("(OBX-2 = 'ED')", Comparison),
        ("(ORC-2 ?? OBR-2) = 'x'", Comparison),
        ("(ORC-1 = 'NW' or ORC-1 = 'CA') and exists(OBR)", Junction),
        ("matches(PID-3.1, '[0-9]+')", NamedTest),
        ("all(OBX-11 = 'F')", NamedTest),
        ("count(OBX) > 3", Comparison),
        ("deleted(PID-13)", NamedTest),
    ],
)
def test_every_form_of_condition_is_read(text: str, kind: type) -> None:
    """Comparisons, tests and parentheses around conditions or operands."""
    assert type(parse_condition(text)) is kind


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 0, "expected a path, a text in quotes or a function, found the end"),
        ("PID-", 4, "expected the number or the name of a field, found the end"),
        ("PID-0", 4, "fields, components and repetitions count from 1"),
        ("PID-5.1[2]", 7, "a repetition stands after the field, before the component"),
        ("PID-5.1.2.3", 4, "a path ends with the subcomponent"),
        ("PID-5 ??", 8, "expected a path, a text in quotes or a function, found the end"),
        ("PID-5 | ", 8, "expected the name of a function, found the end"),
        ("PID-5 'x'", 6, "expected the end, found \"'x'\""),
        ("concat(PID-5, 'x", 14, '"\'" is not part of the language'),
        ('PID-5 ?? "x"', 9, "'\"' is not part of the language"),
        ("Pid-5", 0, "'P' is not part of the language"),
        ("PID - 5", 4, 'expected the end, found "-"'),
        ("f(" * 60, 80, "nested deeper than 40 levels"),
    ],
)
def test_a_mistake_has_the_column_of_its_character(text: str, column: int, message: str) -> None:
    """The first thing that is wrong is named, with its place."""
    with pytest.raises(SyntaxProblem) as caught:
        parse_expression(text)
    assert (caught.value.column, caught.value.message) == (column, message)


@pytest.mark.parametrize(
    ("text", "column"), [("OBX-2", 5), ("OBX-2 in []", 10), ("exists(OBX-2", 12), ("OBX-2 = 'F' and", 15), ("(OBX-2 = 'F'", 12)]
)
def test_a_condition_that_is_none_is_refused(text: str, column: int) -> None:
    """An operand alone is no condition; brackets and parentheses are closed."""
    with pytest.raises(SyntaxProblem) as caught:
        parse_condition(text)
    assert caught.value.column == column


@given(st.text(alphabet="PIDOBX-.[]()|?'=! \tabcinort0123,>é\"", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser fail in another way, and a column is within the text."""
    assert -1 <= problem_column(parse_expression, text) <= len(text)
    assert -1 <= problem_column(parse_condition, text) <= len(text)


def problem_column(parse: Callable[[str], object], text: str) -> int:
    """The column of what is wrong, -1 where the text is read."""
    try:
        parse(text)
    except SyntaxProblem as problem:
        return problem.column
    return -1
