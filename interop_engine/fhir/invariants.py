"""The FHIRPath invariants of the types the engine writes, by hand in Python.

Keyed by the path they stand on; each has its key and the specification's sentence, and returns whether it holds. They run
on values whose structure is already known to be right, except that values of primitives may be missing (only extensions).
ele-1, ext-1, txt-1 and txt-2 are part of the structural checks; ref-1, dom-2 to dom-5 and the bundle's rules need more
than the element and are in ``whole.py``. Warnings (dom-6, con-3) are left to the reader of the specification.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

Json = dict[str, Any]

_UCUM = "http://unitsofmeasure.org"


class Rule(NamedTuple):
    """An invariant: its key, what it says, and the test."""

    key: str
    says: str
    holds: Callable[[Json], bool]


def _value(element: Json, stem: str) -> Any:
    """The choice element with this stem, or None."""
    return next((value for name, value in element.items() if name.startswith(stem) and name[len(stem) :][:1].isupper()), None)


def _codings(concept: Json) -> set[tuple[str, ...]]:
    """Codings by all their parts, since FHIRPath's intersect compares them whole."""
    return {
        tuple(str(coding.get(part)) for part in ("system", "version", "code", "display", "userSelected"))
        for coding in concept.get("coding", ())
    }


def _obs_7(observation: Json) -> bool:
    components = observation.get("component")
    if not components or _value(observation, "value") is None:
        return True
    own = _codings(observation["code"]) if "code" in observation else set()
    return not any(own & _codings(component.get("code", {})) for component in components)


def _span(moment: str) -> tuple[datetime, str] | None:
    """A dateTime for comparison, with its precision; None where it has no zone to compare with or a second 60."""
    try:
        found = datetime.fromisoformat(moment if len(moment) > 7 else f"{moment}-01-01"[:10])
    except ValueError:
        return None
    return found, ("time" if "T" in moment else "date")


def _in_order(period: Json, first: str = "start", last: str = "end") -> bool:
    """Whether start <= end as FHIRPath compares: an answer that precision leaves open does not count against it."""
    if first not in period or last not in period:
        return True
    start, end = period[first], period[last]
    shared = min(len(start), len(end))
    if "T" not in start or "T" not in end:
        return bool(start[: min(shared, 10)] <= end[: min(shared, 10)])
    one, other = _span(start), _span(end)
    return one is None or other is None or one[0] <= other[0]


def _number(quantity: Json | None) -> Decimal | int | None:
    return None if quantity is None else quantity.get("value")


def _rng_2(range_: Json) -> bool:
    """Comparable only in the same unit; other units are left open."""
    low, high = range_.get("low"), range_.get("high")
    if low is None or high is None or (low.get("code"), low.get("unit")) != (high.get("code"), high.get("unit")):
        return True
    least, most = _number(low), _number(high)
    return least is None or most is None or least <= most


def _rat_1(ratio: Json) -> bool:
    return ("numerator" in ratio) == ("denominator" in ratio) and ("numerator" in ratio or "extension" in ratio)


def _whole_number(value: Decimal | int | None) -> bool:
    return value is None or "." not in str(value)


def _no_home(member: str) -> Callable[[Json], bool]:
    return lambda organization: not any(one.get("use") == "home" for one in organization.get(member, ()))


def _any_of(*names: str) -> Callable[[Json], bool]:
    return lambda element: any(name in element or f"_{name}" in element for name in names)


def _needs(name: str, other: str) -> Callable[[Json], bool]:
    """``name`` only with ``other``."""
    return lambda element: name not in element or other in element or f"_{other}" in element


_QUANTITY = (Rule("qty-3", "If a code for the unit is present, the system SHALL also be present", _needs("code", "system")),)
_SIMPLE = Rule("sqty-1", "The comparator is not used on a SimpleQuantity", lambda quantity: "comparator" not in quantity)


def _ucum(quantity: Json) -> bool:
    return bool(quantity.get("system", _UCUM) == _UCUM)


def _age_1(age: Json) -> bool:
    value = age.get("value")
    return ("code" in age or value is None) and _ucum(age) and bool(value is None or value > 0)


def _drt_1(duration: Json) -> bool:
    return "code" not in duration or (duration.get("system") == _UCUM and "value" in duration)


def _cnt_3(count: Json) -> bool:
    value = count.get("value")
    return ("code" in count or value is None) and _ucum(count) and count.get("code", "1") == "1" and _whole_number(value)


