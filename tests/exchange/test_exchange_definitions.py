"""The topology as data: a real broker takes it, and holds every facility to its rights."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import pytest
from aiormq.channel import Channel
from aiormq.exceptions import ChannelAccessRefused
from typer.testing import CliRunner

from interop_engine.cli.app import app
from interop_engine.core.events import Event, subscribe
from interop_engine.core.model import Delivered, Park, Retry
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import Exchange, Parcel
from interop_engine.exchange.events import ExchangeConnected, ExchangeLost
from interop_engine.exchange.rabbitmq.topology import EXCHANGE
from interop_engine.exchange.rules import FAULT
from tests.support.broker import Broker

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "deploy" / "rabbitmq"
FACILITIES = ("hub", "24001", "24017")


def made(*arguments: object) -> str:
    """What the verb writes."""
    result = CliRunner().invoke(app, ["exchange", "definitions", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_sample_is_what_the_verb_writes() -> None:
    """interop-engine exchange definitions deploy/rabbitmq > deploy/rabbitmq/definitions.json."""
    assert (SAMPLE / "definitions.json").read_text(encoding="utf-8") == made(SAMPLE)


def test_without_agreements_there_is_nothing_to_define(tmp_path: Path) -> None:
    """It is said where the file was looked for."""
    result = CliRunner().invoke(app, ["exchange", "definitions", str(tmp_path)])
    assert (result.exit_code, "agreements.yaml is not there" in result.output) == (1, True)


def test_passwords_are_salted_hashes(tmp_path: Path) -> None:
    """Two users with one password have two hashes; who has no file has none."""
    for name in ("24001", "24017"):
        (tmp_path / name).write_text("secret\n", encoding="utf-8")
    output = made(SAMPLE, "--passwords", tmp_path)
    hashes = {each["name"]: each["password_hash"] for each in json.loads(output)["users"]}
    assert hashes["hub"] == ""
    assert len({*hashes.values()}) == 3
    assert "secret" not in output


# --- On a broker ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(own_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The definitions, imported; the URL of each facility."""
    folder = tmp_path_factory.mktemp("passwords")
    known = {name: secrets.token_hex(8) for name in FACILITIES}
    for name, password in known.items():
        (folder / name).write_text(password, encoding="utf-8")
    file = folder / "definitions.json"
    file.write_text(made(SAMPLE, "--passwords", folder), encoding="utf-8")
    own_broker.control("import_definitions", str(file))
    return lambda name: f"amqp://{name}:{known[name]}@127.0.0.1:{own_broker.port}/"


@asynccontextmanager
async def node(url: str, *, queues: int = 1) -> AsyncIterator[Exchange]:
    """A node that declares nothing."""
    exchange = open_exchange(url, name="test", declare=False, queues=queues)
    await exchange.open()
    await exchange.begin()
    yield exchange
    await exchange.close()


def parcel(number: int, sender: str = "24001", receiver: str = "hub", kind: str = "lab") -> Parcel:
    """A parcel between facilities of the sample."""
    return Parcel(f"{sender}-{receiver}-{number}", sender, receiver, kind, b"{}", "fhir")


@pytest.mark.rabbitmq
async def test_facilities_send_and_receive_with_their_rights(url: Callable[[str], str]) -> None:
    """The engine works where it may declare nothing: the hub reads its 16 queues, and each sender's parcels stay in order."""
    inbox: asyncio.Queue[Parcel] = asyncio.Queue()

    async def take(parcel: Parcel) -> bool:
        inbox.put_nowait(parcel)
        return True

    async with node(url("hub"), queues=16) as hub, node(url("24001")) as first, node(url("24017")) as second:
        await hub.subscribe("hub", ["lab", "imaging"], take)
        assert hub.health().problem == ""
        for number in range(10):
            assert await first.publish(parcel(number)) == Delivered()
            assert await second.publish(parcel(number, "24017")) == Delivered()
        async with asyncio.timeout(20):
            found = [await inbox.get() for _ in range(20)]
    for sender in ("24001", "24017"):
        assert [each.delivery_id for each in found if each.sender == sender] == [f"{sender}-hub-{n}" for n in range(10)]
    assert not any(FAULT in each.headers for each in found)


