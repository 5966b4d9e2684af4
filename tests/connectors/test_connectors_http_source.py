"""HL7 v2 over HTTP: what is posted, by whom, and what it is answered."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from interop_engine.connectors import http_server
from interop_engine.connectors.events import RequestFailed, RequestRefused
from interop_engine.connectors.http_source import HttpSource, HttpSourceOptions
from interop_engine.core.events import Event
from interop_engine.core.model import Accepted, Answer, Arrival, Unavailable
from interop_engine.hl7 import batch
from interop_engine.hl7.ack import acknowledge
from interop_engine.hl7.framing import frame
from interop_engine.hl7.message import parse
from tests.support.certificates import Authority
from tests.support.heard import hearing
from tests.support.mllp import AT, Channel, code_and_id, message, reply_to, surroundings


@asynccontextmanager
async def posting(channel: Channel, **options: Any) -> AsyncIterator[tuple[httpx.AsyncClient, HttpSource]]:
    """An HTTP source, and a client of it."""
    source = HttpSource(HttpSourceOptions.model_validate({"listen": "127.0.0.1:0", **options}), surroundings())
    await source.start(channel.accept)
    try:
        async with httpx.AsyncClient(base_url=f"http://{source.health().place}", trust_env=False) as client:
            yield client, source
    finally:
        channel.gate.set()
        await source.stop()
        await source.stop()


async def test_a_message_is_committed_then_answered() -> None:
    """200 with the acknowledgement as body; the bytes arrive as they were sent."""
    channel = Channel()
    async with posting(channel, path="/hl7") as (client, _):
        response = await client.post("/hl7", content=message("A1"))
    assert (response.status_code, response.headers["content-type"]) == (200, "application/hl7-v2")
    assert code_and_id(response.content) == ("AA", "A1")
    assert [arrival.data for arrival in channel.arrivals] == [message("A1")]


async def test_nothing_is_said_before_the_commit() -> None:
    """The response waits for the journal."""
    channel = Channel()
    channel.gate.clear()
    async with posting(channel) as (client, _):
        asked = asyncio.ensure_future(client.post("/", content=message("A1")))
        await channel.entered.acquire()
        assert not asked.done()
        channel.gate.set()
        assert (await asked).status_code == 200


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"hl7": message("A1").decode()}, "hl7"),
        ({"data": [{"hl7": message("A1").decode()}]}, "data[0].hl7"),
        ({"data": [{"hl7": message("A1").decode()}]}, "data[*].hl7"),
        (message("A1").decode(), ""),
    ],
)
async def test_inside_json(document: Any, path: str) -> None:
    """A path leads to the message; without one the body itself is it."""
    channel = Channel()
    content = json.dumps(document).encode() if path else document.encode()
    async with posting(channel, json_path=path) as (client, _):
        assert code_and_id((await client.post("/", content=content)).content) == ("AA", "A1")
    assert [arrival.data for arrival in channel.arrivals] == [message("A1")]


async def test_json_text_becomes_the_bytes_its_header_declares() -> None:
    """MSH-18 of a message inside JSON stays true: its text is encoded as it says."""
    channel = Channel()
    text = message("A1", "PID|1||||Müller\r").decode().replace("|2.5.1\r", "|2.5.1||||||8859/1\r")
    async with posting(channel, json_path="hl7") as (client, _):
        await client.post("/", json={"hl7": text})
    assert [arrival.data for arrival in channel.arrivals] == [text.encode("latin-1")]


async def test_several_messages_in_one_body() -> None:
    """Each is journaled by itself, in order; the acknowledgements follow each other."""
    channel = Channel()
    async with posting(channel, json_path="[*]") as (client, _):
        response = await client.post("/", json=[message(n).decode() for n in range(3)])
    assert [line[7:] for line in response.content.split(b"\r") if line.startswith(b"MSA")] == [b"0", b"1", b"2"]
    assert [arrival.data for arrival in channel.arrivals] == [message(n) for n in range(3)]


async def test_a_batch_of_too_many_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 says so, and nothing of it is taken."""
    monkeypatch.setattr(batch, "MOST_MESSAGES", 2)
    channel = Channel()
    async with posting(channel) as (client, _):
        response = await client.post("/", content=b"".join(message(n) for n in range(3)))
    assert (response.status_code, response.text, channel.arrivals) == (400, "The batch has more than 2 messages.\n", [])


async def test_a_rejected_message() -> None:
    """What is journaled as rejected is 422 with the acknowledgement that says why: nobody sends it again by itself."""
    async with posting(Channel()) as (client, _):
        response = await client.post("/", content=b"<xml/>")
    assert (response.status_code, code_and_id(response.content)[0]) == (422, "AR")


async def test_what_cannot_be_committed() -> None:
    """503 with Retry-After, and no acknowledgement; of a batch, of none of it."""
    channel = Channel(answer=lambda arrival: Unavailable("full") if b"|A2|" in arrival.data else reply_to(arrival))
    async with posting(channel) as (client, _):
        response = await client.post("/", content=b"BHS|^~\\&\r" + message("A1") + message("A2") + message("A3"))
    assert (response.status_code, response.headers["retry-after"], b"MSA" in response.content) == (503, "5", False)
    assert len(channel.arrivals) == 2


