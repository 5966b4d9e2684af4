"""YAML without its traps: text stays text, every place is known, and no file can end the process."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interop_engine.core.diagnostics import Mark
from interop_engine.core.yaml import load


def codes(text: str) -> list[tuple[str, int, int]]:
    """Code, line and column of every mistake."""
    return [(mistake.code, mistake.mark.line, mistake.mark.column) for mistake in load(text, "a.yaml").mistakes]


@pytest.mark.parametrize(
    "scalar",
    [
        "N",
        "off",
        "yes",
        "true",
        "02401",
        "1_000",
        "12:30:45",
        "2024-01-01",
        ".inf",
        "0x1F",
        "1e3",
        "1.50",
        "-",
        "=",
        "NULL",
        "Null",
    ],
)
def test_every_scalar_is_text(scalar: str) -> None:
    """No sex that turns false, no facility that loses its zero, no time in base sixty; the same as a key."""
    document = load(f"a: {scalar}\nb: [{scalar}]\n{scalar}: c\n" if scalar not in "-=" else f"a: '{scalar}'\n", "a.yaml")
    assert document.mistakes == []
    assert document.data["a"] == scalar
    if scalar not in "-=":
        assert (document.data["b"], document.data[scalar]) == ([scalar], "c")


def test_a_null_is_none_only_unquoted() -> None:
    """Nothing, ~ and null; a quoted one is text."""
    text = "a:\nb: ~\nc: null\nd: ''\ne: 'null'\nf: \"~\"\ng: |\n"
    assert load(text, "a.yaml").data == {"a": None, "b": None, "c": None, "d": "", "e": "null", "f": "~", "g": ""}


@pytest.mark.parametrize("text", ["", "\n", "# a comment\n", "---\n", "--- # nothing\n...\n"])
def test_an_empty_file_holds_nothing(text: str) -> None:
    """That is for its reader to judge."""
    assert (load(text, "a.yaml").data, codes(text)) == (None, [])


def test_every_value_and_key_has_its_place() -> None:
    """Line and column count from 1, in characters; a value stands where it begins, also a quoted, block or flow one."""
    text = textwrap.dedent("""\
        Nguyễn: 'x'
        nested:
          deep: [😀, {k: v}]
          - not a list
        """).replace("  - not a list\n", "  block: |\n    two\n    lines\n")
    document = load(text, "channels/lab.yaml")
    places: dict[tuple[Any, ...], tuple[int, int]] = {
        ("Nguyễn",): (1, 9),
        ("nested",): (3, 3),
        ("nested", "deep"): (3, 9),
        ("nested", "deep", 0): (3, 10),
        ("nested", "deep", 1): (3, 13),
        ("nested", "deep", 1, "k"): (3, 17),
        ("nested", "block"): (4, 10),
    }
    assert {path: (mark.line, mark.column) for path, mark in document.values.items() if path} == places
    assert document.mark(("nested", "block"), key=True) == Mark("channels/lab.yaml", 4, 3)
    assert document.mark(("nested", "deep", 1, "k"), key=True) == Mark("channels/lab.yaml", 3, 14)


def test_what_is_not_there_stands_at_its_nearest_ancestor() -> None:
    """A missing key is reported where its mapping begins."""
    document = load("a:\n  b: c\n", "a.yaml")
    assert document.mark(("a", "missing", 3)) == Mark("a.yaml", 2, 3)
    assert document.mark(("a", "missing"), key=True) == Mark("a.yaml", 1, 1)
    assert load("", "a.yaml").mark(("a",)) == Mark("a.yaml", 1, 1)


def test_a_key_that_stands_twice_is_a_mistake() -> None:
    """The first one counts, whatever the quotes; equal keys of different mappings are none."""
    text = "a: 1\nb: {a: 2}\n'a': [3, {deep: x}]\nc: 4\n"
    document = load(text, "a.yaml")
    assert document.data == {"a": "1", "b": {"a": "2"}, "c": "4"}
    assert [str(mistake) for mistake in document.mistakes] == [
        'a.yaml:3:1: Y002 the key "a" stands twice\n    help: it is also on line 1'
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1\n", [("Y003", 1, 4)]),
        ("a: &x 1\nb: *x\n", [("Y003", 1, 4), ("Y003", 2, 4)]),
        ("&a [*a]", [("Y003", 1, 1), ("Y003", 1, 5)]),
        ("a: &m {x: 1}\nb:\n  <<: *m\n", [("Y003", 1, 4), ("Y003", 3, 7)]),
        ("&k a: 1\n", [("Y003", 1, 1)]),
        ("a: &x k\n*x : v\n", [("Y003", 1, 4), ("Y006", 2, 1)]),
    ],
)
def test_anchors_and_aliases_are_mistakes(text: str, expected: list[tuple[str, int, int]]) -> None:
    """Each where it stands; no bomb, no circle, no hidden merge."""
    assert codes(text) == expected


@pytest.mark.parametrize("tag", ["!!int", "!!str", "!!python/object:os.system", "!env", "!", "!!binary", "!<tag:x,2000:y>"])
def test_tags_are_mistakes(tag: str) -> None:
    """On values and on keys; what they tag is text all the same."""
    document = load(f"a: {tag} 5\n{tag} b: 6\n", "a.yaml")
    assert document.data == {"a": "5", "b": "6"}
    assert [(mistake.code, mistake.mark.line) for mistake in document.mistakes] == [("Y004", 1), ("Y004", 2)]


@pytest.mark.parametrize(("text", "place"), [("? [a, {b: c}]\n: d\ne: f\n", (1, 3)), ("? {a: b}\n: c\ne: f\n", (1, 3))])
def test_a_key_is_plain_text(text: str, place: tuple[int, int]) -> None:
    """What is no key is passed over with its value; the rest is read."""
    assert codes(text) == [("Y006", *place)]
    assert load(text, "a.yaml").data == {"e": "f"}


def test_depth_is_limited() -> None:
    """Sixty-four levels are read, one more is a mistake, at its place."""
    assert codes("[" * 65 + "]" * 65) == []
    assert codes("[" * 66 + "]" * 66) == [("Y005", 1, 66)]


@pytest.mark.parametrize("text", ["[" * 100_000, "? " + "[" * 100_000, "{a: " * 50_000, "- " * 100_000])
def test_deep_nesting_ends_neither_the_process_nor_the_day(text: str) -> None:
    """It is refused at the limit, not after the whole file was read."""
    assert "Y005" in [code for code, _, _ in codes(text)]


@pytest.mark.parametrize(
    ("text", "place"),
    [("a: 1\nb: \x01", (2, 4)), ("\x00", (1, 1)), ("a: \ud800", (1, 4)), ("# Việt\na:\x7f", (2, 3))],
)
def test_a_character_yaml_forbids_is_named_at_its_place(text: str, place: tuple[int, int]) -> None:
    """Control characters and halves of a pair."""
    assert codes(text) == [("Y001", *place)]


@pytest.mark.parametrize(
    ("text", "line"), [("a: b: c", 1), ("a:\n\t- b", 2), ("a: [1,\n", 2), ("a: 'x", 1), (": x", 1), ("a: 1\n---\nb: 2", 2)]
)
def test_what_cannot_be_read_is_one_mistake_with_its_place(text: str, line: int) -> None:
    """Syntax errors and second documents; never an exception."""
    assert [(code, at) for code, at, _ in codes(text)] == [("Y001", line)]


def test_mistakes_before_a_syntax_error_are_told_too() -> None:
    """All at once."""
    assert [code for code, _, _ in codes("a: !x 1\na: 2\nb: [")] == ["Y004", "Y002", "Y001"]


@given(st.text(alphabet=st.one_of(st.sampled_from("ab:-?[]{}&*!|>'\"#%@,\n \t~<"), st.characters()), max_size=60))
@example("%TAG ! tag:x,2000:\n---\na: !b c")
@example("\ufeffa: 1")
def test_nothing_raises(text: str) -> None:
    """Whatever the text is; and where there is no mistake, every value has a place inside the text."""
    document = load(text, "a.yaml")
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 1
    assert all(1 <= mark.line <= lines + 1 for mark in document.values.values())
    assert document.mistakes or document.data is None or () in document.values