@pytest.mark.rabbitmq
async def test_a_facility_cannot_write_as_another_nor_beyond_its_agreements(url: Callable[[str], str]) -> None:
    """The broker refuses, the parcel parks with its receiver's name, and what is allowed goes on."""
    async with node(url("24017")) as exchange:
        for refused in (parcel(1, "24001"), parcel(1, "24017", "24001"), parcel(1, "24017", kind="secret")):
            outcome = await _settled(exchange, refused)
            assert isinstance(outcome, Park)
            assert (outcome.code, refused.receiver in outcome.why) == ("not-permitted", True)
        assert await _settled(exchange, parcel(2, "24017")) == Delivered()


@pytest.mark.rabbitmq
async def test_what_was_refused_is_not_asked_again_at_once(url: Callable[[str], str]) -> None:
    """The first refusal costs a connection, the next forty nothing; what is allowed goes on beside them."""
    heard: list[Event] = []
    async with node(url("24017")) as exchange:
        end = subscribe(heard.append)
        good = [asyncio.create_task(_settled(exchange, parcel(number, "24017"))) for number in range(20)]
        for number in range(40):
            assert isinstance(await _settled(exchange, parcel(number, "24017", kind="secret")), Park)
        assert set(await asyncio.gather(*good)) == {Delivered()}
        end()
    assert [type(each) for each in heard] == [ExchangeLost, ExchangeConnected]


async def _settled(exchange: Exchange, what: Parcel) -> object:
    async with asyncio.timeout(20):
        while not isinstance(outcome := await exchange.publish(what), Delivered | Park):  # noqa: ASYNC110 - the engine's retry
            await asyncio.sleep(0.02)
    return outcome


@pytest.mark.rabbitmq
@pytest.mark.parametrize("what", ["read another's queue", "declare a queue", "declare an exchange", "bind", "delete", "purge"])
async def test_a_facility_can_do_no_more(url: Callable[[str], str], what: str) -> None:
    """It reads its own queues and declares nothing."""
    async with await aio_pika.connect(url("24001")) as connection:
        channel = await connection.channel()
        theirs = await channel.get_queue("interop.24017", ensure=True)
        ours = await channel.get_queue("interop.24001", ensure=True)
        tried: dict[str, Callable[[], Awaitable[object]]] = {
            "read another's queue": lambda: theirs.get(timeout=5),
            "declare a queue": lambda: channel.declare_queue("mine"),
            "declare an exchange": lambda: channel.declare_exchange("mine"),
            "bind": lambda: ours.bind(EXCHANGE, "#"),
            "delete": ours.delete,
            "purge": theirs.purge,
        }
        with pytest.raises(ChannelAccessRefused):
            await tried[what]()


@pytest.mark.rabbitmq
async def test_a_parcel_its_sender_did_not_publish_is_faulty(url: Callable[[str], str], own_broker: Broker) -> None:
    """The broker vouches for user_id; an administrator's message without the sender's own name is journaled as rejected."""
    inbox: asyncio.Queue[Parcel] = asyncio.Queue()

    async def take(parcel: Parcel) -> bool:
        inbox.put_nowait(parcel)
        return True

    forger = open_exchange(own_broker.url, name="forger")
    await forger.open()
    async with node(url("24017")) as receiving:
        await receiving.subscribe("24017", ["lab", "imaging"], take)
        assert await forger.publish(parcel(1, "24001", "24017")) == Delivered()
        async with asyncio.timeout(20):
            found = await inbox.get()
    await forger.close()
    assert found.headers[FAULT] == "the user who published it is not its sender"


async def _take(_: Parcel) -> bool:
    return True


async def _problem(exchange: Exchange, part: str) -> None:
    async with asyncio.timeout(20):
        while part not in exchange.health().problem:  # noqa: ASYNC110 - the health tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.rabbitmq
