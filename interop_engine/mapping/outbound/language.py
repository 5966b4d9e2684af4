"""What an engineer writes of the way back, as values with places. ``reading`` makes them, ``shape`` proves them.

A ``MessageFile`` (``to:`` alone) has the shape of the message it makes: groups, segments and fields on the left, FHIRPath on
the right. A ``CorrectionFile`` (``message:`` and ``to:``) is a message put right: lines of ``lens:`` over the original.
"""

from __future__ import annotations

from dataclasses import dataclass

from interop_engine.core.diagnostics import Mark
from interop_engine.mapping.expression import FieldPath
from interop_engine.mapping.language import Lens, Name, When


@dataclass(frozen=True, slots=True)
class Line:
    """``PID-3: identifier``: a field, and the expressions whose values it takes."""

    path: FieldPath
    mark: Mark
    expressions: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A group or a segment of the message (the message itself, at the top), for each value of ``each`` where ``when`` holds.

    ``required``: without it what is around it is not made, and the bundle parks.
    """

    name: str
    mark: Mark
    each: Name | None = None
    when: Name | None = None
    lines: tuple[Line, ...] = ()
    shapes: tuple[Shape, ...] = ()
    required: bool = False


@dataclass(frozen=True, slots=True)
class MessageFile:
    """A mapping from a FHIR bundle to a message."""

    name: str
    mark: Mark
    to: Name
    event: Name | None
    shape: Shape


@dataclass(frozen=True, slots=True)
class CorrectionFile:
    """A mapping from a message to the same, put right."""

    name: str
    mark: Mark
    message: Name
    to: Name
    when: When | None
    lens: tuple[Lens, ...]
