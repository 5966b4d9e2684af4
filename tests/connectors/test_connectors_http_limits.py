"""What one sender over HTTP can take from the others: connections and time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from interop_engine.connectors.events import PeerTurnedAway
from interop_engine.connectors.http_source import HttpSource
from tests.connectors.test_connectors_http_source import posting
from tests.support.certificates import Authority
from tests.support.heard import hearing
from tests.support.mllp import Channel, message, until

_HALF = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nMSH"


@contextlib.asynccontextmanager
async def raw(source: HttpSource, data: bytes = b"") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, and what is written to it first."""
    host, _, port = source.health().place.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether a connection ends, with nothing before its end."""
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def test_half_requests_of_one_address_turn_nobody_else_away() -> None:
    """Beyond ``max_connections_per_address`` its connections are closed unread; another address is served."""
    with hearing(PeerTurnedAway) as heard:
        async with posting(Channel(), max_connections_per_address=2, max_requests=3) as (client, source):
            async with raw(source, _HALF), raw(source, _HALF), raw(source, _HALF) as (reader, _):
                assert await ended(reader)
                other = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
                async with httpx.AsyncClient(base_url=client.base_url, transport=other) as neighbour:
                    assert (await neighbour.post("/", content=message("A1"))).status_code == 200
            await until(lambda: source.health().connections == 0)
            assert (await client.post("/", content=message("A2"))).status_code == 200
    assert [event.why for event in heard if isinstance(event, PeerTurnedAway)] == ["too many connections of its address"]


async def test_too_many_connections() -> None:
    """Beyond ``max_connections`` in all the next is closed, wherever it comes from."""
    async with posting(Channel(), max_connections=1) as (_, source), raw(source):
        await until(lambda: source.health().connections == 1)
        async with raw(source) as (reader, _):
            assert await ended(reader)


async def test_a_handshake_counts(tmp_path: Path) -> None:
    """Who connects and never begins TLS takes one of its address's connections."""
    certificate, key = Authority(tmp_path).sign("engine")
    options = {"tls": {"certificate": certificate, "key": key}, "max_connections_per_address": 1}
    async with posting(Channel(), **options) as (_, source), raw(source):
        await until(lambda: source.health().connections == 1)
        async with raw(source) as (reader, _):
            assert await ended(reader)


async def test_a_body_in_drops() -> None:
    """The time for a body is that of all of it: who sends a byte now and then gets no more."""
    async with posting(Channel(), body_timeout="200ms") as (_, source), raw(source, _HALF) as (reader, writer):
        answer = asyncio.ensure_future(reader.read(13))
        while not answer.done():
            writer.write(b"x")
            await asyncio.wait([answer], timeout=0.02)
        assert await answer == b"HTTP/1.1 408 "
