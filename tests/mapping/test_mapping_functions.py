"""The functions of the mapping language: their examples run, and each says what it does."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

from interop_engine.mapping import functions, primitives, reading
from interop_engine.mapping.functions import FUNCTIONS
from interop_engine.mapping.primitives import read_primitive


@pytest.mark.parametrize("module", [functions, primitives])
def test_the_examples_in_the_docstrings_run(module: object) -> None:
    """They are the reference's examples too."""
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if f.takes == "text" and not f.context])
def test_every_text_function_has_an_example(name: str) -> None:
    """A docstring without ``>>>`` helps nobody."""
    assert f">>> {name}(" in inspect.getdoc(FUNCTIONS[name].call)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("date", "2026-11", "2026-11"),
        ("date", "20261121", None),
        ("dateTime", "2026-11-21T09:30:00+07:00", "2026-11-21T09:30:00+07:00"),
        ("dateTime", "2026-11-21T09:30:00", None),
        ("instant", "2026-11-21", None),
        ("positiveInt", "0", None),
        ("unsignedInt", "0", 0),
        ("integer", "-3", -3),
        ("integer", "1.5", None),
        ("boolean", "Y", True),
        ("boolean", "maybe", None),
        ("code", "a b", "a b"),
        ("code", "a  b", None),
        ("id", "a_b", None),
        ("uri", "a b", None),
        ("base64Binary", "JVBERi0=", "JVBERi0="),
        ("base64Binary", "JVBERi0", None),
        ("string", "", None),
        ("nothing", "x", None),
    ],
)
def test_text_becomes_a_primitive_only_where_it_is_one(kind: str, text: str, value: object) -> None:
    """Lexical rules of FHIR R4, "Data Types"."""
    assert read_primitive(kind, text) == value


def test_the_reference_page_names_every_function_and_key() -> None:
    """What is in the language is on its page."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "mapping-language.md").read_text("utf-8")
    keys = {*reading.MAPPING_KEYS, *reading.RESOURCE_KEYS}
    assert {name for name in FUNCTIONS if f"`{name}" not in page} == set()
    assert {key for key in keys if f"| `{key}` |" not in page} == set()
