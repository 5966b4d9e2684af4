"""A site, loaded and compiled: what the engine runs. Made by ``config.loader`` only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from interop_engine.connectors.base import Sending, SendingHl7
from interop_engine.connectors.mllp_destination import MllpDestinationOptions
from interop_engine.hl7.message import parse
from interop_engine.mapping.outbound.corrections import Correction
from interop_engine.mapping.outbound.program import Envelope, MessageProgram

if TYPE_CHECKING:
    from pathlib import Path
    from zoneinfo import ZoneInfo

    from interop_engine.config.schema import ChannelOptions, DeliverOptions, SiteOptions
    from interop_engine.connectors.options import Options
    from interop_engine.core.diagnostics import Mistake
    from interop_engine.exchange.agreements import Agreements
    from interop_engine.hl7.message import Message
    from interop_engine.mapping.context import Scope
    from interop_engine.mapping.dialect import Dialect
    from interop_engine.mapping.outbound.compiler import Outbound
    from interop_engine.mapping.program import Library, Program

Values = Callable[["Message", "Scope"], Sequence[str]]
Condition = Callable[["Message", "Scope"], bool]


@dataclass(frozen=True)
class DestinationConfig:
    """One destination: its connector's name and options, and what a message must say to go there.

    ``receivers`` gives the facilities an exchange destination sends to; None for every other connector. ``outbound`` is the
    mapping that ``send:`` names: what makes HL7 v2 of a bundle, or puts an original right.
    """

    deliver: DeliverOptions
    connector: str
    options: Options
    when: Condition | None = None
    receivers: Values | None = None
    outbound: Outbound | None = None

    @property
    def name(self) -> str:
        """The destination's name."""
        return self.deliver.name

    @property
    def original(self) -> bool:
        """Whether it is sent HL7 v2 that was received, as it is or put right."""
        if self.outbound is not None:
            return isinstance(self.outbound, Correction)
        return isinstance(self.options, Sending) and self.options.send == "original"

    @property
    def message_program(self) -> MessageProgram | None:
        """What makes HL7 v2 of a bundle for it; None where it is sent something else."""
        return self.outbound if isinstance(self.outbound, MessageProgram) else None

    def asking(self, body: bytes) -> bytes:
        """HL7 v2 as it is sent there: where the receiver answers, asking for the answer that is waited for."""
        return self.options.asking(body) if isinstance(self.options, MllpDestinationOptions) else body

    def envelope(self, delivery: str) -> Envelope:
        """What the header of a message made for it says; ``delivery`` names what the message is made of."""
        options = self.options
        if not isinstance(options, SendingHl7):
            return Envelope(delivery)
        return Envelope(delivery, options.application, options.facility, options.charset)


@dataclass(frozen=True)
class ChannelConfig:
    """One channel, ready to run.

    ``agreements`` say what may leave it over the exchange; None where the site keeps none. ``named`` gives what a message is
    known by when it comes again; None: MSH-10.
    ``digest`` names its own part of the configuration, ``site`` the whole of it: each message is stamped with that, and from the
    snapshot kept by it the channel can be built again (``loader.rebuild``).
    """

    options: ChannelOptions
    connector: str
    source: Options
    destinations: tuple[DestinationConfig, ...]
    programs: Mapping[str, Program]
    scope: Scope
    filter: Condition | None
    dialect: Dialect | None
    digest: str
    zone: ZoneInfo
    site: str = ""
    agreements: Agreements | None = None
    named: Values | None = None

    @property
    def known_for(self) -> timedelta:
        """How long a message is known when it comes again."""
        return timedelta(seconds=self.options.duplicates.within)

    @property
    def name(self) -> str:
        """The channel's name."""
        return self.options.channel

    def read(self, data: bytes) -> Message:
        """A message of this channel, put right by its dialect. Raises ParseError and CharsetError."""
        message = parse(data, charset=self.options.charset or None)
        return message if self.dialect is None else self.dialect.apply(message)

    def program_for(self, message: Message) -> Program | None:
        """The mapping that fits a message. ``check`` and ``Program.fits`` see to it that at most one does."""
        event = f"{message.message_code}^{message.trigger_event}"
        return next((p for n in self.options.mappings_for(event) if (p := self.programs[n]).fits(message)), None)


@dataclass(frozen=True)
class Site:
    """A whole site. ``scope`` is that of a message of no channel.

    ``snapshot`` is the configuration as text (JSON: file → text), named by ``digest``; variables are not filled in, so no secret
    is in it.
    """

    root: Path
    options: SiteOptions
    channels: tuple[ChannelConfig, ...]
    library: Library
    scope: Scope
    digest: str
    snapshot: str
    warnings: tuple[Mistake, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The files it was read from, as paths from ``root``."""
        return tuple(msgspec.json.decode(self.snapshot, type=dict[str, str]))

    def channel(self, name: str) -> ChannelConfig | None:
        """The channel of that name."""
        return next((channel for channel in self.channels if channel.name == name), None)
