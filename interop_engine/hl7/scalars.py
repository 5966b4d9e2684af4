"""HL7 v2 text → values that keep what was written: times with their precision and offset, decimals with their digits.

Chapter 2A: DTM, TS, DT, TM, NM.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

Precision = Literal["year", "month", "day", "hour", "minute", "second"]

_OFFSET = r"(?P<offset>[+-](?:0[0-9]|1[0-4])[0-5][0-9])?"
_CLOCK = r"(?P<hour>[01][0-9]|2[0-3])(?:(?P<minute>[0-5][0-9])(?:(?P<second>[0-5][0-9]|60)(?:\.(?P<fraction>[0-9]{1,9}))?)?)?"
_MOMENT = re.compile(rf"(?P<year>[0-9]{{4}})(?:(?P<month>[0-9]{{2}})(?:(?P<day>[0-9]{{2}})(?:{_CLOCK})?)?)?{_OFFSET}")
_LONGEST_MOMENT = 29  # 14 digits, a point and 9 more, and an offset
_TIME = re.compile(_CLOCK + _OFFSET)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time as far as it was written. ``fraction`` is its digits; ``offset`` as written (``+0700``, '' if none)."""

    year: int
    month: int | None = None
    day: int | None = None
    hour: int | None = None
    minute: int | None = None
    second: int | None = None
    fraction: str = ""
    offset: str = ""

    @property
    def precision(self) -> Precision:
        """The smallest part that was written."""
        parts: tuple[tuple[Precision, int | None], ...] = (
            ("second", self.second),
            ("minute", self.minute),
            ("hour", self.hour),
            ("day", self.day),
            ("month", self.month),
        )
        return next((name for name, value in parts if value is not None), "year")


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A TM value."""

    hour: int
    minute: int | None = None
    second: int | None = None
    fraction: str = ""
    offset: str = ""


def read_moment(text: str) -> Moment | None:
    """A DTM, TS or DT value; None where it is not one or is no day of the calendar.

    An unknown month or day written as ``00`` ends the value there: ``19800000`` is the year 1980.
    """
    text = text.strip()
    return _moment(text) if len(text) <= _LONGEST_MOMENT else None


@lru_cache(maxsize=8192)
def _moment(text: str) -> Moment | None:
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    year, month, day = int(match["year"]), _number(match["month"]), _number(match["day"])
    offset = match["offset"] or ""
    if year == 0 or (month or 0) > 12:
        return None
    if not month:
        return None if day else Moment(year, offset=offset)
    if not day:
        return Moment(year, month, offset=offset)
    if day > monthrange(year, month)[1]:
        return None
    hour, minute, second = _number(match["hour"]), _number(match["minute"]), _number(match["second"])
    return Moment(year, month, day, hour, minute, second, match["fraction"] or "", offset)


def clock_of(zone: str) -> tzinfo:
    """The clock of a zone: an IANA name, or an offset as HL7 v2 writes it (``-0500``)."""
    if zone[:1] not in ("+", "-"):
        return ZoneInfo(zone)
    ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
    return timezone(-ahead if zone[0] == "-" else ahead)


@lru_cache(maxsize=8192)
def zone_of(sent: str, zone: str) -> str:
    """The zone of the times of a message that name none: that of MSH-7, where it names one (chapter 2, MSH-7), else ``zone``.

    Where ``zone`` has that very offset at the time, it stays: it also knows of summer and winter.
    """
    moment = read_moment(sent)
    if moment is None or not moment.offset:
        return zone
    if not zone or moment.hour is None or moment.month is None or moment.day is None:
        return moment.offset
    local = datetime(moment.year, moment.month, moment.day, moment.hour, moment.minute or 0, tzinfo=ZoneInfo(zone))
    return zone if local.strftime("%z") == moment.offset else moment.offset


def read_time(text: str) -> TimeOfDay | None:
    """A TM value; None where it is not one."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    minute, second = _number(match["minute"]), _number(match["second"])
    return TimeOfDay(int(match["hour"]), minute, second, match["fraction"] or "", match["offset"] or "")


def read_decimal(text: str) -> Decimal | None:
    """An NM value with the digits as written (``5.20``); ``.5``, ``+5`` and ``05`` are normalised. None where it is not one."""
    text = text.strip()
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)
