"""What only RabbitMQ can do to us: forged and malformed messages, limits, and its own death."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
import pytest
import zstandard

from interop_engine.core.events import Event, subscribe
from interop_engine.core.model import Delivered, Delivery, Outcome, Park, Retry
from interop_engine.core.retry import Backoff
from interop_engine.engine.delivery import Policy, decide
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import Exchange, ExchangeHealth, Parcel, bucket
from interop_engine.exchange.events import ExchangeAlarm, ExchangeAlarmEnded, ExchangeConnected, ExchangeLost
from interop_engine.exchange.rabbitmq import link
from interop_engine.exchange.rabbitmq.topology import EXCHANGE, queue_names
from tests.support.broker import Broker

pytestmark = pytest.mark.rabbitmq

_names = itertools.count(random.randrange(10**9))
_CANARY = "Trần Thị Canary"


@pytest.fixture
def receiver() -> str:
    """A receiver's name that nobody else uses."""
    return f"x{next(_names)}"


@asynccontextmanager
async def _node(url: str, **options: Any) -> AsyncIterator[Exchange]:
    exchange = open_exchange(url, name="test", **options)
    await exchange.open()
    await exchange.begin()
    try:
        yield exchange
    finally:
        await exchange.close()


def _parcel(receiver: str, number: int = 0, body: bytes = b"{}") -> Parcel:
    return Parcel(f"{receiver}-{number}", "24001", receiver, "lab", body, "fhir", {"lane": "p1"})


class _Taker:
    """Takes everything, in a queue a test can wait on."""

    def __init__(self) -> None:
        self.parcels: asyncio.Queue[Parcel] = asyncio.Queue()

    async def take(self, parcel: Parcel) -> bool:
        self.parcels.put_nowait(parcel)
        return True

    async def next(self) -> Parcel:
        async with asyncio.timeout(30):
            return await self.parcels.get()


async def _until_delivered(node: Exchange, parcel: Parcel) -> None:
    """Publish as the engine does, again after each other outcome."""
    while await node.publish(parcel) != Delivered():  # noqa: ASYNC110 - the engine's backoff, in short
        await asyncio.sleep(0.02)


async def _until(exchange: Exchange, problem: bool) -> ExchangeHealth:
    """Wait until the exchange has a problem, or has none."""
    async with asyncio.timeout(60):
        while bool((health := exchange.health()).problem) is not problem:  # noqa: ASYNC110 - health is a picture, not an event
            await asyncio.sleep(0.05)
    return health


# --- What others may put into a queue --------------------------------------------------------------------------------

_GOOD = {"delivery-id": "d1", "sender": "24001", "kind": "lab"}
_JSON = "application/fhir+json"


@pytest.mark.parametrize(
    ("fault", "body", "properties", "headers", "sender"),
    [
        ("no delivery id", b"{}", {"content_type": _JSON}, {"delivery-id": None}, "24001"),
        ("header sender", b"{}", {"content_type": _JSON}, {"sender": "79001"}, "24001"),
        ("header kind", b"{}", {"content_type": _JSON}, {"kind": "patient"}, "24001"),
        ("header receiver", b"{}", {"content_type": _JSON}, {"receiver": None}, "24001"),
        ("bucket", b"{}", {"content_type": _JSON}, {}, "24001.99"),
        ("content type", b"{}", {"content_type": "text/plain"}, {}, "24001"),
        ("content type", b"{}", {}, {}, "24001"),
        ("content encoding", b"{}", {"content_type": _JSON, "content_encoding": "gzip"}, {}, "24001"),
        ("not zstd", b"{}", {"content_type": _JSON, "content_encoding": "zstd"}, {}, "24001"),
        (
            "does not say",
            zstandard.ZstdCompressor(write_content_size=False).compress(b"{}"),
            {"content_type": _JSON, "content_encoding": "zstd"},
            {},
            "24001",
        ),
        (
            "more than",  # a zip bomb: 100 bytes that announce 200 MB
            zstandard.ZstdCompressor().compress(b"\0" * 200_000_000)[:100],
            {"content_type": _JSON, "content_encoding": "zstd"},
            {},
            "24001",
        ),
    ],
)
async def test_a_malformed_or_forged_message_is_handed_on_as_faulty(
    broker: str, receiver: str, fault: str, body: bytes, properties: dict[str, Any], headers: dict[str, Any], sender: str
) -> None:
    """It reaches its channel as a parcel with a fault, to be journaled as rejected, and the next one follows."""
    inbox = _Taker()
    async with _node(broker) as node, await aio_pika.connect(broker) as connection:
        await node.subscribe(receiver, ["lab"], inbox.take)
        exchange = await (await connection.channel()).get_exchange(EXCHANGE)
        facility, _, forged_bucket = sender.partition(".")
        given = {name: value for name, value in (_GOOD | {"receiver": receiver} | headers).items() if value is not None}
        key = f"lab.{facility}.{receiver}.{forged_bucket or bucket(facility)}"
        await exchange.publish(aio_pika.Message(body, headers=given, **properties), key)
        assert await node.publish(_parcel(receiver)) == Delivered()
        faulty = await inbox.next()
        assert fault in faulty.headers["fault"]
        assert (faulty.sender, faulty.receiver, faulty.kind, faulty.body) == ("24001", receiver, "lab", body)
        assert faulty.delivery_id
        assert await inbox.next() == _parcel(receiver)


