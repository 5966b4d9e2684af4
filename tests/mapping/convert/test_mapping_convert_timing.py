"""TQ1, TQ, RPT and RI → Timing and Dosage; amounts of time."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop_engine.fhir.schema import validate
from interop_engine.hl7.message import Segment
from interop_engine.mapping.context import Context
from interop_engine.mapping.convert import COMPANIONS

Convert = Callable[[str, str, str], Any]
Read = Callable[[str], Segment]
UCUM = "http://unitsofmeasure.org"


def _timing(text: str, segment: Read, context: Context, kind: str = "Timing", field: int = 3) -> Any:
    return COMPANIONS["TQ1", field, kind].function(segment(f"TQ1|{text}"), context)


PATTERNS = [
    ("Q6H", {"frequency": 1, "period": 6, "periodUnit": "h"}, "Q6H"),
    ("Q30M", {"frequency": 1, "period": 30, "periodUnit": "min"}, ""),
    ("Q2L", {"frequency": 1, "period": 2, "periodUnit": "mo"}, ""),
    ("QD", {"frequency": 1, "period": 1, "periodUnit": "d"}, "QD"),
    ("BID", {"frequency": 2, "period": 1, "periodUnit": "d"}, "BID"),
    ("5ID", {"frequency": 5, "period": 1, "periodUnit": "d"}, ""),
    ("QOD", {"frequency": 1, "period": 2, "periodUnit": "d"}, "QOD"),
    ("QAM", {"frequency": 1, "period": 1, "periodUnit": "d", "when": ["MORN"]}, "AM"),
    ("QHS", {"frequency": 1, "period": 1, "periodUnit": "d", "when": ["HS"]}, "BED"),
    ("QPM", {"frequency": 1, "period": 1, "periodUnit": "d", "when": ["EVE"]}, ""),
    ("QSHIFT", {"frequency": 3, "period": 1, "periodUnit": "d"}, ""),
    ("QJ135", {"frequency": 1, "period": 1, "periodUnit": "d", "dayOfWeek": ["mon", "wed", "fri"]}, ""),
    ("Q2J2", {"frequency": 1, "period": 2, "periodUnit": "wk", "dayOfWeek": ["tue"]}, ""),
    ("ACM", {"when": ["ACM"]}, ""),
    ("PRNQ4H", {"frequency": 1, "period": 4, "periodUnit": "h"}, ""),
    ("Once", {"count": 1}, ""),
    ("C", None, ""),
    ("PRN", None, ""),
    ("2 lần sáng chiều", None, ""),
]


@pytest.mark.parametrize(("code", "repeat", "abbreviation"), PATTERNS, ids=[code for code, *_ in PATTERNS])
def test_every_pattern_of_table_0335_is_counted_where_r4_can(
    code: str, repeat: dict[str, Any] | None, abbreviation: str, convert: Convert
) -> None:
    """A pattern gives ``repeat`` where R4 has a place for it, the abbreviation that means the same, and always its text."""
    found = convert("RPT", "Timing", code)

    assert found.get("repeat") == repeat
    assert found["code"]["text"] == code
    abbreviations = [c["code"] for c in found["code"]["coding"] if c["system"].endswith("v3-GTSAbbreviation")]
    assert abbreviations == ([abbreviation] if abbreviation else [])


def test_a_pattern_that_is_not_at_the_institutions_times_is_not_the_abbreviation(convert: Convert) -> None:
    """RPT.7 = N: BID of GTSAbbreviation says "at the institution's times", which is not what was sent."""
    found = convert("RPT", "Timing", "BID^^^^^^N")

    assert found["repeat"] == {"frequency": 2, "period": 1, "periodUnit": "d"}
    assert not [c for c in found["code"]["coding"] if c["system"].endswith("GTSAbbreviation")]


@pytest.mark.parametrize(
    ("text", "repeat"),
    [
        ("^^^^8^h", {"frequency": 1, "period": Decimal(8), "periodUnit": "h"}),
        ("^DW^1^5", {"dayOfWeek": ["mon", "tue", "wed", "thu", "fri"]}),
        ("^DW^6^1", {"dayOfWeek": ["sat", "sun", "mon"]}),
        ("^DW^3", {"dayOfWeek": ["wed"]}),
        ("^HD^7", {"timeOfDay": ["07:00:00"]}),
        ("^^^^^^^ACM^30^min", {"when": ["ACM"], "offset": 30}),
        ("^^^^^^^HS^1^h", {"when": ["HS"], "offset": 60}),
    ],
)
def test_the_parts_of_a_repeat_pattern(text: str, repeat: dict[str, Any], convert: Convert) -> None:
    """Period, alignment to the week or the hour, event and its offset in minutes (chapter 2A, RPT)."""
    assert convert("RPT", "Timing", text)["repeat"] == repeat


@pytest.mark.parametrize(
    ("text", "code"),
    [("QD^DM^15", "alignment-unplaced"), ("QD^^^^^^^^30^min", "offset-unplaced"), ("Q6H^^^^8^h", "timing-other")],
)
def test_what_r4_has_no_place_for_is_a_finding(text: str, code: str, convert: Convert, context: Context) -> None:
    """A day of the month, an offset without an event, and a second, other period."""
    convert("RPT", "Timing", text)

    assert [finding.code for finding in context.findings] == [code]


def test_a_whole_tq1_is_one_timing(segment: Read, context: Context) -> None:
    """Pattern, explicit times, start and end, occurrence duration and total come together."""
    found = _timing("1||BID|0600~1800|||20260301083000|20260308|||||30^min|14", segment, context)

    assert found["repeat"] == {
        "boundsPeriod": {"start": "2026-03-01T08:30:00+07:00", "end": "2026-03-08"},
        "count": 14,
        "duration": Decimal(30),
        "durationUnit": "min",
        "frequency": 2,
        "period": 1,
        "periodUnit": "d",
        "timeOfDay": ["06:00:00", "18:00:00"],
    }
    assert context.findings == []


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("1||QD|||7^d", {"boundsDuration": {"value": Decimal(7), "unit": "d", "system": UCUM, "code": "d"}}),
        (
            "1||QD|||2^h|202603010800",
            {
                "boundsPeriod": {
                    "start": "2026-03-01T08:00:00+07:00",
                    "_start": {"extension": [{"url": "urn:interop-engine:precision", "valueCode": "minute"}]},
                    "end": "2026-03-01T10:00:00+07:00",
                }
            },
        ),
        ("1||QD|||7^d|20260301", {"boundsPeriod": {"start": "2026-03-01"}}),
    ],
)
def test_how_long_bounds_a_timing(text: str, bounds: dict[str, Any], segment: Read, context: Context) -> None:
    """TQ1-6 alone is a Duration; with a start it gives the end, but not of a day, where the length stays in the text."""
    found = _timing(text, segment, context)

    assert {name: value for name, value in found["repeat"].items() if name.startswith("bounds")} == bounds
    assert ("7 d" in found["code"]["text"]) == ("20260301" in text and "0800" not in text)


def test_times_of_day_and_an_event_are_not_both_said(segment: Read, context: Context) -> None:
    """tim-10: the explicit times stay, and a finding says so."""
    found = _timing("1||ACM|0700", segment, context)

    assert found["repeat"] == {"timeOfDay": ["07:00:00"]}
    assert [finding.code for finding in context.findings] == ["event-unplaced"]


def test_two_patterns_of_one_tq1_are_united(segment: Read, context: Context) -> None:
    """Morning and evening: both events, one Timing."""
    found = _timing("1||QAM~QPM", segment, context)

    assert found["repeat"] == {"frequency": 1, "period": 1, "periodUnit": "d", "when": ["MORN", "EVE"]}
    assert found["code"]["text"] == "QAM; QPM"


def test_a_dosage_of_a_tq1_has_dose_condition_and_text(segment: Read, context: Context) -> None:
    """TQ1-2 is the dose, TQ1-10 the condition, TQ1-11 the text; PRN is "as needed"."""
    found = _timing("1|500^mg|PRNQ6H|||||||nếu sốt|Uống sau ăn", segment, context, "Dosage")

    assert found["asNeededBoolean"] is True
    assert found["text"] == "Uống sau ăn"
    assert found["additionalInstruction"] == [{"text": "nếu sốt"}]
    assert found["timing"]["repeat"] == {"frequency": 1, "period": 6, "periodUnit": "h"}
    assert found["doseAndRate"] == [{"doseQuantity": {"value": Decimal(500), "unit": "mg", "system": UCUM, "code": "mg"}}]


@pytest.mark.parametrize(
    ("text", "repeat"),
    [
        ("^Q6H", {"frequency": 1, "period": 6, "periodUnit": "h"}),
        ("^BID&0600,1800", {"frequency": 2, "period": 1, "periodUnit": "d", "timeOfDay": ["06:00:00", "18:00:00"]}),
        (
            "^QD^D7",
            {
                "boundsDuration": {"value": Decimal(7), "unit": "d", "system": UCUM, "code": "d"},
                "frequency": 1,
                "period": 1,
                "periodUnit": "d",
            },
        ),
        ("^QD^X3", {"count": 3, "frequency": 1, "period": 1, "periodUnit": "d"}),
        ("^^^20260301^20260305", {"boundsPeriod": {"start": "2026-03-01", "end": "2026-03-05"}}),
        ("^QD^^^^^^^^^^10", {"count": 10, "frequency": 1, "period": 1, "periodUnit": "d"}),
    ],
)
def test_a_tq_of_old_messages_is_a_timing(text: str, repeat: dict[str, Any], convert: Convert) -> None:
    """ORC-7, OBR-27, RXE-1 and SCH-11 up to 2.6 say the same in one field."""
    assert convert("TQ", "Timing", text)["repeat"] == repeat


def test_a_duration_nobody_can_count_stays_in_the_text(convert: Convert) -> None:
    """TQ.3 as people write it: what has no unit of time is not made one."""
    assert convert("TQ", "Timing", "^QD^cho đến khi khỏi")["code"]["text"] == "QD; cho đến khi khỏi"


@pytest.mark.parametrize(("text", "minutes"), [("30", 30), ("2^h", 120), ("0", None), ("30^mg", None), ("x", None)])
def test_an_amount_of_time_in_minutes(text: str, minutes: int | None, convert: Convert) -> None:
    """CQ → positiveInt: whole minutes, which is what Appointment.minutesDuration counts."""
    assert convert("CQ", "positiveInt", text) == minutes


_PARTS = st.sampled_from(
    [
        "",
        "BID",
        "Q6H",
        "QAM",
        "QJ7",
        "PRN",
        "7",
        "30",
        "-1",
        "h",
        "min",
        "d",
        "mg",
        "DW",
        "HD",
        "AC",
        "C",
        "HS",
        "IC",
        "0700",
        "2026",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rpt=st.lists(_PARTS, max_size=11), times=_PARTS, rest=st.lists(_PARTS, min_size=10, max_size=10))
def test_every_timing_is_valid(rpt: list[str], times: str, rest: list[str], segment: Read, context: Context) -> None:
    """Whatever stands in a TQ1, its Dosage keeps every constraint of the specification (tim-1 to tim-10, bindings)."""
    text = "|".join(["1", rest[0], "^".join(rpt), times, "^".join(rest[1:3]), "^".join(rest[3:5]), *rest[5:]])
    dosage = _timing(text, segment, context, "Dosage")

    request = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "subject": {"display": "x"},
        "medicationCodeableConcept": {"text": "x"},
        **({"dosageInstruction": [dosage]} if dosage else {}),
    }
    assert [problem for problem in validate(request) if problem.severity == "error"] == []
