"""What was just made is asked for its structure only: nothing but lexical rules, which converters keep, may slip through."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop_engine.fhir.primitives import MEDIA_TYPE
from interop_engine.fhir.schema import Issue, validate
from interop_engine.fhir.shortcut import holds
from tests.support.broken import EXAMPLES
from tests.support.resources import VALID, mutants, places, put, valid, whole_bundle

Json = dict[str, Any]

# All that a string may be without being what its type asks for; of numbers, that a Decimal is none.
LEXICAL = {
    "holds a control character",
    "holds white space",
    "is not a code",
    "is not a valid OID",
    "is not a valid UUID in lower case",
    "is not valid base64",
    "may not be empty",  # of blanks; an empty string is refused by its length
    "may not exceed 1048576 characters",
    "must be Type/id, an absolute URL, a urn or #id",
    "must be a finite number",
    "must be an absolute URI",
    *(f"is not a valid {kind}" for kind in ("date", "dateTime", "id", "instant", "oid", "time", "uuid", MEDIA_TYPE)),
}


def structural(resource: Any) -> tuple[Issue, ...]:
    """The issues of a resource that are not lexical."""
    return tuple(issue for issue in validate(resource) if issue.message not in LEXICAL or issue.code != "value")


@pytest.mark.parametrize("name", VALID)
def test_what_the_engine_writes_is_seen_to_hold(name: str) -> None:
    """The examples hold what messages give; were one refused here, its message would pay for the whole check."""
    assert holds(valid(name))


def test_a_bundle_of_them_is_seen_to_hold() -> None:
    """With all its entries at once."""
    assert holds(whole_bundle())
    assert validate(whole_bundle(), lexical=False) == ()


@pytest.mark.parametrize("name", VALID)
def test_no_fault_of_structure_is_seen_to_hold(name: str) -> None:
    """Every systematic mutant that is accepted has lexical issues only; an empty string is never accepted."""
    accepted = [(what, mutant) for what, mutant in mutants(name) if holds(mutant)]
    assert [what for what, mutant in accepted if structural(mutant)] == []
    assert [what for what, _ in accepted if what.startswith("empty")] == []
    assert any(what.startswith("blanks") for what, _ in accepted)


@pytest.mark.parametrize(("key", "kept", "broken"), EXAMPLES)
def test_invariants_are_asked_for(key: str, kept: Json, broken: Json) -> None:
    """Each of them, with the same words, and without lexical rules as with them; but for those of the narrative's language."""
    assert validate(kept, lexical=False) == ()
    assert validate(broken, lexical=False) == validate(broken) != (), key


LEXICALLY_WRONG: list[tuple[str, Json]] = [
    ("code", {"status": "final", "language": "vi "}),
    ("dateTime", {"effectiveDateTime": "2024-02-30"}),
    ("decimal", {"valueQuantity": {"value": Decimal("NaN")}}),
    ("id", {"id": "a b"}),
    ("instant", {"issued": "2024-03-01"}),
    ("reference", {"subject": {"reference": "Patient/a b"}}),
    ("string", {"code": {"text": "a\x00b"}}),
    ("uri", {"meta": {"source": "a b"}}),
    ("absolute uri", {"code": {"coding": [{"system": "loinc", "code": "a"}]}}),
]


@pytest.mark.parametrize(("_kind", "change"), LEXICALLY_WRONG)
def test_strings_are_left_to_the_converters(_kind: str, change: Json) -> None:
    """What slips through, and what the whole check says of it: the tests of the converters hold that they never make it."""
    wrong = {
        name: value for name, value in valid("Observation").items() if not (name.startswith("value") and "value" in str(change))
    }
    wrong |= change
    assert validate(wrong, lexical=False) == ()
    assert [issue.message in LEXICAL for issue in validate(wrong)] == [True]


@pytest.mark.parametrize(
    "change",
    [
        {"valueQuantity": {"value": "5.2"}},
        {"valueQuantity": {"value": 5.2}},
        {"valueQuantity": {"value": True}},
        {"valueQuantity": {"code": "g"}},
        {"subject": {"reference": "Practitioner/p1"}},
        {"subject": {"reference": "Patient/"}},
        {"subject": {"reference": "Patient"}},
        {"subject": {}},
        {"status": "done"},
        {"code": {}},
        {"code": None},
        {"code": [{"text": "a"}]},
        {"category": {"text": "a"}},
        {"component": []},
        {"colour": "red"},
        {"valueString": "5"},
        {"_valueDateTime": {"extension": [{"url": "urn:test:x", "valueCode": "a"}]}},
    ],
)
def test_structure_is_asked_for(change: Json) -> None:
    """Numbers, targets, codes, lists, names and choices."""
    wrong = valid("Observation") | change
    assert not holds(wrong)
    assert validate(wrong, lexical=False) == validate(wrong) != ()


def faulty_bundles() -> Iterator[tuple[str, Json]]:
    """Bundles with one fault as a whole, or in one entry."""
    for path in places(whole_bundle()):
        if "resource" in path and path[3:] not in {(), ("id",), ("status",)}:
            continue
        for what, replacement in (("null", None), ("text", "x"), ("number", 5), ("nothing", {}), ("list", [])):
            bundle = whole_bundle()
            put(bundle, path, replacement)
            yield f"{what} {'.'.join(map(str, path))}", bundle
    twice = whole_bundle()
    twice["entry"].append(copy.deepcopy(twice["entry"][0]))
    yield "the same entry twice", twice
    another = whole_bundle()
    another["entry"][0]["request"]["url"] = another["entry"][1]["request"]["url"]
    yield "another's name", another
    versioned = whole_bundle()
    for entry in versioned["entry"]:
        entry["fullUrl"] = "https://hospital.example/_history/" + entry["request"]["url"]
    yield "a version in each fullUrl", versioned
    relative = whole_bundle()
    for entry in relative["entry"]:
        entry["fullUrl"] = "fhir/" + entry["request"]["url"]
    yield "a relative base", relative
    yield "a total", whole_bundle() | {"total": 12}
    yield "a collection", whole_bundle() | {"type": "collection"}


def test_the_rules_of_bundles_are_asked_for() -> None:
    """Whatever is wrong with a bundle of our own but a string: the same issues, in the same words."""
    faulty = list(faulty_bundles())
    assert len(faulty) > 200
    differing = [what for what, bundle in faulty if structural(bundle) and validate(bundle, lexical=False) != validate(bundle)]
    assert differing == []


_VALUES: list[Any] = [
    *(None, True, 0, -1, 1.5, Decimal("NaN"), "", " ", "a b", "x", "2024", "2024-02-30T10:00:00Z", "final", "female"),
    *("Patient/p1", "Patient/p1\n", "Pat/1", "\ud800", "#a", "urn:oid:1.02", {}, [], [None], {"id": "a"}, {"text": "a"}),
    *({"extension": []}, {"coding": [{}]}, {"value": "5"}, {"code": "a"}, {"reference": "Pat/1"}, ["a", ""], {"url": "urn:x"}),
]


@given(st.data())
def test_no_random_fault_of_structure_is_seen_to_hold(data: st.DataObject) -> None:
    """Several random faults at once, put anywhere."""
    resource = copy.deepcopy(VALID[data.draw(st.sampled_from(sorted(VALID)))])
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(resource))))
        beside = isinstance(path[-1], str) and data.draw(st.booleans())
        put(resource, (*path[:-1], f"_{path[-1]}") if beside else path, copy.deepcopy(data.draw(st.sampled_from(_VALUES))))
    if holds(resource):
        assert structural(resource) == ()
