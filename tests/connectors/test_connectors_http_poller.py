"""HL7 v2 that is read from a URL: taken once, confirmed after the commit, and asked for from where we were."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from interop_engine.connectors import http_poller, inside_json
from interop_engine.connectors.http_poller import HttpPoller, HttpPollerOptions, PollFault, pause_after
from interop_engine.connectors.http_server import HttpServer
from interop_engine.core.model import Unavailable
from interop_engine.hl7 import batch
from tests.support.mllp import Channel, message, reply_to, surroundings, until

BOMB = zstandard.compress(bytes(20_000_000))  # 2 kB


class Lis:
    """A server that says what it is told to, and remembers what it was asked."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []
        self.answers: dict[str, Response] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        self.asked.append(f"{request.method} {request.url.path}{'?' + request.url.query if request.url.query else ''}")
        reply = self.answers.get(self.asked[-1], Response(b""))
        if request.method == "GET" and self.replies:
            said = self.replies.pop(0)
            reply = said if callable(said) else Response(said if isinstance(said, bytes) else json.dumps(said))
        await reply(scope, receive, send)


@asynccontextmanager
async def polling(lis: Lis, channel: Channel, root: Path, **options: Any) -> AsyncIterator[HttpPoller]:
    """A poller of that server, every 10 ms."""
    server = HttpServer(lis, "127.0.0.1", 0)
    await server.start()
    url = f"http://{server.address}"
    if "confirm" in options:
        options["confirm"] = {"url": f"{url}/taken/{{id}}", "id": "id", **options["confirm"]}
    poller = HttpPoller(
        HttpPollerOptions.model_validate({"url": f"{url}/outbox", "every": "10ms", **options}), surroundings(str(root))
    )
    await poller.start(channel.accept)
    try:
        yield poller
    finally:
        channel.gate.set()
        await poller.stop()
        await poller.stop()
        await server.stop()


def items(*numbers: int, **more: Any) -> dict[str, Any]:
    """A JSON reply."""
    return {"data": [{"id": n, "hl7": message(n).decode()} for n in numbers], **more}


def data(channel: Channel) -> list[bytes]:
    """What arrived."""
    return [arrival.data for arrival in channel.arrivals]


async def test_a_message_or_a_batch(tmp_path: Path) -> None:
    """Without ``items`` the reply is the message, or a batch of them; an empty one is nothing."""
    channel = Channel()
    async with polling(Lis(message(1), b"", message(2) + message(3)), channel, tmp_path):
        await until(lambda: len(channel.arrivals) == 3)
    assert data(channel) == [message(1), message(2), message(3)]


