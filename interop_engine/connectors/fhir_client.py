"""HTTP to a FHIR server: one bounded pool, a token that is renewed, replies that are capped, no redirect to another host."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any, Self

import httpx
from pydantic import Field, model_validator

from interop_engine.connectors.base import Surroundings, before_sending
from interop_engine.connectors.fhir_auth import TokenRefused, Tokens, TokenServerDown
from interop_engine.connectors.fhir_reply import Reply
from interop_engine.connectors.options import Options
from interop_engine.connectors.renewed_tls import RenewedTls
from interop_engine.connectors.tls import TlsClient
from interop_engine.core.retry import LONGEST_REQUEST
from interop_engine.core.units import Duration

_MEDIA_TYPE = "application/fhir+json"
_REDIRECTS = frozenset({307, 308})  # those that keep method and body (RFC 9110, 15.4)
_LEAVING = frozenset({"http11.send_request_headers.started", "http11.send_request_body.started"})  # of httpcore, to its ``trace``

UNREACHED = (httpx.HTTPError, TimeoutError, OSError, TokenServerDown)
"""What ``send`` raises where nothing says whether the server took the request; ``words`` says it for people."""

# They log URLs and headers at INFO and DEBUG; what matters is an event of ours.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class FhirTimeouts(Options):
    """How long each step may take. All of them together bound the whole request."""

    connect: Duration = Field(10.0, gt=0, description="Connecting, TLS included.", examples=["10s"])
    write: Duration = Field(30.0, gt=0, description="Each piece of the request.", examples=["30s"])
    read: Duration = Field(60.0, gt=0, description="Each piece of the reply: the server's time to work.", examples=["60s"])
    pool: Duration = Field(30.0, gt=0, description="Waiting for a free connection.", examples=["30s"])

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.connect + self.write + self.read + self.pool > LONGEST_REQUEST:
            raise ValueError(f"together more than {LONGEST_REQUEST / 60:g} minutes; no request may take longer")
        return self


class FhirClient:
    """The connections to one server."""

    def __init__(
        self,
        url: str,
        tokens: Tokens,
        tls: TlsClient,
        times: FhirTimeouts,
        surroundings: Surroundings,
        *,
        connections: int,
        max_reply: int,
    ) -> None:
        """``max_reply``: bytes of a reply that are read."""
        self._url = url
        self._tokens = tokens
        self._tls = tls
        self._times = times
        self._surroundings = surroundings
        self._context: RenewedTls | None = None
        self._connections = connections
        self._max_reply = max_reply
        self._client: httpx.AsyncClient | None = None
        self._token_client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Make the pool; the first request connects. Raises OSError where a file of ``tls`` cannot be used."""
        if self._client is not None:
            return
        self._context = context = await asyncio.to_thread(RenewedTls, self._tls, self._surroundings)
        self._client = self._made(context, self._connections)
        self._token_client = self._made(context, 1)

    @property
    def warning(self) -> str:
        """Why the files of ``tls`` as they are now cannot be used; empty while they are."""
        return self._context.problem if self._context is not None else ""

    def _made(self, context: ssl.SSLContext, connections: int) -> httpx.AsyncClient:
        times = self._times
        return httpx.AsyncClient(
            verify=context,
            headers={"Accept-Encoding": "identity", "User-Agent": "interop-engine"},
            timeout=httpx.Timeout(connect=times.connect, write=times.write, read=times.read, pool=times.pool),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
            trust_env=False,  # no proxy and no .netrc that the channel file does not name
        )

    async def close(self) -> None:
        """Close; twice is harmless."""
        clients, self._client, self._token_client = (self._client, self._token_client), None, None
        for client in clients:
            if client is not None:
                await client.aclose()

    async def send(self, method: str, path: str, body: bytes, request_id: str) -> Reply:
        """One request. A token that is not taken is renewed once. Raises TokenRefused, and what ``UNREACHED`` holds."""
        if self._client is None or self._token_client is None:
            raise httpx.TransportError("closed")
        url = f"{self._url}/{path}" if path else self._url
        for last in (False, True):
            async with asyncio.timeout(self._limit):
                token = await self._tokens.get(self._token_client)
            async with asyncio.timeout(self._limit):
                reply = await self._redirected(self._client, method, url, body, request_id, token)
            if reply.status != 401 or last or not self._tokens.refused(token):
                break
        return reply

    @property
    def _limit(self) -> float:
        return self._times.connect + self._times.write + self._times.read + self._times.pool

    async def _redirected(
        self, client: httpx.AsyncClient, method: str, url: str, body: bytes, request_id: str, token: str
    ) -> Reply:
        headers = {"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE, "Prefer": "return=minimal", "X-Request-Id": request_id}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        status = 0
        for _ in range(2):  # one redirect, to the same server: ``/fhir`` to ``/fhir/``
            reply, location = await self._request(client, method, url, body, headers)
            status = reply.status
            if status not in _REDIRECTS or not _same_origin(self._url, location):
                return reply
            url = location
        return Reply(status)

    async def _request(
        self, client: httpx.AsyncClient, method: str, url: str, body: bytes, headers: dict[str, str]
    ) -> tuple[Reply, str]:
        extensions: dict[str, Any] = {"trace": _on_step}
        if self._tls.server_name:
            extensions["sni_hostname"] = self._tls.server_name
        async with client.stream(method, url, content=body, headers=headers, extensions=extensions) as response:
            # Raw, since a few bytes can unpack to gigabytes; an encoding was not asked for.
            readable = response.headers.get("Content-Encoding", "identity") == "identity"
            held = bytearray()
            async for piece in response.aiter_raw():
                held += piece
                if len(held) > self._max_reply:
                    held, readable = bytearray(), False
                    break
            reply = Reply(response.status_code, bytes(held), response.headers.get("Retry-After", ""), readable)
            return reply, _led_to(response)


async def _on_step(step: str, _: dict[str, Any]) -> None:
    """Bytes leave only while the delivery is ours. A server does not act on a request that lacks its body."""
    if step in _LEAVING:
        before_sending()


def words(error: Exception) -> str:
    """What went wrong on the way, without what the request or the reply held."""
    if isinstance(error, TokenServerDown | TokenRefused):
        return str(error)
    if isinstance(error, TimeoutError):
        return "the server did not finish in time"
    if isinstance(error, httpx.TimeoutException):
        return f"the server did not answer in time ({type(error).__name__})"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "the server's certificate is not trusted"
        if isinstance(cause, ssl.SSLError):
            return "TLS with the server failed"
        cause = cause.__cause__ or cause.__context__
    return f"the server cannot be reached ({type(error).__name__})"


def _led_to(response: httpx.Response) -> str:
    """Where a redirect leads, as a whole URL; empty where it does not say, or what is none."""
    location = response.headers.get("Location", "")
    try:
        return str(response.url.join(location)) if location else ""
    except httpx.InvalidURL:
        return ""


def _same_origin(base: str, other: str) -> bool:
    one, two = httpx.URL(base), httpx.URL(other)
    return (one.scheme, one.host, one.port) == (two.scheme, two.host, two.port)
