"""What another node sent: known by its sender's delivery id, so that its sender can be told what became of it. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from interop_engine.connectors.exchange import VIA
from interop_engine.core.model import digest, new_id
from interop_engine.engine.lanes import MOST_LANES
from interop_engine.journal.base import MessageState, NewMessage
from interop_engine.journal.finding import PARCEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interop_engine.config.site import ChannelConfig
    from interop_engine.core.model import Arrival

_MOST_HOPS = 8  # nodes that something may come by: what has come by more goes round in a circle between sites


def delivery(headers: Mapping[str, str]) -> str:
    """The sender's id of it; empty of what no node sent."""
    return headers.get("delivery-id", "")


def delivery_key(arrival: Arrival, channel: ChannelConfig) -> str | None:
    """By what a redelivery is known; None of what no node sent."""
    found = delivery(arrival.headers)
    return f"{channel.name}|{arrival.headers.get('sender', '')}|{found}" if found else None


def origin(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What it is found by: the name that its sender knows it by, and where it was passed on, the first facility that sent it."""
    named = ((PARCEL, name) for name in [delivery(headers)] if name)
    return (*named, *(("origin", name) for name in headers.get(VIA, "").split()[:1]))


def way(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The nodes that it came by, as each said, first its origin; none of what no node sent."""
    sender = headers.get("sender", "")
    return (*headers.get(VIA, "").split(), sender) if sender else ()


def goes_round(headers: Mapping[str, str]) -> str:
    """Why it must not be passed on over the exchange; empty where it may. No site sees the whole of a circle between sites."""
    nodes = len(way(headers))
    return f"It has come by {nodes} nodes: do they send it round in a circle?" if nodes > _MOST_HOPS else ""


def bundle_row(arrival: Arrival, channel: ChannelConfig) -> NewMessage:
    """A FHIR bundle: the delivery id is the idempotency key, the sender's lanes are kept as its own."""
    headers = arrival.headers
    sender = headers.get("sender", "")
    lanes = tuple(f"{sender}/{lane}" for lane in headers.get("lane", "").split("\n") if lane) or (f"{sender}/",)
    fault = arrival.fault or (f"It is about more than {MOST_LANES} patients." if len(lanes) > MOST_LANES else "")
    return NewMessage(
        id=new_id(),
        channel=channel.name,
        data=arrival.data,
        media="fhir",
        received_at=arrival.received_at,
        peer=arrival.peer,
        control_id=delivery(headers),
        message_type=headers.get("event", ""),
        digest=digest(arrival.data),
        lanes=() if fault else lanes,
        duplicate_key=delivery_key(arrival, channel),
        known_for=channel.known_for,
        state=MessageState.REJECTED if fault else MessageState.RECEIVED,
        code="100" if fault else "",
        why=fault,
        search=origin(headers),
        headers=dict(headers),
        config=channel.site,
    )


def sent_again(row: NewMessage, key: str | None, first: str) -> NewMessage:
    """Another delivery of a message that was taken as ``first``: nothing is done with it, and its sender is told so."""
    return replace(
        row,
        id=new_id(),
        lanes=(),
        duplicate_key=key,
        state=MessageState.FILTERED,
        code="duplicate",
        why=f"It was received before, as {first}.",
    )
