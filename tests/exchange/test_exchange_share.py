"""Several workers on one receiver's queues: each has its part, who is left takes over the others, and order is kept."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from interop_engine.core.model import Delivered
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import Exchange, Parcel, bucket
from interop_engine.exchange.rabbitmq import share
from interop_engine.exchange.rabbitmq.share import Place, Share

_names = itertools.count(random.randrange(10**9))
_QUEUES = 8


def test_the_queues_are_shared_out() -> None:
    """Each belongs to one worker, and no worker has two more than another; one queue alone belongs to everybody."""
    workers = [Share() for _ in range(3)]
    turns = [each.turns(_QUEUES) for each in workers]
    assert all(turn.own for each in turns for turn in each)  # nobody has said yet that there are others
    for number, each in enumerate(workers):
        each.move(Place(number, 3))
    assert [[turn.own for turn in each].count(True) for each in turns] == [3, 3, 2]
    assert [sum(each[number].own for each in turns) for number in range(_QUEUES)] == [1] * _QUEUES
    assert [turn.own for turn in workers[2].turns(1)] == [True]


def test_another_workers_queue_is_let_go_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time after twice as long, at most five minutes, since its owner may never come; anew where the workers changed."""
    now = 100.0
    monkeypatch.setattr(share.time, "monotonic", lambda: now)
    mine = Share()
    mine.move(Place(0, 2))
    own, other = mine.turns(2)

    def loan() -> int:
        nonlocal now
        began = now
        while not other.is_over():
            assert not own.is_over()
            now += 1
        return round(now - began)

    assert [loan() for _ in range(9)] == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    mine.move(Place(0, 4))
    assert loan() == 5


@dataclass
class Worker:
    """One of several that receive the same."""

    number: int
    receiver: str
    taken: list[tuple[int, Parcel]]
    exchange: Exchange = field(init=False)

    async def start(self, url: str, workers: int) -> None:
        """Receive, as the worker of that number."""
        self.exchange = open_exchange(url, name=f"worker {self.number}", queues=_QUEUES)
        self.exchange.share(self.number, workers)
        await self.exchange.open()
        await self.exchange.subscribe(self.receiver, ["lab"], self._take)
        await self.exchange.begin()

    async def _take(self, parcel: Parcel) -> bool:
        self.taken.append((self.number, parcel))
        return True


@dataclass
class Traffic:
    """A sender for each queue, which sends without a pause; what was taken, by whom."""

    exchange: Exchange
    receiver: str
    taken: list[tuple[int, Parcel]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    over: bool = False

    def senders(self) -> list[str]:
        """One of each queue."""
        found: dict[int, str] = {}
        for number in itertools.count():
            if len(found) == _QUEUES:
                break
            found.setdefault(bucket(str(number)) % _QUEUES, str(number))
        return [found[queue] for queue in range(_QUEUES)]

    async def run(self, sender: str) -> None:
        """Send until it is over."""
        for number in itertools.count():
            if self.over:
                return
            parcel = Parcel(f"{sender}-{number}", sender, self.receiver, "lab", b"{}", "fhir")
            assert await self.exchange.publish(parcel) == Delivered()
            self.sent[sender] = number + 1
            await asyncio.sleep(0.005)

    async def until(self, spread: Callable[[dict[int, int]], bool]) -> None:
        """Wait until the newest of each queue, of those that came from now on, was taken by whom it should be."""
        begun = len(self.taken)
        async with asyncio.timeout(60):
            while True:
                newest = {bucket(parcel.sender) % _QUEUES: number for number, parcel in self.taken[begun:]}
                if len(newest) == _QUEUES and spread(newest):
                    return
                await asyncio.sleep(0.05)

    def orders(self) -> dict[str, list[int]]:
        """The numbers of what was taken of each sender, in the order they first came."""
        found: dict[str, dict[int, None]] = {}
        for _, parcel in self.taken:
            found.setdefault(parcel.sender, {})[int(parcel.delivery_id.rpartition("-")[2])] = None
        return {sender: list(numbers) for sender, numbers in found.items()}


@pytest.mark.rabbitmq
async def test_workers_share_the_queues_and_who_is_left_takes_over(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three come one after the other, the last one ends, and one more comes: each part finds its worker, and order is kept."""
    monkeypatch.setattr(share, "_FIRST_LOAN", 0.5)
    receiver = f"share{next(_names)}"
    sending = open_exchange(broker, name="sender")
    traffic = Traffic(sending, receiver)
    workers = [Worker(number, receiver, traffic.taken) for number in range(3)]
    await workers[0].start(broker, 1)
    await sending.open()
    await sending.begin()
    async with asyncio.TaskGroup() as group:
        for sender in traffic.senders():
            group.create_task(traffic.run(sender))
        await traffic.until(lambda newest: set(newest.values()) == {0})
        for count in (2, 3):
            await workers[count - 1].start(broker, count)
            for each in workers[: count - 1]:
                each.exchange.share(each.number, count)
        await traffic.until(lambda newest: all(newest[queue] == queue % 3 for queue in newest))
        await workers[2].exchange.close()
        await traffic.until(lambda newest: 2 not in newest.values())
        traffic.over = True
    await sending.close()
    async with asyncio.timeout(60):
        while {sender: len(numbers) for sender, numbers in traffic.orders().items()} != traffic.sent:  # noqa: ASYNC110 - what is taken tells nobody
            await asyncio.sleep(0.05)
    assert all(numbers == sorted(numbers) for numbers in traffic.orders().values())
    for each in workers[:2]:
        await each.exchange.close()
