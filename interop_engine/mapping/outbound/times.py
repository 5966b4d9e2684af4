"""Times of FHIR → DTM, DT and TM (HL7 v2 chapter 2A): digits without marks, as precise as they are, the zone kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from interop_engine.mapping.convert.base import PRECISION

_TIME = re.compile(
    r"([0-9]{4})(?:-([0-9]{2}))?(?:-([0-9]{2}))?(?:T([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_CLOCK = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?")
_MOST_FRACTION = 5  # a point and four digits


def dtm(text: str, extensions: Sequence[Mapping[str, Any]] = ()) -> str:
    """A date, dateTime or instant as DTM; '' where it is none. ``extensions`` may say that seconds or minutes were not sent."""
    match = _TIME.fullmatch(text)
    if match is None:
        return ""
    year, month, day, hour, minute, second, fraction, zone = (part or "" for part in match.groups())
    precision = next((each.get("valueCode") for each in extensions if each.get("url") == PRECISION), "")
    clock = {"hour": hour, "minute": hour + minute}.get(str(precision), hour + minute + second + fraction[:_MOST_FRACTION])
    offset = "+0000" if zone == "Z" else zone.replace(":", "")
    return year + month + day + clock + offset


def time_of_day(text: str) -> str:
    """A time as TM; '' where it is none."""
    match = _CLOCK.fullmatch(text)
    return "" if match is None else "".join(part or "" for part in match.groups())[: 6 + _MOST_FRACTION]
