"""What one sender over HTTP can take from the others: connections, time, the interpreter."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import http.client
import json
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from interop_engine.connectors import http_server, http_source, inside_json
from interop_engine.connectors.events import PeerTurnedAway, RequestFailed
from interop_engine.connectors.http_source import HttpSource
from interop_engine.core.model import Accepted
from tests.connectors.test_connectors_http_source import posting
from tests.support.certificates import Authority
from tests.support.heard import hearing
from tests.support.mllp import Channel, message, reply_to, turns, until

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


async def test_who_reads_no_answers_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its request waits for it to read on: so it would take one of the source's, for ever."""
    monkeypatch.setattr(http_server, "_PATIENCE", 0.2)
    more = b"PID|1\r" + b"NTE|1\r" * 1_000
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    large = b"y" * 2_000_000
    channel = Channel(answer=lambda _: Accepted("1", large))
    async with posting(channel) as (client, source):
        async with raw(source, (request % (len(more), more)) * 20) as (reader, writer):
            await channel.entered.acquire()
            await until(lambda: source.health().connections == 0)
            del reader, writer
        channel.answer = reply_to
        assert (await client.post("/", content=message("A1"))).status_code == 200


async def test_a_stop_is_no_mistake(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """A request that does not end in time is ended: neither an error for somebody to act on, nor plain text among the lines."""
    channel = Channel()
    channel.gate.clear()
    with hearing(RequestFailed) as heard:
        async with posting(channel) as (client, source):
            asking = asyncio.create_task(client.post("/", content=message("A1")))
            await channel.entered.acquire()
            await source.stop()
            assert (await asking).status_code == 500  # nothing is promised: it is sent again
    assert (heard, caplog.records, "Cancel" in capsys.readouterr().err) == ([], [], False)


_CHUNKED = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_body_in_chunks_of_a_byte_is_refused() -> None:
    """Many in one packet; one that comes a byte at a time, or a segment at a time, is taken."""
    channel = Channel()
    body = message("A1", "OBX|1|NM|718-7^Hb||13.1|g/dL\r" * 5_000)
    packets = {
        1: [b"1\r\nx\r\n" * 5_000],
        2: [b"1\r\n%c\r\n" % each for each in message("A1")],
        3: [b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in body.splitlines(keepends=True))],
    }
    statuses = {}
    async with posting(channel) as (_, source):
        for number, sent in packets.items():
            async with raw(source, _CHUNKED % b"/") as (reader, writer):
                for packet in sent:
                    writer.write(packet)
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
                statuses[number] = (await reader.readline()).split(b" ")[1]
    assert statuses == {1: b"400", 2: b"200", 3: b"200"}


async def test_what_is_no_http_after_an_early_answer_ends_the_connection() -> None:
    """There is no second answer to a request, and no failure of ours either."""
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    async with posting(Channel()) as (_, source), raw(source, _CHUNKED % b"/wrong" + b"1\r\nx\r\n") as (reader, writer):
        assert b" 404 " in await reader.readline()
        writer.write(b"zzzz\r\n")
        await reader.read()
        await until(lambda: source.health().connections == 0)
    assert failed == []


async def test_who_ends_its_side_is_answered_all_the_same() -> None:
    """What it sent is whole, and is committed: else it would send it again and again. Half a request is nothing."""
    channel = Channel()
    channel.gate.clear()
    body = message("A1")
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with posting(channel) as (_, source):
        async with raw(source, request * 2) as (reader, writer):
            writer.write_eof()
            await channel.entered.acquire()
            await turns(20)
            channel.gate.set()
            assert (await reader.read()).count(b"MSA|AA|A1") == 2
        async with raw(source, request[:-20]) as (reader, writer):
            writer.write_eof()
            assert await ended(reader)
        await until(lambda: source.health().connections == 0)
    assert len(channel.arrivals) == 2


