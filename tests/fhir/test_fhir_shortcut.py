"""The short cut says yes only where the thorough checks find nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop_engine.fhir import structure
from interop_engine.fhir.schema import validate
from interop_engine.fhir.shortcut import accepts
from tests.support.broken import EXAMPLES
from tests.support.resources import VALID, mutants, places, put, valid

TOLD = {"extension": [{"url": "urn:test:sent", "valueCode": "minute"}]}


@pytest.fixture
def thorough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validate without the short cut."""
    monkeypatch.setattr(structure, "accepts", lambda _resource: False)


@pytest.mark.parametrize("name", VALID)
def test_what_the_engine_writes_takes_the_short_cut(name: str) -> None:
    """The examples hold what messages give; were one refused here, every message would pay for it."""
    assert accepts(valid(name))


@pytest.mark.parametrize(
    "change",
    [
        {"_effectiveDateTime": TOLD},
        {"_issued": TOLD},
        {"_status": TOLD},
        {"extension": TOLD["extension"]},
        {"code": {"coding": [{"code": "a", "extension": TOLD["extension"]}]}},
    ],
)
def test_what_converters_tell_beside_a_value_takes_the_short_cut(change: Any) -> None:
    """Times with less precision than FHIR wants are usual, and statuses keep the sender's code."""
    assert accepts(valid("Observation") | change)


@pytest.mark.parametrize("name", VALID)
@pytest.mark.usefixtures("thorough")
def test_no_mutant_takes_the_short_cut_wrongly(name: str) -> None:
    """Every systematic mutant that is accepted has no issue."""
    wrongly = [what for what, mutant in mutants(name) if accepts(mutant) and validate(mutant)]
    assert wrongly == []


@pytest.mark.usefixtures("thorough")
def test_no_broken_invariant_takes_the_short_cut() -> None:
    """The struct's method knows every invariant."""
    assert [key for key, _, broken in EXAMPLES if broken["resourceType"] != "Bundle" and accepts(broken)] == []


@pytest.mark.parametrize(("_key", "kept", "broken"), EXAMPLES)
def test_the_answer_is_the_same_without_the_short_cut(_key: str, kept: Any, broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short cut changes the time an answer takes, never the answer."""
    with_it = validate(kept), validate(broken)
    monkeypatch.setattr(structure, "accepts", lambda _resource: False)
    assert (validate(kept), validate(broken)) == with_it


_VALUES = st.sampled_from(
    [
        *(
            None,
            True,
            0,
            -1,
            1.5,
            "",
            " ",
            " a",
            "a b",
            "a\nb",
            "x",
            "2024",
            "2023-02-30",
            "2024-02-30T10:00:00Z",
            "final",
            "female",
        ),
        *(
            "Patient/p1",
            "Patient/p1\n",
            "\ud800",
            "#a",
            "urn:oid:1.02",
            "http://a b",
            "YQ=",
            {},
            [],
            [None],
            {"id": "a"},
            {"text": "a"},
        ),
        *({"extension": []}, {"coding": [{}]}, {"value": "5"}, {"reference": "Pat/1"}, ["a", ""], {"url": "urn:x"}, TOLD),
    ]
)


@given(st.data())
def test_no_random_mutant_takes_the_short_cut_wrongly(data: st.DataObject) -> None:
    """Several random faults at once, put anywhere."""
    resource = copy.deepcopy(VALID[data.draw(st.sampled_from(sorted(VALID)))])
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(resource))))
        beside = isinstance(path[-1], str) and data.draw(st.booleans())
        put(resource, (*path[:-1], f"_{path[-1]}") if beside else path, copy.deepcopy(data.draw(_VALUES)))
    if accepts(resource):
        problems = structure._any_resource(resource, [])
        assert problems is None
