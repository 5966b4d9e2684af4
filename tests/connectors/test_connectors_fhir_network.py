"""The FHIR REST destination against a real HTTP server: the network's faults, the breaker, credentials and certificates."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import random
import socket
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from interop_engine.connectors.breaker import Breaker
from interop_engine.connectors.fhir_rest import FhirRestOptions
from interop_engine.core.events import Event, subscribe
from interop_engine.core.model import Delivered, Park, Retry
from interop_engine.core.retry import Backoff
from tests.support.scripted_fhir import (
    Answer,
    Request,
    ScriptedServer,
    again_until_settled,
    bundle_of,
    deliver_once,
    listening,
    open_destination,
    receipt,
    reply,
)

_TOKEN = "secret-token-7"


# --- The network -------------------------------------------------------------------------------------------------------


async def _close(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _half(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"resourceType":')
    await writer.drain()
    writer.transport.abort()


async def _noise(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x0bMSH|this is no HTTP\x1c\r")
    writer.close()


async def _silence(_: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.get_running_loop().create_future()


async def _trickle(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("answer", [_close, _half, _noise, _silence, _trickle])
async def test_a_broken_reply_is_tried_again(server: ScriptedServer, answer: Answer) -> None:
    """Reset, cut, not HTTP, never, one byte at a time: unknown whether it arrived, and safe to send again."""
    times = {"connect": "100ms", "write": "100ms", "read": "200ms", "pool": "100ms"}
    async with asyncio.timeout(10):
        outcome = await deliver_once(server, answer, timeouts=times)
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.counts) == ("network", True)


async def test_each_step_has_a_time_of_its_own(server: ScriptedServer) -> None:
    """Connecting to a server whose queue is full, writing to one that does not read, reading from one that does not write."""
    times = {"connect": "200ms", "write": "200ms", "read": "200ms", "pool": "200ms"}
    told = []
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(full.getsockname())
        async with open_destination(f"http://127.0.0.1:{full.getsockname()[1]}/fhir", timeouts=times) as destination:
            told.append(await destination.deliver(bundle_of()))
    over, gone = asyncio.Event(), asyncio.Event()

    async def hear_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()  # reading stops where the stream's buffer is full
        writer.transport.abort()
        gone.set()

    deaf = await asyncio.start_server(hear_nothing, "127.0.0.1", 0)
    large = replace(bundle_of(), body=bundle_of().body + b" " * 30_000_000)
    async with open_destination(f"http://127.0.0.1:{deaf.sockets[0].getsockname()[1]}/fhir", timeouts=times) as destination:
        told.append(await destination.deliver(large))
    over.set()
    await gone.wait()
    deaf.close()
    server.answers = [_silence]
    async with open_destination(server.url, timeouts=times) as destination:
        told.append(await destination.deliver(bundle_of()))
    expected = [f"the server did not answer in time ({kind}Timeout)" for kind in ("Connect", "Write", "Read")]
    assert told == [Retry(why, "network", nth=1) for why in expected]


async def test_a_pool_without_a_free_connection_is_no_attempt(server: ScriptedServer) -> None:
    """A delivery that was never sent does not count as failed."""
    server.answers = [_silence]
    async with open_destination(server.url, concurrency=1, timeouts={"pool": "50ms", "read": "10s"}) as destination:
        first = asyncio.create_task(destination.deliver(bundle_of(1)))
        await server.arrived.wait()
        outcome = await destination.deliver(bundle_of(2))
        first.cancel()
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.counts) == ("pool", False)


async def test_a_reply_over_the_cap_is_not_read_to_its_end(server: ScriptedServer) -> None:
    """An endless reply is cut at the cap; on a 2xx nobody knows what was stored, so a person looks; else the status decides."""

    async def endless(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            await writer.drain()

    outcome = await deliver_once(server, endless, max_reply="1MB")
    assert isinstance(outcome, Park)
    assert outcome.code == "fhir-reply"
    outcome = await deliver_once(server, reply(422, b"x" * 100_000), max_reply="10KB")
    assert isinstance(outcome, Park)
    assert outcome.code == "fhir-422"


async def test_a_compressed_reply_is_not_unpacked(server: ScriptedServer) -> None:
    """No encoding was asked for, and a few bytes can unpack to gigabytes."""
    body = gzip.compress(json.dumps(receipt("201", "201")).encode())
    outcome = await deliver_once(server, reply(200, body, Content_Encoding="gzip"))
    assert isinstance(outcome, Park)
    assert outcome.code == "fhir-reply"


async def test_a_server_that_is_down_is_asked_by_one_only(server: ScriptedServer) -> None:
    """After the failures in a row nothing is sent; then one goes ahead; its success lets all of them through."""
    events: list[Event] = []
    end = subscribe(events.append)
    async with listening() as gone:
        url, port = gone.url, int(gone.url.rpartition(":")[2].removesuffix("/fhir"))
    try:
        async with open_destination(url, breaker={"failures": 3, "first": "50ms", "up_to": "50ms"}) as destination:
            outcomes = [await destination.deliver(bundle_of(number)) for number in range(4)]
            assert [(o.code, o.counts) for o in outcomes if isinstance(o, Retry)] == [("network", True)] * 3 + [
                ("breaker-open", False)
            ]
            assert "reached" in destination.health().problem
            async with listening(port=port) as back:
                assert isinstance(await again_until_settled(destination, bundle_of(9)), Delivered)
                assert len(back.requests) == 1
            assert destination.health().problem == ""
    finally:
        end()
    assert [type(event).__name__ for event in events] == ["DestinationDown", "DestinationUp"]


async def test_a_cancelled_probe_lets_another_go_ahead(server: ScriptedServer) -> None:
    """Shutting a channel down in the middle of the probe leaves no breaker open for ever."""
    server.answers = [_close, _silence, reply(200, receipt("201", "201"))]
    async with open_destination(server.url, breaker={"failures": 1, "first": "1ms", "up_to": "1ms"}) as destination:
        await destination.deliver(bundle_of(1))
        server.arrived.clear()
        probe = asyncio.create_task(again_until_settled(destination, bundle_of(2)))
        await server.arrived.wait()
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        assert isinstance(await again_until_settled(destination, bundle_of(3)), Delivered)


def test_a_breaker_pauses_longer_and_sends_one_ahead() -> None:
    """Each failed probe doubles the pause up to its end; late failures of others in flight do not."""
    now = 0.0
    random.seed(1)
    breaker = Breaker(2, Backoff(10, 40), clock=lambda: now)
    assert breaker.wait() is None
    breaker.failure("down")
    assert breaker.wait() is None
    breaker.failure("down")
    first = breaker.wait()
    assert first is not None
    assert 5 <= first <= 10
    breaker.failure("down")
    assert breaker.wait() == first
    pauses = []
    for _ in range(4):
        now += breaker.wait() or 0
        assert breaker.wait() is None
        assert breaker.wait() == 10  # another is ahead
        breaker.failure("still down")
        pauses.append(breaker.wait() or 0)
    assert [10 <= pauses[0] <= 20, *(20 <= pause <= 40 for pause in pauses[1:])] == [True] * 4
    breaker.success()
    assert breaker.wait() is None
    assert breaker.problem == ""


def test_what_a_receiver_asks_for_is_the_least_a_breaker_pauses() -> None:
    """Zero seconds do not undo the pause, less does not undo more, and an earlier one's late answer does not end it."""
    now = 0.0
    breaker = Breaker(2, Backoff(10, 40), clock=lambda: now)
    breaker.trip("at once", 0)
    assert 5 <= (breaker.wait() or 0) <= 10
    now += 10
    assert breaker.wait() is None
    breaker.trip("still", 0)
    assert 10 <= (breaker.wait() or 0) <= 20
    breaker.trip("in a while", 120)
    assert breaker.wait() == 120
    breaker.trip("late", 0)
    assert breaker.wait() == 120
    breaker.success()
    assert breaker.wait() == 120
    now += 120
    assert breaker.wait() is None
    breaker.success()
    assert (breaker.wait(), breaker.problem) == (None, "")


