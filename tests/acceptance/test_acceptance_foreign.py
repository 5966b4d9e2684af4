"""Whatever a stranger sends: a bundle, or a reason that names segment and field; never a fault of our own, never slow."""

from __future__ import annotations

import contextlib
import io
import re
import time
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop_engine.cli.bench import Bench
from interop_engine.cli.inputs import Message
from interop_engine.fhir.schema import validate
from tests.support.corpus import ROOT
from tests.support.foreign import Kind, foreign

PLACE = re.compile(r"\b[A-Z][A-Z0-9]{2}(\[\d+\])?-\d+|MSH: 100 ")
A_SECOND = 1.0
HUGE = 600_000  # bytes of one field


@cache
def bench() -> Bench:
    """The sample site, to try messages on."""
    return Bench.of(ROOT, None, None)


@cache
def kinds() -> list[Kind]:
    """Every type of message that a mapping of the sample site takes."""
    found = []
    for channel in bench().site.channels:
        for event in channel.options.accept:
            code, _, trigger = event.partition("^")
            program = next(each for each in channel.programs.values() if each.takes(event))
            found.append(Kind(code, trigger, program.structure))
    return found


def judged(data: bytes) -> None:
    """A valid bundle, or a reason with its place that is not the engine's fault; within a second under 100 kB."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        begin = time.thread_time()
        mapped = bench().map(Message("m", data), None)
        seconds = time.thread_time() - begin
    assert seconds < A_SECOND or len(data) >= 100_000
    if mapped is not None and mapped.bundle is not None and mapped.parked is None:
        assert validate(mapped.bundle) == ()
        return
    reason = said.getvalue().rpartition(": error ")[2]
    assert PLACE.search(reason), reason
    assert "internal" not in reason
    assert "invalid-bundle" not in reason


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.deferred(lambda: foreign(kinds())))
def test_any_stranger_gets_a_bundle_or_a_reason(data: bytes) -> None:
    """Any structure, any groups, other delimiters and line ends, Z-segments, junk codes, doubled and missing segments."""
    judged(data)


@pytest.mark.parametrize("kind", ["TX", "FT", "ED", "ST"])
def test_a_huge_field_is_no_trouble(kind: str) -> None:
    """600 kB in one OBX-5, as scanned documents are: a bundle that holds it, in the time of its length."""
    value = "^application^pdf^Base64^" + "QUFB" * (HUGE // 4) if kind == "ED" else "a b~" * (HUGE // 4)
    text = "MSH|^~\\&|LIS|24001|HUB|HUB|20260301083000||ORU^R01^ORU_R01|M1|P|2.5.1\rPID|1||BN1^^^BV24001^MR\r"
    data = f"{text}OBR|1|P1|F1|GLU^Glucose^99LIS|||20260301080000\rOBX|1|{kind}|GLU^Glucose^99LIS||{value}||||||F\r".encode()
    begin = time.thread_time()
    judged(data)
    assert time.thread_time() - begin < 5 * A_SECOND
