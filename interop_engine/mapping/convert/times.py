"""DTM, TS, DT, TM and DR → date, dateTime, instant, time, Period (HL7 v2 chapter 2A; FHIR R4 datatypes).

FHIR wants a zone with every time of day and seconds with every minute. The zone is the value's own, else that of MSH-7,
else the scope's default; without any a time becomes a date. Seconds that were not sent are zeros, and an extension says so.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from interop_engine.hl7.scalars import Moment, TimeOfDay, clock_of, read_moment, read_time
from interop_engine.mapping.convert.base import PRECISION, SOURCE_TEXT, Conversion

if TYPE_CHECKING:
    from interop_engine.hl7.message import Segment, Value
    from interop_engine.mapping.context import Context

BIRTH_TIME = "http://hl7.org/fhir/StructureDefinition/patient-birthTime"
_DAY, _DAY_AND_TIME = 8, 14  # characters of a DTM
_PRECISIONS: dict[str, list[dict[str, Any]]] = {name: [{"url": PRECISION, "valueCode": name}] for name in ("hour", "minute")}


class _Reading(NamedTuple):
    """A time text read: FHIR text, the precision to tell (or ''), the code of a finding (or '')."""

    text: str
    precision: str = ""
    trouble: str = ""


_NOTES = {
    "not-a-time": "The text is no date or time of HL7 v2; it is left out.",
    "time-without-zone": "A time of day without a zone: only its date is kept.",
    "not-an-instant": "An instant needs a time of day with a zone; it is left out.",
}


@lru_cache(maxsize=8192)
def _date_time(text: str, zone: str) -> _Reading:
    moment = read_moment(text)
    if moment is None:
        return _Reading("", trouble="not-a-time")
    day = _day(moment)
    if moment.hour is None:
        return _Reading(day)
    offset = _offset(moment, zone)
    if not offset:
        return _Reading(day, trouble="time-without-zone")
    precision = moment.precision
    fraction = f".{moment.fraction}" if moment.fraction else ""
    clock = f"{moment.hour:02}:{moment.minute or 0:02}:{moment.second or 0:02}{fraction}"
    return _Reading(f"{day}T{clock}{offset}", precision if precision in _PRECISIONS else "")


def _day(moment: Moment) -> str:
    text = f"{moment.year:04}"
    if moment.month is not None:
        text += f"-{moment.month:02}"
        if moment.day is not None:
            text += f"-{moment.day:02}"
    return text


def _offset(moment: Moment, zone: str) -> str:
    if moment.offset:
        return f"{moment.offset[:3]}:{moment.offset[3:]}"
    if not zone or moment.month is None or moment.day is None or moment.hour is None:
        return ""
    seconds = min(moment.second or 0, 59)  # datetime knows no leap second; the offset is the same
    local = datetime(moment.year, moment.month, moment.day, moment.hour, moment.minute or 0, seconds, tzinfo=clock_of(zone))
    text = local.strftime("%z")
    return f"{text[:3]}:{text[3:5]}"


def _read(text: str, context: Context) -> _Reading | None:
    """Read a text; None where it is empty or no time (which is then noted)."""
    if not text:
        return None
    reading = _date_time(text, context.timezone)
    if reading.trouble:
        context.note(reading.trouble, _NOTES[reading.trouble])
    return reading if reading.text else None


def date_time(value: Value, context: Context) -> str | None:
    """A dateTime, as precise as what was sent."""
    reading = _read(value.text, context)
    if reading is None:
        return None
    if reading.precision:
        context.extensions = [*(context.extensions or ()), *_PRECISIONS[reading.precision]]
    return reading.text


def date(value: Value, context: Context) -> str | None:
    """A date; the time of day is left out."""
    text = value.text
    if not text:
        return None
    moment = read_moment(text)
    if moment is None:
        context.note("not-a-time", _NOTES["not-a-time"])
        return None
    return _day(moment)


def instant(value: Value, context: Context) -> str | None:
    """An instant, or nothing where the time of day or its zone is not known."""
    text = value.text
    if not text:
        return None
    reading = _date_time(text, context.timezone)
    if "T" not in reading.text:
        code = "not-an-instant" if reading.text else "not-a-time"
        context.note(code, _NOTES[code])
        return None
    if reading.precision:
        context.extensions = [*(context.extensions or ()), *_PRECISIONS[reading.precision]]
    return reading.text


def time(value: Value, context: Context) -> str | None:
    """A time of day (FHIR: without a zone)."""
    text = value.text
    if not text:
        return None
    found = read_time(text)
    if found is None:
        context.note("not-a-time", _NOTES["not-a-time"])
        return None
    if found.offset:
        context.note("zone-dropped", "A FHIR time has no zone; the one sent is left out.", severity="information")
    if found.second is None:
        context.extensions = [*(context.extensions or ()), *_PRECISIONS["hour" if found.minute is None else "minute"]]
    return time_text(found)


def time_text(found: TimeOfDay) -> str:
    """A time of day as FHIR writes it: with seconds, without a zone."""
    fraction = f".{found.fraction}" if found.fraction else ""
    return f"{found.hour:02}:{found.minute or 0:02}:{found.second or 0:02}{fraction}"


def period_of(start: str, end: str, context: Context) -> dict[str, Any] | None:
    """A Period of two time texts, either of which may be empty. An end that may be before its start is left out (per-1)."""
    result: dict[str, Any] = {}
    for name, text in (("start", start), ("end", end)):
        reading = _read(text, context)
        if reading is None:
            continue
        result[name] = reading.text
        if reading.precision:
            result[f"_{name}"] = {"extension": _PRECISIONS[reading.precision]}
    in_order(result, context)
    return result or None


def in_order(period: dict[str, Any], context: Context) -> None:
    """Take the end out of a Period where it may be before the start."""
    if "start" in period and "end" in period and _after(period["start"], period["end"]):
        context.note("period-reversed", "The end of a period is not after its start; the end is left out.")
        del period["end"]
        period.pop("_end", None)


def _after(start: str, end: str) -> bool:
    """Whether an end is not certain to be the start or later: per-1 asks it, and of unequal precision cannot always tell."""
    if "T" in start and "T" in end:
        return datetime.fromisoformat(_sixty(start)) > datetime.fromisoformat(_sixty(end))
    if start == end:
        return False
    first, last = start.partition("T")[0], end.partition("T")[0]
    length = min(len(first), len(last))
    return first[:length] >= last[:length]


def _sixty(text: str) -> str:
    return text.replace(":60", ":59") if ":60" in text[10:19] else text


_SECONDS = {"": 60, "M": 60, "S": 1, "H": 3600, "D": 86400, "W": 604800}
_DURATION = re.compile(r"([0-9]{1,6})\s*([A-Z]?)")


def ended(text: str, zone: str) -> str:
    """Of ``START+NUMBER UNIT`` the time when it is over, as FHIR writes it; '' where the start has no time of day.

    The unit is told by its first letter (s, m, h, d, w); without one the number counts minutes (SCH-9, AIS-7).
    """
    start, _, duration = text.rpartition("+")
    moment, found = read_moment(start), _DURATION.match(duration.strip().upper())
    if moment is None or moment.hour is None or found is None or found[2] not in _SECONDS:
        return ""
    assert moment.month is not None
    assert moment.day is not None
    begun = datetime(moment.year, moment.month, moment.day, moment.hour, moment.minute or 0, min(moment.second or 0, 59))  # noqa: DTZ001 - the offset is written behind it
    try:
        over = begun + timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        return ""
    return _date_time(f"{over:%Y%m%d%H%M%S}{moment.offset or ''}", zone).text


def period(value: Value, context: Context) -> dict[str, Any] | None:
    """DR → Period."""
    return period_of(value.get(1), value.get(2), context)


def period_from(value: Value, context: Context) -> dict[str, Any] | None:
    """A single time → a Period that starts then."""
    return period_of(value.text, "", context)


def range_start(value: Value, context: Context) -> str | None:
    """DR → dateTime: where it starts."""
    first = value.component(1)
    return date_time(first, context) if first else None


def _start_and_end(start: str, end: str, context: Context) -> tuple[str, Any] | None:
    if end and end != start:
        found = period_of(start, end, context)
        return ("Period", found) if found else None
    reading = _read(start, context)
    if reading is None:
        return None
    if reading.precision:
        context.extensions = [*(context.extensions or ()), *_PRECISIONS[reading.precision]]
    return "DateTime", reading.text


def observed(obr: Segment, context: Context) -> tuple[str, Any] | None:
    """OBR-7 with OBR-8: a Period where both are valued and differ, else a dateTime."""
    return _start_and_end(_field(obr, 7), _field(obr, 8), context)


def collected(spm: Segment, context: Context) -> tuple[str, Any] | None:
    """SPM-17: a Period where it has an end, else a dateTime."""
    value = spm.value(17)
    return _start_and_end(value.get(1), value.get(2), context) if value else None


def _field(segment: Segment, number: int) -> str:
    value = segment.value(number)
    return value.text if value else ""


def birth_date(pid: Segment, context: Context) -> str | None:
    """PID-7 → date, its time of day beside it (the extension patient-birthTime).

    1 January is how an unknown day is written: the year is kept, and the text as sent beside it.
    """
    value = pid.value(7)
    found = date(value, context) if value else None
    if found is None or value is None:
        return None
    sent = value.text
    if sent[4:] == "0101":
        found = found[:4]
        context.extend({"url": SOURCE_TEXT, "valueString": sent})
        context.note(
            "birth-day-unknown", "A birth on 1 January stands for an unknown day: the year is kept.", severity="information"
        )
    elif sent[_DAY:_DAY_AND_TIME].strip("0"):  # midnight is how a system writes a day that it knows no time of
        at = _date_time(sent, context.timezone)
        if "T" in at.text:
            context.extend({"url": BIRTH_TIME, "valueDateTime": at.text})
    return found


DATE_TIME = Conversion(
    date_time, "A dateTime as precise as sent; the zone is the value's, else that of MSH-7, else the channel's.", (1,)
)
DATE = Conversion(date, "A date; an unknown month or day (00) ends it there.", (1,))
INSTANT = Conversion(instant, "An instant; left out where the time of day or the zone is not known.", (1,))
TIME = Conversion(time, "A time of day.", (1,))
START = Conversion(period_from, "A Period that starts then.", (1,))

CONVERSIONS = {
    **{(v2, "dateTime"): DATE_TIME for v2 in ("DTM", "TS", "DT")},
    **{(v2, "date"): DATE for v2 in ("DTM", "TS", "DT")},
    **{(v2, "instant"): INSTANT for v2 in ("DTM", "TS", "DT")},
    **{(v2, "Period"): START for v2 in ("DTM", "TS", "DT")},
    ("TM", "time"): TIME,
    ("DR", "Period"): Conversion(period, "A Period of the two times.", (1, 2)),
    ("DR", "dateTime"): Conversion(range_start, "The time at which the range starts.", (1,)),
}
