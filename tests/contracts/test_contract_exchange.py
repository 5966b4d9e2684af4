"""The exchange's contract, on both adapters. Over RabbitMQ the sender and the receiver are two nodes, as in life."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import aio_pika
import pytest

from interop_engine.core.errors import ExchangeError
from interop_engine.core.model import Delivered, Outcome, Park, Retry
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import Exchange, Parcel, bucket
from interop_engine.exchange.rabbitmq.topology import queue_names, receipts_queue

_names = itertools.count(random.randrange(10**9))  # the broker outlives a test: every test has receivers of its own


@dataclass
class Nodes:
    """A sending and a receiving node, and the name that this test receives under."""

    sending: Exchange
    receiving: Exchange
    receiver: str
    url: str = ""

    def parcel(self, number: int = 0, *, kind: str = "lab", sender: str = "24001", body: bytes = b"{}") -> Parcel:
        """A parcel for this test's receiver."""
        return Parcel(f"{self.receiver}-{sender}-{number}", sender, self.receiver, kind, body, "fhir")

    async def deliver(self, parcel: Parcel) -> Outcome:
        """Publish as the engine does: again after each Retry."""
        while isinstance(outcome := await self.sending.publish(parcel), Retry):  # noqa: ASYNC110 - the engine's backoff, in short
            await asyncio.sleep(0.01)
        return outcome


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    """Two nodes and a receiver's name that nobody else uses."""
    receiver = f"r{next(_names)}"
    if request.param == "embedded":
        exchange = open_exchange("embedded")
        nodes = Nodes(exchange, exchange, receiver)
    else:
        url = request.getfixturevalue("broker")
        nodes = Nodes(open_exchange(url, name="sender"), open_exchange(url, name="receiver"), receiver, url)
        await nodes.receiving.open()
        await nodes.receiving.begin()
    await nodes.sending.open()
    await nodes.sending.begin()
    yield nodes
    await nodes.receiving.close()
    await nodes.sending.close()
    if request.param == "rabbitmq":
        async with await aio_pika.connect(request.getfixturevalue("broker")) as connection:
            channel = await connection.channel()
            for queue in (queue_names(receiver, 1)[0], receipts_queue(receiver)):
                await channel.queue_delete(queue)


@dataclass
class Inbox:
    """Takes parcels, and lets a test wait for them. ``refuses`` says which offers it answers with False."""

    refuses: Callable[[Parcel], bool] = lambda _: False
    parcels: list[Parcel] = field(default_factory=list)
    _grown: asyncio.Event = field(default_factory=asyncio.Event)
    _inside: Counter[int] = field(default_factory=Counter)  # takes under way, by bucket
    most_inside: int = 0

    async def take(self, parcel: Parcel) -> bool:
        of = bucket(parcel.sender)
        self._inside[of] += 1
        self.most_inside = max(self.most_inside, self._inside[of])
        await asyncio.sleep(0)
        self._inside[of] -= 1
        if self.refuses(parcel):
            return False
        self.parcels.append(parcel)
        self._grown.set()
        return True

    async def wait(self, count: int) -> list[Parcel]:
        """The first ``count`` parcels, when they are there."""
        async with asyncio.timeout(30):
            while len(self.parcels) < count:
                self._grown.clear()
                await self._grown.wait()
        return self.parcels[:count]

    @property
    def ids(self) -> list[str]:
        return [parcel.delivery_id for parcel in self.parcels]


async def test_a_parcel_arrives_as_it_was_sent(nodes: Nodes) -> None:
    """Body, media, address, id and headers reach the receiver unchanged, names with diacritics too."""
    inbox = Inbox()
    await nodes.receiving.subscribe(nodes.receiver, ["lab"], inbox.take)
    parcel = Parcel(
        delivery_id="0192-1",
        sender="24001",
        receiver=nodes.receiver,
        kind="lab",
        body="MSH|^~\\&|LIS|Bệnh viện".encode(),
        media="hl7v2",
        headers={"lane": "24001|Nguyễn\nhospital", "control-digest": "ab" * 32, "event": "ORU^R01", "empty": ""},
    )
    assert await nodes.sending.publish(parcel) == Delivered()
    assert await inbox.wait(1) == [parcel]


async def test_what_nobody_receives_parks_with_receiver_and_kind(nodes: Nodes) -> None:
    """A receiver that nobody is parks the parcel at its sender, who can see for whom it was."""
    outcome = await nodes.sending.publish(nodes.parcel(kind="imaging"))
    assert isinstance(outcome, Park)
    assert outcome.code == "unrouted"
    assert nodes.receiver in outcome.why
    assert "imaging" in outcome.why


