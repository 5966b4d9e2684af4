"""When something is to be done: TQ1, TQ, RPT and RI → Timing and Dosage.

A repeat pattern (HL7 table 0335) is said twice: in ``code`` as sent, with the one of v3 GTSAbbreviation where it means the
same, and in ``repeat``, which a receiver can count with. What R4 has no place for stays in the text of ``code``.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from interop_engine.hl7.scalars import read_decimal, read_time
from interop_engine.mapping.convert.base import Conversion, code_text, tidy
from interop_engine.mapping.convert.codes import codings_of
from interop_engine.mapping.convert.durations import LETTERS, Amount, amount_of, duration_of, minutes, unit_of_time
from interop_engine.mapping.convert.quantities import LARGEST, cq
from interop_engine.mapping.convert.times import ended, period_of, time_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interop_engine.hl7.message import Segment, Value
    from interop_engine.mapping.context import Context

Json = dict[str, Any]

_ABBREVIATIONS = "http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LAST_HOUR = 23

_EVERY = re.compile(r"Q([0-9]{0,4})([SMHDWL])")
_WEEKDAYS = re.compile(r"Q([0-9]{0,2})J([1-7]{1,7})")
_TIMES_A_DAY = re.compile(r"([BTQ]|[1-9][0-9]?)ID")
_COUNTS = {"B": 2, "T": 3, "Q": 4}
_MEAL = re.compile(r"[AP]?C[MDV]?")
_DAILY: Json = {"frequency": 1, "period": 1, "periodUnit": "d"}
_NAMED: dict[str, Json] = {
    "QAM": {**_DAILY, "when": ["MORN"]},
    "QPM": {**_DAILY, "when": ["EVE"]},
    "QHS": {**_DAILY, "when": ["HS"]},
    "HS": {"when": ["HS"]},
    "QSHIFT": {"frequency": 3, "period": 1, "periodUnit": "d"},
    "QOD": {"frequency": 1, "period": 2, "periodUnit": "d"},
    "ONCE": {"count": 1},
}
_SAME = {"QAM": "AM", "QHS": "BED", "Q1D": "QD", "Q1W": "WK", "QW": "WK", "Q1L": "MO", "QL": "MO", "QH": "Q1H"} | {
    code: code for code in ("BID", "TID", "QID", "QD", "QOD", "Q1H", "Q2H", "Q3H", "Q4H", "Q6H", "Q8H")
}
"""Patterns of table 0335 that GTSAbbreviation has too. QPM (the evening) is not PM (the afternoon)."""
_WHEN = frozenset(["HS", "AC", "PC", "ACM", "ACD", "ACV", "PCM", "PCD", "PCV", "C", "CM", "CD", "CV", "WAKE"])


# --- Patterns ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _pattern(code: str) -> Json:
    """Timing.repeat of a code of table 0335; {} where R4 has no place for it."""
    code = code.upper()
    if code.startswith("PRN"):
        return _pattern(code[3:].strip())
    if (named := _NAMED.get(code)) is not None:
        return named
    if found := _EVERY.fullmatch(code):
        return {"frequency": 1, "period": Decimal(found[1] or 1), "periodUnit": LETTERS[found[2]]}
    if found := _WEEKDAYS.fullmatch(code):
        chosen = [_DAYS[int(digit) - 1] for digit in sorted(set(found[2]))]
        every = int(found[1] or 1)
        if every > 1:
            return {"frequency": len(chosen), "period": every, "periodUnit": "wk", "dayOfWeek": chosen}
        return {**_DAILY, "dayOfWeek": chosen}
    if found := _TIMES_A_DAY.fullmatch(code):
        count = _COUNTS.get(found[1]) or int(found[1])
        return {"frequency": count, "period": 1, "periodUnit": "d"}
    if len(code) > 1 and _MEAL.fullmatch(code):  # a C alone is "continuously"
        return {"when": [code]}
    return {}


def as_needed(code: str) -> bool:
    """Whether a code of table 0335 says "as needed" (PRN, PRNQ6H)."""
    return code.upper().startswith("PRN")


class _Timing:
    """A Timing while it is put together. What contradicts what is there already is a finding."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.repeat: Json = {}
        self.codings: list[Json] = []
        self.texts: list[str] = []

    def add(self, members: Json) -> None:
        """Members of ``repeat``: lists are united, of single values that differ the first stays."""
        for name, value in members.items():
            there = self.repeat.setdefault(name, value)
            if isinstance(there, list):
                self.repeat[name] = [*there, *(v for v in value if v not in there)]
            elif there != value:
                self.context.note("timing-other", "A second pattern contradicts the first; it is only in the text.")

    def code(self, value: Value | None, *, institution: bool = True) -> None:
        """A pattern's code (table 0335). ``institution``: BID is at the institution's times, as GTSAbbreviation has it."""
        if value is None:
            return
        sent, words = codings_of(value, self.context.scope, "0335")
        code = code_text(value.get(1))
        if institution and (same := _SAME.get(code.upper())):
            self.codings.append({"system": _ABBREVIATIONS, "code": same})
        self.codings += sent
        if text := words or code:
            self.texts.append(text)
        self.add(_pattern(code))

    def at(self, texts: Iterable[str]) -> None:
        """Explicit times of day."""
        for text in filter(None, (part.strip() for part in texts)):
            found = read_time(text)
            if found is None:
                self.context.note("not-a-time", "The text is no time of day; it is left out.")
            else:
                self.add({"timeOfDay": [time_text(found)]})

    def bounds(self, start: str, end: str, lasting: Amount | None) -> None:
        """From when to when, or how long. With a start and a length the end is reckoned."""
        if lasting and start and not end:
            period, over = period_of(start, "", self.context), self._over(start, lasting)
            if not over:  # of a day and a length the end is not certain
                self.texts.append(f"{lasting[0]} {lasting[1]}")
            if period:
                self.repeat["boundsPeriod"] = {**period, "end": over} if over else period
        elif lasting and not start and not end:
            self.repeat["boundsDuration"] = duration_of(*lasting)
        elif found := period_of(start, end, self.context):
            self.repeat["boundsPeriod"] = found

    def _over(self, start: str, lasting: Amount) -> str:
        found = minutes(*lasting)
        if found is None:
            return ""
        count, unit = (int(found), "M") if found == int(found) else (int(found * 60), "S")
        return ended(f"{start}+{count} {unit}", self.context.timezone)

    def offset(self, amount: Amount | None) -> None:
        """Minutes from an event (RPT.9, TQ1-5), which must be one that R4 counts from (tim-9)."""
        if amount is None:
            return
        found = minutes(*amount)
        when = self.repeat.get("when", ())
        if found is None or found > LARGEST or found != int(found) or not when or set(when) & {"C", "CM", "CD", "CV"}:
            self.context.note("offset-unplaced", "An offset without an event to count from is left out.")
        else:
            self.repeat["offset"] = int(found)

    def finished(self) -> Json | None:
        """The Timing, None where there is nothing to say."""
        if "timeOfDay" in self.repeat and "when" in self.repeat:  # tim-10
            del self.repeat["when"]
            self.repeat.pop("offset", None)
            self.context.note("event-unplaced", "Times of day and an event are both given; the times stay.")
        result: Json = {}
        if self.repeat:
            result["repeat"] = {name: self.repeat[name] for name in _ORDER if name in self.repeat}
        if self.codings or self.texts:
            code: Json = {"coding": self.codings} if self.codings else {}
            if self.texts:
                code["text"] = "; ".join(dict.fromkeys(self.texts))
            result["code"] = code
        return result or None