async def test_headers_of_any_type_do_no_harm(broker: str, receiver: str) -> None:
    """Numbers, tables, bytes and a forged fault in headers: the parcel arrives, as text, without the fault."""
    inbox = _Taker()
    async with _node(broker) as node, await aio_pika.connect(broker) as connection:
        await node.subscribe(receiver, ["lab"], inbox.take)
        exchange = await (await connection.channel()).get_exchange(EXCHANGE)
        odd = {"n": 7, "t": {"a": [1, None]}, "b": bytearray(b"\xff"), "fault": "mine", "x-death": "broker's"}
        message = aio_pika.Message(b"{}", headers=_GOOD | {"receiver": receiver} | odd, content_type=_JSON)
        await exchange.publish(message, f"lab.24001.{receiver}.{bucket('24001')}")
        assert set((await inbox.next()).headers) == {"n", "t", "b"}


async def test_a_kind_of_an_earlier_configuration_is_shown(broker: str, receiver: str) -> None:
    """A kind that is still bound but no longer received by any channel arrives with a fault instead of blocking the queue."""
    inbox = _Taker()
    async with _node(broker) as before:
        await before.subscribe(receiver, ["lab", "imaging"], _Taker().take)
    async with _node(broker) as node:
        await node.subscribe(receiver, ["imaging"], inbox.take)
        assert await node.publish(_parcel(receiver)) == Delivered()
        assert "no channel" in (await inbox.next()).headers["fault"]


async def test_a_second_worker_stands_by(broker: str, receiver: str) -> None:
    """Two nodes that receive under one name: one is given everything, the other takes over when it leaves."""
    first, second = _Taker(), _Taker()
    async with _node(broker) as one, _node(broker) as other:
        subscription = await one.subscribe(receiver, ["lab"], first.take)
        await other.subscribe(receiver, ["lab"], second.take)
        for number in range(10):
            assert await one.publish(_parcel(receiver, number)) == Delivered()
        assert [(await first.next()).delivery_id for _ in range(10)] == [f"{receiver}-{n}" for n in range(10)]
        assert second.parcels.empty()
        await subscription.close()
        assert await one.publish(_parcel(receiver, 10)) == Delivered()
        assert await second.next() == _parcel(receiver, 10)


async def test_a_deleted_queue_is_made_again(broker: str, receiver: str) -> None:
    """An operator who deletes a queue does not stop the node for good."""
    inbox = _Taker()
    async with _node(broker) as node, await aio_pika.connect(broker) as connection:
        await node.subscribe(receiver, ["lab"], inbox.take)
        await (await connection.channel()).queue_delete(queue_names(receiver, 1)[0])
        async with asyncio.timeout(30):
            await _until_delivered(node, _parcel(receiver))
        assert await inbox.next() == _parcel(receiver)


async def test_a_wrong_password_is_said_and_not_shown(broker: str) -> None:
    """The health says in words what is wrong, and no log line or health text holds the credentials."""
    events: list[Event] = []
    end = subscribe(events.append)
    try:
        async with _node(broker.replace("://", "://x").replace("@", "hunter2@")) as node:
            health = await _until(node, problem=True)
            outcome = await node.publish(_parcel("nobody"))
    finally:
        end()
    assert health.problem == "the broker refuses the user or the password"
    assert isinstance(outcome, Retry)
    assert not outcome.counts
    assert "hunter2" not in f"{health} {events} {outcome}"