async def test_a_kind_that_is_not_subscribed_parks(nodes: Nodes) -> None:
    """A receiver gets the kinds it asked for and no other."""
    inbox = Inbox()
    await nodes.receiving.subscribe(nodes.receiver, ["lab", "patient"], inbox.take)
    outcomes = [await nodes.sending.publish(nodes.parcel(n, kind=kind)) for n, kind in enumerate(("lab", "imaging", "patient"))]
    assert [type(outcome) for outcome in outcomes] == [Delivered, Park, Delivered]
    assert [parcel.kind for parcel in await inbox.wait(2)] == ["lab", "patient"]


@pytest.mark.parametrize("word", ["", "a.b", "*", "lab#", "a b", "a\nb", "x" * 300])
async def test_what_is_not_a_routing_word_parks(nodes: Nodes, word: str) -> None:
    """An address with a dot or a wildcard can never be routed, and is said to be bad and not merely unknown."""
    outcome = await nodes.sending.publish(Parcel("1", "24001", word, "lab", b"", "fhir"))
    assert isinstance(outcome, Park)
    assert outcome.code == "bad-address"


async def test_what_has_more_headers_than_can_travel_parks(nodes: Nodes) -> None:
    """A broker ends the connection at a header that fits no frame: it must not be tried, nor hold up what goes beside it."""
    inbox = Inbox()
    await nodes.receiving.subscribe(nodes.receiver, ["lab"], inbox.take)
    async with asyncio.timeout(20):
        parcels = [replace(nodes.parcel(n), headers={"lane": "ố" * size}) for n, size in ((1, 43_700), (2, 30_000))]
        large, fits = [await nodes.sending.publish(parcel) for parcel in parcels]
    assert (type(large), type(fits)) == (Park, Delivered)
    assert [parcel.headers["lane"] for parcel in await inbox.wait(1)] == ["ố" * 30_000]


@pytest.mark.parametrize(("receiver", "kinds"), [("hub", []), ("h.ub", ["lab"]), ("hub", ["lab", "*"])])
async def test_a_subscription_that_cannot_work_is_refused(nodes: Nodes, receiver: str, kinds: list[str]) -> None:
    """No kinds, or words that are none, are a mistake at the start."""
    with pytest.raises(ExchangeError):
        await nodes.receiving.subscribe(receiver, kinds, Inbox().take)


async def test_what_subscribes_before_the_begin_is_known_to_all_that_comes(nodes: Nodes) -> None:
    """Nothing is taken until all have subscribed: a kind whose channel comes second is not taken for one without a channel."""
    first, second = Inbox(), Inbox()
    if nodes.receiving is nodes.sending:
        starting = nodes.receiving = nodes.sending = open_exchange("embedded")
    else:  # its queue is there from before, with a backlog
        await (await nodes.receiving.subscribe(nodes.receiver, ["lab", "imaging"], first.take)).close()
        assert [await nodes.sending.publish(nodes.parcel(n, kind="imaging")) for n in range(3)] == [Delivered()] * 3
        await nodes.receiving.close()
        starting = nodes.receiving = open_exchange(nodes.url, name="receiver")
    await starting.open()
    await starting.subscribe(nodes.receiver, ["lab"], first.take)
    outcome = await nodes.sending.publish(nodes.parcel(3, kind="imaging"))
    assert isinstance(outcome, Delivered if nodes.url else Retry)
    await starting.subscribe(nodes.receiver, ["imaging"], second.take)
    await starting.begin()
    await _in_order(nodes, range(4, 6))
    assert await nodes.deliver(nodes.parcel(6, kind="imaging")) == Delivered()
    assert [parcel.kind for parcel in await first.wait(2)] == ["lab"] * 2
    await second.wait(5 if nodes.url else 1)
    assert {parcel.kind for parcel in second.parcels} == {"imaging"}
    assert not any(parcel.headers for parcel in (*first.parcels, *second.parcels))


async def test_receipts_are_subscribed_to_alone(nodes: Nodes) -> None:
    """They never wait behind what a channel takes."""
    with pytest.raises(ExchangeError):
        await nodes.receiving.subscribe(nodes.receiver, ["lab", "receipt"], Inbox().take)
    inbox = Inbox()
    await nodes.receiving.subscribe(nodes.receiver, ["receipt"], inbox.take)
    parcel = Parcel("r1", "hub", nodes.receiver, "receipt", b"[]", "receipt")
    assert await nodes.deliver(parcel) == Delivered()
    assert await inbox.wait(1) == [parcel]


async def test_order_of_a_sender_is_kept(nodes: Nodes) -> None:
    """What one facility sends arrives in its order, across kinds."""
    inbox = Inbox()
    await nodes.receiving.subscribe(nodes.receiver, ["lab", "patient"], inbox.take)
    parcels = [nodes.parcel(n, kind=("lab", "patient")[n % 2]) for n in range(100)]
    for parcel in parcels:
        assert await nodes.sending.publish(parcel) == Delivered()
    assert await inbox.wait(100) == parcels


