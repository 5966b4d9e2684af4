"""The exchange: how nodes hand parcels to each other. ``open_exchange`` chooses the adapter.

| adapter | where |
|---|---|
| embedded | all nodes in one process: the demo, a single hospital |
| rabbitmq | nodes on their own machines |
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from interop_engine.exchange.base import Exchange


def open_exchange(
    spec: str,
    *,
    name: str = "interop-engine",
    allow_plain: bool = False,
    queues: int = 1,
    declare: bool = True,
    tls: Callable[[], ssl.SSLContext] | None = None,
    max_message: int = 0,
    confirm_within: float = 30.0,
) -> Exchange:
    """The exchange that ``spec`` names: ``embedded``, or a broker's ``amqp://`` or ``amqps://`` URL. Await its ``open``.

    ``allow_plain`` permits ``amqp://`` off loopback (a private network); the rest: see ``rabbitmq.settings``. Raises
    ExchangeError for anything else, without repeating the URL, since it holds a password.
    """
    if spec == "embedded":
        from interop_engine.exchange.embedded import EmbeddedExchange  # noqa: PLC0415 - the contract alone is asked for more often

        return EmbeddedExchange()
    from interop_engine.exchange.rabbitmq import RabbitExchange  # noqa: PLC0415 - an edge node without a broker never loads AMQP
    from interop_engine.exchange.rabbitmq.address import read_address  # noqa: PLC0415
    from interop_engine.exchange.rabbitmq.settings import Settings  # noqa: PLC0415

    address = read_address(spec, allow_plain=allow_plain)
    return RabbitExchange(Settings(address, name, queues, declare, tls, max_message, confirm_within))