async def test_no_answer_in_enhanced_mode() -> None:
    """204 where none was asked for."""
    async with posting(Channel(answer=lambda _: Accepted("1"))) as (client, _):
        assert (await client.post("/", content=message("A1"))).status_code == 204


@pytest.mark.parametrize("now", ["CA", ""])
@pytest.mark.parametrize(("then", "status", "said"), [("AA", 200, "AA"), ("AE", 422, "AE"), ("", 200, "CA")])
async def test_the_one_answer_of_enhanced_mode(now: str, then: str, status: int, said: str) -> None:
    """Where MSH-16 asks for the application's acknowledgement that one is said, which implies the other; else the other."""

    async def later() -> bytes:
        return acknowledged(then)

    channel = Channel(answer=lambda _: Accepted("1", acknowledged(now), later=later))
    async with posting(channel) as (client, _):
        response = await client.post("/", content=message("A1"))
    if not now and not then:
        assert (response.status_code, response.content) == (204, b"")
    else:
        assert (response.status_code, code_and_id(response.content)) == (status, (said, "A1"))


def acknowledged(code: Any) -> bytes:
    """An acknowledgement of A1 with this code, or none."""
    return acknowledge(parse(message("A1")), code, control_id="1", at=AT) if code else b""


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/", b"", 405),
        ("POST", "/other", b"x", 404),
        ("POST", "/", b"", 400),
        ("POST", "/", b"{", 400),
        ("POST", "/", b'{"hl8": ""}', 400),
        ("POST", "/", b'{"hl7": 7}', 400),
        ("POST", "/", b"[" * 100_000, 400),
        ("POST", "/", b'"' + b"x" * 200_000 + b'"', 413),
    ],
)
async def test_what_is_no_message(method: str, path: str, content: bytes, status: int) -> None:
    """Each is told what is wrong, and nothing is journaled."""
    channel = Channel()
    with hearing(RequestRefused) as heard:
        async with posting(channel, json_path="hl7", max_body="150KB") as (client, _):
            assert (await client.request(method, path, content=content)).status_code == status
    assert channel.arrivals == []
    assert _told(heard) == [("lab", status)]


def _told(heard: list[Event]) -> list[tuple[str, int]]:
    """Of each refused request the channel and the status; each says from where it came, and why."""
    refused = [event for event in heard if isinstance(event, RequestRefused)]
    assert all(event.peer.startswith("127.0.0.1:") and event.why for event in refused)
    return [(event.channel, event.status) for event in refused]


async def test_a_body_that_says_no_length() -> None:
    """The limit holds for chunks too, wherever they end."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    async with posting(Channel(), max_body="100KB") as (client, _):
        assert (await client.post("/", content=chunks())).status_code == 413


@pytest.mark.parametrize(
    ("auth", "right", "wrong"),
    [
        ({"bearer": "s3cret"}, {"Authorization": "Bearer s3cret"}, {"Authorization": "Bearer s3cre"}),
        ({"bearer": "s3cret"}, {"Authorization": "bearer s3cret"}, {}),
        ({"bearer": "s3cret"}, {"Authorization": "BEARER  s3cret"}, {"Authorization": "Basic s3cret"}),
        ({"user": "lab", "password": "mật"}, {"Authorization": "Basic bGFiOm3huq10"}, {"Authorization": "Basic bGFiOng="}),
        ({"user": "lab", "password": "mật"}, {"Authorization": "basic bGFiOm3huq10"}, {"Authorization": "Basic !"}),
    ],
)
async def test_who_may_post(auth: dict[str, str], right: dict[str, str], wrong: dict[str, str]) -> None:
    """401 before the body is looked at; then 200."""
    channel = Channel()
    async with posting(channel, auth=auth) as (client, _):
        with hearing(RequestRefused) as heard:
            refused = await client.post("/", content=message("A1"), headers=wrong)
        assert (refused.status_code, "www-authenticate" in refused.headers, channel.arrivals) == (401, True, [])
        assert _told(heard) == [("lab", 401)]
        assert (await client.post("/", content=message("A1"), headers=right)).status_code == 200


async def test_addresses_that_may_not_connect() -> None:
    """A peer outside the allowed networks is closed unread."""
    channel = Channel()
    async with posting(channel, allow=["10.20.0.0/16"]) as (client, _):
        with pytest.raises(httpx.TransportError):
            await client.post("/", content=message("A1"))
    assert channel.arrivals == []


async def test_a_head_and_a_body_that_do_not_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Slowloris: half a head is closed after a while, half a body is answered 408; MLLP to the port is 400.

    Both answers are events, and nobody else writes into the log.
    """
    monkeypatch.setattr(http_server, "_PATIENCE", 0.1)
    with hearing(RequestRefused) as heard:
        await _never_ending()
    assert _told(heard) == [("lab", 408), ("lab", 400)]
    assert caplog.records == []
    assert "Invalid HTTP request received." not in capfd.readouterr().err


