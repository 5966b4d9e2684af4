"""What the tests of conversions share: a scope, a way to read one value, and one segment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from interop_engine.hl7.message import Segment, parse
from interop_engine.mapping.context import Context, Scope, naming
from interop_engine.mapping.convert import CONVERSIONS

BASE = "http://bv.example"


@pytest.fixture
def scope() -> Scope:
    """A hospital in Vietnam."""
    return Scope("48001", BASE, "Asia/Ho_Chi_Minh", naming(base=BASE, systems={"HIS": "http://bv.example/his"}))


@pytest.fixture
def context(scope: Scope) -> Context:
    """A run in that hospital."""
    return Context(scope)


@pytest.fixture
def segment() -> Callable[[str], Segment]:
    """A segment of its text."""

    def read(text: str) -> Segment:
        message = parse(f"MSH|^~\\&|LIS|BV|||20250101||ORU^R01|1|P|2.5.1||||||UNICODE UTF-8\r{text}\r".encode())
        return message.segments[1]

    return read


@pytest.fixture
def convert(segment: Callable[[str], Segment], context: Context) -> Callable[[str, str, str], Any]:
    """A value through the conversion of (HL7 v2 type, FHIR type)."""

    def run(v2_type: str, fhir_type: str, text: str) -> Any:
        value = segment(f"ZZZ|{text}").value(1)
        return None if value is None else CONVERSIONS[v2_type, fhir_type].function(value, context)

    return run
