"""What a connector is. It never imports the engine: a source is handed ``accept``, a destination is handed deliveries.

A connector's options are a pydantic model beside its code (every field with a description, useful ones with an example); they
give the validation, the JSON Schema, the reference page and the defaults. ``connectors.registry`` lists all of them by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from interop_engine.core.model import Accept, Delivery, Outcome
from interop_engine.exchange.base import Exchange


class Options(BaseModel):
    """The base of every option model: unknown keys are mistakes, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sending(Options):
    """The options of a destination that can be sent either of the two; the engine reads it, the connector need not."""

    send: Literal["bundle", "original"] = Field(
        "bundle", description="bundle (FHIR), or original: the HL7 v2 as received.", examples=["original"]
    )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the runtime lends a connector."""

    facility: str
    exchange: Exchange
    channel: str
    name: str  # of the destination; "source" for a source
    root: str = "."  # the project's folder: relative paths in options start here


@dataclass(frozen=True, slots=True)
class ConnectorHealth:
    """How a connector is, for the status page. ``problem`` says in words what is wrong, empty while nothing is."""

    place: str  # "0.0.0.0:2575", "https://hub/fhir" (never with credentials)
    connections: int = 0
    problem: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Takes in messages and answers their senders after ``accept`` has."""

    async def start(self, accept: Accept) -> None:
        """Listen or subscribe. Raises OSError where that is impossible (a port in use)."""

    async def stop(self) -> None:
        """Stop intake, let accepts that are under way be answered, then close. Twice is harmless."""

    def health(self) -> ConnectorHealth:
        """How the source is."""


class Destination(Protocol):
    """Hands deliveries to a receiver. Never raises for what a receiver does: the Outcome says it."""

    async def open(self) -> None:
        """Get ready; a receiver that is down is not an error here."""

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Deliver once. The engine sees to order, retries and parking."""

    async def close(self) -> None:
        """Close; twice is harmless."""

    def health(self) -> ConnectorHealth:
        """How the destination is."""
