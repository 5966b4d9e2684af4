"""How the FHIR destination says who it is: tokens from a token server, with a secret or a signed assertion, and certificates."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import ValidationError

from interop_engine.connectors.fhir_rest import FhirRestOptions
from interop_engine.core.events import Event, subscribe
from interop_engine.core.model import Delivered, Retry
from tests.support.certificates import Authority, write_key
from tests.support.scripted_fhir import (
    Answer,
    Request,
    ScriptedServer,
    again_until_settled,
    bundle_of,
    listening,
    open_destination,
    receipt,
    reply,
)

_SECRET = "s3cret/+ of ours"


def granted(token: str, **more: Any) -> Answer:
    """What a token server answers."""
    return reply(200, {"access_token": token, "token_type": "bearer", "expires_in": 3600} | more)


@dataclass
class Hub:
    """A FHIR server and its token server, behind one address: which token it takes, and what it gives out."""

    server: ScriptedServer
    give: Callable[[int], Answer] = lambda number: granted(f"token-{number}")
    takes: Callable[[str], bool] = lambda token: True
    given: list[Request] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.answers = [self.answer]

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """Either server's."""
        if request.path == "/token":
            self.given.append(request)
            await self.give(len(self.given))(request, writer)
            return
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.asked.append(token)
        await (reply(200, receipt("201", "200")) if self.takes(token) else reply(401))(request, writer)

    def auth(self, **options: Any) -> dict[str, Any]:
        """Options that lead here."""
        base = self.server.url.removesuffix("/fhir")
        proof = {} if "private_key" in options else {"client_secret": _SECRET}
        return {"oauth": {"token_url": f"{base}/token", "client_id": "hospital 24001", **proof, **options}}


@pytest.fixture
def hub(server: ScriptedServer) -> Hub:
    """One that takes any token."""
    return Hub(server)


