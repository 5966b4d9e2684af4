"""``unknown: park``: a change of something nobody told of before (semantics.md, result 15)."""

from __future__ import annotations

import pytest

from interop_engine.core.model import Known
from interop_engine.hl7.message import parse
from interop_engine.mapping.context import Scope, naming
from interop_engine.mapping.program import load

MAPPING = """
mapping: changes
message: ORM_O01
resources:
  change:
    resource: ServiceRequest
    each: ORDER
    known_as: {placer: ORC-2, filler: ORC-3}
    unknown: park
    write: merge
    set: {status: =active, intent: =order, subject: =Patient/1}
"""
NAMES = naming(base="http://x")
MESSAGE = parse(b"MSH|^~\\&|HIS|1|||20260302||ORM^O01|1|P|2.5\rORC|SC|P1||||\r")


def test_what_is_known_by_none_of_its_names_parks_naming_them() -> None:
    """Without such an order the message parks with 204; with it, its id is used."""
    library = load({"mappings/changes.yaml": MAPPING}, NAMES)
    assert library.mistakes == ()
    program, scope = library.programs["changes"], Scope("1", "http://x", "", NAMES)
    plan = program.identify(MESSAGE, scope)
    parked = program.build(plan).park
    assert parked is not None
    assert (parked.code, "ORC-2, ORC-3" in parked.why) == ("204", True)
    (alias,) = plan.question.aliases
    draft = program.build(plan, Known(aliases={alias: "ServiceRequest/old"}))
    assert [resource.id for resource in draft.resources] == ["old"]


@pytest.mark.parametrize(
    ("line", "code"),
    [("unknown: maybe", "M104"), ("known_as: {placer: ORC-2, filler: ORC-3}", "M103")],
    ids=["value", "no names"],
)
def test_unknown_is_new_or_park_and_about_names(line: str, code: str) -> None:
    """Another word is a mistake, and so is the key without ``known_as``."""
    changed = MAPPING.replace("unknown: park", line) if code == "M104" else MAPPING.replace(line, "key: ORC-2")
    assert [mistake.code for mistake in load({"mappings/changes.yaml": changed}, NAMES).mistakes] == [code]
