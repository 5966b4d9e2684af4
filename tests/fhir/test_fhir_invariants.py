"""Each invariant is kept by one example and broken by another, and none of the engine's types is forgotten."""

from __future__ import annotations

import pytest

from interop_engine.fhir import definitions
from interop_engine.fhir.schema import validate
from tests.support.broken import EXAMPLES
from tests.support.resources import VALID, Json

NAMES = [f"{index}-{key}" for index, (key, _, _) in enumerate(EXAMPLES)]

WRITTEN = (
    *VALID,
    *("Bundle", "Meta", "Narrative", "Extension", "Identifier", "HumanName", "Address", "ContactPoint", "Period", "Quantity"),
    *("Age", "Count", "Distance", "Duration", "Money", "Range", "Ratio", "SampledData", "Attachment", "Reference", "Coding"),
    *("CodeableConcept", "Annotation", "Signature", "Timing", "Dosage", "Expression"),
)


@pytest.mark.parametrize(("key", "kept", "broken"), EXAMPLES, ids=NAMES)
def test_what_keeps_an_invariant_is_valid_and_what_breaks_it_is_not(key: str, kept: Json, broken: Json) -> None:
    """The broken example has one issue, and it names the key."""
    assert validate(kept) == ()
    assert [issue.message.count(key) for issue in validate(broken)] == [1]


def test_no_invariant_of_the_types_the_engine_writes_is_forgotten() -> None:
    """Every constraint of severity error in the definitions of these types has its examples."""
    asked = {one.key for name in WRITTEN for one in definitions.invariants(name) if one.severity == "error"}
    assert asked - {key for key, _, _ in EXAMPLES} == set()
