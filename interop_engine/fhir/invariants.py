"""The FHIRPath invariants of the types the engine writes, by hand in Python.

Keyed by the path they stand on; each has its key and the specification's sentence, and tells whether it holds. They read a
value through ``of(value, name, None)``, which is ``dict.get`` for JSON and ``getattr`` for the structs of ``shortcut.py``.
They run on values whose structure is right, except that a primitive may be missing where it has only extensions.

ele-1, txt-1 and txt-2 are part of the structural checks; ref-1, dom-2 to dom-5 and the bundle's rules need more than the
element and are in ``whole.py``. Warnings (dom-6) are left to the reader of the specification.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

Of = Callable[[Any, str, None], Any]

_UCUM = "http://unitsofmeasure.org"
_VALUES = tuple(
    f"value{kind}"
    for kind in (
        *("Quantity", "CodeableConcept", "String", "Boolean", "Integer", "Range", "Ratio", "SampledData"),
        *("Time", "DateTime", "Period"),
    )
)


class Rule(NamedTuple):
    """An invariant: its key, what it says, and the test. ``plain`` is Python over a struct ``s``: where true, it holds."""

    key: str
    says: str
    holds: Callable[[Of, Any], bool]
    plain: str = ""


def _has(of: Of, value: Any, *names: str) -> bool:
    """Whether any of the elements is there, with a value or with only extensions."""
    return any(of(value, name, None) is not None or of(value, f"_{name}", None) is not None for name in names)


def _any_of(*names: str) -> Callable[[Of, Any], bool]:
    return lambda of, value: _has(of, value, *names)


def _needs(name: str, other: str) -> Callable[[Of, Any], bool]:
    """``name`` only with ``other``."""
    sibling = f"_{other}"
    return lambda of, value: (
        of(value, name, None) is None or of(value, other, None) is not None or of(value, sibling, None) is not None
    )


def _not_both(name: str, other: str) -> Callable[[Of, Any], bool]:
    return lambda of, value: of(value, name, None) is None or of(value, other, None) is None


def _not_negative(name: str) -> Callable[[Of, Any], bool]:
    return lambda of, value: bool((of(value, name, None) or 0) >= 0)


def _no_home(member: str) -> Callable[[Of, Any], bool]:
    return lambda of, value: not any(of(one, "use", None) == "home" for one in of(value, member, None) or ())


# --- Observation ----------------------------------------------------------------------------------------------------


def _obs_6(of: Of, observation: Any) -> bool:
    return of(observation, "dataAbsentReason", None) is None or not _has(of, observation, *_VALUES)


def _obs_7(of: Of, observation: Any) -> bool:
    components = of(observation, "component", None)
    if not components or not _has(of, observation, *_VALUES):
        return True
    own = _codings(of, of(observation, "code", None))
    return not any(own & _codings(of, of(component, "code", None)) for component in components)


def _codings(of: Of, concept: Any) -> set[tuple[Any, ...]]:
    """Codings by all their parts, since FHIRPath's intersect compares them whole."""
    return {
        tuple(of(coding, part, None) for part in ("system", "version", "code", "display", "userSelected"))
        for coding in (concept and of(concept, "coding", None)) or ()
    }


# --- Data types -----------------------------------------------------------------------------------------------------


def _per_1(of: Of, period: Any) -> bool:
    """Start <= end as FHIRPath compares: where one is less precise and the rest is equal nobody knows, so it does not hold."""
    start, end = of(period, "start", None), of(period, "end", None)
    if start is None or end is None:
        return True
    if "T" in start and "T" in end:
        try:
            return datetime.fromisoformat(start) <= datetime.fromisoformat(end)
        except ValueError:  # a leap second, which Python has not
            return bool(start[:19] <= end[:19])
    shared = min(len(start), len(end), 10)
    known = len(start) == len(end)
    return bool(start[:shared] <= end[:shared] if known else start[:shared] < end[:shared])


