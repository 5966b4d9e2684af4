"""Conversions: HL7 v2 data types → FHIR R4 data types. The ground is the official v2-to-FHIR maps.

Three registries, which the checker asks in this order:

``COMPANIONS``   (segment, field, FHIR type, ``*`` for an element with a choice): fields that are only understood with others;
``PLACES``       (segment, field, FHIR type), where the place says more than the type: OBR-2 is a placer's number;
``CONVERSIONS``  (HL7 v2 type, FHIR type).

``coded`` asks the last two, and the tables' maps (``TABLES``) in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interop_engine.mapping.convert import (
    codes,
    composites,
    documents,
    durations,
    identifiers,
    names,
    quantities,
    references,
    texts,
    times,
    timing,
)
from interop_engine.mapping.convert.base import Companion, Conversion
from interop_engine.mapping.convert.codes import CODED, by_table, mapped, translated
from interop_engine.mapping.convert.observation import observation_value, reference_range
from interop_engine.mapping.convert.quantities import amount
from interop_engine.mapping.convert.tables import BY_NAME, TABLES, CodeTable, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BY_NAME",
    "CODED",
    "COMPANIONS",
    "CONVERSIONS",
    "PLACES",
    "TABLES",
    "CodeTable",
    "Companion",
    "Conversion",
    "Target",
    "by_table",
    "coded",
    "observation_value",
    "reference_range",
    "translated",
]

CONVERSIONS: Mapping[tuple[str, str], Conversion] = {
    **texts.CONVERSIONS,
    **codes.CONVERSIONS,
    **times.CONVERSIONS,
    **durations.CONVERSIONS,
    **timing.CONVERSIONS,
    **quantities.CONVERSIONS,
    **identifiers.CONVERSIONS,
    **names.CONVERSIONS,
    **references.CONVERSIONS,
    **documents.CONVERSIONS,
    **composites.CONVERSIONS,
}

PLACES: Mapping[tuple[str, int, str], Conversion] = {**codes.PLACES, **identifiers.PLACES, **names.PLACES, **durations.PLACES}

_VALUE = Companion(observation_value, "value[x] by OBX-2, with the unit of OBX-6.", (2, 5, 6), choice=True)
_OBSERVED = Companion(times.observed, "A dateTime, or a Period with OBR-8.", (7, 8), choice=True)
_TIMING = Companion(timing.tq1_timing, "A Timing of the whole TQ1.", timing.TQ1_TIMING)
_AMOUNTS = {("RXO", 2): 4, ("RXO", 11): 12, ("RXE", 3): 5, ("RXE", 10): 11, ("RXD", 4): 5, ("RXG", 5): 7, ("RXA", 6): 7}  # → unit
_DOSAGE = Companion(timing.tq1_dosage, "A Dosage of the whole TQ1.", timing.TQ1_DOSAGE)

COMPANIONS: Mapping[tuple[str, int, str], Companion] = {
    ("OBX", 5, "*"): _VALUE,
    ("OBX", 5, "Attachment"): Companion(documents.attachments, "Attachments of ED and RP.", (2, 3, 5), many=True),
    ("OBX", 7, "BackboneElement"): Companion(
        reference_range, "Low, high and text, with the unit of OBX-6.", (6, 7), many=True, common=True
    ),
    ("OBR", 7, "*"): _OBSERVED,
    **{
        (segment, number, "Quantity"): Companion(
            amount(number, unit), f"A Quantity with the unit of {segment}-{unit}.", (number, unit)
        )
        for (segment, number), unit in _AMOUNTS.items()
    },
    ("SPM", 17, "*"): Companion(times.collected, "A dateTime, or a Period.", (17,), choice=True),
    **{("TQ1", field, "Timing"): _TIMING for field in (3, 4, 7)},
    **{("TQ1", field, "Dosage"): _DOSAGE for field in (3, 4, 7)},
    ("PID", 7, "date"): Companion(times.birth_date, "A date; 1 January is an unknown day: only the year.", (7,)),
}
"""Fields that are only understood with others: (segment, field, FHIR type); ``*`` is an element with a choice of types."""


def coded(v2_type: str, type_: str, table: str = "", value_set: str = "", place: tuple[str, int] = ("", 0)) -> Conversion | None:
    """What a field becomes by itself: by its place, through its table's map where one leads to ``value_set``, by its type.

    ``table`` is the field's HL7 table (``0085``, empty where it has none), ``value_set`` the element's binding, ``place``
    its segment and number where the whole field is meant.
    """
    return PLACES.get((*place, type_)) or mapped(v2_type, type_, table, value_set) or CONVERSIONS.get((v2_type, type_))