def rsa_key(folder: Path) -> tuple[str, Any]:
    """A private key for RS384: its file, and its public half."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return write_key(folder / "rsa.key", key), key.public_key()


def ec_key(folder: Path) -> tuple[str, Any]:
    """A private key for ES384: its file, and its public half."""
    key = ec.generate_private_key(ec.SECP384R1())
    return write_key(folder / "ec.key", key), key.public_key()


# --- Who we are --------------------------------------------------------------------------------------------------------


async def test_a_secret_buys_one_token_for_many_deliveries(hub: Hub) -> None:
    """Client credentials (RFC 6749, 4.4), id and secret encoded in the header; deliveries at once ask for one token."""
    async with open_destination(hub.server.url, auth=hub.auth(scope="system/*.write")) as destination:
        outcomes = await asyncio.gather(*(destination.deliver(bundle_of(number)) for number in range(5)))
    assert {type(outcome) for outcome in outcomes} == {Delivered}
    (request,) = hub.given
    assert parse_qs(request.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["system/*.write"]}
    said = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
    assert said == "hospital+24001:s3cret%2F%2B+of+ours"
    assert hub.asked == ["token-1"] * 5


@pytest.mark.parametrize(("algorithm", "made"), [("RS384", rsa_key), ("ES384", ec_key)])
async def test_a_signed_assertion_says_who_we_are(hub: Hub, tmp_path: Path, algorithm: str, made: Any) -> None:
    """SMART Backend Services: a JWT for the token URL, of minutes, never the same twice, signed by the registered key."""
    file, public = made(tmp_path)
    hub.give = lambda number: granted(f"token-{number}", expires_in=0)
    auth = hub.auth(private_key=file, key_id="2026-11", algorithm=algorithm)
    async with open_destination(hub.server.url, auth=auth) as destination:
        for number in (1, 2):
            assert isinstance(await destination.deliver(bundle_of(number)), Delivered)
    seen = []
    for request in hub.given:
        form = parse_qs(request.body.decode())
        assert form["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
        assert "authorization" not in request.headers
        (assertion,) = form["client_assertion"]
        assert jwt.get_unverified_header(assertion) == {"alg": algorithm, "typ": "JWT", "kid": "2026-11"}
        claims = jwt.decode(assertion, public, [algorithm], audience=auth["oauth"]["token_url"])
        assert (claims["iss"], claims["sub"]) == ("hospital 24001", "hospital 24001")
        assert 0 < claims["exp"] - claims["iat"] <= 300
        seen.append(claims["jti"])
    assert len(set(seen)) == 2


@pytest.mark.parametrize(("life", "asked"), [(3600, 1), ("3600", 1), (0, 2)])
async def test_a_token_is_kept_until_shortly_before_its_end(hub: Hub, life: int | str, asked: int) -> None:
    """Its life is what the server said, as a number or, as some do, as text."""
    hub.give = lambda number: granted(f"token-{number}", expires_in=life)
    async with open_destination(hub.server.url, auth=hub.auth()) as destination:
        for number in (1, 2):
            assert isinstance(await destination.deliver(bundle_of(number)), Delivered)
    assert len(hub.given) == asked


# --- What is refused ---------------------------------------------------------------------------------------------------


async def test_a_token_that_is_not_taken_is_renewed_once(hub: Hub) -> None:
    """A token may be withdrawn before its end: one new one, and the delivery goes through in the same attempt."""
    hub.takes = lambda token: token != "token-1"
    async with open_destination(hub.server.url, auth=hub.auth()) as destination:
        assert isinstance(await destination.deliver(bundle_of(1)), Delivered)
        assert isinstance(await destination.deliver(bundle_of(2)), Delivered)
    assert hub.asked == ["token-1", "token-2", "token-2"]


async def test_a_server_that_takes_no_token_is_left_alone(hub: Hub) -> None:
    """Still 401 with a new token: the breaker opens, a person is told, nothing parks, and it goes on by itself once it may."""
    events: list[Event] = []
    end = subscribe(events.append)
    hub.takes = lambda token: False
    try:
        async with open_destination(hub.server.url, auth=hub.auth()) as destination:
            outcome = await destination.deliver(bundle_of(1))
            assert isinstance(outcome, Retry)
            assert (outcome.why, outcome.code, outcome.counts) == ("401 Unauthorized", "fhir-401", False)
            assert hub.asked == ["token-1", "token-2"]
            assert destination.health().problem.startswith("401 Unauthorized (1 in a row, since ")
            hub.takes = lambda token: True
            assert isinstance(await again_until_settled(destination, bundle_of(1)), Delivered)
    finally:
        end()
    assert [type(event).__name__ for event in events] == ["DestinationBarred", "DestinationUp"]


@pytest.mark.parametrize(
    ("answer", "code", "why"),
    [
        (reply(400, {"error": "invalid_scope"}), "token-refused", "the token server answered 400 invalid_scope"),
        (reply(401, {"error": "Bad <b>"}), "token-refused", "the token server answered 401"),
        (reply(403, b"\xff"), "token-refused", "the token server answered 403"),
        (reply(302, Location="https://elsewhere.example/"), "token-refused", "the token server answered 302"),
        (reply(503), "network", "the token server answered 503"),
        (reply(429), "network", "the token server answered 429"),
        (reply(200, b"<html>"), "network", "the token server's reply holds no token"),
        (reply(200, {"token_type": "bearer"}), "network", "the token server's reply holds no token"),
        (granted("two\r\nlines"), "network", "the token server's reply holds no token"),
        (granted(""), "network", "the token server's reply holds no token"),
        (granted("x" * 100_000), "network", "the token server's reply holds no token"),
    ],
)
async def test_a_token_server_that_gives_none(hub: Hub, answer: Answer, code: str, why: str) -> None:
    """A refusal waits for a person, a failure passes; no message is sent without a token, none parks, nothing is repeated."""
    hub.give = lambda number: answer
    async with open_destination(hub.server.url, auth=hub.auth()) as destination:
        outcome = await destination.deliver(bundle_of())
    assert isinstance(outcome, Retry)
    assert (outcome.why, outcome.code, outcome.counts) == (why, code, code == "network")
    assert hub.asked == []


async def test_a_key_that_is_gone_or_does_not_sign_bars(hub: Hub, tmp_path: Path) -> None:
    """The key is read when it is needed, so that it can be changed while the engine runs; without it nothing is sent."""
    file, _ = ec_key(tmp_path)
    for auth in (hub.auth(private_key="gone.key"), hub.auth(private_key=file, algorithm="RS384")):
        async with open_destination(hub.server.url, auth=auth) as destination:
            outcome = await destination.deliver(bundle_of())
        assert isinstance(outcome, Retry)
        assert (outcome.code, outcome.counts) == ("token-refused", False)
    assert hub.given == []


async def test_no_token_goes_to_another_host(hub: Hub) -> None:
    """Neither the token nor the bundle follows a redirect to where the channel does not lead."""
    async with listening() as other:
        hub.takes = lambda token: True
        ours = hub.answer

        async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
            await (ours if request.path == "/token" else reply(307, Location=other.url))(request, writer)

        hub.server.answers = [answer]
        async with open_destination(hub.server.url, auth=hub.auth()) as destination:
            outcome = await destination.deliver(bundle_of())
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.counts) == ("fhir-307", False)
    assert other.requests == []


# --- Secrets and options -----------------------------------------------------------------------------------------------


async def test_secrets_are_nowhere_but_in_their_headers(hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the options' text, not in health, outcomes, events or logs, even at DEBUG: neither secret, token nor assertion."""
    caplog.set_level(logging.DEBUG)
    events: list[Event] = []
    end = subscribe(events.append)
    file, _ = rsa_key(tmp_path)
    hub.takes = lambda token: False
    hub.give = lambda number: granted("canary-token") if number < 5 else reply(401, {"error": "invalid_client"})
    shown = ""
    try:
        for auth in (hub.auth(), hub.auth(private_key=file)):
            options = FhirRestOptions(url=hub.server.url, auth=auth)
            async with open_destination(hub.server.url, auth=auth) as destination:
                for number in range(3):
                    shown += f"{await destination.deliver(bundle_of(number))} {destination.health()}"
            shown += f"{options} {options.model_dump_json()}"
    finally:
        end()
    assertion = parse_qs(hub.given[-1].body.decode())["client_assertion"][0]
    shown += f"{events} {caplog.text}"
    for secret in (_SECRET, "canary-token", assertion, "PRIVATE KEY"):
        assert secret not in shown


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"bearer": "t", "oauth": {"token_url": "https://hub/token", "client_id": "a", "client_secret": "s"}},
        {"oauth": {"token_url": "https://hub/token", "client_id": "a"}},
        {"oauth": {"token_url": "https://hub/token", "client_id": "a", "client_secret": "s", "private_key": "k.pem"}},
        {"oauth": {"token_url": "http://hub/token", "client_id": "a", "client_secret": "s"}},
        {"oauth": {"token_url": "https://me:pw@hub/token", "client_id": "a", "client_secret": "s"}},
        {"oauth": {"token_url": "https://hub/token", "client_id": "", "client_secret": "s"}},
        {"oauth": {"token_url": "https://hub/token", "client_id": "a", "private_key": "k.pem", "algorithm": "none"}},
    ],
)
def test_proofs_that_cannot_be_meant_are_refused(auth: dict[str, Any]) -> None:
    """None, two at once, in clear, or unsigned."""
    with pytest.raises(ValidationError) as caught:
        FhirRestOptions(url="https://hub/fhir", auth=auth)
    assert "pw@" not in str(json.loads(caught.value.json(include_input=False, include_url=False, include_context=False)))


# --- Certificates ------------------------------------------------------------------------------------------------------


async def test_a_server_that_asks_for_our_certificate(tmp_path: Path) -> None:
    """Mutual TLS with an authority of their own: without our certificate nothing is sent and nothing parks, with it all is."""
    ca = Authority(tmp_path)
    certificate, key = ca.sign("hub")
    ours, our_key = ca.sign("hospital")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca.file)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    async with listening(context) as server:
        async with open_destination(server.url, tls={"ca_file": ca.file}) as destination:
            outcome = await destination.deliver(bundle_of())
            assert isinstance(outcome, Retry)
            assert outcome.code == "network"
        tls = {"ca_file": ca.file, "certificate": ours, "key": our_key, "server_name": "localhost"}
        async with open_destination(server.url, tls=tls) as destination:
            assert isinstance(await destination.deliver(bundle_of()), Delivered)
        async with open_destination(server.url, tls=tls | {"server_name": "another"}) as destination:
            assert await destination.deliver(bundle_of()) == Retry("the server's certificate is not trusted", "network", nth=1)
        assert len(server.requests) == 1
