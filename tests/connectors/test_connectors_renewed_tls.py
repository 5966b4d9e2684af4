"""Certificates that a site renews while the engine runs, over real TLS: at every connector that has any."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from starlette.responses import Response

from interop_engine.connectors.http_poller import HttpPoller, HttpPollerOptions
from interop_engine.connectors.http_server import CERTIFICATE, HttpServer
from interop_engine.connectors.http_source import HttpSource, HttpSourceOptions
from interop_engine.connectors.mllp_connection import MllpSourceOptions
from interop_engine.connectors.mllp_destination import MllpDestination, MllpDestinationOptions
from interop_engine.connectors.mllp_source import MllpSource
from interop_engine.connectors.tls import TlsServer
from interop_engine.core.events import Event, subscribe
from interop_engine.core.model import Delivered, Delivery, Outcome
from tests.support.certificates import Authority
from tests.support.mllp import Channel, Peer, code_and_id, message, surroundings, until
from tests.support.scripted_fhir import bundle_of, open_destination, receipt


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    """The authority that both sides trust."""
    return Authority(tmp_path, "ours")


@contextmanager
def told() -> Iterator[list[str]]:
    """The names of what is told of certificates meanwhile."""
    seen: list[str] = []

    def note(event: Event) -> None:
        if event.name().startswith("certificate"):
            seen.append(event.name())

    end = subscribe(note)
    yield seen
    end()


def copy(file: str, place: str, most: int | None = None) -> None:
    """Put what is in a file, or its first bytes, in the place of another."""
    Path(place).write_bytes(Path(file).read_bytes()[:most])


def serial(file: str) -> int:
    """The number of the certificate in a file."""
    return x509.load_pem_x509_certificate(Path(file).read_bytes()).serial_number


async def shown(place: str, authority: Authority) -> int:
    """The number of the certificate that a listener presents to who connects now."""
    host, _, port = place.rpartition(":")
    context = ssl.create_default_context(cafile=authority.file)
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(found).serial_number


Listener = Callable[[dict[str, Any]], MllpSource | HttpSource]


def mllp(options: dict[str, Any]) -> MllpSource:
    """An MLLP source."""
    return MllpSource(MllpSourceOptions.model_validate(options), surroundings())


def http(options: dict[str, Any]) -> HttpSource:
    """An HTTP source."""
    return HttpSource(HttpSourceOptions.model_validate(options), surroundings())


@asynccontextmanager
async def serving(kind: Listener, channel: Channel, **tls: str) -> AsyncIterator[MllpSource | HttpSource]:
    """A source with that TLS."""
    source = kind({"listen": "127.0.0.1:0", "tls": tls})
    await source.start(channel.accept)
    try:
        yield source
    finally:
        await source.stop()


@pytest.mark.parametrize("kind", [mllp, http])
async def test_a_listener_presents_the_renewed_certificate(ours: Authority, kind: Listener) -> None:
    """To who connects after the files have changed; that they were taken is told once."""
    certificate, key = ours.sign("engine")
    async with serving(kind, Channel(), certificate=certificate, key=key) as source:
        first = serial(certificate)
        with told() as events:
            assert [await shown(source.health().place, ours) for _ in range(2)] == [first] * 2
            ours.sign("engine")
            assert [await shown(source.health().place, ours) for _ in range(2)] == [serial(certificate)] * 2
        assert serial(certificate) != first
        assert events == ["certificate_taken"]


@pytest.mark.parametrize("kind", [mllp, http])
@pytest.mark.parametrize("broken", ["half", "mismatch", "empty"])
async def test_a_bad_pair_leaves_the_old_one_in_use(ours: Authority, kind: Listener, broken: str) -> None:
    """It is told once, and on the status page though nobody connects; messages are taken, and the pair as soon as it is whole."""
    certificate, key = ours.sign("engine")
    async with serving(kind, Channel(), certificate=certificate, key=key) as source:
        first, good = serial(certificate), ours.sign("other")
        match broken:
            case "half":
                copy(good[0], certificate, 200)
            case "mismatch":
                copy(good[0], certificate)
            case "empty":
                copy(key, key, 0)
        with told() as events:
            health = source.health()
            assert health.warning
            assert health.problem == ""
            assert [await shown(health.place, ours) for _ in range(3)] == [first] * 3
            assert events == ["certificate_not_taken"]
            copy(good[0], certificate)
            copy(good[1], key)
            assert await shown(health.place, ours) == serial(certificate) != first
            assert source.health().warning == ""
            assert events[-1] == "certificate_taken"


async def test_senders_of_a_new_authority_come_in(ours: Authority, tmp_path: Path) -> None:
    """``client_ca`` is one of the files: who was let in by the old one is turned away, and the other way round."""
    theirs = Authority(tmp_path / "theirs")
    pairs = {authority.folder: authority.sign("lab") for authority in (ours, theirs)}
    accepted = str(tmp_path / "senders.pem")
    copy(ours.file, accepted)
    certificate, key = ours.sign("engine")

    async def answered(authority: Authority) -> tuple[str, str]:
        context = ssl.create_default_context(cafile=ours.file)
        context.load_cert_chain(*pairs[authority.folder])
        host, _, port = source.health().place.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
        try:
            found = await Peer(reader, writer).ask(message("A1"))
            return code_and_id(found) if found else ("", "")
        except OSError:
            return ("", "")
        finally:
            writer.transport.abort()

    async with serving(mllp, Channel(), certificate=certificate, key=key, client_ca=accepted) as source:
        assert [await answered(each) for each in (ours, theirs)] == [("AA", "A1"), ("", "")]
        copy(theirs.file, accepted)
        assert [await answered(each) for each in (ours, theirs)] == [("", ""), ("AA", "A1")]


class Pair:
    """A certificate of ours and its key, in files that are renewed; ``tls`` are the options that name them."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self._authority, self._files = authority, (folder / "us.pem", folder / "us.key")
        certificate, key = map(str, self._files)
        self.tls = {"ca_file": authority.file, "certificate": certificate, "key": key}
        self.renew("old")

    def renew(self, name: str) -> None:
        """Put another certificate, of that name, in place of it."""
        for place, file in zip(self._files, self._authority.sign(name), strict=True):
            copy(file, str(place))

    def spoil(self) -> None:
        """Put half a key in its place."""
        self._files[1].write_bytes(b"-----BEGIN")


