"""Every bundle that leaves is valid R4, says a jury of which we wrote one member, and refers to nothing it does not hold.

HL7's own Java validator was asked about the same bundles when this was written: no error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from interop_engine.core.model import Resource
from interop_engine.fhir.schema import validate
from tests.support.corpus import corpus_outcomes, sample_outcomes
from tests.support.referees import fhir_resources_says, fhirkit_says, medplum_says


@pytest.fixture(scope="module", params=["samples", "corpus"])
def bundles(request: pytest.FixtureRequest) -> list[tuple[str, Resource]]:
    """Each message's bundle, made with nothing known of earlier ones."""
    outcomes = sample_outcomes() if request.param == "samples" else corpus_outcomes()
    return [(outcome.label, outcome.bundle) for outcome in outcomes if outcome.bundle is not None]


def test_there_is_something_to_judge(bundles: list[tuple[str, Resource]]) -> None:
    """A jury that is shown nothing finds nothing."""
    assert len(bundles) >= 10
    kinds = {entry["resource"]["resourceType"] for _, bundle in bundles for entry in bundle["entry"]}
    assert kinds >= {"Patient", "ServiceRequest", "Observation", "DiagnosticReport", "Encounter", "Specimen", "Provenance"}


def test_our_own_schema_finds_them_valid_and_closed(bundles: list[tuple[str, Resource]]) -> None:
    """What guards the way out, here with the claim that a bundle holds all it refers to."""
    assert [(label, issue) for label, bundle in bundles for issue in validate(bundle, complete=True)] == []


def test_every_reference_is_to_an_entry(bundles: list[tuple[str, Resource]]) -> None:
    """Each literal reference, wherever it stands, is Type/id of an entry; each entry is written under that very name, once."""
    for label, bundle in bundles:
        names = [f"{entry['resource']['resourceType']}/{entry['resource']['id']}" for entry in bundle["entry"]]
        assert len(set(names)) == len(names), label
        assert [entry["request"]["url"] for entry in bundle["entry"]] == names, label
        assert [entry["fullUrl"] for entry in bundle["entry"] if not entry["fullUrl"].endswith(tuple(names))] == [], label
        assert set(literal_references(bundle)) <= set(names), label


def literal_references(value: Any) -> Iterator[str]:
    """Every Reference.reference below a value."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for each in value.values():
            yield from literal_references(each)
    elif isinstance(value, list):
        for each in value:
            yield from literal_references(each)


@pytest.mark.filterwarnings("ignore")
def test_fhir_resources_finds_them_valid(bundles: list[tuple[str, Resource]]) -> None:
    """fhir.resources (R4B, which for what is written here is R4)."""
    assert [(label, said) for label, bundle in bundles for said in fhir_resources_says(bundle)] == []


def test_fhirkit_finds_them_valid(bundles: list[tuple[str, Resource]]) -> None:
    """fhirkit-rs, each resource by itself too: in a bundle it does not look at all."""
    each = [(label, resource) for label, bundle in bundles for resource in (bundle, *(e["resource"] for e in bundle["entry"]))]
    assert [(label, said) for label, resource in each for said in fhirkit_says(resource)] == []


@pytest.mark.node
def test_medplum_finds_them_valid(bundles: list[tuple[str, Resource]]) -> None:
    """@medplum/core, bundle and resources."""
    each = [(label, resource) for label, bundle in bundles for resource in (bundle, *(e["resource"] for e in bundle["entry"]))]
    verdicts = medplum_says([resource for _, resource in each])
    assert len(verdicts) == len(each)
    assert [(label, said) for (label, _), verdict in zip(each, verdicts, strict=True) for said in verdict] == []
