"""Where a message goes: the channel's destinations, and for the exchange the facilities that are meant. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from interop_engine.connectors.exchange import ExchangeDestinationOptions
from interop_engine.core.model import Park
from interop_engine.engine.acknowledgement import acknowledging
from interop_engine.mapping.outbound.corrections import Correction

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig, DestinationConfig
    from interop_engine.hl7.message import Message


@dataclass(frozen=True, slots=True)
class Address:
    """One place a message goes. ``state`` names whose last-sent state counts: a receiver's own, on the exchange.

    ``original``: it is sent the HL7 v2 that was received, put right by ``correction`` where there is one.
    """

    destination: str
    state: str
    original: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    correction: Correction | None = None


def route(message: Message, channel: ChannelConfig) -> tuple[Address, ...] | Park:
    """The addresses of a message; Park where a receiver cannot be told and the channel says so."""
    addresses: list[Address] = []
    answering = acknowledging(channel).ack_to  # it gets acknowledgements, and nothing else
    for destination in channel.destinations:
        if destination.name == answering:
            continue
        if destination.when is not None and not destination.when(message, channel.scope):
            continue
        found = addresses_of(message, channel, destination)
        if isinstance(found, Park):
            return found
        addresses.extend(found)
    return tuple(addresses)


def addresses_of(message: Message, channel: ChannelConfig, destination: DestinationConfig) -> list[Address] | Park:
    """The addresses of one destination; Park where its receiver cannot be told and the channel says so."""
    name, original = destination.name, destination.original
    correction = destination.outbound if isinstance(destination.outbound, Correction) else None
    if destination.receivers is None:
        return [Address(name, f"{channel.name}/{name}", original, correction=correction)]
    receivers = list(dict.fromkeys(receiver for receiver in destination.receivers(message, channel.scope) if receiver))
    if not receivers and destination.deliver.on_unknown == "park":
        return Park("unknown-receiver", f"The receiver of destination {destination.name} cannot be told from the message.")
    assert isinstance(destination.options, ExchangeDestinationOptions)
    kind = destination.options.kind
    return [
        Address(name, f"exchange/{receiver}", original, {"receiver": receiver, "kind": kind}, correction)
        for receiver in receivers
    ]
