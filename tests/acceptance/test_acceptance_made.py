"""What our own program makes takes the short way out, and would have passed the long one."""

from __future__ import annotations

import pytest

from interop_engine.core.model import Resource
from interop_engine.fhir.schema import validate
from interop_engine.fhir.shortcut import accepts, holds
from tests.support.corpus import corpus_outcomes, sample_outcomes


@pytest.fixture(scope="module", params=["samples", "corpus"])
def bundles(request: pytest.FixtureRequest) -> list[tuple[str, Resource]]:
    """Each message's bundle, made with nothing known of earlier ones."""
    outcomes = sample_outcomes() if request.param == "samples" else corpus_outcomes()
    return [(outcome.label, outcome.bundle) for outcome in outcomes if outcome.bundle is not None]


def test_the_short_answer_is_the_long_one(bundles: list[tuple[str, Resource]]) -> None:
    """Lexical rules included, which only the converters kept."""
    assert len(bundles) >= 10
    assert [(label, validate(bundle, lexical=False), validate(bundle)) for label, bundle in bundles] == [
        (label, (), ()) for label, _ in bundles
    ]


def test_nearly_all_take_the_short_way(bundles: list[tuple[str, Resource]]) -> None:
    """What does not is right, but rare: it costs the whole walk."""
    for short in (holds, accepts):
        walked = [label for label, bundle in bundles if not short(bundle)]
        assert len(walked) <= len(bundles) // 20, walked