_ORDER = (
    *("boundsDuration", "boundsPeriod", "count", "duration", "durationUnit", "frequency", "period", "periodUnit"),
    *("dayOfWeek", "timeOfDay", "when", "offset"),
)


# --- RPT, RI, TQ1 --------------------------------------------------------------------------------------------------------


def _repeat_pattern(timing: _Timing, value: Value) -> None:
    """RPT: code, calendar alignment, period, event."""
    period, unit = read_decimal(value.get(5)), unit_of_time(tidy(value.get(6)) or tidy(value.get(6, 2)))
    if period is not None and period >= 0 and unit:
        timing.add({"frequency": 1, "period": period, "periodUnit": unit})
    timing.code(value.component(1), institution=value.get(7) != "N")
    _alignment(timing, value)
    if event := tidy(value.get(8)):
        if event in _WHEN:
            timing.add({"when": [event]})
        else:
            timing.texts.append(event)
    amount, of = read_decimal(value.get(9)), unit_of_time(tidy(value.get(10)))
    if amount is not None:
        timing.offset((abs(amount), of or "min"))
    if specification := tidy(value.get(11)):
        timing.texts.append(specification)


def _alignment(timing: _Timing, value: Value) -> None:
    """RPT.2 to RPT.4: from which to which day of the week, or at which hour; R4 has no place for the others."""
    kind, first, last = value.get(2), value.get(3), value.get(4)
    if not kind:
        return
    begin = int(first) if first.isdecimal() and first.isascii() and len(first) < 3 else -1
    end = int(last) if last.isdecimal() and last.isascii() and len(last) < 3 else begin
    if kind == "DW" and 1 <= begin <= 7 and 1 <= end <= 7:
        count = (end - begin) % 7 + 1
        timing.add({"dayOfWeek": [_DAYS[(begin - 1 + n) % 7] for n in range(count)]})
    elif kind == "HD" and 0 <= begin <= _LAST_HOUR and not last:
        timing.add({"timeOfDay": [f"{begin:02}:00:00"]})
    else:
        timing.context.note("alignment-unplaced", "FHIR R4 has no place for this alignment to the calendar; it is left out.")


def rpt(value: Value, context: Context) -> Json | None:
    """RPT → Timing."""
    timing = _Timing(context)
    _repeat_pattern(timing, value)
    return timing.finished()


def ri(value: Value, context: Context) -> Json | None:
    """RI → Timing: the pattern and its explicit times (``0230,0930``)."""
    timing = _Timing(context)
    timing.code(value.component(1))
    timing.at(value.get(2).split(","))
    return timing.finished()


