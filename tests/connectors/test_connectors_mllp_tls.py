"""MLLP over TLS: who gets through the handshake, and who does not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from interop_engine.connectors import listener
from interop_engine.connectors.mllp_destination import MllpDestination, MllpDestinationOptions
from interop_engine.connectors.mllp_source import MllpSource
from interop_engine.core.model import Delivered, Delivery, Outcome, Retry
from interop_engine.hl7.framing import frame
from tests.support.certificates import Authority
from tests.support.mllp import Channel, Peer, code_and_id, connected, listening, message, surroundings, until


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    """The authority that both sides trust."""
    return Authority(tmp_path, "ours")


def server(authority: Authority, **more: str) -> dict[str, str]:
    """The ``tls`` of a source."""
    certificate, key = authority.sign("engine")
    return {"certificate": certificate, "key": key, **more}


@asynccontextmanager
async def shaking_hands(source: MllpSource, context: ssl.SSLContext, name: str = "localhost") -> AsyncIterator[Peer]:
    """A TLS connection to a source."""
    host, _, port = source.health().place.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()


async def first_byte(source: MllpSource, context: ssl.SSLContext) -> bytes:
    """What a message is answered first; TLS 1.3 tells a client only after its handshake that it is refused."""
    async with shaking_hands(source, context) as peer:
        peer.writer.write(frame(message("A1")))
        return await peer.reader.readexactly(1)


def client(authority: Authority, *certificate: str) -> ssl.SSLContext:
    """A peer's own TLS."""
    context = ssl.create_default_context(cafile=authority.file)
    if certificate:
        context.load_cert_chain(*certificate)
    return context


async def deliver(source: MllpSource, tls: dict[str, Any] | None, body: bytes = b"") -> Outcome:
    """Send a message through a destination of ours."""
    options = {"connect": source.health().place, "tls": tls, "connect_timeout": "5s"}
    destination = MllpDestination(MllpDestinationOptions.model_validate(options), surroundings())
    await destination.open()
    try:
        return await destination.deliver(Delivery("d1", "m1", "lab", "his", (), body or message("A1"), "hl7v2"))
    finally:
        await destination.close()


async def test_both_ends_are_ours(ours: Authority) -> None:
    """Source and destination speak TLS to each other, each showing a certificate of the one authority."""
    channel = Channel()
    certificate, key = ours.sign("lab")
    async with listening(channel, tls=server(ours, client_ca=ours.file)) as source:
        tls = {"ca_file": ours.file, "certificate": certificate, "key": key}
        assert await deliver(source, tls) == Delivered("AA")
    assert [arrival.data for arrival in channel.arrivals] == [message("A1")]


@pytest.mark.parametrize("tls", [{}, {"ca_file": "foreign"}, {"server_name": "other.example"}, None])
async def test_a_receiver_that_is_not_who_it_should_be(ours: Authority, tmp_path: Path, tls: dict[str, str] | None) -> None:
    """An unknown authority, a foreign one, a name the certificate does not hold, no TLS at all: nothing is sent."""
    channel = Channel()
    foreign = Authority(tmp_path / "foreign").file
    if tls is not None:
        tls = {"ca_file": ours.file if "server_name" in tls else "", **tls}
        tls["ca_file"] = foreign if tls["ca_file"] == "foreign" else tls["ca_file"]
    async with listening(channel, tls=server(ours)) as source:
        outcome = await deliver(source, tls)
    assert isinstance(outcome, Retry)
    assert channel.arrivals == []


async def test_a_server_name_of_its_own(ours: Authority) -> None:
    """``server_name`` is what the certificate must hold where the address is another."""
    async with listening(Channel(), tls=server(ours)) as source:
        assert await deliver(source, {"ca_file": ours.file, "server_name": "localhost"}) == Delivered("AA")


@pytest.mark.parametrize("shown", ["none", "expired", "foreign"])
async def test_client_certificates_that_do_not_count(ours: Authority, tmp_path: Path, shown: str) -> None:
    """With ``client_ca`` a peer without a certificate, with one that ended, or with a foreign one gets no message through."""
    foreign = Authority(tmp_path / "foreign")
    pairs = {"none": (), "expired": ours.sign("late", days=-1), "foreign": foreign.sign("lab")}
    channel = Channel()
    async with listening(channel, tls=server(ours, client_ca=ours.file)) as source:
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await first_byte(source, client(ours, *pairs[shown]))
        await until(lambda: source.health().connections == 0)
    assert channel.arrivals == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_old_tls_is_refused(ours: Authority) -> None:
    """TLS 1.1 gets no connection; 1.2 does."""
    async with listening(Channel(), tls=server(ours)) as source:
        old = client(ours)
        old.minimum_version = ssl.TLSVersion.TLSv1_1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with shaking_hands(source, old):
                pass
        enough = client(ours)
        enough.maximum_version = ssl.TLSVersion.TLSv1_2
        async with shaking_hands(source, enough) as peer:
            assert code_and_id(await peer.ask(message("A1"))) == ("AA", "A1")


async def test_a_stalled_handshake_ends(ours: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that connects and says nothing is closed when its handshake takes too long; it counts as a connection till then."""
    monkeypatch.setattr(listener, "HANDSHAKE", 0.2)
    async with listening(Channel(), tls=server(ours), max_connections_per_address=1) as source, connected(source) as peer:
        await until(lambda: source.health().connections == 1)
        async with connected(source) as second:
            assert await second.ended()
        assert await peer.ended()
        await until(lambda: source.health().connections == 0)


async def test_an_unlisted_address_sees_no_handshake(ours: Authority) -> None:
    """Who may not connect is closed before TLS: not even our certificate is shown."""
    async with listening(Channel(), tls=server(ours), allow=["10.20.0.0/16"]) as source:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with shaking_hands(source, client(ours)):
                pass


async def test_a_certificate_names_whom_it_may_speak_for(ours: Authority) -> None:
    """``senders`` gives each arrival the facilities of its peer's certificate: none for a name that is not listed."""
    channel = Channel()
    options = {"tls": server(ours, client_ca=ours.file), "senders": {"lab": ["24001", "24002"], "ris": ["24003"]}}
    async with listening(channel, **options) as source:
        for name in ("lab", "stranger"):
            async with shaking_hands(source, client(ours, *ours.sign(name))) as peer:
                await peer.ask(message(name))
    assert [arrival.facilities for arrival in channel.arrivals] == [("24001", "24002"), ()]


async def test_a_frame_too_large(ours: Authority) -> None:
    """A sender that goes on beyond the limit reads why it is refused over TLS too, and is closed."""
    tls = server(ours)
    async with listening(Channel(), tls=tls, max_frame="100KB") as source, shaking_hands(source, client(ours)) as peer:
        await peer.send(b"\x0b" + message("A1"), *[b"x" * 10_000] * 50)
        assert code_and_id(await peer.answer()) == ("AE", "A1")
        assert await peer.ended()


async def test_stop_during_a_handshake(ours: Authority) -> None:
    """Stopping does not wait for peers that are not connected yet."""
    async with listening(Channel(), tls=server(ours)) as source, connected(source) as peer:
        await until(lambda: source.health().connections == 1)
        await source.stop()
        assert await peer.ended()
        assert source.health().connections == 0


async def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    """Start says so as it does of a port: the channel fails, the others run."""
    with pytest.raises(OSError, match="No such file"):
        async with listening(Channel(), tls={"certificate": str(tmp_path / "no.pem"), "key": str(tmp_path / "no.key")}):
            pass
