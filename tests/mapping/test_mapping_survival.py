"""What a sender writes arrives: digits, moments and text, from the bytes of a message to the resource."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from decimal import Decimal
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from interop_engine.hl7.message import Delimiters, escape, parse
from interop_engine.mapping.program import Program
from tests.support.mappings import MSH_ORU, OBR, ORU, PID, SCOPE, contents, obx, program

TEXT = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=60).map(str.strip).filter(bool)


@cache
def compiled() -> Program:
    """The mapping of results, once."""
    return program(ORU)


def observed(kind: str, value: str) -> dict[str, object]:
    """The Observation of one OBX with this value."""
    data = "\r".join((MSH_ORU, PID, OBR, obx(1, "A", value, kind=kind).replace("|mmol/L|", "||"))).encode()
    (found,) = contents(compiled().build(compiled().identify(parse(data), SCOPE)), "observation")
    return found


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_decimals_survive(number: Decimal) -> None:
    """With each digit that was sent, also the zeros at the end."""
    value = observed("NM", f"{number:f}")["valueQuantity"]
    assert isinstance(value, dict)
    assert str(value["value"]) == f"{number:f}"


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)), st.sampled_from(["+0700", "-0330", "+0000"]))  # noqa: DTZ001
def test_moments_survive(moment: datetime, zone: str) -> None:
    """The same moment in the same zone, to the second."""
    value = observed("DTM", f"{moment:%Y%m%d%H%M%S}{zone}")["valueDateTime"]
    assert value == f"{moment:%Y-%m-%dT%H:%M:%S}{zone[:3]}:{zone[3:]}"


@given(TEXT)
def test_text_survives(text: str) -> None:
    """Any letters, digits and signs, the delimiters among them escaped; composed, as FHIR wants it, and nothing else."""
    value = observed("ST", escape(text, Delimiters()))["valueString"]
    assert isinstance(value, str)
    assert " ".join(value.split()) == " ".join(unicodedata.normalize("NFC", text).split())
