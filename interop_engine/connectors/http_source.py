"""HTTP as a source: HL7 v2 is posted, by itself or inside JSON, and answered once it is committed.

200 with the acknowledgement as body where it was taken, 422 with it where it was rejected (and journaled as that), 204 where the
message asked for no answer, 503 where nothing is promised: the sender tries again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field, SecretStr, field_validator, model_validator
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from interop_engine.connectors import events
from interop_engine.connectors.addresses import read_address
from interop_engine.connectors.base import Acknowledging, ConnectorHealth, Options, Surroundings
from interop_engine.connectors.http_server import CERTIFICATE, HttpServer
from interop_engine.connectors.inside_json import JsonPath, follow, message_bytes
from interop_engine.connectors.listener import Listening
from interop_engine.core.events import emit
from interop_engine.core.model import Accept, Accepted, Answer, Arrival, Refused, Unavailable
from interop_engine.core.units import Duration, Size
from interop_engine.hl7.batch import answer_batch, split_batch

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_MEDIA_TYPE = "application/hl7-v2"


class HttpAuth(Options):
    """How one side of HTTP knows the other: a token, or a user with a password."""

    bearer: SecretStr | None = Field(None, description="A token.", examples=["${LAB_TOKEN}"])
    user: str = Field("", description="A user's name, instead of a token.", examples=["lab"])
    password: SecretStr | None = Field(None, description="Its password.", examples=["${LAB_PASSWORD}"])

    @model_validator(mode="after")
    def _one_way(self) -> HttpAuth:
        if (self.bearer is None) == (not self.user) or bool(self.user) != (self.password is not None):
            raise ValueError("either bearer, or user and password")
        return self

    @property
    def header(self) -> str:
        """The Authorization header."""
        if self.bearer is not None:
            return f"Bearer {self.bearer.get_secret_value()}"
        assert self.password is not None
        return "Basic " + base64.b64encode(f"{self.user}:{self.password.get_secret_value()}".encode()).decode()

    def admits(self, header: str) -> bool:
        """Whether a request's Authorization header is the one expected; in the same time whatever it is."""
        given, expected = header.strip(), self.header
        if self.bearer is None:
            given = "Basic " + _canonical(given.partition(" ")[2])
        return hmac.compare_digest(given.encode(), expected.encode())


def _canonical(encoded: str) -> str:
    try:
        return base64.b64encode(base64.b64decode(encoded.strip(), validate=True)).decode()
    except (binascii.Error, ValueError):
        return ""


class HttpSourceOptions(Acknowledging, Listening):
    """Take HL7 v2 that is posted over HTTP."""

    path: str = Field("/", description="The path that is posted to.", examples=["/hl7"], pattern=r"^/")
    json_path: JsonPath = Field(
        "",
        description="Where the message, or several, stands in a JSON body; without it the body is the message.",
        examples=["hl7"],
    )
    auth: HttpAuth | None = Field(None, description="What a sender must show.", examples=[{"bearer": "${LAB_TOKEN}"}])
    max_body: Size = Field(16_000_000, gt=0, description="The largest body.", examples=["16MB"])
    max_requests: int = Field(100, gt=0, description="Requests at a time; more are answered 503.", examples=[100])
    max_connections_per_address: int = Field(
        50,
        gt=0,
        description="Connections of one address at a time; more are closed. Fewer than max_requests, so that no address takes"
        " them all.",
        examples=["10"],
    )
    body_timeout: Duration = Field(30.0, gt=0, description="Time a sender has for its body.", examples=["30s"])

    @field_validator("path")
    @classmethod
    def _is_path(cls, path: str) -> str:
        if any(c in path for c in "?# "):
            raise ValueError("a path has no query and no fragment")
        return path