async def test_a_refused_parcel_comes_again_before_its_successors(nodes: Nodes) -> None:
    """take() that answers False gets the parcel again later, and none of that sender's later ones before it."""
    refusals = iter([True, True, True])
    inbox = Inbox()
    inbox.refuses = lambda parcel: parcel.delivery_id.endswith("-3") and next(refusals, False)
    await nodes.receiving.subscribe(nodes.receiver, ["lab"], inbox.take)
    parcels = [nodes.parcel(n) for n in range(10)]
    for parcel in parcels:
        assert await nodes.deliver(parcel) == Delivered()
    assert await inbox.wait(10) == parcels
    assert next(refusals, None) is None


async def test_a_take_that_raises_loses_nothing(nodes: Nodes) -> None:
    """A channel that fails instead of answering is given the parcel again."""
    failures = iter([RuntimeError("first"), ValueError("second")])
    inbox = Inbox()

    async def take(parcel: Parcel) -> bool:
        if (failure := next(failures, None)) is not None:
            raise failure
        return await inbox.take(parcel)

    await nodes.receiving.subscribe(nodes.receiver, ["lab"], take)
    assert await nodes.deliver(nodes.parcel()) == Delivered()
    assert await inbox.wait(1) == [nodes.parcel()]


async def test_a_channel_that_stops_and_starts_misses_nothing(nodes: Nodes) -> None:
    """While a known receiver is stopped, parcels wait (with the broker or with their sender); none parks, none is lost."""
    before, after = Inbox(), Inbox()
    subscription = await nodes.receiving.subscribe(nodes.receiver, ["lab"], before.take)
    assert await nodes.deliver(nodes.parcel(0)) == Delivered()
    await before.wait(1)
    await subscription.close()
    sending = asyncio.create_task(_in_order(nodes, range(1, 6)))
    await asyncio.sleep(0)
    await nodes.receiving.subscribe(nodes.receiver, ["lab"], after.take)
    assert await sending == [Delivered()] * 5
    assert await after.wait(5) == [nodes.parcel(n) for n in range(1, 6)]
    assert before.parcels == [nodes.parcel(0)]


async def test_what_was_refused_when_a_channel_stopped_waits_for_it(nodes: Nodes) -> None:
    """Closing while a parcel is being refused ends, and the parcel is given to the next subscription, in order."""
    refusing, after = Inbox(refuses=lambda _: True), Inbox()
    refused = asyncio.Event()
    refusing.refuses = lambda _: refused.set() is None
    subscription = await nodes.receiving.subscribe(nodes.receiver, ["lab"], refusing.take)
    sending = asyncio.create_task(_in_order(nodes, range(3)))
    await refused.wait()
    await subscription.close()
    await subscription.close()
    await nodes.receiving.subscribe(nodes.receiver, ["lab"], after.take)
    assert await sending == [Delivered()] * 3
    assert await after.wait(3) == [nodes.parcel(n) for n in range(3)]


async def test_two_channels_may_share_a_receiver(nodes: Nodes) -> None:
    """Each gets the kinds it asked for; where both asked for one, both have it."""
    lab, imaging = Inbox(), Inbox()
    await nodes.receiving.subscribe(nodes.receiver, ["lab", "patient"], lab.take)
    await nodes.receiving.subscribe(nodes.receiver, ["imaging", "patient"], imaging.take)
    for number, kind in enumerate(("lab", "imaging", "patient")):
        assert await nodes.deliver(nodes.parcel(number, kind=kind)) == Delivered()
    assert [parcel.kind for parcel in await lab.wait(2)] == ["lab", "patient"]
    assert [parcel.kind for parcel in await imaging.wait(2)] == ["imaging", "patient"]


async def test_one_of_two_channels_may_stop(nodes: Nodes) -> None:
    """The other goes on with its kinds."""
    lab, imaging = Inbox(), Inbox()
    await nodes.receiving.subscribe(nodes.receiver, ["lab"], lab.take)
    subscription = await nodes.receiving.subscribe(nodes.receiver, ["imaging"], imaging.take)
    await subscription.close()
    assert await nodes.deliver(nodes.parcel(kind="lab")) == Delivered()
    assert await lab.wait(1) == [nodes.parcel(kind="lab")]