async def test_a_tls_connection_that_is_gone_is_closed_once(tmp_path: Path) -> None:
    """However it ends: no task of its connection fails, and none stays."""
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    authority = Authority(tmp_path)
    certificate, key = authority.sign("engine")
    context = ssl.create_default_context(cafile=authority.file)
    async with posting(Channel(), tls={"certificate": certificate, "key": key}) as (_, source):
        for cut in (True, False):
            host, _, port = source.health().place.rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
            writer.write(_HALF)
            await writer.drain()
            await until(lambda: source.health().connections == 1)
            writer.transport.abort() if cut else writer.close()
            await until(lambda: source.health().connections == 0)
    gc.collect()
    assert failed == []


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


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
async def test_a_client_that_reads_after_it_has_written(headers: dict[str, str]) -> None:
    """A body too large is let by after the answer, so that its sender reads 413 and no reset; a stranger's too, which is 401."""
    body = b"x" * 8_000_000

    def post(place: str) -> int:
        connection = http.client.HTTPConnection(place, timeout=20)
        connection.request("POST", "/", body, headers)
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    async with posting(Channel(), max_body="1MB") as (_, source):
        assert await asyncio.to_thread(post, source.health().place) == 413
    async with posting(Channel(), auth={"bearer": "x"}) as (_, source):
        assert await asyncio.to_thread(post, source.health().place) == 401


async def test_what_is_let_by_is_let_by_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that goes on for ever after 413 is closed."""
    monkeypatch.setattr(http_source, "_LINGER", 0.1)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    async with posting(Channel(), max_body="1KB") as (_, source), raw(source, head) as (reader, _):
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")


async def test_a_compressed_body() -> None:
    """415, before it is read, and what is taken: nothing is journaled, and nobody sends a bomb."""
    channel = Channel()
    async with posting(channel) as (client, _):
        response = await client.post("/", content=gzip.compress(message("A1")), headers={"Content-Encoding": "gzip"})
        assert (response.status_code, response.headers["accept-encoding"], channel.arrivals) == (415, "identity", [])
        plain = await client.post("/", content=message("A1"), headers={"Content-Encoding": "Identity"})
        assert plain.status_code == 200


@pytest.mark.parametrize("separator", ["{},", "[],", "1,", '"a,b",'])
async def test_json_of_nothing_but_values(separator: str) -> None:
    """Too many values are refused before the interpreter makes them: it would give nobody else a turn meanwhile."""
    body = "[" + separator * 1_000_000 + "1]"
    async with posting(Channel(), json_path="[*]") as (client, _):
        response = await client.post("/", content=body)
    assert (response.status_code, response.text) == (400, "The body holds more than 200000 values.\n")


async def test_commas_in_a_text_are_no_values() -> None:
    """A long text with commas and brackets is one value, escapes and quotes in it too."""
    channel = Channel()
    long = message("A1", "OBX|1|TX|||" + '{[,"\\' * 100_000 + "\r")
    async with posting(channel, json_path="hl7") as (client, _):
        assert (await client.post("/", content=json.dumps({"hl7": long.decode()}))).status_code == 200
    assert [arrival.data for arrival in channel.arrivals] == [long]


@pytest.mark.parametrize(("size", "aside"), [(10, False), (200_000, True)])
async def test_a_large_body_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch, size: int, *, aside: bool) -> None:
    """So that the loop gets its turns; a small one is done before a thread would have begun."""
    threads: list[threading.Thread] = []

    def noting(body: bytes) -> Any:
        threads.append(threading.current_thread())
        return inside_json.read_json(body)

    monkeypatch.setattr(http_source, "read_json", noting)
    async with posting(Channel(), json_path="hl7") as (client, _):
        text = message("A1", f"OBX|{'x' * size}\r").decode()
        assert (await client.post("/", json={"hl7": text})).status_code == 200
    assert [thread is not threading.main_thread() for thread in threads] == [aside]