def _rng_2(of: Of, range_: Any) -> bool:
    """Comparable only in the same unit; other units are left open."""
    low, high = of(range_, "low", None), of(range_, "high", None)
    if low is None or high is None or any(of(low, unit, None) != of(high, unit, None) for unit in ("code", "unit")):
        return True
    least, most = of(low, "value", None), of(high, "value", None)
    return bool(least is None or most is None or least <= most)


def _rat_1(of: Of, ratio: Any) -> bool:
    numerator = of(ratio, "numerator", None) is not None
    if numerator != (of(ratio, "denominator", None) is not None):
        return False
    return numerator or of(ratio, "extension", None) is not None


def _ucum(of: Of, quantity: Any) -> bool:
    return (of(quantity, "system", None) or _UCUM) == _UCUM


def _age_1(of: Of, age: Any) -> bool:
    value, code = of(age, "value", None), of(age, "code", None)
    return (code is not None or value is None) and _ucum(of, age) and bool(value is None or value > 0)


def _cnt_3(of: Of, count: Any) -> bool:
    value, code = of(count, "value", None), of(count, "code", None)
    return (code is not None or value is None) and _ucum(of, count) and code in {None, "1"} and "." not in str(value)


def _dis_1(of: Of, distance: Any) -> bool:
    return (of(distance, "code", None) is not None or of(distance, "value", None) is None) and _ucum(of, distance)


def _drt_1(of: Of, duration: Any) -> bool:
    return of(duration, "code", None) is None or (
        of(duration, "system", None) == _UCUM and of(duration, "value", None) is not None
    )


def _ext_1(of: Of, extension: Any) -> bool:
    """On JSON only: the structs leave nested extensions out."""
    return (of(extension, "extension", None) is not None) != any(name.lstrip("_").startswith("value") for name in extension)


def _tim_9(of: Of, repeat: Any) -> bool:
    when = of(repeat, "when", None) or ()
    return of(repeat, "offset", None) is None or (bool(when) and not {"C", "CM", "CD", "CV"} & set(when))


# --- Appointment, Condition -----------------------------------------------------------------------------------------


def _app_2(of: Of, appointment: Any) -> bool:
    return _has(of, appointment, "start") == _has(of, appointment, "end")


def _app_3(of: Of, appointment: Any) -> bool:
    timed = _has(of, appointment, "start") and _has(of, appointment, "end")
    return timed or of(appointment, "status", None) in {"proposed", "cancelled", "waitlist"}


def _app_4(of: Of, appointment: Any) -> bool:
    return of(appointment, "cancelationReason", None) is None or of(appointment, "status", None) in {"noshow", "cancelled"}


_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
_ABATEMENTS = tuple(f"abatement{kind}" for kind in ("DateTime", "Age", "Period", "Range", "String"))


def _coded(of: Of, concept: Any, system: str, codes: frozenset[str]) -> bool:
    """Whether a CodeableConcept has one of the codes of a system."""
    codings = of(concept, "coding", None) if concept is not None else None
    return any(of(one, "system", None) == system and of(one, "code", None) in codes for one in codings or ())


def _con_4(of: Of, condition: Any) -> bool:
    over = frozenset({"resolved", "remission", "inactive"})
    return not _has(of, condition, *_ABATEMENTS) or _coded(of, of(condition, "clinicalStatus", None), _CLINICAL, over)


def _con_5(of: Of, condition: Any) -> bool:
    if of(condition, "clinicalStatus", None) is None:
        return True
    return not _coded(of, of(condition, "verificationStatus", None), _VERIFICATION, frozenset({"entered-in-error"}))


_QUANTITY = (
    Rule(
        "qty-3",
        "If a code for the unit is present, the system SHALL also be present",
        _needs("code", "system"),
        "s.code is None or s.system is not None",
    ),
)
_SIMPLE = Rule(
    "sqty-1", "The comparator is not used on a SimpleQuantity", lambda of, value: of(value, "comparator", None) is None
)

