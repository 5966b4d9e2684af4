"""Times and numbers keep what was written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop_engine.hl7.scalars import Moment, TimeOfDay, read_decimal, read_moment, read_time, zone_of


@pytest.mark.parametrize(
    ("text", "expected", "precision"),
    [
        ("2024", Moment(2024), "year"),
        ("202401", Moment(2024, 1), "month"),
        ("20240131", Moment(2024, 1, 31), "day"),
        ("2024013107", Moment(2024, 1, 31, 7), "hour"),
        ("202401310705", Moment(2024, 1, 31, 7, 5), "minute"),
        ("20240131070509", Moment(2024, 1, 31, 7, 5, 9), "second"),
        ("20240131070509.120+0700", Moment(2024, 1, 31, 7, 5, 9, "120", "+0700"), "second"),
        ("202401310705-0330", Moment(2024, 1, 31, 7, 5, offset="-0330"), "minute"),
        ("20240131070560", Moment(2024, 1, 31, 7, 5, 60), "second"),
        ("20240229", Moment(2024, 2, 29), "day"),
        ("19800000", Moment(1980), "year"),
        ("19800500", Moment(1980, 5), "month"),
        (" 20240131 ", Moment(2024, 1, 31), "day"),
    ],
)
def test_moments(text: str, expected: Moment, precision: str) -> None:
    """A DTM has the precision, the fraction's digits and the offset that were written; unknown parts end it."""
    moment = read_moment(text)
    assert moment == expected
    assert moment is not None
    assert moment.precision == precision


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "0000",
            "00000000",
            "19800031",
            "20230229",
            "20241301",
            "2024013124",
            "202401310760",
            "20240131+1500",
            "20240131070509.",
        ),
        *("2024-01-31", "now", "202", "２０２４", "20240131T07", "2024013107050", "20240131070509+07"),
    ],
)
def test_what_is_no_moment(text: str) -> None:
    """What is no day of the calendar, or another notation, is None."""
    assert read_moment(text) is None


@given(st.text("0123456789.+- ", max_size=30))
def test_any_text_is_a_moment_or_none(text: str) -> None:
    """Nothing raises, and what is read was written."""
    moment = read_moment(text)
    if moment is not None:
        assert text.strip().startswith(f"{moment.year:04}")


def test_times_of_day() -> None:
    """TM: hour to fraction, with an offset."""
    assert read_time("0705") == TimeOfDay(7, 5)
    assert read_time("070509.5+0700") == TimeOfDay(7, 5, 9, "5", "+0700")
    assert read_time("24") is None
    assert read_time("7:05") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5.20", "5.20"), (".5", "0.5"), ("+5", "5"), ("05", "5"), ("-0.10", "-0.10"), ("5.", "5"), (" 7 ", "7"), ("00.50", "0.50")],
)
def test_decimals_keep_their_digits(text: str, expected: str) -> None:
    """``5.20`` stays ``5.20``; what JSON cannot write is normalised."""
    assert str(read_decimal(text)) == expected


@pytest.mark.parametrize("text", ["", "<5", "1,5", "1e5", "NaN", "Infinity", "5 mmol", ".", "-", "1_000", "٥"])
def test_what_is_no_decimal(text: str) -> None:
    """NM is digits, a sign and a point; nothing else that Python would read as a number."""
    assert read_decimal(text) is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_decimals_are_exact(value: Decimal) -> None:
    """Any decimal comes back exactly."""
    assert read_decimal(f"{value:f}") == value


@pytest.mark.parametrize(
    ("sent", "zone", "expected"),
    [
        ("20240131070509-0500", "Asia/Ho_Chi_Minh", "-0500"),
        ("20240131070509-0500", "", "-0500"),
        ("20240131070509-0500", "America/New_York", "America/New_York"),  # which is at -0400 in July
        ("20240731070509-0500", "America/New_York", "-0500"),
        ("20240131-0500", "Asia/Ho_Chi_Minh", "-0500"),
        ("20240131070509", "Asia/Ho_Chi_Minh", "Asia/Ho_Chi_Minh"),
        ("", "Asia/Ho_Chi_Minh", "Asia/Ho_Chi_Minh"),
        ("yesterday-0500", "", ""),
    ],
)
def test_the_zone_of_the_header_is_that_of_the_message(sent: str, zone: str, expected: str) -> None:
    """MSH-7's offset counts for every time that names none, unless the site's own zone has that offset then."""
    assert zone_of(sent, zone) == expected
