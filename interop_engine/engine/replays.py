"""What a replay makes: it may be for one destination, go through the mappings of another day, and it may come late."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from interop_engine.config.loader import rebuild
from interop_engine.core.errors import ConfigError, UnknownItem
from interop_engine.engine import relay
from interop_engine.engine.transform import Parked
from interop_engine.engine.transformers import Inside

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig, DestinationConfig, Site, Values
    from interop_engine.core.model import Received
    from interop_engine.hl7.message import Message
    from interop_engine.journal.base import Forward, Journal
    from interop_engine.mapping.context import Scope

_MOST_SITES = 2  # rebuilt ones that are kept: a replay of many goes through one or two


class Replays:
    """The replays of one channel."""

    def __init__(self, channel: ChannelConfig, journal: Journal) -> None:
        self._channel = channel
        self._journal = journal
        self._inside = Inside()
        self._sites: dict[str, Site] = {}

    async def run(self, received: Received) -> Parked | Forward:
        """What a replay makes, in the engine's own process: those beside it know no configuration but that of now."""
        config = await self._config_of(received)
        if isinstance(config, Parked):
            return config
        if received.media == "fhir":
            step = relay.begin(received, config, late=True)
            while isinstance(step, relay.Waiting):
                step = relay.go_on(step, await self._journal.known(step.question, step.destinations), config)
            return step
        return await self._inside.run(received, config, None, self._journal.known)

    async def _config_of(self, received: Received) -> ChannelConfig | Parked:
        """What a message goes through. Parked where its configuration of that day cannot be had."""
        channel = self._channel
        if received.through and received.through != channel.site:
            try:
                found = (await self._site(received.through)).channel(channel.name)
            except (UnknownItem, ConfigError) as error:
                return Parked("config-lost", f"The configuration of that day cannot be used: {_first_line(error)}")
            if found is None:
                return Parked("config-lost", f"The configuration of that day has no channel {channel.name}.")
            # Where messages go, and how they get there, is today's matter: a destination of that day may be gone.
            channel = replace(found, destinations=channel.destinations)
        return replace(channel, destinations=_only(channel.destinations, received.only)) if received.only else channel

    async def _site(self, digest: str) -> Site:
        if (site := self._sites.get(digest)) is None:
            snapshot = await self._journal.config(digest)
            site = await asyncio.to_thread(rebuild, snapshot)
            while len(self._sites) >= _MOST_SITES:
                del self._sites[next(iter(self._sites))]
            self._sites[digest] = site
        return site


def _only(destinations: tuple[DestinationConfig, ...], only: str) -> tuple[DestinationConfig, ...]:
    """The destination that a replay is for: ``hub``, or for one receiver of an exchange ``hub/24002``."""
    name, _, receiver = only.partition("/")
    chosen = [each for each in destinations if each.name == name]
    if receiver:
        chosen = [replace(each, receivers=_just(receiver, each.receivers)) for each in chosen if each.receivers is not None]
    return tuple(chosen)


def _just(receiver: str, receivers: Values) -> Values:
    def chosen(message: Message, scope: Scope) -> list[str]:
        return [each for each in receivers(message, scope) if each == receiver]

    return chosen


def _first_line(error: UnknownItem | ConfigError) -> str:
    if isinstance(error, ConfigError):
        first = error.mistakes[0]
        return f"{first.mark.file}:{first.mark.line}: {first.message}"
    return str(error)
