"""Nodes on an exchange, without the engine around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import Exchange


@asynccontextmanager
async def declaring(url: str, queues: int = 1) -> AsyncIterator[Exchange]:
    """A node that declares what it needs, at work."""
    exchange = open_exchange(url, name="test", queues=queues)
    await exchange.open()
    await exchange.begin()
    yield exchange
    await exchange.close()
