"""A connection that comes back by itself, and ends when it is told to."""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import pytest
import tenacity

from interop_engine.core.events import Event, subscribe
from interop_engine.exchange.events import ExchangeLost
from interop_engine.exchange.rabbitmq import link
from interop_engine.exchange.rabbitmq.address import read_address
from interop_engine.exchange.rabbitmq.link import Link
from interop_engine.exchange.rabbitmq.settings import Settings


async def nothing(*_: Any) -> None:
    """Prepare nothing, and lose nothing."""


async def test_where_a_node_does_not_answer_the_next_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, round and round; what is wrong is told once, though each node says something else."""
    tried: list[str] = []
    enough = asyncio.Event()

    async def connect(url: str, **_: Any) -> None:
        tried.append(url)
        if len(tried) == 6:
            enough.set()
        raise ConnectionError if url.endswith("one") else TimeoutError

    monkeypatch.setattr(aio_pika, "connect", connect)
    monkeypatch.setattr(link, "_PAUSE", tenacity.wait_none())
    settings = Settings(address=read_address("amqp://node:secret@one,two", allow_plain=True), name="test")
    made = Link(settings, "publish", nothing, nothing)
    events: list[Event] = []
    unsubscribe = subscribe(events.append)
    made.start()
    async with asyncio.timeout(10):
        await enough.wait()
    await made.close()
    unsubscribe()
    assert tried[:4] == ["amqp://node:secret@one", "amqp://node:secret@two"] * 2
    assert [each.why for each in events if isinstance(each, ExchangeLost)] == [
        "the broker cannot be reached, or closed the connection",
        "the broker does not answer",
    ]


async def test_it_ends_though_the_library_swallows_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed while it connects: what comes out of the library then may be another error, and would be tried again for ever."""
    connecting = asyncio.Event()

    async def connect(*_: Any, **__: Any) -> None:
        connecting.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ConnectionError from None

    monkeypatch.setattr(aio_pika, "connect", connect)
    monkeypatch.setattr(link, "_SWALLOWED", 0.01)
    made = Link(Settings(address=read_address("amqp://127.0.0.1:1/", allow_plain=True), name="test"), "publish", nothing, nothing)
    made.start()
    await connecting.wait()
    monkeypatch.setattr(aio_pika, "connect", lambda *_, **__: asyncio.sleep(3600))
    async with asyncio.timeout(10):
        await made.close()
    assert made.problem == "closed"
