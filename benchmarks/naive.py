"""The pipeline one would write first: hl7apy parses, fhir.resources builds, checks and dumps. Measured beside ours.

It makes the very content of ``handwritten``: what it adds is the two libraries.
"""

from __future__ import annotations

from fhir.resources.R4B.bundle import Bundle
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Group, Segment
from hl7apy.parser import parse_message

from benchmarks.handwritten import content


def convert(data: bytes) -> bytes:
    """The bundle of an ORU^R01 of one order."""
    message = parse_message(data.decode(), validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
    return Bundle.model_validate(content(list(_segments(message)))).model_dump_json().encode()


def _segments(parent: Group) -> list[list[str]]:
    found: list[list[str]] = []
    for child in parent.children:
        found += [_fields(child)] if isinstance(child, Segment) else _segments(child)
    return found


def _fields(segment: Segment) -> list[str]:
    """The segment's name, then the text of each field in its position; MSH-1 is the separator itself and no part of it."""
    fields: dict[int, str] = {}
    for field in segment.children:
        number = int(field.name.partition("_")[2]) - (segment.name == "MSH")
        fields[number] = f"{fields[number]}~{field.to_er7()}" if number in fields else field.to_er7()
    fields[0] = segment.name
    return [fields.get(number, "") for number in range(max(fields) + 1)]
