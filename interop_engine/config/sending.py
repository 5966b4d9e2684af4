"""Whether what ``send:`` of a destination names fits what its channel carries: HL7 v2, or bundles of the exchange."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from interop_engine.connectors.base import Sending
from interop_engine.core.diagnostics import Mistake
from interop_engine.hl7.dictionary import messages_like
from interop_engine.mapping.outbound.program import MessageProgram

if TYPE_CHECKING:
    from interop_engine.config.reading import File
    from interop_engine.config.site import ChannelConfig, DestinationConfig


def check(channels: Sequence[tuple[ChannelConfig, File]]) -> Iterator[Mistake]:
    """Every destination that is sent what cannot be made of what its channel carries."""
    for channel, file in channels:
        for index, destination in enumerate(channel.destinations):
            if (wrong := _unfit(channel, destination)) is not None:
                where = ("send",) if "send" in destination.options.model_fields_set else ()
                mark = file.mark("deliver", index, destination.connector, *where)
                yield Mistake("C118", wrong[0], mark, wrong[1])


def _unfit(channel: ChannelConfig, destination: DestinationConfig) -> tuple[str, str] | None:
    outbound, events = destination.outbound, channel.options.accept
    bundles = channel.connector == "exchange" and not events
    if outbound is None:
        sends = destination.options.send if isinstance(destination.options, Sending) else "bundle"
        if sends not in ("bundle", "original"):
            return None  # its mapping has mistakes of its own
        if destination.connector == "mllp" and sends == "bundle":
            return "MLLP carries HL7 v2, not bundles", "send: original, or a mapping with to:"
        if destination.connector == "mllp" and bundles:
            hint = "send: NAME, of a mapping with to: that makes HL7 v2 of them"
            return "this channel carries bundles, MLLP carries HL7 v2", hint
        return None
    if isinstance(outbound, MessageProgram):
        hint = "name a mapping with message: and to:, which puts the original right"
        return None if bundles else (f"{outbound.name} makes messages of bundles, this channel carries HL7 v2", hint)
    if bundles:
        hint = "name a mapping with to: and without message:"
        return f"{outbound.name} puts HL7 v2 right, this channel carries bundles", hint
    if events and not any(outbound.takes(kind) for event in events for kind in messages_like(event)):
        return f"{outbound.name} is for {outbound.structure}, which this channel does not accept", f"accept: {', '.join(events)}"
    return None
