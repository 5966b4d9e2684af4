"""A stand-in FHIR R4 server over real HTTP: executes transactions, keeps versions, and fails on demand.

    async with FhirServer() as server:
        server.url                      # http://127.0.0.1:45123/fhir
        server.fail(Fault("refuse", status=503, retry_after=1))
        server.store.all("Patient")

It is no product: it keeps everything in memory, knows the interactions the engine uses, and has no security at all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Self

import h11
import msgspec

from interop_engine.core.model import Resource
from interop_engine.demo.fhir_requests import Refused, Reply, Request
from interop_engine.demo.fhir_store import Store
from interop_engine.fhir.bundle import decode, encode

_MAX_BODY = 64_000_000  # bytes of a request
_JSON = "application/fhir+json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with the next ``times`` requests.

    ``refuse``: answered with ``status`` (and Retry-After), nothing done. ``stall``: never answered, until ``release``.
    ``drop``: done, and the connection closed before the answer.
    """

    kind: Literal["refuse", "stall", "drop"]
    times: int = 1
    status: int = 503
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A request as the server saw it, and what it answered; ``status`` is 0 where it did not answer."""

    at: datetime
    method: str
    path: str
    status: int
    entries: int
    fault: str = ""


@dataclass(slots=True)
class _Answer:
    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)


class FhirServer:
    """The server. ``port`` 0 takes a free one; everything is written down in ``log``."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, referential: bool = False) -> None:
        self.store = Store(referential=referential)
        self.log: list[Exchanged] = []
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._faults: deque[Fault] = deque()
        self._released = asyncio.Event()
        self._stalled = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The base URL, once started."""
        return f"http://{self._host}:{self._port}/fhir"

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        self.store.base = self.url

    async def stop(self) -> None:
        """Stop listening and end every connection; what is stored stays. Twice is harmless."""
        if self._server is None:
            return
        self._server.close()
        self._released.set()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        self._released = asyncio.Event()

    def fail(self, *faults: Fault) -> None:
        """Fail in these ways, one after the other, each as often as it says."""
        for fault in faults:
            self._faults.extend([fault] * fault.times)

    async def until_stalled(self) -> None:
        """Wait until a request has met a ``stall``."""
        await self._stalled.wait()

    def release(self) -> None:
        """Forget the faults to come, and close the connections of requests that stalled."""
        self._faults.clear()
        self._stalled.clear()
        self._released.set()
        self._released = asyncio.Event()

    # --- HTTP/1.1 -------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65_536)
        while True:
            found = await self._receive(connection, reader)
            if found is None:
                return
            request, body = found
            answer = await self._answered(request, body)
            if answer is None:
                return
            head = [("content-length", str(len(answer.body))), *answer.headers]
            if answer.body:
                head.append(("content-type", _JSON))
            writer.write(connection.send(h11.Response(status_code=answer.status, headers=head)) or b"")
            if request.method != b"HEAD":
                writer.write(connection.send(h11.Data(data=answer.body)) or b"")
            writer.write(connection.send(h11.EndOfMessage()) or b"")
            await writer.drain()
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _receive(self, connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request, bytes] | None:
        """The next request with its body, None where the client has gone or sends more than the server takes."""
        request: h11.Request | None = None
        body = bytearray()
        while True:
            match connection.next_event():
                case h11.NEED_DATA:
                    connection.receive_data(await reader.read(65_536))
                case h11.Request() as request:
                    pass
                case h11.Data(data=data):
                    body += data
                    if len(body) > _MAX_BODY:
                        return None
                case h11.EndOfMessage():
                    assert request is not None
                    return request, bytes(body)
                case _:
                    return None

    async def _answered(self, request: h11.Request, body: bytes) -> _Answer | None:
        """The answer, None to close the connection without one. Faults are worked off here."""
        fault = self._faults.popleft() if self._faults else None
        method, target = request.method.decode("ascii"), request.target.decode("ascii")
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in request.headers}
        if fault is not None and fault.kind == "stall":
            self._stalled.set()
            await self._released.wait()
            self._write_down(method, target, 0, 0, fault.kind)
            return None
        if fault is not None and fault.kind == "refuse":
            reply, entries = Refused(fault.status, "transient", "The server was told to refuse.").reply(), 0
        else:
            reply, entries = self._handled(method, target, headers, body)
        dropped = fault is not None and fault.kind == "drop"
        self._write_down(method, target, 0 if dropped else reply.status, entries, fault.kind if fault else "")
        if dropped:
            return None
        answer = _answer(reply, self.url)
        if fault is not None and fault.retry_after is not None:
            answer.headers.append(("retry-after", str(fault.retry_after)))
        return answer

    def _write_down(self, method: str, target: str, status: int, entries: int, fault: str) -> None:
        self.log.append(Exchanged(datetime.now(UTC), method, target, status, entries, fault))

    def _handled(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[Reply, int]:
        path, _, query = target.partition("?")
        if path == "/fhir/metadata" and method == "GET":
            return Reply(200, _capabilities(self.url)), 0
        if path != "/fhir" and not path.startswith("/fhir/"):
            return Refused(404, "not-found", "The base of this server is /fhir.").reply(), 0
        resource: Resource | None = None
        if body and headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            query = "&".join(part for part in (query, body.decode("ascii")) if part)
        elif body:
            try:
                resource = decode(body)
            except (ValueError, msgspec.DecodeError):
                return Refused(400, "structure", "The body is not a JSON object.").reply(), 0
        request = Request(
            method,
            path.removeprefix("/fhir").strip("/"),
            query,
            resource,
            headers.get("if-none-exist", ""),
            headers.get("if-match", ""),
        )
        entries = len(resource.get("entry", ())) if resource else 0
        return self.store.handle(request), entries


def _answer(reply: Reply, base: str) -> _Answer:
    answer = _Answer(reply.status, encode(reply.body) if reply.body is not None else b"")
    if reply.location and reply.status == 201:
        answer.headers.append(("location", f"{base}/{reply.location}"))
    if reply.etag:
        answer.headers.append(("etag", reply.etag))
    return answer


def _capabilities(url: str) -> Resource:
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "implementation": {"description": "A stand-in FHIR server of the demonstration; all data are made up.", "url": url},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "rest": [{"mode": "server", "interaction": [{"code": "transaction"}, {"code": "batch"}]}],
    }
