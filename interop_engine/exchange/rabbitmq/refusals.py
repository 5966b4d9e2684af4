"""What the broker has refused, so that it is not asked again at once.

Each refusal costs a connection, with all that is under way on it. What is remembered may be put right, and is asked again later.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelPreconditionFailed
from aiormq.exceptions import ChannelAccessRefused

from interop_engine.core.model import Park
from interop_engine.exchange.base import Parcel

_LIMIT_3: Final = 128 * 1024 * 1024  # bytes: RabbitMQ 3.8 to 3.13
_LIMIT_4: Final = 16 * 1024 * 1024  # bytes: RabbitMQ 4
_TOO_LARGE: Final = re.compile(r"message size (\d+)(?:\D+(\d+))?")  # what the broker says: the size, and its limit
_REMEMBERED: Final = 60.0  # seconds


class Refusals:
    """The size it takes, and the routing keys that may not be written to. ``limit``: bytes; 0: what its version says."""

    def __init__(self, limit: int) -> None:
        self._given = limit
        self._limit = limit or _LIMIT_4
        self._smallest = 0  # of the bodies that it does not take, as it said
        self._until: dict[str, float] = {}  # of a routing key, and of the size ("")

    def connected(self, connection: AbstractConnection) -> None:
        """The broker may be another."""
        self._limit = self._given or _limit_of(connection)

    def known(self, parcel: Parcel, size: int) -> Park | None:
        """Why the broker will not take a parcel, whose body has ``size`` bytes as sent; None where it may."""
        if size > self._limit or (size >= self._smallest and self._remembers("")):
            return _too_large(size)
        return _not_permitted(parcel) if self._remembers(parcel.routing_key) else None

    def learn(self, error: BaseException, parcel: Parcel, size: int) -> Park | None:
        """Why the broker has closed the channel, where that was for this very parcel and not for a neighbour's."""
        if isinstance(error, ChannelPreconditionFailed) and (said := _TOO_LARGE.search(str(error))) is not None:
            self._smallest = int(said[2]) + 1 if said[2] else int(said[1])
            self._remember("")
            return _too_large(size) if int(said[1]) == size else None
        if not isinstance(error, ChannelAccessRefused) or f"'{parcel.routing_key}'" not in str(error):
            return None
        self._remember(parcel.routing_key)
        return _not_permitted(parcel)

    def _remembers(self, what: str) -> bool:
        until = self._until.get(what)
        return until is not None and time.monotonic() < until

    def _remember(self, what: str) -> None:
        now = time.monotonic()
        self._until = {known: until for known, until in self._until.items() if now < until}
        self._until[what] = now + _REMEMBERED


def _limit_of(connection: AbstractConnection) -> int:
    transport = connection.transport
    properties: Any = transport.connection.server_properties if transport is not None else {}
    version = properties.get("version", b"")
    text = version.decode("ascii", "replace") if isinstance(version, bytes) else str(version)
    return _LIMIT_3 if text.startswith("3.") else _LIMIT_4


def _too_large(size: int) -> Park:
    return Park("too-large", f"the body has {size} bytes as sent, more than the broker takes")


def _not_permitted(parcel: Parcel) -> Park:
    return Park("not-permitted", f'the broker lets this node send no {parcel.kind} to "{parcel.receiver}" as "{parcel.sender}"')
