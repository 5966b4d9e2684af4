"""DTM, TS, DT, TM, DR → date, dateTime, instant, time, Period."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop_engine.hl7.message import Segment
from interop_engine.mapping.context import Context, Scope, naming
from interop_engine.mapping.convert import COMPANIONS, times
from interop_engine.mapping.convert.base import PRECISION, SOURCE_TEXT

Convert = Callable[[str, str, str], Any]
# FHIR R4 datatypes, "dateTime" and "instant": the regular expressions of the specification.
DATE_TIME = re.compile(
    r"([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)(-(0[1-9]|1[0-2])(-(0[1-9]|[1-2][0-9]|3[0-1])(T([01][0-9]|2[0-3]):[0-5][0-9]"
    r":([0-5][0-9]|60)(\.[0-9]+)?(Z|(\+|-)((0[0-9]|1[0-3]):[0-5][0-9]|14:00)))?)?)?"
)
TIMES = [
    ("2025", "2025", ""),
    ("202503", "2025-03", ""),
    ("20250301", "2025-03-01", ""),
    ("19800000", "1980", ""),
    ("19800500", "1980-05", ""),
    ("2025030108", "2025-03-01T08:00:00+07:00", "hour"),
    ("202503010830", "2025-03-01T08:30:00+07:00", "minute"),
    ("20250301083015", "2025-03-01T08:30:15+07:00", ""),
    ("20250301083015.1234", "2025-03-01T08:30:15.1234+07:00", ""),
    ("20250301083015-0500", "2025-03-01T08:30:15-05:00", ""),
    ("202503010830+0000", "2025-03-01T08:30:00+00:00", "minute"),
    ("20250301235960", "2025-03-01T23:59:60+07:00", ""),
]


@pytest.mark.parametrize(("text", "expected", "precision"), TIMES)
def test_a_time_keeps_its_precision_and_gets_its_zone(
    convert: Convert, context: Context, text: str, expected: str, precision: str
) -> None:
    """The zone is the value's, else the scope's; seconds that were not sent are zeros, and an extension says so."""
    assert convert("DTM", "dateTime", text) == expected
    assert context.extensions == ([{"url": PRECISION, "valueCode": precision}] if precision else None)
    assert context.findings == []


@pytest.mark.parametrize("text", ["yesterday", "20251301", "20250230", "202503012560", "20250301 0830", "0000", "2025-03-01"])
def test_what_is_no_time_is_left_out_and_said(convert: Convert, context: Context, text: str) -> None:
    """A text that is no time never becomes one."""
    assert convert("DTM", "dateTime", text) is None
    assert [finding.code for finding in context.findings] == ["not-a-time"]


def test_without_any_zone_a_time_becomes_a_date(segment: Callable[[str], Segment]) -> None:
    """FHIR wants a zone with a time of day; without one only the date is true."""
    context = Context(Scope("1", "http://x", "", naming(base="http://x")))
    found = COMPANIONS["OBR", 7, "*"].function(segment("OBR|1||||||202503010830"), context)
    assert found == ("DateTime", "2025-03-01")
    assert [finding.code for finding in context.findings] == ["time-without-zone"]


@pytest.mark.parametrize(
    ("text", "expected"), [("20250301083015+0700", "2025-03-01T08:30:15+07:00"), ("20250301", None), ("x", None)]
)
def test_an_instant_needs_a_time_of_day(convert: Convert, context: Context, text: str, expected: str | None) -> None:
    """An instant without a time of day is left out and listed."""
    assert convert("DTM", "instant", text) == expected
    assert bool(context.findings) == (expected is None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0830", "08:30:00"), ("083015", "08:30:15"), ("08", "08:00:00"), ("083015.5", "08:30:15.5"), ("25", None)],
)
def test_a_time_of_day(convert: Convert, text: str, expected: str | None) -> None:
    """TM → time, filled to seconds."""
    assert convert("TM", "time", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20250301083015", "2025-03-01"), ("198005", "1980-05"), ("19800000", "1980"), ("1980", "1980")],
)
def test_a_date_leaves_the_time_of_day_out(convert: Convert, text: str, expected: str) -> None:
    """A date is what was sent, up to the day."""
    assert convert("DTM", "date", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20250301^20250302", {"start": "2025-03-01", "end": "2025-03-02"}),
        ("20250301^", {"start": "2025-03-01"}),
        ("20250302^20250301", {"start": "2025-03-02"}),
        (
            "202503010830^20250301090000",
            {
                "start": "2025-03-01T08:30:00+07:00",
                "_start": {"extension": [{"url": PRECISION, "valueCode": "minute"}]},
                "end": "2025-03-01T09:00:00+07:00",
            },
        ),
    ],
)
def test_a_range_of_times_is_a_period(convert: Convert, text: str, expected: dict[str, Any]) -> None:
    """DR → Period; an end before its start is left out, since FHIR forbids it (per-1)."""
    assert convert("DR", "Period", text) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("20250301083000|20250301090000", ("Period", {"start": "2025-03-01T08:30:00+07:00", "end": "2025-03-01T09:00:00+07:00"})),
        ("20250301083000|20250301083000", ("DateTime", "2025-03-01T08:30:00+07:00")),
        ("20250301083000|", ("DateTime", "2025-03-01T08:30:00+07:00")),
        ("|", None),
    ],
)
def test_obr_7_and_8_go_together(segment: Callable[[str], Segment], context: Context, fields: str, expected: Any) -> None:
    """Both valued and different: a Period; else a dateTime."""
    assert COMPANIONS["OBR", 7, "*"].function(segment(f"OBR|1||||||{fields}"), context) == expected


@pytest.mark.parametrize(
    ("sent", "expected", "kept"), [("19800101", "1980", True), ("19800000", "1980", False), ("19800102", "1980-01-02", False)]
)
def test_an_unknown_birth_day_is_partial(
    segment: Callable[[str], Segment], context: Context, sent: str, expected: str, *, kept: bool
) -> None:
    """1 January stands for an unknown day of birth, as 00 does: the year is kept, and what was sent beside it."""
    assert COMPANIONS["PID", 7, "date"].function(segment(f"PID|||||||{sent}"), context) == expected
    assert context.extensions == ([{"url": SOURCE_TEXT, "valueString": sent}] if kept else None)


@pytest.mark.parametrize(
    ("sent", "time"),
    [
        ("198002031545", "1980-02-03T15:45:00+07:00"),
        ("19800203154500+0000", "1980-02-03T15:45:00+00:00"),
        ("19800203000000", None),
        ("19800203", None),
    ],
)
def test_the_time_of_birth_stands_beside_the_date(
    segment: Callable[[str], Segment], context: Context, sent: str, time: str | None
) -> None:
    """A date has no time of day: it is in the extension patient-birthTime. Midnight is a day whose time is not known."""
    assert COMPANIONS["PID", 7, "date"].function(segment(f"PID|||||||{sent}"), context) == "1980-02-03"
    expected = [{"url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": time}] if time else None
    assert context.extensions == expected


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)), st.integers(4, 14))  # noqa: DTZ001
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_every_time_is_lexically_fhir_and_the_same_moment(convert: Convert, moment: datetime, length: int) -> None:
    """Whatever its precision, the result matches the specification's expression; a full one is the same moment."""
    text = f"{moment.year:04}{moment:%m%d%H%M%S}"[: length - length % 2]
    found = convert("DTM", "dateTime", text)
    assert DATE_TIME.fullmatch(found)
    if len(text) == 14 and moment.year > 1980:  # before, the zone had other offsets
        assert datetime.fromisoformat(found).astimezone(UTC).replace(microsecond=0) == datetime.fromisoformat(
            f"{moment:%Y-%m-%dT%H:%M:%S}+07:00"
        )


