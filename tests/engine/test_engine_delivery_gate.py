"""A backlog while its receiver is away, through the real deliverer: nothing churns, and it goes when the receiver is back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from interop_engine.connectors.base import Destination
from interop_engine.connectors.exchange import ExchangeDestination, ExchangeDestinationOptions
from interop_engine.connectors.mllp_destination import MllpDestination, MllpDestinationOptions
from interop_engine.core import events
from interop_engine.core.model import new_id
from interop_engine.core.retry import Backoff
from interop_engine.engine import delivery as deliveries
from interop_engine.engine.delivery import Deliverer, Policy
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import Parcel
from interop_engine.hl7.ack import acknowledge
from interop_engine.hl7.framing import frame
from interop_engine.hl7.message import parse
from interop_engine.journal.base import Journal, Lease, NewDelivery, Selection
from tests.support.journals import ADAPTERS, HUB, Store, forwarded, new_store
from tests.support.mllp import AT, Peer, message, surroundings
from tests.support.scripted_fhir import Request, bundle_of, listening, open_destination, receipt, reply

_DEFAULT = Policy(Backoff(), give_up=604_800.0)


@dataclass
class Watched:
    """A deliverer, what it leased, and what was told of it."""

    journal: Journal
    deliverer: Deliverer
    leases: list[Lease]
    seen: list[events.Event] = field(default_factory=list)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for a condition, which is looked at with every event, and now and then."""
        async with asyncio.timeout(20):
            while not true():
                await self._event()

    async def waiting(self) -> int:
        """How many wait."""
        return sum(each.waiting for each in await self.journal.counts() if each.queue == HUB)

    async def settled(self) -> None:
        """Wait until none does."""
        async with asyncio.timeout(10):
            while await self.waiting():
                await self._event()

    def note(self, event: events.Event) -> None:
        """Hear of an event."""
        self.seen.append(event)
        self._heard.set()

    async def _event(self) -> None:
        self._heard.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await self._heard.wait()

    def told(self, kind: type[events.Event]) -> int:
        """How many events there were of a kind."""
        return sum(isinstance(each, kind) for each in self.seen)


@contextlib.asynccontextmanager
async def delivering(
    journal: Journal, destination: Destination, policy: Policy = _DEFAULT, concurrency: int = 4
) -> AsyncIterator[Watched]:
    """Deliver what is in the journal."""
    leases: list[Lease] = []
    lease = journal.lease

    async def leasing(*args: Any) -> Lease:
        leases.append(await lease(*args))
        return leases[-1]

    journal.lease = leasing  # type: ignore[method-assign]
    deliverer = Deliverer(
        journal, HUB, destination, policy, owner="w", concurrency=concurrency, settled=lambda _: None, broken=lambda _: None
    )
    watched = Watched(journal, deliverer, leases)
    end = events.subscribe(watched.note)
    await deliverer.open()
    deliverer.start()
    try:
        yield watched
    finally:
        await deliverer.stop(1)
        end()
        journal.lease = lease  # type: ignore[method-assign]


def result(lane: int, number: int = 0) -> NewDelivery:
    """A delivery of a result, of a patient."""
    return NewDelivery(new_id(), "hub", (f"p{lane}",), message(f"{lane}-{number}"), "hl7v2")


def bundle(lane: int) -> NewDelivery:
    """A delivery of a bundle, of a patient."""
    return NewDelivery(new_id(), "hub", (f"p{lane}",), bundle_of(lane).body, "fhir")


@contextlib.asynccontextmanager
async def receiver(port: int = 0) -> AsyncIterator[tuple[int, list[str]]]:
    """A system that takes everything over MLLP; its port, and the control ids that it took."""
    taken: list[str] = []
    open_: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        open_.add(writer)
        while data := await peer.answer():
            taken.append(parse(data).control_id)
            await peer.send(frame(acknowledge(parse(data), "AA", control_id="1", at=AT)))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1], taken
    finally:
        server.close()
        for writer in open_:
            writer.close()


