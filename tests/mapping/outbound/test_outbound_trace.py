"""Where a message made of a bundle comes from, and what of the bundle it does not have."""

from __future__ import annotations

import pytest

from interop_engine.core.model import Resource
from interop_engine.mapping.outbound import trace as tracing
from interop_engine.mapping.outbound.program import Envelope
from interop_engine.mapping.outbound.trace import Lineage, trace
from tests.mapping.outbound.test_outbound_program import NAMES, REPORT, SHAPE, bundle, observation, program


def traced(*resources: Resource, shape: str = SHAPE) -> Lineage:
    """The lineage of a message of some resources."""
    return trace(program(shape), bundle(*resources), NAMES, Envelope("d1"))


def test_each_field_names_the_line_that_gave_it() -> None:
    """As written in the mapping; what the engine writes has none."""
    fields = {said.place: (said.value, said.rule) for said in traced(REPORT, observation("a", valueString="x")).fields}
    assert fields["OBX[1]-5"] == ("x", "value")
    assert fields["OBX[1]-15"] == ("r", "%PATIENT_RESULT.id")
    assert fields["OBX[1]-1"] == ("1", "")
    assert fields["MSH[1]-12"] == ("2.5.1", "")


def test_what_no_line_reads_is_lost() -> None:
    """By element, with how many resources lose it where several do; references within the bundle are no loss."""
    more = {"issued": "2026-03-02T08:00:00Z", "valueString": "x"}
    report = {**REPORT, "category": [{"text": "LAB"}]}
    assert traced(report, observation("a", **more), observation("b", **more)).unread == (
        "DiagnosticReport.status",
        "DiagnosticReport.result.reference",  # the one that leads nowhere
        "DiagnosticReport.category.text",
        "Observation.issued (2×)",
    )


def test_of_two_that_say_the_same_none_is_lost() -> None:
    """A code's words and its display: one stands in for the other."""
    code = {"coding": [{"system": "http://loinc.org", "code": "2345-7", "display": "Glucose"}], "text": "Glucose"}
    found = traced(REPORT, {**observation("a", valueString="x"), "code": code})
    assert not [name for name in found.unread if name.startswith("Observation.code")]


def test_a_large_bundle_is_asked_by_element(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then what one resource loses and another does not stands and falls together, and the rest is told as before."""
    resources = (REPORT, observation("a", issued="2026-03-02T08:00:00Z"), observation("b", issued="2026-03-02T08:00:00Z"))
    alone = traced(*resources).unread
    monkeypatch.setattr(tracing, "_MOST", 0)
    together = traced(*resources).unread
    assert "Observation.issued (2×)" in alone
    assert "Observation.issued (2×)" in together


def test_a_bundle_of_which_nothing_is_made_has_no_lineage() -> None:
    """What is missing is said by the message that was not made."""
    found = traced(observation("a"))
    assert (found.fields, found.unread, found.made.nothing) == ((), (), True)
