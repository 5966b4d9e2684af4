"""The exchange: how nodes hand parcels to each other. ``open_exchange`` chooses the adapter.

| adapter | where |
|---|---|
| embedded | all nodes in one process: the demo, a single hospital |
| rabbitmq | nodes on their own machines |
"""

from __future__ import annotations

from interop_engine.exchange.base import Exchange
from interop_engine.exchange.embedded import EmbeddedExchange


def open_exchange(spec: str, *, name: str = "interop-engine", allow_plain: bool = False) -> Exchange:
    """The exchange that ``spec`` names: ``embedded``, or a broker's ``amqp://`` or ``amqps://`` URL. Await its ``open``.

    ``name`` is what the broker's operator sees; ``allow_plain`` permits ``amqp://`` off loopback (a private network). Raises
    ExchangeError for anything else, without repeating the URL, since it holds a password.
    """
    if spec == "embedded":
        return EmbeddedExchange()
    from interop_engine.exchange.rabbitmq import RabbitExchange  # noqa: PLC0415 - an edge node without a broker never loads AMQP

    return RabbitExchange(spec, name=name, allow_plain=allow_plain)
