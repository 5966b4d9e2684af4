"""What a channel that is fed by the exchange passes on: nothing that only HL7 v2 could tell, and nothing to itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from interop_engine.connectors.exchange import ExchangeDestinationOptions, ExchangeSourceOptions
from interop_engine.core.diagnostics import Mistake

if TYPE_CHECKING:
    from interop_engine.config.reading import File
    from interop_engine.config.site import ChannelConfig, DestinationConfig

Channels = Sequence[tuple["ChannelConfig", "File"]]

_TAKES = "this channel carries bundles"


def check(channels: Channels) -> Iterator[Mistake]:
    """Every condition and receiver that cannot be told of a bundle, and every way in a circle."""
    for channel, file in channels:
        if channel.connector != "exchange":
            continue
        if not channel.options.accept:
            yield from _untold(channel, file)
        for index, destination in enumerate(channel.destinations):
            if channel in _reached(destination, channels):
                options = destination.options
                assert isinstance(options, ExchangeDestinationOptions)
                message = f'what is sent to "{options.receiver}" comes back to this channel'
                hint = "it would go round for ever: send it to another name, or as another kind"
                yield Mistake("C140", message, file.mark("deliver", index, "exchange", "to"), hint)


def _untold(channel: ChannelConfig, file: File) -> Iterator[Mistake]:
    conditions: list[tuple[str | int, ...]] = [("filter",)] if channel.options.filter else []
    conditions += [("deliver", index, "when") for index, each in enumerate(channel.destinations) if each.deliver.when]
    for path in conditions:
        hint = "a condition is over HL7 v2: put it where the bundles are made, or take other kinds"
        yield Mistake("C119", f"{_TAKES}, {path[-1]}: asks for fields of HL7 v2", file.mark(*path), hint)
    for index, each in enumerate(channel.destinations):
        options = each.options
        if isinstance(options, ExchangeDestinationOptions) and not options.receiver:
            mark = file.mark("deliver", index, "exchange", "to")
            yield Mistake("C119", f"{_TAKES}, to: asks for fields of HL7 v2", mark, "name the receiver: to: =NAME")


def _reached(destination: DestinationConfig, channels: Channels) -> list[ChannelConfig]:
    """The channels of this site that what is sent there comes to, by way of others too; a condition may end a circle."""
    reached: list[ChannelConfig] = []
    ways = [destination]
    while ways:
        way = ways.pop()
        for channel, _ in channels:
            if channel not in reached and _feeds(way, channel):
                reached.append(channel)
                ways += channel.destinations
    return reached


def _feeds(destination: DestinationConfig, channel: ChannelConfig) -> bool:
    to, source = destination.options, channel.source
    if not isinstance(to, ExchangeDestinationOptions) or not isinstance(source, ExchangeSourceOptions) or destination.when:
        return False
    return to.receiver == source.as_ and to.kind in source.kinds