def mllp(port: int, **options: Any) -> MllpDestination:
    """A destination that sees soon that its receiver is back."""
    quick = {"breaker": {"first": "20ms", "up_to": "50ms"}, "concurrency": 4}
    return MllpDestination(
        MllpDestinationOptions.model_validate({"connect": f"127.0.0.1:{port}"} | quick | options), surroundings()
    )


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent ahead in vain is due soon after the others."""
    monkeypatch.setattr(deliveries, "_AFTER_OTHERS", 0.05)


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each adapter."""
    return new_store(request.param, request, tmp_path)


async def away() -> int:
    """A port that nobody listens on."""
    async with receiver() as (port, _):
        return port


async def test_everything_goes_when_the_receiver_is_back(store: Store) -> None:
    """No lane waits for a backoff of its own, however long the receiver was away; each keeps its order."""
    port = await away()
    policy = Policy(Backoff(0.05, 3600.0), give_up=604_800.0)
    async with store.opened() as journal:
        for number in range(2):
            for lane in range(12):
                await forwarded(journal, result(lane, number))
        async with delivering(journal, mllp(port), policy) as ours:
            await ours.until(lambda: ours.told(events.DeliverySentAhead) >= 30)  # by a doubling backoff: for ever
            assert ours.deliverer.health().problem.startswith("no connection")
            async with receiver(port) as (_, taken):
                await ours.settled()
            assert ours.deliverer.health().problem == ""
        assert sorted(taken) == sorted(f"{lane}-{number}" for number in range(2) for lane in range(12))
        assert all(taken.index(f"{lane}-0") < taken.index(f"{lane}-1") for lane in range(12))
        row = (await journal.search(Selection(limit=1)))[0].deliveries[0]
        assert (row.state, row.attempts) == ("delivered", 1)


async def test_the_same_of_a_fhir_server(tmp_path: Path) -> None:
    """With the defaults of retry and breaker: the backlog of an outage goes within seconds."""
    port = await away()
    async with Store("sqlite", tmp_path / "journal.db").opened() as journal:
        for lane in range(30):
            await forwarded(journal, bundle(lane))
        async with (
            open_destination(f"http://127.0.0.1:{port}/fhir", breaker={}) as destination,
            delivering(journal, destination) as ours,
        ):
            await ours.until(lambda: ours.told(events.DeliverySentAhead) >= 2)
            async with listening(port=port):
                await ours.settled()


async def test_behind_a_closed_gate_nothing_is_leased(tmp_path: Path) -> None:
    """Two hundred patients wait: but for those under way as it closed, one item is leased for each that is sent ahead."""
    port = await away()
    async with Store("sqlite", tmp_path / "journal.db").opened() as journal:
        for lane in range(200):
            await forwarded(journal, result(lane))
        async with delivering(journal, mllp(port)) as ours:
            await ours.until(lambda: bool(ours.deliverer.health().problem))
            before, ahead = len(ours.leases), ours.told(events.DeliverySentAhead)
            await ours.until(lambda: ours.told(events.DeliverySentAhead) >= ahead + 20)
            assert len(ours.leases) - before <= 20 + 2 * 4
            assert ours.told(events.DeliveryRetried) <= 8  # lines of the log at night: those before it closed


async def test_one_that_fails_alone_does_not_keep_the_gate_closed(tmp_path: Path) -> None:
    """The oldest is never answered, and nothing else was there to show that the receiver lives: the next one shows it."""
    async with Store("sqlite", tmp_path / "journal.db").opened() as journal, listening() as server:

        async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
            if request.headers["x-request-id"] == bad.id:
                writer.close()
            else:
                await reply(200, receipt("201", "201"))(request, writer)

        server.answers = [answer]
        bad, good = bundle(1), bundle(2)
        await forwarded(journal, bad)
        policy = Policy(Backoff(0.01, 0.01), give_up=604_800.0)
        async with open_destination(server.url) as destination, delivering(journal, destination, policy) as ours:
            await ours.until(lambda: ours.told(events.DeliverySentAhead) >= 3)
            await forwarded(journal, good)
            await ours.until(lambda: ours.told(events.DeliveryDone) == 1)


