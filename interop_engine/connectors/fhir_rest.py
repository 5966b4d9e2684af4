"""A FHIR R4 server as a destination: a transaction Bundle, posted to the server's base URL.

A timed-out POST is unknown, and harmless to send again: the ids are ours and the bytes the same. What a reply means is in
``fhir_reply``; what only several deliveries together show (a server that is down, a message that fails alone) is here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic import Field, SecretStr, field_validator, model_validator

from interop_engine.connectors.base import ConnectorHealth, Options, Surroundings
from interop_engine.connectors.breaker import Breaker
from interop_engine.connectors.events import DestinationBarred, DestinationDown, DestinationUp
from interop_engine.connectors.fhir_reply import Again, Barred, Reply, Verdict, count_entries, judge
from interop_engine.core.events import emit
from interop_engine.core.model import Delivered, Delivery, Outcome, Park, Retry
from interop_engine.core.retry import Backoff
from interop_engine.core.units import Duration, Size

_MEDIA_TYPE = "application/fhir+json"
_ALONE = 5  # failures of one message, while others pass, that make it the message's fault
_REMEMBERED = 10_000  # deliveries whose failures are counted
_REDIRECTS = frozenset({307, 308})  # those that keep method and body (RFC 9110, 15.4)

# They log URLs and headers at INFO and DEBUG; what matters is an event of ours.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class FhirAuth(Options):
    """How the server knows us."""

    bearer: SecretStr = Field(description="A token that the server gave out.", examples=["${HUB_TOKEN}"])


class FhirTimeouts(Options):
    """How long each step may take. All of them together bound the whole request."""

    connect: Duration = Field(10.0, gt=0, description="Connecting, TLS included.", examples=["10s"])
    write: Duration = Field(30.0, gt=0, description="Each piece of the request.", examples=["30s"])
    read: Duration = Field(60.0, gt=0, description="Each piece of the reply: the server's time to work.", examples=["60s"])
    pool: Duration = Field(30.0, gt=0, description="Waiting for a free connection.", examples=["30s"])


class FhirBreaker(Options):
    """When a server that does not answer is left alone. Waiting for it is not a failed attempt."""

    failures: int = Field(5, ge=1, description="Network failures in a row (502, 503, 504 too) after which nothing is sent.")
    first: Duration = Field(5.0, gt=0, description="The first pause; each later one is twice as long.", examples=["5s"])
    up_to: Duration = Field(60.0, gt=0, description="The longest pause. After each, one delivery is sent ahead.", examples=["1m"])


class FhirRestOptions(Options):
    """Post transaction Bundles to a FHIR R4 server."""

    url: str = Field(description="The server's base URL.", examples=["https://hub.example/fhir", "${HUB_FHIR_URL}"])
    auth: FhirAuth | None = Field(None, description="How the server knows us; nothing where it does not ask.")
    ca_file: str = Field("", description="The authority that signed the server's certificate, PEM; else the system's.")
    concurrency: int = Field(4, ge=1, le=64, description="Requests in flight, each of another lane.")
    timeouts: FhirTimeouts = Field(default_factory=FhirTimeouts, description="How long each step may take.")
    breaker: FhirBreaker = Field(default_factory=FhirBreaker, description="When a silent server is left alone.")
    max_reply: Size = Field(16_000_000, gt=0, description="The largest reply that is read.", examples=["16MB"])

    @field_validator("url")
    @classmethod
    def _is_base(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            port_is_a_number = parts.port is None or parts.port > 0
        except ValueError:
            port_is_a_number = False
        if not port_is_a_number or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not a base URL; write https://HOST/PATH")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("a base URL has no user, password, query or fragment; credentials go under auth")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _token_is_not_shown(self) -> FhirRestOptions:
        parts = urlsplit(self.url)
        if self.auth is not None and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            raise ValueError("a token over plain http can be read by anyone on the way; use https")
        return self


class FhirRestDestination:
    """The client."""

    def __init__(self, options: FhirRestOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._surroundings = surroundings
        self._client: httpx.AsyncClient | None = None
        self._breaker = Breaker(options.breaker.failures, Backoff(options.breaker.first, options.breaker.up_to))
        self._troubles = _Troubles()
        self._flying = 0

    async def open(self) -> None:
        """Make the pool; the first delivery connects. Raises OSError where ``ca_file`` cannot be read."""
        if self._client is not None:
            return
        options = self._options
        cafile = Path(self._surroundings.root, options.ca_file) if options.ca_file else None
        headers = {
            "Accept": _MEDIA_TYPE,
            "Accept-Encoding": "identity",
            "Prefer": "return=minimal",
            "User-Agent": "interop-engine",
        }
        if options.auth is not None:
            headers["Authorization"] = f"Bearer {options.auth.bearer.get_secret_value()}"
        times = options.timeouts
        self._client = httpx.AsyncClient(
            verify=await asyncio.to_thread(ssl.create_default_context, cafile=cafile),
            headers=headers,
            timeout=httpx.Timeout(connect=times.connect, write=times.write, read=times.read, pool=times.pool),
            limits=httpx.Limits(max_connections=options.concurrency, max_keepalive_connections=options.concurrency),
            follow_redirects=False,
            trust_env=False,  # no proxy and no .netrc that the channel file does not name
        )

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Post once."""
        entries = count_entries(delivery.body) if delivery.media == "fhir" else None
        if entries is None:
            return Park("not-a-bundle", "a FHIR server is sent Bundles, and this is none")
        if (wait := self._breaker.wait()) is not None:
            return Retry(f"waiting for the server: {self._breaker.problem}", "breaker-open", after=wait, counts=False)
        ahead, was_open = self._breaker.probing, bool(self._breaker.problem)
        self._flying += 1
        try:
            outcome = await self._attempt(delivery, entries)
        finally:
            self._flying -= 1
            if ahead:
                self._breaker.abandon()  # has no effect where the attempt was reported
        if was_open != bool(self._breaker.problem):
            self._tell(outcome)
        return outcome

    async def close(self) -> None:
        """Close; twice is harmless."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def health(self) -> ConnectorHealth:
        """Why nothing is sent, where that is so."""
        return ConnectorHealth(place=self._options.url, connections=self._flying, problem=self._breaker.problem)

    async def _attempt(self, delivery: Delivery, entries: int) -> Outcome:
        try:
            async with asyncio.timeout(sum(self._options.timeouts.model_dump().values())):
                reply = await self._post(delivery)
        except httpx.PoolTimeout:
            return Retry("no connection was free", "pool", counts=False)
        except (httpx.HTTPError, TimeoutError, OSError, ssl.SSLError) as error:
            why = _words(error)
            self._breaker.failure(why)
            return Retry(why, "network")
        return self._settle(delivery.id, judge(reply, entries))

    async def _post(self, delivery: Delivery) -> Reply:
        url = self._options.url
        status, location = 0, ""
        for _ in range(2):  # one redirect, to the same server: ``/fhir`` to ``/fhir/``
            reply, location = await self._request(url, delivery)
            status = reply.status
            if status not in _REDIRECTS or not _same_origin(self._options.url, location):
                return reply
            url = location
        return Reply(status)

    async def _request(self, url: str, delivery: Delivery) -> tuple[Reply, str]:
        if self._client is None:
            raise httpx.TransportError("closed")
        headers = {"Content-Type": _MEDIA_TYPE, "X-Request-Id": delivery.id}
        async with self._client.stream("POST", url, content=delivery.body, headers=headers) as response:
            # Raw, since a few bytes can unpack to gigabytes; an encoding was not asked for.
            readable = response.headers.get("Content-Encoding", "identity") == "identity"
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > self._options.max_reply:
                    body, readable = bytearray(), False
                    break
            reply = Reply(response.status_code, bytes(body), response.headers.get("Retry-After", ""), readable)
            location = response.headers.get("Location", "")
            return reply, str(response.url.join(location)) if location else ""

    def _settle(self, delivery: str, verdict: Verdict) -> Outcome:
        match verdict:
            case Barred():
                self._breaker.trip(_shown(verdict.why))
                return Retry(verdict.why, verdict.code, counts=False)
            case Again():
                return self._again(delivery, verdict)
            case Delivered():
                self._troubles.passed(delivery)
            case Park():
                self._troubles.settled(delivery)
        self._breaker.success()
        return verdict

    def _again(self, delivery: str, verdict: Again) -> Outcome:
        if verdict.hold:
            self._breaker.trip(_shown(verdict.why), verdict.after)
        elif verdict.down:
            self._breaker.failure(_shown(verdict.why))
        else:
            self._breaker.success()
        times, others_passed = self._troubles.failed(delivery)
        if (verdict.limit is not None and times > verdict.limit) or (verdict.alone and times >= _ALONE and others_passed):
            self._troubles.settled(delivery)
            return Park(verdict.code, f"{verdict.why} ({times} times)")
        return Retry(verdict.why, verdict.code, after=verdict.after)

    def _tell(self, outcome: Outcome) -> None:
        channel, name = self._surroundings.channel, self._surroundings.name
        if not self._breaker.problem:
            emit(DestinationUp(channel, name))
        elif isinstance(outcome, Retry) and not outcome.counts:
            emit(DestinationBarred(channel, name, outcome.code))
        else:
            emit(DestinationDown(channel, name))


@dataclass(slots=True)
class _Trouble:
    times: int
    passes: int  # how many deliveries had passed when it began


class _Troubles:
    """How often each delivery failed, and whether others passed meanwhile. A restart forgets it, and only parks later."""

    def __init__(self) -> None:
        self._passes = 0
        self._of: OrderedDict[str, _Trouble] = OrderedDict()

    def failed(self, delivery: str) -> tuple[int, bool]:
        trouble = self._of.setdefault(delivery, _Trouble(0, self._passes))
        trouble.times += 1
        if len(self._of) > _REMEMBERED:
            self._of.popitem(last=False)
        return trouble.times, self._passes > trouble.passes

    def passed(self, delivery: str) -> None:
        self._passes += 1
        self.settled(delivery)

    def settled(self, delivery: str) -> None:
        self._of.pop(delivery, None)


def _shown(why: str) -> str:
    """What the status page may show of a reply: its status, and nothing of what the server wrote."""
    return why.partition(";")[0]


def _words(error: Exception) -> str:
    """What went wrong on the network, without what the request or the reply held."""
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


def _same_origin(base: str, other: str) -> bool:
    one, two = httpx.URL(base), httpx.URL(other)
    return (one.scheme, one.host, one.port) == (two.scheme, two.host, two.port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
