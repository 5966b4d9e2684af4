"""What one exchange over RabbitMQ is told."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from interop_engine.exchange.rabbitmq.address import Address


@dataclass(frozen=True, slots=True)
class Settings:
    """``name``: what the broker's operator sees. ``confirm_within``: seconds that a confirm may take. ``tls``: of ``amqps://``.

    ``declare``: the engine declares what it needs. Otherwise all of it, users and rights too, was declared at the broker: each
    user is a facility, and what does not say so of its sender is forged.
    """

    address: Address
    name: str
    queues: int = 1
    declare: bool = True
    tls: ssl.SSLContext | None = None
    confirm_within: float = 30.0