async def test_the_library_logs_nothing_of_a_message(broker: str, receiver: str, caplog: pytest.LogCaptureFixture) -> None:
    """Even with every logger at DEBUG, no content reaches the log: not on the way, not when it comes back."""
    caplog.set_level(logging.DEBUG)
    for name in ("aio_pika", "aiormq", "pamqp"):
        assert logging.getLogger(name).level > logging.CRITICAL
    inbox = _Taker()
    async with _node(broker) as node:
        await node.publish(_parcel(receiver, 0, _CANARY.encode()))
        await node.subscribe(receiver, ["lab"], inbox.take)
        await node.publish(_parcel(receiver, 1, _CANARY.encode()))
        await inbox.next()
    assert "Canary" not in caplog.text


# --- Faults: a broker that dies, comes late, or raises an alarm --------------------------------------------------------


@pytest.mark.faults
async def test_the_broker_may_come_later(own_broker: Broker, receiver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node starts while the broker is down, says so, and connects by itself; what was subscribed meanwhile works."""
    monkeypatch.setattr("interop_engine.exchange.rabbitmq._MOMENT", 0.1)
    own_broker.kill()
    inbox = _Taker()
    async with _node(own_broker.url) as node:
        await node.subscribe(receiver, ["lab"], inbox.take)
        health = await _until(node, problem=True)
        assert "reached" in health.problem
        outcome = await node.publish(_parcel(receiver))
        assert isinstance(outcome, Retry)
        assert (outcome.code, outcome.counts) == ("exchange-down", False)
        await asyncio.to_thread(own_broker.start)
        await _until(node, problem=False)
        assert await node.publish(_parcel(receiver)) == Delivered()
        assert await inbox.next() == _parcel(receiver)


@pytest.mark.faults
async def test_nothing_confirmed_is_lost_when_the_broker_is_killed(own_broker: Broker, receiver: str) -> None:
    """Killed twice under load: all that was confirmed arrives, every lane in its order, duplicates with the same id and body."""
    arrived: list[Parcel] = []
    complete = asyncio.Event()
    lanes, each = 8, 150

    async def take(parcel: Parcel) -> bool:
        arrived.append(parcel)
        if len({parcel.delivery_id for parcel in arrived}) == lanes * each:
            complete.set()
        return True

    async def lane(node: Exchange, name: int) -> None:
        for number in range(each):
            parcel = Parcel(f"{name}-{number:04}", f"s{name}", receiver, "lab", b"%d" % number, "fhir")
            await _until_delivered(node, parcel)
            progress.release()

    progress = asyncio.Semaphore(0)
    async with _node(own_broker.url) as sending, _node(own_broker.url) as receiving, asyncio.timeout(110):
        await receiving.subscribe(receiver, ["lab"], take)
        await asyncio.to_thread(own_broker.settle)
        lane_tasks = [asyncio.create_task(lane(sending, name)) for name in range(lanes)]
        for _ in range(2):
            for _ in range(100):
                await progress.acquire()
            own_broker.kill()
            await asyncio.to_thread(own_broker.start)
        await asyncio.gather(*lane_tasks)
        await complete.wait()
    for name in range(lanes):
        numbers = [parcel.delivery_id for parcel in arrived if parcel.sender == f"s{name}"]
        assert list(dict.fromkeys(numbers)) == [f"{name}-{number:04}" for number in range(each)]
    assert all(parcel.delivery_id.endswith(f"{int(parcel.body):04}") for parcel in arrived)


@pytest.mark.faults
async def test_an_alarm_means_retry_and_does_not_stop_consuming(own_broker: Broker, receiver: str) -> None:
    """At a memory alarm the broker reads no publisher: publishing ends in Retry, the health says why, consuming goes on."""
    inbox = _Taker()
    gate = asyncio.Event()

    async def take(parcel: Parcel) -> bool:
        await gate.wait()
        return await inbox.take(parcel)

    heard: list[Event] = []
    end = subscribe(heard.append)
    async with _node(own_broker.url) as node:
        await node.subscribe(receiver, ["lab"], take)
        for number in range(5):
            assert await node.publish(_parcel(receiver, number)) == Delivered()
        await asyncio.to_thread(own_broker.alarm, True)
        try:
            outcome = await node.publish(_parcel(receiver, 5))
            health = node.health()
            assert isinstance(outcome, Retry)
            assert (outcome.code, outcome.counts) == ("exchange-alarm", False)
            assert outcome.why == health.problem == "the broker has an alarm and takes nothing: low on memory"
        finally:
            gate.set()
            await asyncio.to_thread(own_broker.alarm, False)
        assert [await inbox.next() for _ in range(5)] == [_parcel(receiver, number) for number in range(5)]
        await _until(node, problem=False)
        assert await node.publish(_parcel(receiver, 6)) == Delivered()
    end()
    location = health.location
    told = [each for each in heard if isinstance(each, ExchangeAlarm | ExchangeAlarmEnded)]
    assert told == [ExchangeAlarm(location, "low on memory"), ExchangeAlarmEnded(location)]


@pytest.mark.faults
async def test_what_is_under_way_at_an_alarm_is_due_within_seconds(own_broker: Broker, receiver: str) -> None:
    """The attempt ends with the alarm's beginning, and does not count: a lane whose backoff is at its cap sleeps no minutes."""
    async with _node(own_broker.url) as node:
        await node.subscribe(receiver, ["lab"], _Taker().take)
        assert await node.publish(_parcel(receiver)) == Delivered()
        sending = asyncio.create_task(_until_refused(node, receiver))
        await asyncio.to_thread(own_broker.alarm, True)
        try:
            async with asyncio.timeout(20):  # of the 30 s that a confirm may take
                outcome = await sending
        finally:
            await asyncio.to_thread(own_broker.alarm, False)
        now = datetime.now(UTC)
        backoff = Backoff()
        tried = Delivery("d", "m", "lab", "hub", ("p",), b"", "fhir", attempts=20)
        due = [decide(tried, outcome, Policy(backoff, 1e9), now)[1] for _ in range(100)]
        assert backoff.ceiling(20) == 600
        assert max(each - now for each in due if each is not None) <= timedelta(seconds=2)
        await _until(node, problem=False)
        assert await node.publish(_parcel(receiver, 1)) == Delivered()


async def _until_refused(node: Exchange, receiver: str) -> Outcome:
    while isinstance(outcome := await node.publish(_parcel(receiver)), Delivered):
        pass
    return outcome


@pytest.mark.faults
async def test_a_body_over_the_brokers_limit_parks_alone(own_broker: Broker, receiver: str) -> None:
    """The broker closes the channel at a body over its limit: that one parks, its neighbours are delivered a little later."""
    heard: list[Event] = []
    async with _node(own_broker.url, max_message=128 * 1024 * 1024) as node:
        await node.subscribe(receiver, ["lab"], _Taker().take)
        end = subscribe(heard.append)
        large = _parcel(receiver, 0, os.urandom(33 * 1024 * 1024 + 7))  # the tests' broker takes 32 MiB

        async def deliver(parcel: Parcel) -> Outcome:
            while isinstance(outcome := await node.publish(parcel), Retry):
                assert not outcome.counts
                await asyncio.sleep(0.05)
            return outcome

        outcomes = await asyncio.gather(*(deliver(parcel) for parcel in [_parcel(receiver, 1), large, _parcel(receiver, 2)]))
        assert [type(outcome) for outcome in outcomes] == [Delivered, Park, Delivered]
        assert outcomes[1].code == "too-large"
        again = await node.publish(_parcel(receiver, 3, os.urandom(33 * 1024 * 1024)))  # by now its limit is known
        assert isinstance(again, Park)
        assert again.code == "too-large"
        end()
    assert [type(each) for each in heard] == [ExchangeLost, ExchangeConnected]  # for the first one only


@pytest.mark.faults
async def test_a_body_over_the_limit_that_is_given_is_not_sent(own_broker: Broker, receiver: str) -> None:
    """``max_message`` says what the broker takes: no channel is closed to find out."""
    async with _node(own_broker.url, max_message=1000) as node:
        await node.subscribe(receiver, ["lab"], _Taker().take)
        outcome = await node.publish(_parcel(receiver, 0, os.urandom(1001)))
        assert isinstance(outcome, Park)
        assert outcome.code == "too-large"
        assert await node.publish(_parcel(receiver, 1, os.urandom(900))) == Delivered()


def test_the_pause_between_attempts_is_bounded() -> None:
    """A broker that was away for a day is found again within seconds."""
    pauses = [link._PAUSE(_state(attempt)) for attempt in range(1, 40)]
    assert max(pauses) <= 5


def _state(attempt: int) -> Any:
    import tenacity

    state = tenacity.RetryCallState(tenacity.AsyncRetrying(), None, (), {})
    state.attempt_number = attempt
    return state