class HttpSource:
    """The server: one address, one path."""

    def __init__(self, options: HttpSourceOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._channel = surroundings.channel
        self._root = surroundings.root
        self._server: HttpServer | None = None
        self._requests = 0

    async def start(self, accept: Accept) -> None:
        """Listen. Raises OSError where the address or a file of the certificate cannot be used."""
        self._accept = accept
        tls = self._options.tls
        host, port = read_address(self._options.listen)
        server = HttpServer(
            self,
            host,
            port,
            tls=(lambda: tls.context(self._root)) if tls is not None else None,
            limits=self._options.limits,
            channel=self._channel,
        )
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Answer what is under way, then close. Twice is harmless."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    def health(self) -> ConnectorHealth:
        """Where it listens, and how many are connected."""
        if self._server is None:
            return ConnectorHealth(place=self._options.listen, problem="not listening")
        return ConnectorHealth(place=self._server.address, connections=self._server.connections)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        request = Request(scope, receive)
        self._requests += 1
        try:
            response = await self._respond(request)
        finally:
            self._requests -= 1
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        """Everything that needs no body comes first, so that a stranger's is not even read."""
        options = self._options
        peer = f"{request.client.host}:{request.client.port}" if request.client else ""
        if options.auth is not None and not options.auth.admits(request.headers.get("authorization", "")):
            scheme = "Bearer" if options.auth.bearer is not None else 'Basic realm="hl7"'
            return self._refused(peer, 401, "Who are you?", {"WWW-Authenticate": scheme})
        if request.url.path != options.path:
            return self._refused(peer, 404, f"Messages are posted to {options.path}.")
        if request.method != "POST":
            return self._refused(peer, 405, "Messages are posted.", {"Allow": "POST"})
        if self._requests > options.max_requests:
            return self._refused(peer, 503, "Too many requests at once.", {"Retry-After": "1"})
        try:
            async with asyncio.timeout(options.body_timeout):
                body = await _read(request, options.max_body)
        except (TimeoutError, ClientDisconnect):
            return self._refused(peer, 408, "The body did not come in time.", {"Connection": "close"})
        if body is None:
            return self._refused(peer, 413, f"The body is larger than {options.max_body} bytes.", {"Connection": "close"})
        found = _messages(body, options.json_path)
        if isinstance(found, str):
            return self._refused(peer, 400, found)
        return await self._commit(found, self._arrival(request, peer))

    def _arrival(self, request: Request, peer: str) -> Arrival:
        """What is the same of every message of a request."""
        names: frozenset[str] = request.scope["state"][CERTIFICATE]
        certificate, facilities = ", ".join(sorted(names)), self._options.facilities(names)
        return Arrival(b"", "hl7v2", datetime.now(UTC), peer, facilities=facilities, certificate=certificate)

    async def _commit(self, bodies: list[bytes], arrival: Arrival) -> Response:
        """Each message by itself, in order; where one is not committed, nothing is promised of any."""
        answers: list[Answer] = []
        replies: list[bytes] = []
        for body in bodies:
            messages = split_batch(body)
            own: list[bytes] = []
            for message in messages:
                answer = await self._accept(replace(arrival, data=message, received_at=datetime.now(UTC)))
                if isinstance(answer, Unavailable):
                    return self._refused(arrival.peer, 503, "Not now.", {"Retry-After": "5"})
                answers.append(answer)
                if reply := await _reply(answer):
                    own.append(reply)
            replies += own if len(messages) == 1 else answer_batch(body, own)
        if not any(replies):
            return Response(status_code=204)
        refused = all(isinstance(answer, Refused) for answer in answers)
        return Response(b"".join(replies), 422 if refused else 200, media_type=_MEDIA_TYPE)

    def _refused(self, peer: str, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
        emit(events.RequestRefused(self._channel, peer, status, text))
        return Response(text + "\n", status, headers, media_type="text/plain")


async def _reply(answer: Answer) -> bytes:
    """What is said now; where that is nothing, what enhanced mode says later."""
    assert isinstance(answer, Accepted | Refused)
    if not answer.reply and isinstance(answer, Accepted) and answer.later is not None:
        return await answer.later()
    return answer.reply


async def _read(request: Request, limit: int) -> bytes | None:
    """The body; None where it is too large, be it by its own word."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        return None
    body = bytearray()
    fits = True
    async for chunk in request.stream():
        fits = fits and len(body) + len(chunk) <= limit
        if fits:
            body += chunk  # else the rest is let by, so that the sender comes to read why
    return bytes(body) if fits else None


def _messages(body: bytes, path: str) -> list[bytes] | str:
    """The messages of a body, or what is wrong with it."""
    if not path:
        return [body] if body.strip() else "The body is empty."
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return "The body is not JSON."
    found = follow(document, path)
    if not found or not all(isinstance(each, str) and each.strip() for each in found):
        return f"There is no message at {path}."
    return [message_bytes(each) for each in found]