def _dis_1(distance: Json) -> bool:
    return ("code" in distance or "value" not in distance) and _ucum(distance)


def _tim_9(repeat: Json) -> bool:
    return "offset" not in repeat or ("when" in repeat and not {"C", "CM", "CD", "CV"} & set(repeat["when"]))


def _not_negative(name: str) -> Callable[[Json], bool]:
    return lambda element: bool(element.get(name, 0) >= 0)


RULES: dict[str, tuple[Rule, ...]] = {
    "Age": (
        *_QUANTITY,
        Rule("age-1", "There SHALL be a code if there is a value, in UCUM; a value SHALL be positive", _age_1),
    ),
    "Attachment": (Rule("att-1", "If the Attachment has data, it SHALL have a contentType", _needs("data", "contentType")),),
    "ContactPoint": (Rule("cpt-2", "A system is required if a value is provided", _needs("value", "system")),),
    "Count": (*_QUANTITY, Rule("cnt-3", "A count SHALL be a whole number with the UCUM code 1", _cnt_3)),
    "Distance": (*_QUANTITY, Rule("dis-1", "There SHALL be a code if there is a value, in UCUM", _dis_1)),
    "Duration": (*_QUANTITY, Rule("drt-1", "A code SHALL be of UCUM and have a value", _drt_1)),
    "Expression": (Rule("exp-1", "An expression or a reference must be provided", _any_of("expression", "reference")),),
    "Extension": (
        Rule(
            "ext-1",
            "Must have either extensions or value[x], not both",
            lambda extension: ("extension" in extension) != any(name.lstrip("_").startswith("value") for name in extension),
        ),
    ),
    "Observation": (
        Rule(
            "obs-6",
            "dataAbsentReason SHALL only be present if Observation.value[x] is not present",
            lambda observation: "dataAbsentReason" not in observation or _value(observation, "value") is None,
        ),
        Rule(
            "obs-7",
            "If Observation.code is the same as a component's code, Observation.value[x] SHALL NOT be present",
            _obs_7,
        ),
    ),
    "Observation.referenceRange": (Rule("obs-3", "Must have at least a low or a high or text", _any_of("low", "high", "text")),),
    "Organization": (
        Rule("org-1", "The organization SHALL at least have a name or an identifier", _any_of("name", "identifier")),
        Rule("org-2", "An address of an organization can never be of use 'home'", _no_home("address")),
        Rule("org-3", "The telecom of an organization can never be of use 'home'", _no_home("telecom")),
    ),
    "Patient.contact": (
        Rule(
            "pat-1",
            "SHALL at least contain a contact's details or a reference to an organization",
            _any_of("name", "telecom", "address", "organization"),
        ),
    ),
    "Period": (Rule("per-1", "If present, start SHALL have a lower value than end", _in_order),),
    "Quantity": _QUANTITY,
    "Range": (Rule("rng-2", "If present, low SHALL have a lower value than high", _rng_2),),
    "Ratio": (Rule("rat-1", "Numerator and denominator SHALL both be present, or both absent with some extension", _rat_1),),
    "ServiceRequest": (Rule("prr-1", "orderDetail SHALL only be present if code is present", _needs("orderDetail", "code")),),
    "SimpleQuantity": (*_QUANTITY, _SIMPLE),
    "Timing.repeat": (
        Rule("tim-1", "if there's a duration, there needs to be duration units", _needs("duration", "durationUnit")),
        Rule("tim-2", "if there's a period, there needs to be period units", _needs("period", "periodUnit")),
        Rule("tim-4", "duration SHALL be a non-negative value", _not_negative("duration")),
        Rule("tim-5", "period SHALL be a non-negative value", _not_negative("period")),
        Rule("tim-6", "If there's a periodMax, there must be a period", _needs("periodMax", "period")),
        Rule("tim-7", "If there's a durationMax, there must be a duration", _needs("durationMax", "duration")),
        Rule("tim-8", "If there's a countMax, there must be a count", _needs("countMax", "count")),
        Rule("tim-9", "If there's an offset, there must be a when (and not C, CM, CD, CV)", _tim_9),
        Rule(
            "tim-10",
            "If there's a timeOfDay, there cannot be a when, or vice versa",
            lambda repeat: "timeOfDay" not in repeat or "when" not in repeat,
        ),
    ),
}