async def _never_ending() -> None:
    async with posting(Channel(), body_timeout="100ms") as (_, source):
        for data, expected in (
            (b"POST / HTTP/1.1\r\nHost: x\r\n", b""),
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nMSH", b"HTTP/1.1 408 "),
            (frame(message("A1")), b"HTTP/1.1 400 "),
        ):
            host, _, port = source.health().place.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(data)
            assert (await reader.read())[:13] == expected
            writer.close()


async def test_a_mistake_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """500, and one event that names the kind of the error: its words, and its traceback, may hold content."""

    def fails(arrival: Arrival) -> Answer:
        raise ValueError(str(arrival.data))

    with hearing(RequestFailed) as heard:
        async with posting(Channel(answer=fails)) as (client, _):
            assert (await client.post("/", content=message("A1"))).status_code == 500
    assert heard == [RequestFailed("ValueError")]
    assert caplog.records == []


async def test_a_body_in_a_frame() -> None:
    """What was cut from a wire with its frame around it is the message in it."""
    channel = Channel()
    async with posting(channel) as (client, _):
        assert code_and_id((await client.post("/", content=frame(message("A1")))).content) == ("AA", "A1")
    assert [arrival.data for arrival in channel.arrivals] == [message("A1")]


async def test_too_many_requests() -> None:
    """Beyond ``max_requests`` at a time: 503, to be tried again."""
    channel = Channel()
    channel.gate.clear()
    async with posting(channel, max_requests=1) as (client, _):
        first = asyncio.ensure_future(client.post("/", content=message("A1")))
        await channel.entered.acquire()
        assert (await client.post("/", content=message("A2"))).status_code == 503
        channel.gate.set()
        assert (await first).status_code == 200


async def test_over_tls(tmp_path: Path) -> None:
    """With our certificate, and with the client's where ``client_ca`` asks for one."""
    authority = Authority(tmp_path)
    certificate, key = authority.sign("engine")
    tls = {"certificate": certificate, "key": key, "client_ca": authority.file}
    channel = Channel()
    async with posting(channel, tls=tls) as (_, source):
        context = ssl.create_default_context(cafile=authority.file)
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            with pytest.raises(httpx.TransportError):
                await client.post(f"https://{source.health().place}/", content=message("A1"))
        context.load_cert_chain(*authority.sign("lab"))
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            assert (await client.post(f"https://{source.health().place}/", content=message("A1"))).status_code == 200
    assert len(channel.arrivals) == 1


async def test_senders_are_told_apart(tmp_path: Path) -> None:
    """An arrival has the facilities of its client's certificate, those of its token, or where both are shown what both allow."""
    authority = Authority(tmp_path)
    certificate, key = authority.sign("engine")
    tls = {"certificate": certificate, "key": key, "client_ca": authority.file}
    auth = [
        {"bearer": "lab", "facilities": ["24001"]},
        {"user": "ris", "password": "x", "facilities": ["24003"]},
        {"bearer": "y"},
    ]
    shown: list[Any] = [{"Authorization": "bearer lab"}, {"Authorization": "Basic cmlzOng="}, {"Authorization": "Bearer y"}]
    assert await _facilities(shown, auth=auth) == [("24001",), ("24003",), None]
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(*authority.sign("lab"))
    senders = {"lab": ["24001", "24002"]}
    assert await _facilities([{}], context, tls=tls, senders=senders) == [("24001", "24002")]
    assert await _facilities([{}], context, tls=tls, senders={"ris": ["24003"]}) == [()]
    assert await _facilities([{}], context, tls=tls) == [None]
    both = await _facilities(shown, context, tls=tls, senders=senders, auth=auth)
    assert both == [("24001",), (), ("24001", "24002")]


async def _facilities(
    shown: list[dict[str, str]], context: ssl.SSLContext | None = None, **options: Any
) -> list[tuple[str, ...] | None]:
    channel = Channel()
    async with posting(channel, **options) as (_, source):
        url = f"{'https' if context else 'http'}://{source.health().place}/"
        async with httpx.AsyncClient(verify=context or True, trust_env=False) as client:
            for headers in shown:
                assert (await client.post(url, content=message("A1"), headers=headers)).status_code == 200
    assert all(("lab" in arrival.certificate) == (context is not None) for arrival in channel.arrivals)
    return [arrival.facilities for arrival in channel.arrivals]


async def test_a_port_in_use() -> None:
    """Start says so."""
    async with posting(Channel()) as (_, source):
        with pytest.raises(OSError, match="in use"):
            async with posting(Channel(), listen=source.health().place):
                pass


@pytest.mark.parametrize(
    "wrong",
    [
        {"senders": {"lab": ["24001"]}},
        {"auth": [{"bearer": "x"}, {}]},
        {"path": "hl7"},
        {"path": "/hl7?x"},
        {"json_path": "a..b"},
        {"json_path": "a[x]"},
        {"auth": {}},
        {"auth": {"user": "x"}},
    ],
)
def test_wrong_options(wrong: dict[str, object]) -> None:
    """Every option is checked before anything listens."""
    with pytest.raises(ValidationError):
        HttpSourceOptions.model_validate({"listen": "0.0.0.0:8090", **wrong})
