"""HTTP as a source: HL7 v2 is posted, by itself or inside JSON, and answered once it is committed.

200 with the acknowledgement as body where it was taken, 422 with it where it was rejected (and journaled as that), 204 where the
message asked for no answer, 503 where nothing is promised: the sender tries again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from interop_engine.connectors import events
from interop_engine.connectors.addresses import read_address, written
from interop_engine.connectors.aside import Aside
from interop_engine.connectors.base import Acknowledging, ConnectorHealth, Surroundings
from interop_engine.connectors.http_server import CERTIFICATE, HttpServer
from interop_engine.connectors.inside_json import JsonPath, follow, message_bytes, read_json
from interop_engine.connectors.listener import Listening
from interop_engine.connectors.options import Options
from interop_engine.connectors.renewed_tls import RenewedTls
from interop_engine.core.events import emit
from interop_engine.core.model import Accept, Accepted, Answer, Arrival, Refused, Unavailable
from interop_engine.core.units import Duration, Size
from interop_engine.hl7.ack import read_ack
from interop_engine.hl7.batch import answer_batch, messages_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_MEDIA_TYPE = "application/hl7-v2"
_LINGER = 15.0  # seconds in which the rest of a body nobody wants is let by, so that its sender comes to read why
_POSITIVE = frozenset({"AA", "CA"})


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
        scheme, _, given = header.strip().partition(" ")
        given = given.strip() if self.bearer is not None else _canonical(given)
        # The name of a scheme is the same in capitals and without (RFC 9110, 11.1).
        return hmac.compare_digest(f"{scheme.title()} {given}".encode(), self.header.encode())


def _canonical(encoded: str) -> str:
    try:
        return base64.b64encode(base64.b64decode(encoded.strip(), validate=True)).decode()
    except (binascii.Error, ValueError):
        return ""


class HttpSender(HttpAuth):
    """What a sender shows, and whom it may speak for."""

    facilities: tuple[str, ...] = Field(
        (),
        description="Which sending facilities (MSH-4) who shows this may speak for. Messages of others are rejected. Without any,"
        " every one.",
        examples=[["BV24001"]],
    )


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, Mapping | HttpSender) else value


class HttpSourceOptions(Acknowledging, Listening):
    """Take HL7 v2 that is posted over HTTP."""

    path: str = Field("/", description="The path that is posted to.", examples=["/hl7"], pattern=r"^/")
    json_path: JsonPath = Field(
        "",
        description="Where the message, or several, stands in a JSON body; without it the body is the message.",
        examples=["hl7"],
    )
    auth: Annotated[
        tuple[HttpSender, ...], BeforeValidator(_listed, json_schema_input_type=HttpSender | tuple[HttpSender, ...])
    ] = Field((), description="What a sender must show: one of these.", examples=[{"bearer": "${LAB_TOKEN}"}])
    max_body: Size = Field(16_000_000, gt=0, description="The largest body, of at most 100,000 messages.", examples=["16MB"])
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
        self._surroundings = surroundings
        self._tls: RenewedTls | None = None
        self._server: HttpServer | None = None
        self._requests = 0
        self._aside = Aside()

    async def start(self, accept: Accept) -> None:
        """Listen. Raises OSError where the address or a file of the certificate cannot be used."""
        self._accept = accept
        if self._options.tls is not None:
            self._tls = await asyncio.to_thread(RenewedTls, self._options.tls, self._surroundings)
        host, port = read_address(self._options.listen)
        server = HttpServer(
            self,
            host,
            port,
            tls=self._tls,
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
        warning = self._tls.problem if self._tls is not None else ""
        return ConnectorHealth(place=self._server.address, connections=self._server.connections, warning=warning)

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
        peer = written(*request.client) if request.client else ""
        sender = self._sender(request)
        if options.auth and sender is None:
            schemes = ("Bearer" if each.bearer is not None else 'Basic realm="hl7"' for each in options.auth)
            return self._unread(peer, 401, "Who are you?", {"WWW-Authenticate": ", ".join(dict.fromkeys(schemes))})
        if request.url.path != options.path:
            return self._unread(peer, 404, f"Messages are posted to {options.path}.")
        if request.method != "POST":
            return self._unread(peer, 405, "Messages are posted.", {"Allow": "POST"})
        if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            return self._unread(peer, 415, "Messages are posted without a Content-Encoding.", {"Accept-Encoding": "identity"})
        if self._requests > options.max_requests:
            return self._unread(peer, 503, "Too many requests at once.", {"Retry-After": "1"})
        try:
            async with asyncio.timeout(options.body_timeout):
                body = await _read(request, options.max_body)
        except (TimeoutError, ClientDisconnect):
            return self._refused(peer, 408, "The body did not come in time.", {"Connection": "close"})
        if body is None:
            return self._unread(peer, 413, f"The body is larger than {options.max_body} bytes.", {"Connection": "close"})
        try:
            parts = await self._aside.do(len(body), _parts, body, options.json_path)
        except ValueError as error:
            return self._refused(peer, 400, str(error))
        return await self._commit(parts, self._arrival(peer, request, sender))

    def _sender(self, request: Request) -> HttpSender | None:
        header = request.headers.get("authorization", "")
        admitting = [sender for sender in self._options.auth if sender.admits(header)]  # each is asked: it takes the same time
        return admitting[0] if admitting else None

    def _arrival(self, peer: str, request: Request, sender: HttpSender | None) -> Arrival:
        """What is the same of every message of a request. Who shows a token and a certificate needs leave from both."""
        names: frozenset[str] = request.scope["state"][CERTIFICATE]
        facilities = self._options.facilities(names)
        if sender is not None and sender.facilities:
            among = sender.facilities
            facilities = among if facilities is None else tuple(each for each in facilities if each in among)
        certificate = ", ".join(sorted(names))
        return Arrival(b"", "hl7v2", datetime.now(UTC), peer, facilities=facilities, certificate=certificate)

    async def _commit(self, parts: list[_Part], arrival: Arrival) -> Response:
        """Each message by itself, in order; where one is not committed, nothing is promised of any."""
        replies: list[bytes] = []
        taken = False
        for part in parts:
            own: list[bytes] = []
            for message in part.messages:
                answer = await self._accept(replace(arrival, data=message, received_at=datetime.now(UTC)))
                if isinstance(answer, Unavailable):
                    return self._refused(arrival.peer, 503, "Not now.", {"Retry-After": "5"})
                reply, positive = await _reply(answer)
                taken = taken or positive
                if reply:
                    own.append(reply)
            replies += own if len(part.messages) == 1 else answer_batch(part.body, own)
        if not any(replies):
            return Response(status_code=204)
        return Response(b"".join(replies), 200 if taken else 422, media_type=_MEDIA_TYPE)

    def _unread(self, peer: str, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
        """An answer that is given before the body has come."""
        emit(events.RequestRefused(self._channel, peer, status, text))
        return _Early(text + "\n", status, headers, media_type="text/plain")

    def _refused(self, peer: str, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
        emit(events.RequestRefused(self._channel, peer, status, text))
        return Response(text + "\n", status, headers, media_type="text/plain")


class _Early(Response):
    """An answer that does not wait for the body.

    What still comes of it is let by for a while: were the connection closed on it, its sender would see a reset, not the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ``Response``."""
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while (await receive()).get("more_body", False):
                    pass
        await send({"type": "http.response.body", "body": b""})


class _Part(NamedTuple):
    """A message, or a batch, and its messages."""

    body: bytes
    messages: list[bytes]


async def _reply(answer: Answer) -> tuple[bytes, bool]:
    """What is said of a message, and whether that is that it was taken.

    HTTP has one answer: where enhanced mode owes the application's acknowledgement here as well (MSH-16), that one is said. It
    implies the accept acknowledgement, which is said where the other is not asked for after all or does not come in time.
    """
    assert isinstance(answer, Accepted | Refused)
    if isinstance(answer, Accepted) and answer.later is not None and (later := await answer.later()):
        return later, read_ack(later).code in _POSITIVE
    return answer.reply, isinstance(answer, Accepted)


async def _read(request: Request, limit: int) -> bytes | None:
    """The body; None where it is too large, be it by its own word."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        return None
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > limit:
            return None
        body += chunk
    return bytes(body)


def _parts(body: bytes, path: str) -> list[_Part]:
    """The messages of a body. Raises ValueError where there is none, or too many, and says why."""
    parts = []
    for each in _bodies(body, path):
        messages, fault = messages_of(each)
        if fault:
            raise ValueError(fault)
        parts.append(_Part(each, messages))
    return parts


def _bodies(body: bytes, path: str) -> list[bytes]:
    if not path:
        if not body.strip():
            raise ValueError("The body is empty.")
        return [body]
    found = follow(read_json(body), path)
    if not found or not all(isinstance(each, str) and each.strip() for each in found):
        raise ValueError(f"There is no message at {path}.")
    return [message_bytes(each) for each in found]
