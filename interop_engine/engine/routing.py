"""Where a message goes: the channel's destinations, and for the exchange the facilities that are meant. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from interop_engine.connectors.exchange import ExchangeDestinationOptions
from interop_engine.core.model import Park

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig, DestinationConfig
    from interop_engine.hl7.message import Message


@dataclass(frozen=True, slots=True)
class Address:
    """One place a message goes. ``state`` names whose last-sent state counts: a receiver's own, on the exchange."""

    destination: str
    state: str
    original: bool
    headers: Mapping[str, str] = field(default_factory=dict)


def route(message: Message, channel: ChannelConfig) -> tuple[Address, ...] | Park:
    """The addresses of a message; Park where a receiver cannot be told and the channel says so."""
    addresses: list[Address] = []
    for destination in channel.destinations:
        if destination.when is not None and not destination.when(message, channel.scope):
            continue
        found = _addresses(message, channel, destination)
        if isinstance(found, Park):
            return found
        addresses.extend(found)
    return tuple(addresses)


def _addresses(message: Message, channel: ChannelConfig, destination: DestinationConfig) -> list[Address] | Park:
    if destination.receivers is None:
        return [Address(destination.name, f"{channel.name}/{destination.name}", destination.original)]
    receivers = list(dict.fromkeys(receiver for receiver in destination.receivers(message, channel.scope) if receiver))
    if not receivers and destination.deliver.on_unknown == "park":
        return Park("unknown-receiver", f"The receiver of destination {destination.name} cannot be told from the message.")
    assert isinstance(destination.options, ExchangeDestinationOptions)
    kind = destination.options.kind
    return [
        Address(destination.name, f"exchange/{receiver}", destination.original, {"receiver": receiver, "kind": kind})
        for receiver in receivers
    ]
