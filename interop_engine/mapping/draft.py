"""What a mapping makes of a message, before it is reconciled with what was sent: values that cross to the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from interop_engine.core.diagnostics import Finding
from interop_engine.core.model import Park, Question, Resource, Write
from interop_engine.fhir.identity import occurrence, resource_id
from interop_engine.mapping.context import Scope, Unmapped
from interop_engine.mapping.runtime import Run


class DraftResource(NamedTuple):
    """One resource as the message says it. ``version``: the time that orders versions, ISO 8601 in UTC, '' where unknown.

    ``content`` may hold None for an element that a ``""`` clears (``write: merge``). ``union``: list elements that are the union
    with what was sent. ``merged_into``: "Patient/<id>" of the survivor. ``key``: what names it within ``scope``, of a part first
    the id of what it is a part of.
    """

    name: str
    type: str
    id: str
    content: Resource
    write: Write
    version: str = ""
    rank: int = 0
    union: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    merged_into: str = ""
    scope: str = ""
    key: tuple[str, ...] = ()

    def occurrence(self, number: int) -> str:
        """``Type/id`` of the so manieth thing with this key, from 1."""
        return f"{self.type}/{resource_id(self.scope, self.type, occurrence(self.key, number))}"


@dataclass(frozen=True, slots=True)
class Draft:
    """What a message says. ``unread``: populated fields that no rule read. ``unmapped``: codes for the worklist."""

    resources: tuple[DraftResource, ...] = ()
    findings: tuple[Finding, ...] = ()
    unread: tuple[str, ...] = ()
    park: Park | None = None
    unmapped: tuple[Unmapped, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A message whose resources are named. ``question`` is what ``build`` needs to know of them."""

    question: Question
    scope: Scope
    run: Run | None
    park: Park | None = None
    findings: tuple[Finding, ...] = ()