async def test_large_bodies_travel(nodes: Nodes) -> None:
    """A report with a scanned film is megabytes; it arrives byte for byte, compressible or not."""
    inbox = Inbox()
    await nodes.receiving.subscribe(nodes.receiver, ["lab"], inbox.take)
    bodies = [random.Random(7).randbytes(5_000_000), b"A" * 5_000_000, b"", b"\x00\x28\xb5\x2f\xfd", b"x" * 1023, b"x" * 1024]
    parcels = [nodes.parcel(number, body=body) for number, body in enumerate(bodies)]
    for parcel in parcels:
        assert await nodes.sending.publish(parcel) == Delivered()
    assert [parcel.body for parcel in await inbox.wait(len(bodies))] == bodies


async def test_many_lanes_publish_at_once(nodes: Nodes) -> None:
    """Publishes in flight together all end in a confirm; takes of a bucket run one at a time; each sender's order holds."""
    inbox = Inbox()
    await nodes.receiving.subscribe(nodes.receiver, ["lab"], inbox.take)
    senders = [f"s{number}" for number in range(20)]
    outcomes = await asyncio.gather(*(_in_order(nodes, range(10), sender) for sender in senders))
    assert outcomes == [[Delivered()] * 10] * 20
    arrived = await inbox.wait(200)
    assert inbox.most_inside == 1
    for sender in senders:
        assert [parcel for parcel in arrived if parcel.sender == sender] == [nodes.parcel(n, sender=sender) for n in range(10)]


@pytest.mark.parametrize("seed", range(5))
async def test_random_failures_lose_and_reorder_nothing(nodes: Nodes, seed: int) -> None:
    """Takes that refuse, fail and come after a restart of their channel: all arrives, each sender's in order."""
    chance = random.Random(seed)
    inbox = Inbox()

    async def take(parcel: Parcel) -> bool:
        match chance.randrange(12):
            case 0:
                return False
            case 1:
                raise RuntimeError("a channel's mistake")
            case 2:
                await inbox.take(parcel)  # committed, but its answer is lost: it comes again
                raise OSError("after the commit")
            case _:
                return await inbox.take(parcel)

    async def restarts() -> None:
        while True:
            subscription = await nodes.receiving.subscribe(nodes.receiver, ["lab"], take)
            await inbox.wait(len(inbox.parcels) + chance.randrange(5, 15))
            await subscription.close()

    senders = [f"s{number}" for number in range(4)]
    await (await nodes.receiving.subscribe(nodes.receiver, ["lab"], take)).close()
    restarting = asyncio.create_task(restarts())
    await asyncio.gather(*(_in_order(nodes, range(15), sender) for sender in senders))
    expected = {nodes.parcel(n, sender=sender).delivery_id for sender in senders for n in range(15)}
    while not expected <= set(inbox.ids):
        await inbox.wait(len(inbox.parcels) + 1)
    restarting.cancel()
    await asyncio.gather(restarting, return_exceptions=True)
    for sender in senders:
        first = dict.fromkeys(parcel.delivery_id for parcel in inbox.parcels if parcel.sender == sender)
        assert list(first) == [nodes.parcel(n, sender=sender).delivery_id for n in range(15)]


async def test_some_unrouted_among_many(nodes: Nodes) -> None:
    """A parcel that comes back parks itself and none of its neighbours in flight, though all share a delivery id."""
    inbox = Inbox()
    await nodes.receiving.subscribe(nodes.receiver, ["lab"], inbox.take)
    parcels = [Parcel("same", "24001", nodes.receiver, ("lab", "imaging")[n % 2], b"{}", "fhir") for n in range(60)]
    outcomes = await asyncio.gather(*map(nodes.sending.publish, parcels))
    assert [type(outcome) for outcome in outcomes] == [Delivered, Park] * 30
    assert len(await inbox.wait(30)) == 30


async def test_closing_twice_is_harmless(nodes: Nodes) -> None:
    """After close, publishing says that it cannot, and counts no attempt."""
    inbox = Inbox()
    subscription = await nodes.receiving.subscribe(nodes.receiver, ["lab"], inbox.take)
    for _ in range(2):
        await nodes.receiving.close()
        await nodes.sending.close()
        await subscription.close()
    outcome = await nodes.sending.publish(nodes.parcel())
    assert isinstance(outcome, Retry)
    assert not outcome.counts
    assert nodes.sending.health().problem


async def test_health_says_who_receives_here(nodes: Nodes) -> None:
    """No problem while it works, the receivers by name, and no password in the location."""
    await nodes.receiving.subscribe(nodes.receiver, ["lab"], Inbox().take)
    health = nodes.receiving.health()
    assert (health.problem, health.subscriptions) == ("", (nodes.receiver,))
    assert "@" not in health.location


async def _in_order(nodes: Nodes, numbers: range, sender: str = "24001") -> list[Outcome]:
    return [await nodes.deliver(nodes.parcel(number, sender=sender)) for number in numbers]
