"""An HTTP server that answers as a FHIR server does, as a test scripts it, and a FHIR REST destination that delivers to it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from interop_engine.connectors.base import Surroundings
from interop_engine.connectors.fhir_rest import FhirRestDestination, FhirRestOptions
from interop_engine.core.model import Delivery, Outcome, Retry
from interop_engine.exchange import open_exchange


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def reply(status: int, body: Any = None, **headers: str) -> Answer:
    """A whole reply; dicts become JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    given = {"Content-Type": "application/fhir+json", "Content-Length": str(len(data))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = f"HTTP/1.1 {status} Text\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items()) + "\r\n"

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + data)
        await writer.drain()

    return answer


def receipt(*statuses: str, **more: Any) -> dict[str, Any]:
    """The reply to a transaction: an entry for each status."""
    return {
        "resourceType": "Bundle",
        "type": "transaction-response",
        "entry": [{"response": {"status": s} | more} for s in statuses],
    }


def operation_outcome(code: str, severity: str = "error", text: str = "", **more: Any) -> dict[str, Any]:
    """An OperationOutcome with one issue."""
    issue = {"severity": severity, "code": code, "diagnostics": text} | more
    return {"resourceType": "OperationOutcome", "issue": [issue]}


@dataclass
class ScriptedServer:
    """Answers with what the test scripted, the last answer for ever."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
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
                request = Request(method, path, headers, body)
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
async def server() -> AsyncIterator[ScriptedServer]:
    """A server on a port of its own."""
    async with listening() as found:
        yield found


@asynccontextmanager
async def listening(context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[ScriptedServer]:
    """A server that takes every transaction until it is told otherwise."""
    found = ScriptedServer([reply(200, receipt("201 Created", "200 OK"))])
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
async def open_destination(url: str, **options: Any) -> AsyncIterator[FhirRestDestination]:
    """A destination with short times, opened."""
    surroundings = Surroundings("hub", open_exchange("embedded"), "hub", "record")
    quick = {"timeouts": {"connect": "2s", "read": "2s"}, "breaker": {"first": "10ms", "up_to": "20ms"}}
    destination = FhirRestDestination(FhirRestOptions(url=url, **quick | options), surroundings)
    await destination.open()
    try:
        yield destination
    finally:
        await destination.close()
        await destination.close()


def bundle_of(number: int = 1, entries: int = 2) -> Delivery:
    """A delivery of a transaction with so many patients."""
    entry = [
        {"resource": {"resourceType": "Patient", "id": f"p{n}"}, "request": {"method": "PUT", "url": f"Patient/p{n}"}}
        for n in range(entries)
    ]
    body = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entry}).encode()
    return Delivery(f"d{number}", f"m{number}", "hub", "record", ("p1",), body, "fhir")


async def deliver_once(server: ScriptedServer, answer: Answer, **options: Any) -> Outcome:
    """What comes of one delivery that is answered so."""
    server.answers = [answer]
    async with open_destination(server.url, **options) as destination:
        return await destination.deliver(bundle_of())


async def again_until_settled(destination: FhirRestDestination, delivery: Delivery) -> Outcome:
    """Deliver again after each wait, until it is delivered or parked."""
    while isinstance(outcome := await destination.deliver(delivery), Retry):  # noqa: ASYNC110 - the engine's backoff, in short
        await asyncio.sleep(min(outcome.after or 0.01, 1))
    return outcome
