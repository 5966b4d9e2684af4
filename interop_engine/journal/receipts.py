"""What both adapters make of their rows: the receipt of a message of another node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import msgspec

from interop_engine.core.model import Receipt, Report, Step
from interop_engine.journal import codec
from interop_engine.journal.base import DeliveryRow, DeliveryState, MessageRow, MessageState

ACCEPTED: Final = "accepted"
"""The one state that is not the last word, so that a receipt is still awaited."""

_LONGEST_DETAIL = 80
_steps = msgspec.json.Decoder(tuple[Step, ...])


def report(message: Sequence[Any], taken_at: datetime, headers: Mapping[str, str], deliveries: Sequence[DeliveryRow]) -> Report:
    """What a sender is told. ``message``: number of the report, the message's id, channel, state and code."""
    number, id_, channel, state, code = message
    state, code = _state(MessageState(state), code, deliveries)
    steps = tuple(_step(each) for each in deliveries)
    receipt = Receipt(headers.get("delivery-id", ""), channel, id_, state, taken_at, number, code, steps)
    return Report(headers.get("sender", ""), headers.get("receiver", ""), receipt)


def _state(state: MessageState, code: str, deliveries: Sequence[DeliveryRow]) -> tuple[str, str]:
    """The worst that a person must look at comes first, then what is still under way."""
    if state is MessageState.RECEIVED:
        return ACCEPTED, ""
    if state is not MessageState.TRANSFORMED:
        return str(state), code
    parked = next((each for each in deliveries if each.state is DeliveryState.PARKED), None)
    if parked is not None:
        return str(DeliveryState.PARKED), parked.code
    states = {each.state for each in deliveries}
    if DeliveryState.WAITING in states:
        return ACCEPTED, ""
    return str(DeliveryState.DELIVERED if DeliveryState.DELIVERED in states else DeliveryState.DISCARDED), ""


def _step(row: DeliveryRow) -> Step:
    # What a receiver said of a failure may repeat what it was sent; what it says of a success is a code.
    detail = row.why[:_LONGEST_DETAIL] if row.state is DeliveryState.DELIVERED else ""
    return Step(row.destination, str(row.state), row.code, detail, row.settled_at)


def encoded(steps: Sequence[Step]) -> str:
    """The steps as one column keeps them."""
    return msgspec.json.encode(steps).decode()


def with_receipts(message: MessageRow, rows: Iterable[Sequence[Any]]) -> MessageRow:
    """The message with what receivers said. Rows: delivery's id, channel, number, message, state, code, taken at, steps."""
    found: dict[str, list[Receipt]] = {}
    for delivery, channel, number, id_, state, code, taken_at, steps in rows:
        receipt = Receipt(delivery, channel, id_, state, codec.moment(taken_at), number, code, _steps.decode(steps))
        found.setdefault(delivery, []).append(receipt)
    if not found:
        return message
    deliveries = tuple(replace(each, receipts=tuple(found.get(each.id, ()))) for each in message.deliveries)
    return replace(message, deliveries=deliveries)
