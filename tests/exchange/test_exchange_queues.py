"""Several queues a receiver: order per sender, senders side by side, and a number that changes only when all is drained."""

from __future__ import annotations

import asyncio
import itertools
import random

import aio_pika
import pytest

from interop_engine.core.model import Delivered
from interop_engine.exchange.base import BUCKETS, Parcel, bucket
from interop_engine.exchange.rabbitmq.topology import COUNTS, binding_keys, queue_names
from tests.support.exchanges import declaring

_names = itertools.count(random.randrange(10**9))


@pytest.mark.parametrize("count", COUNTS)
def test_every_bucket_finds_one_queue(count: int) -> None:
    """Whatever the number of queues, each is bound to as many buckets, and no bucket to two."""
    if count == 1:
        assert list(binding_keys("hub", ["lab"], 0, 1)) == ["lab.*.hub.*"]
        return
    keys = [list(binding_keys("hub", ["lab"], number, count)) for number in range(count)]
    assert {len(each) for each in keys} == {BUCKETS // count}
    assert sorted(key for each in keys for key in each) == sorted(f"lab.*.hub.{number}" for number in range(BUCKETS))
    assert len(set(queue_names("hub", count))) == count


class Inbox:
    """Takes parcels while ``open`` is set, and notes how many it is given at once."""

    def __init__(self) -> None:
        self.parcels: list[Parcel] = []
        self.inside: list[str] = []
        self.most = 0
        self.open = asyncio.Event()

    async def take(self, parcel: Parcel) -> bool:
        assert parcel.sender not in self.inside
        self.inside.append(parcel.sender)
        self.most = max(self.most, len(self.inside))
        await self.open.wait()
        self.inside.remove(parcel.sender)
        self.parcels.append(parcel)
        return True

    async def until(self, condition: object) -> None:
        async with asyncio.timeout(30):
            while not condition():  # type: ignore[operator]  # noqa: ASYNC110 - the inbox tells nobody
                await asyncio.sleep(0.01)


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def place(request: pytest.FixtureRequest) -> str:
    """Of each adapter."""
    return "embedded" if request.param == "embedded" else request.getfixturevalue("broker")


def senders(count: int) -> list[str]:
    """Facilities of buckets of their own."""
    found: dict[int, str] = {}
    for number in itertools.count():
        found.setdefault(bucket(str(number)), str(number))
        if len(found) == count:
            return list(found.values())
    raise AssertionError


async def test_senders_are_taken_side_by_side_and_each_in_order(place: str) -> None:
    """What one sender sent is taken in turn; another's does not wait for it."""
    receiver, inbox = f"q{next(_names)}", Inbox()
    async with declaring(place, 4) as exchange:
        await exchange.subscribe(receiver, ["lab"], inbox.take)
        parcels = [Parcel(f"{s}-{n}", s, receiver, "lab", b"{}", "fhir") for n in range(5) for s in senders(6)]
        sending = [asyncio.create_task(exchange.publish(each)) for each in parcels]
        await inbox.until(lambda: inbox.most == 6)
        inbox.open.set()
        assert set(await asyncio.gather(*sending)) == {Delivered()}
        await inbox.until(lambda: len(inbox.parcels) == 30)
    for sender in senders(6):
        assert [each.delivery_id for each in inbox.parcels if each.sender == sender] == [f"{sender}-{n}" for n in range(5)]


@pytest.mark.rabbitmq
async def test_the_number_of_queues_changes_once_they_are_drained(broker: str) -> None:
    """With something left in the old queue nothing is taken, and the status says what to do; then the old queue is removed."""
    receiver, inbox = f"q{next(_names)}", Inbox()
    old, new = queue_names(receiver, 1)[0], queue_names(receiver, 2)
    inbox.open.set()
    async with declaring(broker) as exchange:
        await (await exchange.subscribe(receiver, ["lab"], inbox.take)).close()
        assert await exchange.publish(Parcel("1", "24001", receiver, "lab", b"{}", "fhir")) == Delivered()
    async with declaring(broker, 2) as exchange:
        await exchange.subscribe(receiver, ["lab"], inbox.take)
        await inbox.until(lambda: f"the queue {old} still has 1 parcels" in exchange.health().problem)
        assert inbox.parcels == []
    async with declaring(broker) as exchange:
        await exchange.subscribe(receiver, ["lab"], inbox.take)
        await inbox.until(lambda: len(inbox.parcels) == 1)
    async with declaring(broker, 2) as exchange:
        await exchange.subscribe(receiver, ["lab"], inbox.take)
        await inbox.until(lambda: exchange.health().problem == "")
        assert await exchange.publish(Parcel("2", "24001", receiver, "lab", b"{}", "fhir")) == Delivered()
        await inbox.until(lambda: len(inbox.parcels) == 2)
    async with await aio_pika.connect(broker) as connection:
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await (await connection.channel()).get_queue(old, ensure=True)
        channel = await connection.channel()
        for name in new:
            await channel.queue_delete(name)
