"""What one exchange over RabbitMQ is told."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from interop_engine.exchange.rabbitmq.address import Address


@dataclass(frozen=True, slots=True)
class Settings:
    """``name``: what the broker's operator sees. ``confirm_within``: seconds that a confirm may take.

    ``tls``: of ``amqps://``, made anew for each connection, so that renewed files are used; it raises OSError (ssl.SSLError too)
    where one cannot be. ``max_message``: bytes of a body, as sent, that the broker takes; 0: its version's default.

    ``declare``: the engine declares what it needs. Otherwise all of it, users and rights too, was declared at the broker: each
    user is a facility, and what does not say so of its sender is forged.
    """

    address: Address
    name: str
    queues: int = 1
    declare: bool = True
    tls: Callable[[], ssl.SSLContext] | None = None
    max_message: int = 0
    confirm_within: float = 30.0
