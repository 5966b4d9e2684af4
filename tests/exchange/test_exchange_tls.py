"""The broker over TLS: an authority of our own, a certificate of ours where it is asked for, and refusals in words."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from interop_engine.connectors.tls import TlsPeer
from interop_engine.core.model import Delivered
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import Exchange, Parcel
from tests.support.broker import Broker, available, running_broker
from tests.support.certificates import Authority
from tests.support.needs import require

pytestmark = pytest.mark.rabbitmq


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the broker's certificate and ours."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_broker(authority: Authority) -> Iterator[Broker]:
    """A broker that asks for a certificate."""
    require(available(), "RabbitMQ (apt-get install rabbitmq-server)")
    with running_broker(authority=authority) as broker:
        yield broker


@asynccontextmanager
async def node(broker: Broker, tls: TlsPeer, host: str = "127.0.0.1") -> AsyncIterator[Exchange]:
    """A node that reaches the broker over TLS."""
    url = broker.url.replace("amqp:", "amqps:").replace(f"127.0.0.1:{broker.port}", f"{host}:{broker.tls_port}")
    exchange = open_exchange(url, name="test", tls=partial(tls.context, "."))
    await exchange.open()
    await exchange.begin()
    yield exchange
    await exchange.close()


async def test_both_ends_show_their_certificates(tls_broker: Broker, authority: Authority) -> None:
    """A parcel goes there and back."""
    certificate, key = authority.sign("node")
    inbox: asyncio.Queue[Parcel] = asyncio.Queue()

    async def take(parcel: Parcel) -> bool:
        inbox.put_nowait(parcel)
        return True

    async with node(tls_broker, TlsPeer(ca_file=authority.file, certificate=certificate, key=key)) as exchange:
        assert exchange.health().problem == ""
        assert exchange.health().location.startswith("amqps://127.0.0.1:")
        await exchange.subscribe("tls", ["lab"], take)
        parcel = Parcel("1", "24001", "tls", "lab", b"{}", "fhir")
        assert await exchange.publish(parcel) == Delivered()
        async with asyncio.timeout(20):
            assert await inbox.get() == parcel


@pytest.mark.parametrize("what", ["another authority", "no certificate of ours", "another host"])
async def test_what_cannot_be_trusted_is_not_used(tls_broker: Broker, authority: Authority, tmp_path: Path, what: str) -> None:
    """No parcel leaves, and the status says that it is TLS; the password is nowhere in it."""
    certificate, key = authority.sign("node")
    ours = {"ca_file": authority.file, "certificate": certificate, "key": key}
    match what:
        case "another authority":
            tls = TlsPeer(**{**ours, "ca_file": Authority(tmp_path).file})
        case "no certificate of ours":
            tls = TlsPeer(ca_file=authority.file)
        case _:
            tls = TlsPeer(**ours)
    async with node(tls_broker, tls, "127.0.0.2" if what == "another host" else "127.0.0.1") as exchange:
        problem = exchange.health().problem
        assert problem
        assert tls_broker.url.split(":")[2].partition("@")[0] not in problem
        assert await exchange.publish(Parcel("1", "24001", "tls", "lab", b"{}", "fhir")) != Delivered()


async def test_files_are_read_at_each_connection(tls_broker: Broker, authority: Authority, tmp_path: Path) -> None:
    """One that cannot be used is a problem in words; put right, it is used without a restart, and so is its renewal."""
    certificate, key = authority.sign("node")
    ours = TlsPeer(ca_file=authority.file, certificate=str(tmp_path / "our.pem"), key=str(tmp_path / "our.key"))
    (tmp_path / "our.pem").write_text("no certificate")
    shutil.copy(key, tmp_path / "our.key")
    async with node(tls_broker, ours) as exchange:
        assert exchange.health().problem.startswith("a certificate or key of TLS cannot be used (it is no PEM")
        (tmp_path / "our.pem").unlink()
        await _until(exchange, "No such file")
        shutil.copy(certificate, tmp_path / "our.pem")
        await _until(exchange, "")
        for file, renewed in zip(("our.pem", "our.key"), Authority(tmp_path / "another").sign("node"), strict=True):
            shutil.copy(renewed, tmp_path / file)
        tls_broker.control("close_all_connections", "a test")
        await _until(exchange, "TLS")  # what is signed by another authority is shown to the broker, which refuses it


async def _until(exchange: Exchange, problem: str) -> None:
    async with asyncio.timeout(30):
        while problem not in (found := exchange.health().problem) or bool(problem) != bool(found):  # noqa: ASYNC110 - a picture
            await asyncio.sleep(0.02)
