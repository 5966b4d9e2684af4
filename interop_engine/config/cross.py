"""What only shows when the whole site is seen at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from interop_engine.config import relaying, sending, transport
from interop_engine.connectors.exchange import ExchangeDestinationOptions, ExchangeSourceOptions
from interop_engine.core.diagnostics import Mark, Mistake
from interop_engine.hl7.dictionary import messages_like

if TYPE_CHECKING:
    from interop_engine.config.reading import File
    from interop_engine.config.schema import SiteOptions
    from interop_engine.config.site import ChannelConfig
    from interop_engine.mapping.program import Library

Channels = Sequence[tuple["ChannelConfig", "File"]]


def check(root: Path, options: SiteOptions, channels: Channels, library: Library) -> Iterator[Mistake]:
    """Every mistake between files, errors and warnings."""
    if not any((root / "channels").glob("*.yaml")):
        yield Mistake("C108", "the site has no channels", Mark("channels", 1, 1), "each channels/*.yaml is one")
    yield from _names(channels)
    yield from _ports(options, channels)
    yield from _accepting(channels, library)
    yield from sending.check(channels)
    yield from relaying.check(channels)
    if len(channels) == sum(1 for _ in (root / "channels").glob("*.yaml")):  # else a channel that cannot be read may use it
        yield from _unused(channels, library)
    yield from _receivers(options, channels)
    yield from _shared(options, channels)
    yield from _holding(channels)
    for channel, file in channels:
        yield from transport.check_channel(root, channel, file, datetime.now(UTC))


def _names(channels: Channels) -> Iterator[Mistake]:
    seen: dict[str, str] = {}
    for channel, file in channels:
        if channel.name in seen:
            yield Mistake(
                "C109", f'two channels have the name "{channel.name}"', file.mark("channel"), f"also in {seen[channel.name]}"
            )
        seen.setdefault(channel.name, file.name)
        names = [destination.name for destination in channel.destinations]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Mistake("C109", f'two destinations have the name "{name}"', file.mark("deliver", index, "name"))


def _ports(options: SiteOptions, channels: Channels) -> Iterator[Mistake]:
    used = {_port(options.status.listen): "the status API"}
    for channel, file in channels:
        listen = getattr(channel.source, "listen", None)
        if not listen or _port(listen) == "0":
            continue
        if (other := used.get(_port(listen))) is not None:
            mark = file.mark("source", channel.connector, "listen")
            yield Mistake("C110", f"port {_port(listen)} is taken already", mark, f"by {other}")
        used[_port(listen)] = f"channel {channel.name}"


def _port(listen: str) -> str:
    return listen.rpartition(":")[2]


def _accepting(channels: Channels, library: Library) -> Iterator[Mistake]:
    """A source of HL7 v2 says what it takes and what becomes of the rest; each event it takes has a mapping."""
    for channel, file in channels:
        if channel.connector == "exchange":
            continue
        options = channel.options
        if not options.accept:
            yield Mistake("C102", 'the key "accept" is missing', file.mark(), "the messages taken, for example accept: [ORU^R01]")
        if options.otherwise is None:
            yield Mistake(
                "C112", 'the key "otherwise" is missing', file.mark(), "reject (AR) or ignore (AA, kept): never assumed"
            )
        unknown = library.broken.intersection(options.all_mappings()) or (library.unreadable and not channel.programs)
        if unknown or all(destination.original for destination in channel.destinations):
            continue
        for index, event in enumerate(options.accept):
            if not any(_mapped(channel, kind) for kind in messages_like(event)):
                yield Mistake("C113", f"no mapping of this channel takes {event}", file.mark("accept", index), _taking(channel))


def _mapped(channel: ChannelConfig, kind: str) -> bool:
    programs = (channel.programs.get(name) for name in channel.options.mappings_for(kind))
    return any(program is not None and program.takes(kind) for program in programs)


def _taking(channel: ChannelConfig) -> str:
    return "; ".join(f"{name} is for {program.structure}" for name, program in channel.programs.items()) or "add mapping: NAME"


def _unused(channels: Channels, library: Library) -> Iterator[Mistake]:
    used = {name for channel, _ in channels for name in channel.options.all_mappings()}
    used |= {each.outbound.name for channel, _ in channels for each in channel.destinations if each.outbound is not None}
    for name, made in library.outbound.items():
        if name not in used:
            yield Mistake("C114", f'no channel uses the mapping "{name}"', made.mark, severity="warning")
    for name, program in library.programs.items():
        if name not in used and not any(other.extends == name for other in library.programs.values()):
            yield Mistake("C114", f'no channel uses the mapping "{name}"', program.mark, severity="warning")


def _shared(options: SiteOptions, channels: Channels) -> Iterator[Mistake]:
    """What is taken in by going to get it, every node that runs the channel goes for."""
    for channel, file in channels:
        if options.journal.postgres and channel.connector in {"file", "poll"}:
            message = f"every node that shares the journal reads this {channel.connector} source by itself"
            hint = "give each node a folder of its own, or the channel to one node alone"
            yield Mistake("C141", message, file.mark("source", channel.connector), hint, severity="warning")


def _holding(channels: Channels) -> Iterator[Mistake]:
    """What parks holds its lane; a channel without an order has none."""
    for channel, file in channels:
        for index, destination in enumerate(channel.destinations):
            if channel.options.order == "none" and destination.deliver.on_parked == "hold":
                mark = file.mark("deliver", index, "on_parked")
                message = "on_parked: hold holds nothing: with order: none no message waits for another"
                yield Mistake("C142", message, mark, "leave it out, or order: patient", severity="warning")


def _receivers(options: SiteOptions, channels: Channels) -> Iterator[Mistake]:
    """With the embedded exchange every receiver is in this site, so that a name nobody receives under can be told now."""
    if options.exchange != "embedded":
        return
    subscribed = {
        (channel.source.as_, kind)
        for channel, _ in channels
        if isinstance(channel.source, ExchangeSourceOptions)
        for kind in channel.source.kinds
    }
    for channel, file in channels:
        for index, destination in enumerate(channel.destinations):
            to = destination.options
            if isinstance(to, ExchangeDestinationOptions) and to.receiver and (to.receiver, to.kind) not in subscribed:
                mark = file.mark("deliver", index, "exchange", "to")
                message = f'nobody here receives {to.kind} as "{to.receiver}"'
                yield Mistake("C115", message, mark, "such messages park as unrouted", severity="warning")