async def test_what_waited_in_vain_parks_by_its_age(tmp_path: Path) -> None:
    """Past ``give_up`` all that wait for a receiver that cannot be reached park, one after the other, and are not sent first."""
    async with Store("sqlite", tmp_path / "journal.db").opened() as journal:
        for lane in range(50):
            await forwarded(journal, result(lane))
        destination = mllp(await away(), breaker={"first": "10s", "up_to": "10s"})
        async with delivering(journal, destination, Policy(Backoff(0.01, 0.01), give_up=0.001)) as ours:
            await ours.until(lambda: bool(destination.gate.problem))
            parked = ours.told(events.DeliveryParked)
            destination.gate.go()  # one pause is over
            await ours.until(lambda: ours.told(events.DeliveryParked) == 50)
            assert parked <= 4 + 4
        rows = await journal.search(Selection(limit=50))
        assert {row.deliveries[0].code for row in rows} == {"gave-up"}
        assert "no connection" in rows[0].deliveries[0].why


async def test_credentials_that_are_refused_never_park_anything(tmp_path: Path) -> None:
    """They are ours: however old a delivery is, it waits until a person puts them right, and then it goes."""
    async with Store("sqlite", tmp_path / "journal.db").opened() as journal, listening() as server:
        server.answers = [reply(401)]
        for lane in range(5):
            await forwarded(journal, bundle(lane))
        policy = Policy(Backoff(0.01, 0.01), give_up=0.001)
        async with open_destination(server.url) as destination, delivering(journal, destination, policy) as ours:
            await ours.until(lambda: ours.told(events.DeliverySentAhead) >= 10)
            assert await ours.waiting() == 5
            server.answers = [reply(200, receipt("201", "201"))]
            await ours.settled()
        assert ours.told(events.DeliveryParked) == 0
        assert ours.told(events.DeliveryDone) == 5


async def test_while_the_broker_is_away_nothing_is_leased(tmp_path: Path) -> None:
    """The exchange is one more receiver: it cannot be reached, and says so; no attempt is counted or kept."""
    exchange = open_exchange("embedded")
    options = ExchangeDestinationOptions(to="=hub", kind="lab")
    destination = ExchangeDestination(options, replace(surroundings(), exchange=exchange))
    async with Store("sqlite", tmp_path / "journal.db").opened() as journal:
        made = [replace(result(lane), headers={"receiver": "hub", "kind": "lab"}) for lane in range(50)]
        ids = [await forwarded(journal, each) for each in made]
        async with delivering(journal, destination) as ours:
            began = time.monotonic()
            await ours.until(lambda: len(ours.leases) >= 4 + 3)  # those under way as it closed, then one for each pause
            assert time.monotonic() - began >= 3 * 0.1
            assert "closed" in destination.gate.problem
            await exchange.open()
            await exchange.begin()
            subscription = await exchange.subscribe("hub", ["lab"], take_all)
            await ours.settled()
            await subscription.close()
        await exchange.close()
        assert [len(await journal.attempts(each)) for each in ids] == [1] * 50
        assert ours.told(events.DeliveryRetried) == 0


async def take_all(_: Parcel) -> bool:
    """A receiver's journal that commits everything."""
    return True


async def test_a_delivery_ends_before_its_lease_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a second worker would send it beside the first. It is cut off, and what its receiver took of it stays taken."""
    monkeypatch.setattr(deliveries, "LONGEST_DELIVERY", 0.5)
    async with Store("sqlite", tmp_path / "journal.db").opened() as journal, listening() as server:
        hanging = asyncio.Event()

        async def hang(_request: Request, _writer: asyncio.StreamWriter) -> None:
            await hanging.wait()

        server.answers = [reply(200, {"resourceType": "Patient"}), hang, reply(200, {"resourceType": "Patient"})]
        stored = await forwarded(journal, bundle(1))
        options = {"bundle": "split", "entries": 1, "timeouts": {"read": "20s"}}
        policy = Policy(Backoff(0.01, 0.01), give_up=604_800.0)
        async with open_destination(server.url, **options) as destination, delivering(journal, destination, policy) as ours:
            await ours.settled()
        hanging.set()
        assert [each.code for each in await journal.attempts(stored)] == ["too-long", ""]
        assert [request.path.rpartition("/")[2] for request in server.requests] == ["p0", "p1", "p1"]