@given(st.text(max_size=24))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_any_text_is_a_valid_time_or_none(context: Context, text: str) -> None:
    """No text makes an invalid dateTime, and none makes an exception."""
    from interop_engine.hl7.message import Delimiters, Value
    from interop_engine.mapping.convert import CONVERSIONS

    for kind in ("dateTime", "date", "instant"):
        found = CONVERSIONS["DTM", kind].function(Value(text, Delimiters()), context)
        assert found is None or DATE_TIME.fullmatch(found)


@pytest.mark.parametrize(
    ("text", "over"),
    [
        ("20260302083000+30", "2026-03-02T09:00:00+07:00"),
        ("202603020830+30 min", "2026-03-02T09:00:00+07:00"),
        ("20260302233000+0700+1 Hours", "2026-03-03T00:30:00+07:00"),
        ("2026030208+90S", "2026-03-02T08:01:30+07:00"),
        ("20260302083000+2 D", "2026-03-04T08:30:00+07:00"),
        ("20260302083000+1 fortnight", ""),
        ("20260302083000+", ""),
        ("20260302+30", ""),
        ("+30", ""),
        ("20260302083000", ""),
        ("99991231235900+999999 W", ""),
    ],
)
def test_what_is_told_by_its_duration_has_an_end(text: str, over: str) -> None:
    """SCH-9 and AIS-7 count minutes unless their unit says otherwise; without a time of day there is no end."""
    assert times.ended(text, "Asia/Ho_Chi_Minh") == over
