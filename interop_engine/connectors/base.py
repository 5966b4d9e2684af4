"""What a connector is. It never imports the engine: a source is handed ``accept``, a destination is handed deliveries.

A connector's options are a pydantic model beside its code (every field with a description, useful ones with an example); they
give the validation, the JSON Schema, the reference page and the defaults. ``connectors.registry`` lists all of them by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import Field, field_validator

from interop_engine.connectors.gate import Gate
from interop_engine.connectors.options import Options
from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Accept, Delivery, Outcome
from interop_engine.core.units import Duration
from interop_engine.exchange.base import Exchange
from interop_engine.hl7.charset import codec_of


class Sending(Options):
    """The options of a destination that can be sent one or the other; the engine reads them, the connector need not."""

    send: str = Field(
        "bundle",
        description="bundle (FHIR), original (the HL7 v2 as received), or the name of a mapping with to:, which makes HL7 v2 of"
        " the one or puts the other right.",
        examples=["original", "oru_from_bundle"],
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$",
    )


class SendingHl7(Sending):
    """The options of a destination that can be sent HL7 v2 made of bundles: what its header says of the receiver."""

    application: str = Field("", description="MSH-5 of messages made of bundles: the receiving application.", examples=["HIS"])
    facility: str = Field("", description="MSH-6 of messages made of bundles: the receiving facility.", examples=["24017"])
    charset: str = Field("UNICODE UTF-8", description="MSH-18 of messages made of bundles, and what they are written in.")

    @field_validator("charset")
    @classmethod
    def _known_charset(cls, value: str) -> str:
        if codec_of(value) is None:
            raise ValueError(f'"{value}" is no character set of HL7 table 0211; an example is UNICODE UTF-8')
        return value


class Acknowledging(Options):
    """The options of a source whose senders are acknowledged; the engine reads them, the connector need not."""

    ack: Literal["stored", "transformed", "delivered"] = Field(
        "stored",
        description="When a message is acknowledged: stored, once the journal has it; transformed, once it is mapped;"
        " delivered, once its receivers took it. What fails by then is answered AE.",
        examples=["delivered"],
    )
    ack_destinations: tuple[str, ...] = Field(
        (), description="The destinations that ack: delivered waits for; without any, every one.", examples=[["hub"]]
    )
    ack_within: Duration = Field(
        30.0,
        gt=0,
        description="How long a sender waits for that. Past it the connection is closed in silence; a resend waits for the same"
        " message.",
        examples=["30s"],
    )
    ack_mode: Literal["msh", "original"] = Field(
        "msh",
        description="msh: enhanced where MSH-15 or MSH-16 is valued; original: they are not believed, each message gets one AA,"
        " AE or AR.",
        examples=["original"],
    )
    sequence_numbers: bool = Field(
        False,
        description="Keep the sequence number protocol: a message whose MSH-13 is not the next one is answered AE, and MSA-4 says"
        " which is expected. For a sender that sends over one connection.",
    )
    ack_to: str = Field(
        "",
        description="The destination of this channel that application acknowledgements of enhanced mode are sent to, journaled,"
        " and nothing else; without one they go back on the connection, as long as it lasts.",
        examples=["lis-acks"],
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
    """How a connector is, for the status page. ``problem`` says in words what is wrong, empty while nothing is.

    ``warning``: what a person should see to although it works, empty while there is nothing.
    """

    place: str  # "0.0.0.0:2575", "https://hub/fhir" (never with credentials)
    connections: int = 0
    problem: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    warning: str = ""


class Source(Protocol):
    """Takes in messages and answers their senders after ``accept`` has."""

    async def start(self, accept: Accept) -> None:
        """Listen or subscribe. Raises OSError where that is impossible (a port in use)."""

    async def stop(self) -> None:
        """Stop intake, let accepts that are under way be answered, then close. Twice is harmless."""

    def health(self) -> ConnectorHealth:
        """How the source is."""


class Destination(Protocol):
    """Hands deliveries to a receiver. Never raises for what a receiver does: the Outcome says it.

    ``gate``: where deliveries wait while the receiver cannot be reached. It is entered before anything is leased.
    """

    gate: Gate

    async def open(self) -> None:
        """Get ready; a receiver that is down is not an error here."""

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Deliver once. The engine sees to order, retries and parking."""

    async def close(self) -> None:
        """Close; twice is harmless."""

    def health(self) -> ConnectorHealth:
        """How the destination is."""


_holds: ContextVar[Callable[[], bool]] = ContextVar("holds", default=lambda: True)


def deliver_while(holds: Callable[[], bool]) -> None:
    """What this task delivers from now on is this node's to send as long as ``holds`` says so."""
    _holds.set(holds)


def before_sending() -> None:
    """Raise UnknownItem where the delivery of this task may be another node's by now: this one stood still, or was cut off.

    A destination whose receiver would take old bytes after newer ones asks it last of all before bytes leave: between lease and
    sending a node can stand still at any line.
    """
    if not _holds.get()():
        raise UnknownItem("The delivery may be another node's by now.")