async def test_a_batch_of_too_many_messages_is_refused_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One arrival with its fault: it is confirmed, or it would be read for ever."""
    monkeypatch.setattr(batch, "MOST_MESSAGES", 2)
    many = message(1) + message(2) + message(3)
    channel = Channel()
    async with polling(Lis(many, message(4)), channel, tmp_path):
        await until(lambda: len(channel.arrivals) == 2)
    assert [(arrival.data, bool(arrival.fault)) for arrival in channel.arrivals] == [(many, True), (message(4), False)]


async def test_confirmed_after_the_commit(tmp_path: Path) -> None:
    """Each item by its id, once it is committed, before the next one is taken."""
    lis, channel = Lis(items(1, 2)), Channel()
    channel.gate.clear()
    async with polling(lis, channel, tmp_path, items="data[*]", hl7="hl7", confirm={"method": "DELETE"}):
        await channel.entered.acquire()
        assert lis.asked == ["GET /outbox"]
        channel.gate.set()
        await until(lambda: len(lis.asked) > 3)
    assert lis.asked[:3] == ["GET /outbox", "DELETE /taken/1", "DELETE /taken/2"]
    assert data(channel) == [message(1), message(2)]


async def test_what_cannot_be_committed_is_read_again(tmp_path: Path) -> None:
    """Neither it nor what follows it is confirmed, and the mark stays where it was."""
    full = [True]

    def answer(arrival: Any) -> Any:
        if b"|2|" in arrival.data and full.pop():
            return Unavailable("full")
        return reply_to(arrival)

    full.insert(0, False)
    lis, channel = Lis(items(1, 2, 3, next="m3"), items(2, 3, next="m3")), Channel(answer=answer)
    mark = {"parameter": "since", "path": "next", "file": "var/lis.mark"}
    async with polling(lis, channel, tmp_path, items="data[*]", hl7="hl7", mark=mark, confirm={}):
        await until(lambda: len(lis.asked) >= 6)
    assert lis.asked[:5] == ["GET /outbox", "POST /taken/1", "GET /outbox", "POST /taken/2", "POST /taken/3"]
    assert lis.asked[5] == "GET /outbox?since=m3"
    assert data(channel) == [message(n) for n in (1, 2, 2, 3)]


async def test_the_mark_survives_a_restart(tmp_path: Path) -> None:
    """It is in a file of the site: a new process asks for what came after it."""
    mark = {"parameter": "since", "path": "next", "file": "var/lis.mark"}
    options = {"items": "data[*]", "hl7": "hl7", "mark": mark}
    channel = Channel()
    async with polling(Lis(items(1, next="a b")), channel, tmp_path, **options):
        await until((tmp_path / "var" / "lis.mark").is_file)
    again = Lis(items(2, next="c"))
    async with polling(again, channel, tmp_path, **options):
        await until(lambda: len(channel.arrivals) == 2)
    assert again.asked[0] in {"GET /outbox?since=a%20b", "GET /outbox?since=a+b"}


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Response(status_code=500), "the server answered 500"),
        (Response(status_code=302, headers={"Location": "http://169.254.169.254/"}), "the server answered 302"),
        (b"{", "the reply cannot be read: The body is not JSON."),
        (b"[" * 90_000, "the reply cannot be read: The body is not JSON."),
        (Response(b"<html>", media_type="text/html"), "the server answered with a page for people (a login?)"),
        (Response(BOMB, headers={"Content-Encoding": "zstd"}), "the reply has a Content-Encoding that was not asked for"),
        (b"x" * 200_000, "the reply is larger than 100000 bytes"),
    ],
)
async def test_replies_that_are_none(tmp_path: Path, reply: Any, problem: str) -> None:
    """The status says what is wrong, nothing is taken, and the next reading goes on."""
    lis, channel = Lis(*[reply] * 50), Channel()
    options = {"items": "data[*]", "hl7": "hl7", "max_body": "100KB"}
    async with polling(lis, channel, tmp_path, **options) as poller:
        await until(lambda: poller.health().problem == problem)
        assert channel.arrivals == []
        lis.replies = [items(1)]
        await until(lambda: len(channel.arrivals) == 1 and poller.health().problem == "")


async def test_a_reply_of_nothing_but_values(tmp_path: Path) -> None:
    """Too many values are refused before the interpreter makes them, as in what is posted to us."""
    lis, channel = Lis(*[b"[" + b"{}," * 300_000 + b"1]"] * 50), Channel()
    async with polling(lis, channel, tmp_path, items="[*]", hl7="hl7") as poller:
        await until(lambda: "more than 200000 values" in poller.health().problem)
    assert channel.arrivals == []


@pytest.mark.parametrize(("size", "aside"), [(10, False), (200_000, True)])
async def test_a_large_reply_is_read_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, *, aside: bool
) -> None:
    """So that the loop gets its turns; a small one is done before a thread would have begun."""
    threads: list[threading.Thread] = []

    def noting(body: bytes) -> Any:
        threads.append(threading.current_thread())
        return inside_json.read_json(body)

    monkeypatch.setattr(http_poller, "read_json", noting)
    large = message(1, f"OBX|{'x' * size}\r")
    channel = Channel()
    async with polling(Lis({"data": [{"hl7": large.decode()}]}), channel, tmp_path, items="data[*]", hl7="hl7"):
        await until(lambda: len(channel.arrivals) == 1)
    assert data(channel) == [large]
    assert [thread is not threading.main_thread() for thread in threads] == [aside]


async def drip(scope: Any, receive: Any, send: Any) -> None:
    """A reply that never ends."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    del scope, receive
    while True:
        await send({"type": "http.response.body", "body": b" ", "more_body": True})
        await asyncio.sleep(0.01)


async def test_a_reply_that_never_ends_is_given_up(tmp_path: Path) -> None:
    """Each piece comes in time, the whole never: the status says so. A source that stops does not wait for it."""
    lis, channel = Lis(*[drip] * 50), Channel()
    async with polling(lis, channel, tmp_path, timeout="30ms") as poller:
        await until(lambda: poller.health().problem == "the reply did not come to its end in time")
    lis = Lis(*[drip] * 50)
    async with polling(lis, channel, tmp_path, timeout="1h") as poller:
        await until(lambda: bool(lis.asked))
        await asyncio.wait_for(poller.stop(), 10)