async def test_an_mllp_client_shows_the_renewed_certificate(ours: Authority, tmp_path: Path) -> None:
    """At each new connection; the one that is kept goes on as it is."""
    channel, pair = Channel(), Pair(ours, tmp_path)
    certificate, key = ours.sign("engine")
    server = {"certificate": certificate, "key": key, "client_ca": ours.file}
    source = mllp({"listen": "127.0.0.1:0", "tls": server})
    await source.start(channel.accept)
    options = {"connect": source.health().place, "tls": pair.tls}
    destination = MllpDestination(MllpDestinationOptions.model_validate(options), surroundings())
    await destination.open()

    async def deliver() -> Outcome:
        return await destination.deliver(Delivery("d1", "m1", "lab", "his", (), message("A1"), "hl7v2"))

    assert await deliver() == Delivered("AA")
    pair.renew("new")
    assert await deliver() == Delivered("AA")
    await source.stop()
    source = mllp({"listen": options["connect"], "tls": server})
    await source.start(channel.accept)
    assert await deliver() == Delivered("AA")
    pair.spoil()
    health = destination.health()
    assert (bool(health.warning), health.problem) == (True, "")
    await destination.close()
    await source.stop()
    assert ["new" in arrival.certificate for arrival in channel.arrivals] == [False, False, True]


class Server:
    """HTTPS that notes the names in its peers' certificates, says one thing, and closes each connection."""

    def __init__(self, authority: Authority, body: bytes) -> None:
        certificate, key = authority.sign("server")
        tls = TlsServer(certificate=certificate, key=key, client_ca=authority.file).context(".")
        self._body = body
        self.http = HttpServer(self, "127.0.0.1", 0, tls=tls)
        self.peers: list[frozenset[str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.peers.append(scope["state"][CERTIFICATE])
        while (await receive()).get("more_body", False):
            pass
        await Response(self._body, headers={"Connection": "close"})(scope, receive, send)


async def test_a_fhir_client_shows_the_renewed_certificate(ours: Authority, tmp_path: Path) -> None:
    """At each new connection."""
    pair, server = Pair(ours, tmp_path), Server(ours, json.dumps(receipt("200", "200")).encode())
    await server.http.start()
    async with open_destination(f"https://{server.http.address}", tls=pair.tls) as destination:
        assert isinstance(await destination.deliver(bundle_of(1)), Delivered)
        pair.renew("new")
        assert isinstance(await destination.deliver(bundle_of(2)), Delivered)
        pair.spoil()
        assert isinstance(await destination.deliver(bundle_of(3)), Delivered)
        health = destination.health()
        assert (bool(health.warning), health.problem) == (True, "")
    await server.http.stop()
    assert ["new" in each for each in server.peers] == [False, True, True]


async def test_a_poller_shows_the_renewed_certificate(ours: Authority, tmp_path: Path) -> None:
    """At each new connection."""
    pair, server = Pair(ours, tmp_path), Server(ours, b"")
    await server.http.start()
    options = {"url": f"https://{server.http.address}/", "every": "10ms", "tls": pair.tls}
    poller = HttpPoller(HttpPollerOptions.model_validate(options), surroundings())
    await poller.start(Channel().accept)
    await until(lambda: len(server.peers) > 1)
    pair.renew("new")
    await until(lambda: "new" in server.peers[-1])
    pair.spoil()
    assert poller.health().warning
    await poller.stop()
    await server.http.stop()
    assert "new" not in server.peers[0]
