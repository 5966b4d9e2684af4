"""What every adapter refuses to carry, so that a site tried without a broker meets the same answers with one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from interop_engine.core.errors import ExchangeError
from interop_engine.core.model import Park
from interop_engine.exchange.base import RECEIPT, Parcel

# What the receiving side puts in ``Parcel.headers`` where the carrier's part of a parcel is wrong; the receiving channel
# journals such a parcel as rejected. No sender can set it.
FAULT = "fault"

MAX_BODY = 128 * 1024 * 1024  # bytes, before compression; what a receiver will unpack at most

_MAX_HEADERS = 120_000  # bytes: they stand in one frame, and RabbitMQ's has 131,072
_MAX_KEY = 255  # bytes: AMQP 0-9-1, a short string
_WORD = re.compile(r"[^.*#\s\x00-\x1f\x7f]+")


def is_word(text: str) -> bool:
    """Whether ``text`` can stand between the dots of a routing key: not empty, no dot, ``*``, ``#``, space or control."""
    return _WORD.fullmatch(text) is not None


def unsendable(parcel: Parcel) -> Park | None:
    """Why ``parcel`` can never travel, or None."""
    for role in ("kind", "sender", "receiver"):
        if not is_word(getattr(parcel, role)):
            return Park("bad-address", f"the {role} is not a routing word (empty, or with a dot, *, # or space)")
    if len(parcel.routing_key.encode()) > _MAX_KEY:
        return Park("bad-address", f"kind, sender and receiver together are longer than {_MAX_KEY} bytes")
    if len(parcel.body) > MAX_BODY:
        return Park("too-large", f"the body has {len(parcel.body)} bytes, the exchange carries {MAX_BODY}")
    if (size := sum(len(name.encode()) + len(value.encode()) for name, value in parcel.headers.items())) > _MAX_HEADERS:
        return Park("too-large", f"the headers have {size} bytes, the exchange carries {_MAX_HEADERS}")
    return None


def unrouted(parcel: Parcel) -> Park:
    """The answer where nobody receives."""
    return Park("unrouted", f'nobody receives kind "{parcel.kind}" as "{parcel.receiver}"')


def check_subscription(receiver: str, kinds: Sequence[str]) -> None:
    """Raise ExchangeError where a subscription names no kind, what is not a routing word, or receipts beside other kinds."""
    if not kinds:
        raise ExchangeError(f'the subscription as "{receiver}" names no kind')
    if RECEIPT in kinds and len(set(kinds)) > 1:
        raise ExchangeError(f'the subscription as "{receiver}" takes receipts beside other kinds')
    for word in (receiver, *kinds):
        if not is_word(word):
            raise ExchangeError(f'"{word}" is not a routing word (empty, or with a dot, *, # or space)')
