"""The FHIR REST destination against a real HTTP server: every row of the reply table, the network's faults, the breaker."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import random
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from interop_engine.connectors.base import Surroundings
from interop_engine.connectors.breaker import Breaker
from interop_engine.connectors.fhir_reply import read_retry_after
from interop_engine.connectors.fhir_rest import FhirRestDestination, FhirRestOptions
from interop_engine.core.events import Event, subscribe
from interop_engine.core.model import Delivered, Delivery, Outcome, Park, Retry
from interop_engine.core.retry import Backoff
from interop_engine.exchange import open_exchange

_TOKEN = "secret-token-7"


@dataclass
class _Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[_Request, asyncio.StreamWriter], Awaitable[None]]


def _reply(status: int, body: Any = None, **headers: str) -> Answer:
    """A whole reply; dicts become JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    given = {"Content-Type": "application/fhir+json", "Content-Length": str(len(data))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = f"HTTP/1.1 {status} Text\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items()) + "\r\n"

    async def answer(_: _Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + data)
        await writer.drain()

    return answer


def _entries(*statuses: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "transaction-response",
        "entry": [{"response": {"status": s} | more} for s in statuses],
    }


def _outcome(code: str, severity: str = "error", text: str = "", **more: Any) -> dict[str, Any]:
    issue = {"severity": severity, "code": code, "diagnostics": text} | more
    return {"resourceType": "OperationOutcome", "issue": [issue]}


@dataclass
class _Server:
    """Answers with what the test scripted, the last answer for ever."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[_Request] = field(default_factory=list)
    url: str = ""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split(" ")
                headers = {}
                while (header := await reader.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = _Request(method, path, headers, body)
                self.requests.append(request)
                self.arrived.set()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                await answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.serving.discard(task)
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[_Server]:
    """A server on a port of its own."""
    async with _listening() as found:
        yield found


@asynccontextmanager
async def _listening(context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[_Server]:
    found = _Server([_reply(200, _entries("201 Created", "200 OK"))])
    listener = await asyncio.start_server(found.serve, "127.0.0.1", port, ssl=context)
    found.url = f"{'https' if context else 'http'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}/fhir"
    try:
        yield found
    finally:
        listener.close()
        for task in found.serving:
            task.cancel()
        await asyncio.gather(*found.serving)


@asynccontextmanager
async def _destination(url: str, **options: Any) -> AsyncIterator[FhirRestDestination]:
    surroundings = Surroundings("hub", open_exchange("embedded"), "hub", "record")
    quick = {"timeouts": {"connect": "2s", "read": "2s"}, "breaker": {"first": "10ms", "up_to": "20ms"}}
    destination = FhirRestDestination(FhirRestOptions(url=url, **quick | options), surroundings)
    await destination.open()
    try:
        yield destination
    finally:
        await destination.close()
        await destination.close()


def _bundle(number: int = 1, entries: int = 2) -> Delivery:
    entry = [
        {"resource": {"resourceType": "Patient", "id": f"p{n}"}, "request": {"method": "PUT", "url": f"Patient/p{n}"}}
        for n in range(entries)
    ]
    body = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entry}).encode()
    return Delivery(f"d{number}", f"m{number}", "hub", "record", ("p1",), body, "fhir")


async def _deliver(server: _Server, answer: Answer, **options: Any) -> Outcome:
    server.answers = [answer]
    async with _destination(server.url, **options) as destination:
        return await destination.deliver(_bundle())


# --- What is sent ------------------------------------------------------------------------------------------------------


async def test_the_exact_bytes_are_posted_to_the_base_url(server: _Server) -> None:
    """A transaction goes to the base URL, byte for byte, with FHIR's media type, the delivery's id and the token."""
    async with _destination(server.url + "/", auth={"bearer": _TOKEN}) as destination:
        assert await destination.deliver(_bundle()) == Delivered("200, 2 entries")
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/fhir", _bundle().body)
    expected = {"content-type": "application/fhir+json", "accept": "application/fhir+json", "accept-encoding": "identity"}
    assert expected.items() <= request.headers.items()
    assert request.headers["x-request-id"] == "d1"
    assert request.headers["authorization"] == f"Bearer {_TOKEN}"


@pytest.mark.parametrize(
    "delivery",
    [
        Delivery("d", "m", "c", "d", (), b"MSH|^~\\&|", "hl7v2"),
        Delivery("d", "m", "c", "d", (), b'{"resourceType":"Patient"}', "fhir"),
        Delivery("d", "m", "c", "d", (), b"{", "fhir"),
        Delivery("d", "m", "c", "d", (), b"\xff\xfe", "fhir"),
    ],
)
async def test_what_is_no_bundle_is_not_sent(server: _Server, delivery: Delivery) -> None:
    """Only Bundles go to a base URL."""
    async with _destination(server.url) as destination:
        outcome = await destination.deliver(delivery)
    assert isinstance(outcome, Park)
    assert outcome.code == "not-a-bundle"
    assert server.requests == []


# --- The reply table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, _entries("201 Created", "200 OK"), Delivered("200, 2 entries")),
        (201, _entries("201", "204 No Content"), Delivered("201, 2 entries")),
        (200, _entries("200", "200", outcome=_outcome("informational", "information", "created")), Delivered("200, 2 entries")),
        (200, _entries("200 OK"), "fhir-reply"),
        (200, {"resourceType": "Bundle"}, "fhir-reply"),
        (200, _entries("200 OK", "422 Unprocessable Entity"), "fhir-entry"),
        (200, {"resourceType": "Bundle", "entry": [{}, {"response": {"status": "200"}}]}, "fhir-entry"),
        (200, {"resourceType": "Bundle", "entry": [None, 7]}, "fhir-entry"),
        (200, _entries("200 OK", "200 OK", outcome=_outcome("value")), "fhir-outcome"),
        (200, _outcome("processing"), "fhir-outcome"),
        (200, _outcome("informational", "information"), "fhir-reply"),
        (200, {"resourceType": "Patient"}, "fhir-reply"),
        (400, _outcome("structure"), "fhir-400"),
        (402, None, "fhir-402"),
        (404, b"<html>", "fhir-404"),
        (405, None, "fhir-405"),
        (410, None, "fhir-410"),
        (412, _outcome("multiple-matches"), "fhir-412"),
        (412, _outcome("not-found"), "fhir-412"),
        (413, None, "fhir-413"),
        (415, None, "fhir-415"),
        (422, _outcome("invariant"), "fhir-422"),
        (451, None, "fhir-451"),
    ],
)
async def test_replies_that_end_a_delivery(server: _Server, status: int, body: Any, expected: Delivered | str) -> None:
    """Delivered only where every entry is answered with a 2xx and no error; what sending again cannot change parks."""
    outcome = await _deliver(server, _reply(status, body))
    if isinstance(expected, Delivered):
        assert outcome == expected
    else:
        assert isinstance(outcome, Park)
        assert outcome.code == expected


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
async def test_replies_that_are_tried_again(server: _Server, status: int) -> None:
    """The server may take it later; the attempt counts."""
    outcome = await _deliver(server, _reply(status, _outcome("exception")))
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.counts, outcome.after) == (f"fhir-{status}", True, None)


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe{"])
async def test_a_page_that_is_no_fhir_is_no_receipt(server: _Server, body: bytes) -> None:
    """A proxy's login page with 200 says nothing about the server: the delivery is tried again."""
    outcome = await _deliver(server, _reply(200, body))
    assert isinstance(outcome, Retry)
    assert outcome.code == "fhir-reply"


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured_in_both_forms(server: _Server, status: int) -> None:
    """Seconds or a date; it was asked of all of us, so the next delivery is not even sent."""
    outcome = await _deliver(server, _reply(status, Retry_After="120"))
    assert isinstance(outcome, Retry)
    assert outcome.after == 120
    at = datetime.now(UTC) + timedelta(seconds=300)
    server.answers = [_reply(status, Retry_After=format_datetime(at, usegmt=True))]
    async with _destination(server.url) as destination:
        outcome = await destination.deliver(_bundle(1))
        assert isinstance(outcome, Retry)
        assert outcome.after is not None
        assert 290 < outcome.after <= 300
        waiting = await destination.deliver(_bundle(2))
    assert isinstance(waiting, Retry)
    assert not waiting.counts
    assert waiting.after is not None
    assert 290 < waiting.after <= 300
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("17", 17),
        ("999999", 3600),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_is_read_with_care(text: str, seconds: float | None) -> None:
    """What cannot be read is ignored, what is past is now, what is absurd is capped at an hour."""
    assert read_retry_after(text, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("status", [401, 403, 407])
async def test_a_server_that_refuses_us_is_left_alone_and_nothing_parks(server: _Server, status: int) -> None:
    """A wrong token is no message's fault: the breaker opens, a person is told, and a right token lets all of them through."""
    events: list[Event] = []
    end = subscribe(events.append)
    server.answers = [_reply(status), _reply(200, _entries("201", "201"))]
    try:
        async with _destination(server.url, breaker={"first": "50ms", "up_to": "50ms"}) as destination:
            outcome = await destination.deliver(_bundle(1))
            assert isinstance(outcome, Retry)
            assert (outcome.code, outcome.counts) == (f"fhir-{status}", False)
            assert str(status) in destination.health().problem
            second = await destination.deliver(_bundle(2))
            assert isinstance(second, Retry)
            assert second.code == "breaker-open"
            assert await _again_until_settled(destination, _bundle(2)) == Delivered("200, 2 entries")
            assert destination.health().problem == ""
    finally:
        end()
    assert [type(event).__name__ for event in events] == ["DestinationBarred", "DestinationUp"]
    assert events[0].level == "error"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
async def test_a_redirect_to_another_host_is_not_followed(server: _Server, status: int) -> None:
    """Neither the bundle nor the token goes where a reply points; nothing parks."""
    async with _listening() as other:
        outcome = await _deliver(server, _reply(status, Location=other.url), auth={"bearer": _TOKEN})
        assert isinstance(outcome, Retry)
        assert (outcome.code, outcome.counts) == (f"fhir-{status}", False)
        assert other.requests == []


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_on_the_same_server_is_followed_once(server: _Server, status: int) -> None:
    """From /fhir to /fhir/, with method and body; a loop ends."""
    server.answers = [_reply(status, Location="/fhir/"), _reply(200, _entries("201", "201"))]
    async with _destination(server.url) as destination:
        assert await destination.deliver(_bundle()) == Delivered("200, 2 entries")
        assert [request.path for request in server.requests] == ["/fhir", "/fhir/"]
        assert server.requests[1].body == _bundle().body
        server.answers = [_reply(status, Location="/fhir/")]
        assert isinstance(await destination.deliver(_bundle()), Retry)
    assert len(server.requests) == 4


async def test_a_conflict_is_tried_five_times(server: _Server) -> None:
    """409: another writer was faster; after five more tries a person looks."""
    server.answers = [_reply(409, _outcome("conflict"))]
    async with _destination(server.url) as destination:
        outcomes = [await destination.deliver(_bundle()) for _ in range(6)]
    assert [type(outcome) for outcome in outcomes] == [Retry] * 5 + [Park]


@pytest.mark.parametrize(
    "body",
    [
        _outcome("not-found"),
        _outcome("processing", text="HAPI-1094: Resource Patient/p9 not found, specified in path: Observation.subject"),
        _outcome("value", text="", details={"text": "Reference Patient/p9 does not exist"}, diagnostics=None),
    ],
)
async def test_a_missing_reference_is_waited_for_a_little(server: _Server, body: Any) -> None:
    """The patient may be on its way in another lane: three short retries, then it parks."""
    server.answers = [_reply(422, body)]
    async with _destination(server.url) as destination:
        outcomes = [await destination.deliver(_bundle()) for _ in range(4)]
    assert [type(outcome) for outcome in outcomes] == [Retry] * 3 + [Park]
    assert {outcome.after for outcome in outcomes if isinstance(outcome, Retry)} == {2.0}


async def test_a_500_that_stays_on_one_message_parks_it(server: _Server) -> None:
    """While others pass, the fifth 500 is the message's fault; while all fail, it is the server's."""

    async def answer(request: _Request, writer: asyncio.StreamWriter) -> None:
        poison = request.headers["x-request-id"] == "d1"
        await (_reply(500, _outcome("exception")) if poison else _reply(200, _entries("200", "200")))(request, writer)

    server.answers = [answer]
    async with _destination(server.url) as destination:
        alone = [await destination.deliver(_bundle(1)) for _ in range(8)]
        assert [type(outcome) for outcome in alone] == [Retry] * 8
        assert isinstance(await destination.deliver(_bundle(2)), Delivered)
        parked = await destination.deliver(_bundle(1))
    assert isinstance(parked, Park)
    assert parked.code == "fhir-500"


async def test_why_holds_code_and_place_and_little_text(server: _Server) -> None:
    """A person sees what the server said: codes, places and the first 200 characters, on one line, without control characters."""
    text = "\x1b[31mline one\r\nline two " + "x" * 500
    body = _outcome("required", text=text, expression=["Bundle.entry[3].resource.status"], location=["/f:Bundle"])
    body["issue"].extend([{"severity": "error"}, "odd", *[{"code": f"c{number}"} for number in range(9)]])
    outcome = await _deliver(server, _reply(422, body))
    assert isinstance(outcome, Park)
    expected = "422 Unprocessable Entity; required at Bundle.entry[3].resource.status, /f:Bundle: [31mline one line two xxx"
    assert outcome.why.startswith(expected)
    assert outcome.why.isprintable()
    assert len(outcome.why) < 400
    assert outcome.why.endswith("; no code; c0; c1; c2")


@pytest.mark.parametrize("status", [200, 400, 401, 403, 422, 429, 500, 503])
async def test_what_a_server_wrote_is_stored_and_not_shown(
    server: _Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers repeat patient data in their replies: it goes into ``why``, and into no event, log line or health text."""
    caplog.set_level(logging.DEBUG)
    events: list[Event] = []
    end = subscribe(events.append)
    server.answers = [_reply(status, _outcome("processing", text="Nguyễn Thị Canary"), Retry_After="1")]
    try:
        async with _destination(server.url, breaker={"failures": 1}) as destination:
            outcome = await destination.deliver(_bundle(1))
            waiting = await destination.deliver(_bundle(2))
            health = destination.health()
    finally:
        end()
    assert isinstance(outcome, Retry | Park)
    assert "Canary" in outcome.why
    if status in (401, 403, 429, 503):
        assert isinstance(waiting, Retry)
        assert waiting.code == "breaker-open"
        assert "Canary" not in waiting.why
    assert "Canary" not in f"{events} {health} {caplog.text}"


# --- The network -------------------------------------------------------------------------------------------------------


async def _close(_: _Request, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _half(_: _Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"resourceType":')
    await writer.drain()
    writer.transport.abort()


async def _noise(_: _Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x0bMSH|this is no HTTP\x1c\r")
    writer.close()


async def _silence(_: _Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.get_running_loop().create_future()


async def _trickle(_: _Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("answer", [_close, _half, _noise, _silence, _trickle])
async def test_a_broken_reply_is_tried_again(server: _Server, answer: Answer) -> None:
    """Reset, cut, not HTTP, never, one byte at a time: unknown whether it arrived, and safe to send again."""
    times = {"connect": "100ms", "write": "100ms", "read": "200ms", "pool": "100ms"}
    async with asyncio.timeout(10):
        outcome = await _deliver(server, answer, timeouts=times)
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.counts) == ("network", True)


async def test_a_pool_without_a_free_connection_is_no_attempt(server: _Server) -> None:
    """A delivery that was never sent does not count as failed."""
    server.answers = [_silence]
    async with _destination(server.url, concurrency=1, timeouts={"pool": "50ms", "read": "10s"}) as destination:
        first = asyncio.create_task(destination.deliver(_bundle(1)))
        await server.arrived.wait()
        outcome = await destination.deliver(_bundle(2))
        first.cancel()
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.counts) == ("pool", False)


async def test_a_reply_over_the_cap_is_not_read_to_its_end(server: _Server) -> None:
    """An endless reply is cut at the cap; on a 2xx nobody knows what was stored, so a person looks; else the status decides."""

    async def endless(_: _Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            await writer.drain()

    outcome = await _deliver(server, endless, max_reply="1MB")
    assert isinstance(outcome, Park)
    assert outcome.code == "fhir-reply"
    outcome = await _deliver(server, _reply(422, b"x" * 100_000), max_reply="10KB")
    assert isinstance(outcome, Park)
    assert outcome.code == "fhir-422"


async def test_a_compressed_reply_is_not_unpacked(server: _Server) -> None:
    """No encoding was asked for, and a few bytes can unpack to gigabytes."""
    body = gzip.compress(json.dumps(_entries("201", "201")).encode())
    outcome = await _deliver(server, _reply(200, body, Content_Encoding="gzip"))
    assert isinstance(outcome, Park)
    assert outcome.code == "fhir-reply"


async def test_a_server_that_is_down_is_asked_by_one_only(server: _Server) -> None:
    """After the failures in a row nothing is sent; then one goes ahead; its success lets all of them through."""
    events: list[Event] = []
    end = subscribe(events.append)
    async with _listening() as gone:
        url, port = gone.url, int(gone.url.rpartition(":")[2].removesuffix("/fhir"))
    try:
        async with _destination(url, breaker={"failures": 3, "first": "50ms", "up_to": "50ms"}) as destination:
            outcomes = [await destination.deliver(_bundle(number)) for number in range(4)]
            assert [(o.code, o.counts) for o in outcomes if isinstance(o, Retry)] == [("network", True)] * 3 + [
                ("breaker-open", False)
            ]
            assert "reached" in destination.health().problem
            async with _listening(port=port) as back:
                assert isinstance(await _again_until_settled(destination, _bundle(9)), Delivered)
                assert len(back.requests) == 1
            assert destination.health().problem == ""
    finally:
        end()
    assert [type(event).__name__ for event in events] == ["DestinationDown", "DestinationUp"]


async def test_a_cancelled_probe_lets_another_go_ahead(server: _Server) -> None:
    """Shutting a channel down in the middle of the probe leaves no breaker open for ever."""
    server.answers = [_close, _silence, _reply(200, _entries("201", "201"))]
    async with _destination(server.url, breaker={"failures": 1, "first": "1ms", "up_to": "1ms"}) as destination:
        await destination.deliver(_bundle(1))
        server.arrived.clear()
        probe = asyncio.create_task(_again_until_settled(destination, _bundle(2)))
        await server.arrived.wait()
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        assert isinstance(await _again_until_settled(destination, _bundle(3)), Delivered)


async def _again_until_settled(destination: FhirRestDestination, delivery: Delivery) -> Outcome:
    while isinstance(outcome := await destination.deliver(delivery), Retry):  # noqa: ASYNC110 - the engine's backoff, in short
        await asyncio.sleep(min(outcome.after or 0.01, 1))
    return outcome


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
    breaker.trip("says when", 7)
    assert breaker.wait() == 7
    breaker.success()
    assert breaker.wait() is None
    assert breaker.problem == ""


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
        {"url": "https://hub/fhir", "write": "conditional"},
        {"url": "https://hub/fhir", "concurrency": 0},
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any]) -> None:
    """Credentials in a URL, a token in clear, a URL that is none, and options that do not exist."""
    with pytest.raises(ValidationError):
        FhirRestOptions(**options)


async def test_the_token_is_nowhere_but_in_its_header(server: _Server, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the options' text, not in health, outcomes or logs, even at DEBUG."""
    caplog.set_level(logging.DEBUG)
    options = FhirRestOptions(url=server.url, auth={"bearer": _TOKEN})
    server.answers = [_reply(500), _close, _reply(200, _entries("201", "201"))]
    async with _destination(server.url, auth={"bearer": _TOKEN}) as destination:
        outcomes = [await destination.deliver(_bundle()) for _ in range(3)]
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
    async with _listening(context) as server:
        async with _destination(server.url) as destination:
            outcome = await destination.deliver(_bundle())
            assert outcome == Retry("the server's certificate is not trusted", "network")
        async with _destination(server.url, ca_file=str(certificate), auth={"bearer": _TOKEN}) as destination:
            assert isinstance(await destination.deliver(_bundle()), Delivered)
        assert len(server.requests) == 1