async def test_queues_that_are_not_ours_are_a_problem_in_words(url: Callable[[str], str]) -> None:
    """Another number of queues than was declared: the status says which queue may not be read."""
    async with node(url("24001"), queues=4) as exchange:
        await exchange.subscribe("24001", ["lab"], _take)
        await _problem(exchange, "access to queue 'interop.24001.0of4' in vhost '/' refused")


@pytest.mark.rabbitmq
async def test_queues_that_are_not_there_are_a_problem_in_words(own_broker: Broker) -> None:
    """Where nothing was imported, the status says what is missing and what to do; nothing is made."""
    async with node(own_broker.url, queues=4) as exchange:
        await exchange.subscribe("nobody", ["lab"], _take)
        await _problem(exchange, "the queue interop.nobody.0of4 is not there: import the definitions")
    assert "nobody" not in own_broker.control("list_queues", "name")


@pytest.mark.rabbitmq
async def test_an_exchange_that_is_not_there_is_a_problem_in_words(own_broker: Broker) -> None:
    """It shows as a parcel is sent, which waits."""
    own_broker.control("add_vhost", "bare")
    own_broker.control("set_permissions", "-p", "bare", own_broker.user, "", ".*", ".*")
    async with node(f"{own_broker.url}bare") as exchange:
        assert exchange.health().problem == ""
        outcome = await exchange.publish(parcel(1))
    assert outcome == Retry(
        "no broker: the broker refuses: NOT_FOUND - no exchange 'interop' in vhost 'bare'", "exchange-down", counts=False
    )


@pytest.mark.rabbitmq
async def test_nothing_is_declared_not_even_passively(url: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """RabbitMQ 4.3 wants the right to configure even to look whether a queue or an exchange is there."""

    async def refused(*_: object, **__: object) -> None:
        raise AssertionError

    for method in ("queue_declare", "exchange_declare", "queue_bind"):
        monkeypatch.setattr(Channel, method, refused)
    taken = asyncio.Event()

    async def take(_: Parcel) -> bool:
        taken.set()
        return True

    async with node(url("24017")) as exchange, node(url("24001")) as sending, asyncio.timeout(20):
        await exchange.subscribe("24017", ["lab"], take)
        assert await sending.publish(parcel(7, "24001", "24017")) == Delivered()
        await taken.wait()


@pytest.mark.rabbitmq
async def test_a_facility_is_told_by_whoever_received(url: Callable[[str], str]) -> None:
    """Receipts have a queue of their own, with the facility's right to read it, whatever number of queues its channels have."""
    told: asyncio.Queue[Parcel] = asyncio.Queue()

    async def take(parcel: Parcel) -> bool:
        told.put_nowait(parcel)
        return True

    async with node(url("hub"), queues=16) as hub, node(url("24001")) as hospital, asyncio.timeout(20):
        for receiver, sender, here, there in (("24001", "hub", hospital, hub), ("hub", "24001", hub, hospital)):
            await here.subscribe(receiver, ["receipt"], take)
            sent = Parcel(f"r-{receiver}", sender, receiver, "receipt", b"[]", "receipt")
            assert await there.publish(sent) == Delivered()
            assert await told.get() == sent


@pytest.mark.rabbitmq
async def test_a_kind_that_was_agreed_and_no_channel_takes_is_rejected(url: Callable[[str], str]) -> None:
    """By the first channel of the name, in whose receipt its sender sees why; without any channel it waits in its queue."""
    found: asyncio.Queue[Parcel] = asyncio.Queue()

    async def take(parcel: Parcel) -> bool:
        found.put_nowait(parcel)
        return True

    async with node(url("24017")) as here, node(url("24001")) as sending, asyncio.timeout(20):
        await here.subscribe("24017", ["receipt"], take)
        assert await sending.publish(parcel(8, "24001", "24017", "imaging")) == Delivered()
        assert await sending.publish(parcel(9, "24001", "24017")) == Delivered()
        await here.subscribe("24017", ["lab"], take)
        got = [await found.get() for _ in range(2)]
    assert [(each.delivery_id, each.headers.get(FAULT)) for each in got] == [
        ("24001-24017-8", "no channel of this node receives this kind"),
        ("24001-24017-9", None),
    ]