async def test_an_item_without_a_message_holds_up_no_other(tmp_path: Path) -> None:
    """It is handed over as what it is, with its fault, to be kept as rejected; the others are taken, and all are confirmed."""
    lis, channel = Lis({"data": [{"id": 1}, *items(2)["data"]]}), Channel()
    async with polling(lis, channel, tmp_path, items="data[*]", hl7="hl7", confirm={}):
        await until(lambda: "POST /taken/2" in lis.asked)
    assert [arrival.fault for arrival in channel.arrivals] == ["The item has no message at hl7.", ""]
    assert data(channel) == [b'{"id": 1}', message(2)]
    assert lis.asked[1:3] == ["POST /taken/1", "POST /taken/2"]


@pytest.mark.parametrize(("status", "problem"), [(404, ""), (500, "the server answered 500 to a confirmation")])
async def test_a_confirmation_that_is_refused_holds_up_no_other(tmp_path: Path, status: int, problem: str) -> None:
    """What is not there any more is confirmed; else it is said, and the others are taken and confirmed all the same."""
    lis, channel = Lis(items(1, 2)), Channel()
    lis.answers["POST /taken/1"] = Response(status_code=status)
    async with polling(lis, channel, tmp_path, items="data[*]", hl7="hl7", confirm={}) as poller:
        await until(lambda: "POST /taken/2" in lis.asked)
        if problem:
            await until(lambda: poller.health().problem == problem)
    assert data(channel) == [message(1), message(2)]


async def test_there_may_be_more_behind_a_new_mark(tmp_path: Path) -> None:
    """A server that gives a page at a time is asked for the next at once, until it gives nothing new."""
    lis, channel = Lis(items(1, next="a"), items(2, next="b"), items(next="b")), Channel()
    mark = {"parameter": "since", "path": "next", "file": "var/lis.mark"}
    async with polling(lis, channel, tmp_path, items="data[*]", hl7="hl7", mark=mark, every="1h"):
        await until(lambda: len(lis.asked) == 3)
    assert data(channel) == [message(1), message(2)]


def test_a_server_in_trouble_is_left_alone() -> None:
    """Longer with each failure in a row, up to five minutes; as long as it asked for; never shorter than always."""
    assert pause_after(PollFault("", after=3_600.0), 1, 10.0) == 3_600.0
    assert pause_after(httpx.ConnectError(""), 1, 10.0) == 10.0
    assert 150.0 <= pause_after(httpx.ConnectError(""), 20, 10.0) <= 300.0
    assert pause_after(httpx.ConnectError(""), 20, 600.0) == 600.0


async def test_a_server_says_how_long(tmp_path: Path) -> None:
    """Its Retry-After comes with the fault."""
    lis = Lis()
    async with polling(lis, Channel(), tmp_path, every="1h") as poller, httpx.AsyncClient() as client:
        await until(lambda: lis.asked)
        lis.replies = [Response(status_code=503, headers={"Retry-After": "120"})]
        with pytest.raises(PollFault) as caught:
            await poller._read(client, "")
    assert caught.value.after == 120.0


async def test_a_server_that_is_down(tmp_path: Path) -> None:
    """Said in the status, not raised; stop does not wait."""
    poller = HttpPoller(HttpPollerOptions(url="http://127.0.0.1:1/x", every=0.01), surroundings(str(tmp_path)))
    await poller.start(Channel().accept)
    await until(lambda: poller.health().problem == "ConnectError")
    await asyncio.wait_for(poller.stop(), 5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://lis/x"},
        {"url": "http://user:secret@lis/x"},
        {"hl7": "hl7"},
        {"items": "data[*]", "confirm": {"url": "https://lis.example/x", "id": "id"}},
        {"items": "data[*]", "confirm": {"url": "https://other.example/{id}", "id": "id"}},
    ],
)
def test_wrong_options(wrong: dict[str, Any]) -> None:
    """Every option is checked before anything is read; a token never goes to another server."""
    with pytest.raises(ValidationError):
        HttpPollerOptions.model_validate({"url": "https://lis.example/outbox", **wrong})
