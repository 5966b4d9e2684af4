"""A channel that is stopped: what is for it waits at the broker, in its order, and the exchange says so."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import aio_pika
import pytest
from aiormq.channel import Channel

from interop_engine.core.model import Delivered
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import BUCKETS, Exchange, Parcel, bucket
from interop_engine.exchange.rabbitmq import inbox
from interop_engine.exchange.rabbitmq.topology import COUNTS, EXCHANGE, queue_names
from tests.support.broker import Broker
from tests.support.exchanges import declaring

pytestmark = pytest.mark.rabbitmq

_names = itertools.count(random.randrange(10**9))


@pytest.fixture
def receiver() -> str:
    """A receiver's name that nobody else uses."""
    return f"w{next(_names)}"


class Taken:
    """What a channel took; it takes while ``gate`` is set."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.inside = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def take(self, parcel: Parcel) -> bool:
        self.inside += 1
        await self.gate.wait()
        self.inside -= 1
        self.ids.append(parcel.delivery_id)
        return True


async def until(condition: Callable[[], object]) -> None:
    """Wait for it."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - neither exchange nor inbox tells
            await asyncio.sleep(0.01)


async def until_at(broker: Broker, condition: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Wait until the broker's queues are so."""

    async def queues() -> list[dict[str, Any]]:
        columns = ("name", "messages_unacknowledged", "messages_ready")
        said = await asyncio.to_thread(broker.control, "list_queues", *columns, "--formatter", "json")
        return json.loads(said)  # type: ignore[no-any-return]

    async with asyncio.timeout(60):
        while not condition(await queues()):
            pass


def parcel(receiver: str, sender: str, number: int, kind: str) -> Parcel:
    """One of a sender."""
    return Parcel(f"{sender}-{number}", sender, receiver, kind, b"{}", "fhir")


async def sent(node: Exchange, *parcels: Parcel) -> None:
    """Each is confirmed."""
    for each in parcels:
        assert await node.publish(each) == Delivered()


async def test_nothing_is_held_for_a_stopped_channel(own_broker: Broker, receiver: str) -> None:
    """All goes back to the broker, in words in the health, and comes in its order when the channel is there again."""
    lab, imaging = Taken(), Taken()
    async with declaring(own_broker.url) as exchange:
        stopped = await exchange.subscribe(receiver, ["lab"], lab.take)
        await exchange.subscribe(receiver, ["imaging"], imaging.take)
        await stopped.close()
        await sent(exchange, parcel(receiver, "A", 0, "imaging"))
        await until(lambda: imaging.ids == ["A-0"])
        assert exchange.health().waiting == ()
        await sent(exchange, *(parcel(receiver, "A", n, "lab") for n in range(1, 100)), parcel(receiver, "B", 0, "imaging"))
        await until(lambda: exchange.health().waiting)
        (said,) = exchange.health().waiting
        assert f'the channel that receives lab as "{receiver}" is stopped: at least ' in said
        assert exchange.health().problem == ""
        queue = queue_names(receiver, 1)[0]
        await until_at(own_broker, lambda all_: {"name": queue, "messages_unacknowledged": 0, "messages_ready": 100} in all_)
        await exchange.subscribe(receiver, ["lab"], lab.take)
        await until(lambda: len(lab.ids) == 99 and imaging.ids == ["A-0", "B-0"])
        assert lab.ids == [f"A-{n}" for n in range(1, 100)]
        assert exchange.health().waiting == ()


async def test_only_the_queue_that_holds_it_waits(broker: str, receiver: str) -> None:
    """Over several queues, senders of the others go on."""
    lab, imaging = Taken(), Taken()
    one, other = next((str(n), "0") for n in itertools.count() if bucket(str(n)) % 4 != bucket("0") % 4)
    async with declaring(broker, 4) as exchange:
        stopped = await exchange.subscribe(receiver, ["lab"], lab.take)
        await exchange.subscribe(receiver, ["imaging"], imaging.take)
        await stopped.close()
        await sent(exchange, parcel(receiver, one, 0, "lab"))
        await until(lambda: exchange.health().waiting)
        await sent(exchange, *(parcel(receiver, other, n, "imaging") for n in range(100)))
        await until(lambda: imaging.ids == [f"{other}-{n}" for n in range(100)])


async def test_who_stands_by_takes_over_from_a_stopped_channel(broker: str, receiver: str) -> None:
    """Two nodes under one name: what one cannot take now, the other does."""
    first, second, imaging = Taken(), Taken(), Taken()
    async with declaring(broker) as one, declaring(broker) as other:
        stopped = await one.subscribe(receiver, ["lab"], first.take)
        await one.subscribe(receiver, ["imaging"], imaging.take)
        await other.subscribe(receiver, ["lab", "imaging"], second.take)
        await stopped.close()
        await sent(one, *(parcel(receiver, "A", n, "lab") for n in range(100)))
        await until(lambda: len(second.ids) == 100)
    assert (first.ids, second.ids) == ([], [f"A-{n}" for n in range(100)])


async def test_what_a_stopped_channel_refused_goes_to_another_of_its_kind(broker: str, receiver: str) -> None:
    """It is offered anew to who is there."""
    refused = asyncio.Event()

    async def refuse(_: Parcel) -> bool:
        refused.set()
        return False

    taken = Taken()
    async with declaring(broker) as exchange:
        refusing = await exchange.subscribe(receiver, ["lab"], refuse)
        await sent(exchange, parcel(receiver, "A", 0, "lab"), parcel(receiver, "A", 1, "lab"))
        await refused.wait()
        await exchange.subscribe(receiver, ["lab"], taken.take)
        await refusing.close()
        await until(lambda: taken.ids == ["A-0", "A-1"])


@pytest.mark.parametrize("leaving", ["another", "the last", "the last before another"])
async def test_a_long_take_is_no_fault_of_the_broker(
    broker: str, receiver: str, monkeypatch: pytest.MonkeyPatch, leaving: str
) -> None:
    """A journal that is away while a channel stops: the take ends in its own time, once, and nothing is said of the broker."""
    lab, imaging = Taken(), Taken()
    lab.gate.clear()
    async with declaring(broker) as exchange:
        taking = await exchange.subscribe(receiver, ["lab"], lab.take)
        stopping = await exchange.subscribe(receiver, ["imaging"], imaging.take) if leaving == "another" else taking
        await sent(exchange, parcel(receiver, "A", 0, "lab"))
        await until(lambda: lab.inside == 1)
        monkeypatch.setattr(inbox, "OPEN", 0.2)
        closing = asyncio.create_task(stopping.close())
        await asyncio.wait([closing], timeout=0.5)  # longer than the broker is given
        assert (closing.done(), exchange.health().problem) == (leaving == "another", "")
        joining = [asyncio.create_task(exchange.subscribe(receiver, ["imaging"], imaging.take))] if "before" in leaving else []
        await asyncio.wait([closing, *joining], timeout=0.5)
        assert exchange.health().problem == ""
        lab.gate.set()
        await asyncio.gather(closing, *joining)
        await until(lambda: lab.ids == ["A-0"])
    assert lab.ids == ["A-0"]


async def test_each_key_is_bound_once(broker: str, receiver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there at the begin is bound together; a channel that comes later binds what is new, one that returns nothing."""
    bound: list[str] = []
    bind = Channel.queue_bind

    async def noted(self: Channel, queue: str, exchange: str, routing_key: str = "", **options: Any) -> Any:
        bound.append(routing_key)
        return await bind(self, queue, exchange, routing_key, **options)

    monkeypatch.setattr(Channel, "queue_bind", noted)
    taken = Taken()
    exchange = open_exchange(broker, name="test", queues=4)
    await exchange.open()
    for kind in ("lab", "imaging"):
        subscription = await exchange.subscribe(receiver, [kind], taken.take)
    await exchange.begin()
    assert sorted(bound) == sorted(f"{kind}.*.{receiver}.{n}" for kind in ("lab", "imaging") for n in range(BUCKETS))
    bound.clear()
    await subscription.close()
    await exchange.subscribe(receiver, ["imaging"], taken.take)
    await exchange.subscribe(receiver, ["order"], taken.take)
    assert sorted(bound) == sorted(f"order.*.{receiver}.{n}" for n in range(BUCKETS))
    await exchange.close()


@pytest.mark.parametrize("queues", COUNTS)
async def test_a_worker_holds_few_parcels_whatever_the_number_of_queues(own_broker: Broker, receiver: str, queues: int) -> None:
    """At most 64 over all queues of a receiver, and two of each where there are as many queues."""
    taken = Taken()
    async with declaring(own_broker.url, queues) as exchange:
        await exchange.subscribe(receiver, ["lab"], taken.take)
        said = await asyncio.to_thread(
            own_broker.control, "list_consumers", "queue_name", "prefetch_count", "--formatter", "json"
        )
    ours = [each["prefetch_count"] for each in json.loads(said) if each["queue_name"] in queue_names(receiver, queues)]
    assert ours == [max(2, 64 // queues)] * queues


async def test_a_receipt_in_a_channels_queue_is_left_to_the_queue_of_receipts(broker: str, receiver: str) -> None:
    """A binding made by hand brings it there too: rejected, it would be receipted, and that receipt rejected in turn."""
    lab, receipts = Taken(), Taken()
    async with declaring(broker) as exchange, await aio_pika.connect(broker) as connection:
        await exchange.subscribe(receiver, ["lab"], lab.take)
        await exchange.subscribe(receiver, ["receipt"], receipts.take)
        queue = await (await connection.channel()).get_queue(queue_names(receiver, 1)[0], ensure=True)
        await queue.bind(EXCHANGE, f"receipt.*.{receiver}.*")
        await sent(exchange, Parcel("r", "A", receiver, "receipt", b"[]", "receipt"), parcel(receiver, "A", 1, "lab"))
        await until(lambda: (lab.ids, receipts.ids) == (["A-1"], ["r"]))