# --- Credentials -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"url": "ftp://hub/fhir"},
        {"url": "hub/fhir"},
        {"url": "https://"},
        {"url": "https://hub:port/fhir"},
        {"url": "https://user:secret-token-7@hub/fhir"},
        {"url": "https://hub/fhir?token=secret-token-7"},
        {"url": "http://hub.example/fhir", "auth": {"bearer": _TOKEN}},
        {"url": "https://hub/fhir", "write": "merge"},
        {"url": "https://hub/fhir", "write": "conditional", "bundle": "batch"},
        {"url": "https://hub/fhir", "entries": 8},
        {"url": "https://hub/fhir", "keys": {"Patient": "urn:mrn"}},
        {"url": "https://hub/fhir", "concurrency": 0},
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any]) -> None:
    """Credentials in a URL, a token in clear, a URL that is none, and options that do not exist."""
    with pytest.raises(ValidationError):
        FhirRestOptions(**options)


async def test_the_token_is_nowhere_but_in_its_header(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the options' text, not in health, outcomes or logs, even at DEBUG."""
    caplog.set_level(logging.DEBUG)
    options = FhirRestOptions(url=server.url, auth={"bearer": _TOKEN})
    server.answers = [reply(500), _close, reply(200, receipt("201", "201"))]
    async with open_destination(server.url, auth={"bearer": _TOKEN}) as destination:
        outcomes = [await destination.deliver(bundle_of()) for _ in range(3)]
        shown = f"{options} {options.model_dump_json()} {destination.health()} {outcomes} {caplog.text}"
    assert len(server.requests) == 3
    assert _TOKEN not in shown
    assert "Patient" not in shown


async def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    """An unknown authority is refused; one that the channel names is accepted."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    await asyncio.to_thread(subprocess.run, [*command, *names], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with listening(context) as server:
        async with open_destination(server.url) as destination:
            outcome = await destination.deliver(bundle_of())
            assert outcome == Retry("the server's certificate is not trusted", "network", nth=1)
        async with open_destination(server.url, tls={"ca_file": str(certificate)}, auth={"bearer": _TOKEN}) as destination:
            assert isinstance(await destination.deliver(bundle_of()), Delivered)
        assert len(server.requests) == 1