RULES: dict[str, tuple[Rule, ...]] = {
    "Age": (
        *_QUANTITY,
        Rule("age-1", "There SHALL be a code if there is a value, in UCUM; a value SHALL be positive", _age_1),
    ),
    "Appointment": (
        Rule("app-2", "Either start and end are specified, or neither", _app_2),
        Rule("app-3", "Only proposed or cancelled appointments can be missing start/end dates", _app_3),
        Rule("app-4", "Cancelation reason is only used for appointments that have been cancelled, or no-show", _app_4),
    ),
    "Appointment.participant": (
        Rule("app-1", "Either the type or actor on the participant SHALL be specified", _any_of("type", "actor")),
    ),
    "Attachment": (
        Rule("att-1", "If the Attachment has data, it SHALL have a contentType", _needs("data", "contentType"), "s.data is None"),
    ),
    "Condition": (
        Rule("con-4", "If condition is abated, then clinicalStatus must be either inactive, resolved, or remission", _con_4),
        Rule("con-5", "Condition.clinicalStatus SHALL NOT be present if verification Status is entered-in-error", _con_5),
    ),
    "ContactPoint": (
        Rule("cpt-2", "A system is required if a value is provided", _needs("value", "system"), "s.system is not None"),
    ),
    "Count": (*_QUANTITY, Rule("cnt-3", "A count SHALL be a whole number with the UCUM code 1", _cnt_3)),
    "Distance": (*_QUANTITY, Rule("dis-1", "There SHALL be a code if there is a value, in UCUM", _dis_1)),
    "Duration": (*_QUANTITY, Rule("drt-1", "A code SHALL be of UCUM and have a value", _drt_1)),
    "Expression": (Rule("exp-1", "An expression or a reference must be provided", _any_of("expression", "reference")),),
    "Extension": (
        Rule(
            "ext-1",
            "Must have either extensions or value[x], not both",
            _ext_1,
        ),
    ),
    "Observation": (
        Rule(
            "obs-6",
            "dataAbsentReason SHALL only be present if Observation.value[x] is not present",
            _obs_6,
            "s.dataAbsentReason is None",
        ),
        Rule(
            "obs-7",
            "If Observation.code is the same as a component's code, Observation.value[x] SHALL NOT be present",
            _obs_7,
            "s.component is None",
        ),
    ),
    "Observation.referenceRange": (
        Rule("obs-3", "Must have at least a low or a high or text", _any_of("low", "high", "text"), "s.low is not None"),
    ),
    "Organization": (
        Rule(
            "org-1",
            "The organization SHALL at least have a name or an identifier",
            _any_of("name", "identifier"),
            "s.name is not None",
        ),
        Rule("org-2", "An address of an organization can never be of use 'home'", _no_home("address"), "s.address is None"),
        Rule("org-3", "The telecom of an organization can never be of use 'home'", _no_home("telecom"), "s.telecom is None"),
    ),
    "MedicationAdministration.dosage": (
        Rule(
            "mad-1",
            "SHALL have at least one of dosage.dose or dosage.rate[x]",
            _any_of("dose", "rateRatio", "rateQuantity"),
        ),
    ),
    "Patient.contact": (
        Rule(
            "pat-1",
            "SHALL at least contain a contact's details or a reference to an organization",
            _any_of("name", "telecom", "address", "organization"),
        ),
    ),
    "Period": (Rule("per-1", "If present, start SHALL have a lower value than end", _per_1, "s.start is None or s.end is None"),),
    "Quantity": _QUANTITY,
    "Range": (Rule("rng-2", "If present, low SHALL have a lower value than high", _rng_2),),
    "Ratio": (Rule("rat-1", "Numerator and denominator SHALL both be present, or both absent with some extension", _rat_1),),
    "ServiceRequest": (
        Rule(
            "prr-1", "orderDetail SHALL only be present if code is present", _needs("orderDetail", "code"), "s.code is not None"
        ),
    ),
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
            _not_both("timeOfDay", "when"),
        ),
    ),
}