def gts(value: Value, context: Context) -> Json | None:
    """GTS → Timing with only its text."""
    del context
    text = tidy(value.whole)
    return {"code": {"text": text}} if text else None


def tq1_timing(tq1: Segment, context: Context) -> Json | None:
    """TQ1-3 with -4 to -8, -13 and -14 → Timing."""
    timing = _Timing(context)
    for value in tq1.repetitions(3):
        _repeat_pattern(timing, value)
    timing.at(value.text for value in tq1.repetitions(4))
    if "offset" not in timing.repeat:
        timing.offset(amount_of(tq1.value(5)))
    timing.bounds(_text(tq1, 7), _text(tq1, 8), amount_of(tq1.value(6)))
    if lasting := amount_of(tq1.value(13)):
        timing.add({"duration": lasting[0], "durationUnit": lasting[1]})
    _total(timing, _text(tq1, 14))
    return timing.finished()


def _total(timing: _Timing, text: str) -> None:
    """A total of occurrences; it wins over the one of "once"."""
    if text.isdecimal() and text.isascii() and len(text) < 10 and int(text):
        timing.repeat["count"] = int(text)


def _text(segment: Segment, field: int) -> str:
    value = segment.value(field)
    return value.text if value is not None else ""


def tq1_dosage(tq1: Segment, context: Context) -> Json | None:
    """TQ1 → Dosage: its Timing, TQ1-2 as dose, TQ1-10 as condition, TQ1-11 as text; PRN is "as needed"."""
    codes = [value.get(1) for value in tq1.repetitions(3)]
    condition = _text(tq1, 10)
    dose = tq1.value(2)
    return _dosage(tidy(_text(tq1, 11)), tidy(condition), tq1_timing(tq1, context), cq(dose, context) if dose else None, codes)


def _dosage(text: str, condition: str, timing: Json | None, dose: Json | None, codes: list[str]) -> Json | None:
    result: Json = {}
    if text:
        result["text"] = text
    if condition:
        result["additionalInstruction"] = [{"text": condition}]
    if timing:
        result["timing"] = timing
    if any(as_needed(code) for code in codes):
        result["asNeededBoolean"] = True
    if dose and "comparator" not in dose:
        result["doseAndRate"] = [{"doseQuantity": dose}]
    return result or None


# --- TQ ------------------------------------------------------------------------------------------------------------------

_LASTING = re.compile(r"([SMHDWL])([0-9]{1,6})|([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*([^0-9\s].{0,12})")


def _lasting(text: str) -> Amount | None:
    """TQ.3 as chapter 4.3.3 writes it (``D7``), or as people do (``7 d``)."""
    found = _LASTING.fullmatch(text.strip())
    if found is None:
        return None
    unit = LETTERS[found[1]] if found[1] else unit_of_time(found[4].strip())
    return (Decimal(found[2] or found[3]), unit) if unit else None


def tq(value: Value, context: Context) -> Json | None:
    """TQ → Timing: interval, duration, start and end, occurrence duration, total occurrences."""
    timing = _Timing(context)
    interval = value.component(2)
    if interval is not None:
        timing.code(interval.component(1))
        timing.at(interval.get(2).split(","))
    said = tidy(value.get(3))
    lasting = _lasting(said)
    if said[:1] == "X":
        _total(timing, said[1:])
    elif said and lasting is None and said != "INDEF":
        timing.texts.append(said)
    timing.bounds(value.get(4), value.get(5), lasting)
    if found := _lasting(value.get(11)) or _lasting(f"{value.get(11)} {value.get(11, 2)}"):
        timing.add({"duration": found[0], "durationUnit": found[1]})
    _total(timing, value.get(12))
    return timing.finished()


def tq_dosage(value: Value, context: Context) -> Json | None:
    """TQ → Dosage: as its Timing, with TQ.1 as dose, TQ.7 as condition, TQ.8 as text."""
    dose = value.component(1)
    pattern = value.get(2)
    return _dosage(tidy(value.get(8)), tidy(value.get(7)), tq(value, context), cq(dose, context) if dose else None, [pattern])


def tq_period(value: Value, context: Context) -> Json | None:
    """TQ → Period from its start to its end."""
    return period_of(value.get(4), value.get(5), context)


_TQ = (2, 3, 4, 5, 11, 12)
TQ1_TIMING = (3, 4, 5, 6, 7, 8, 13, 14)
TQ1_DOSAGE = (2, *TQ1_TIMING, 10, 11)

CONVERSIONS = {
    ("RPT", "Timing"): Conversion(rpt, "A Timing: the pattern's code, and what it means in `repeat`."),
    ("RI", "Timing"): Conversion(ri, "A Timing: the pattern, and its explicit times.", (1, 2)),
    ("GTS", "Timing"): Conversion(gts, "A Timing of which only the text is known."),
    ("TQ", "Timing"): Conversion(tq, "A Timing: interval, duration, start, end, total.", _TQ),
    ("TQ", "Dosage"): Conversion(tq_dosage, "A Dosage: its Timing, the quantity as dose, condition, text.", (1, *_TQ, 7, 8)),
    ("TQ", "Period"): Conversion(tq_period, "A Period from its start to its end.", (4, 5)),
}
