"""Several nodes on one PostgreSQL journal: one order, takeover, fences; and the server going away and coming back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Park, Question
from interop_engine.engine.workers import Workers
from interop_engine.journal.base import DeliveryState, Forward, Journal, Lease, MessageState, Selection
from tests.support.journals import DELIVERED, HUB, LAB, delivery, forwarded, lease, lease_now, message, node, sent
from tests.support.postgres import fresh_journal

pytestmark = pytest.mark.postgres
_ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def url(postgres: str) -> str:
    """An empty journal."""
    return fresh_journal(postgres)


@pytest.fixture
async def nodes(url: str) -> AsyncIterator[tuple[Journal, Journal]]:
    """Two nodes on one journal."""
    async with node(url) as one, node(url) as two:
        yield one, two


# --- one journal, several nodes ---------------------------------------------------------------------------------------


async def test_what_one_node_accepts_another_hands_out_at_once(nodes: tuple[Journal, Journal]) -> None:
    """An idle node is told: it finds work long before it would look by itself."""
    one, two = nodes
    waiting = asyncio.ensure_future(two.lease(LAB, "two"))
    await lease_now(two, HUB)  # by now the waiting is known to the database's side
    stored = await one.accept(message())
    held = await asyncio.wait_for(waiting, 3)
    assert held.message is not None
    assert held.message.id == stored.id


async def test_each_node_has_a_place_of_its_own(nodes: tuple[Journal, Journal]) -> None:
    """Among those that live: one that left is no longer counted."""
    one, two = nodes
    async with asyncio.timeout(30):
        while sorted([await one.workers(), await two.workers()]) != [(0, 2), (1, 2)]:  # noqa: ASYNC110 - a beat tells nobody
            await asyncio.sleep(0.05)
    await two.close()
    assert await one.workers() == (0, 1)


async def test_a_lane_has_one_order_over_all_nodes(nodes: tuple[Journal, Journal]) -> None:
    """Accepted at either node, leased at either: one at a time and in order of arrival."""
    one, two = nodes
    ids = [(await each.accept(message())).id for each in (one, two, two, one)]
    got = []
    for each, other in ((two, one), (one, two), (two, one), (one, two)):
        held = await lease(each, LAB)
        assert await lease_now(other, LAB) is None
        assert held.message is not None
        got.append(held.message.id)
        await each.forward(held, Forward())
    assert got == ids


async def test_a_barrier_holds_its_lanes_over_all_nodes(nodes: tuple[Journal, Journal]) -> None:
    """An item of two lanes waits for what another node works on."""
    one, two = nodes
    for name, lanes in {"a1": ("a",), "ab": ("a", "b"), "b2": ("b",)}.items():
        await one.accept(message(lanes=lanes, control_id=name))
    first = await lease(one, LAB)
    assert await lease_now(two, LAB) is None
    await one.forward(first, Forward())
    both = await lease(two, LAB)
    assert both.message is not None
    assert both.message.control_id == "ab"
    assert await lease_now(one, LAB) is None


async def test_a_duplicate_is_one_at_every_node(nodes: tuple[Journal, Journal]) -> None:
    """The same message on two sockets of two nodes at once: one is kept."""
    first = message(duplicate_key="k")
    copies = [message(first.data.decode(), duplicate_key="k", reply=str(n).encode()) for n in range(20)]
    answers = await asyncio.gather(*(nodes[n % 2].accept(copy) for n, copy in enumerate(copies)))
    assert len({(answer.id, answer.reply) for answer in answers}) == 1
    assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 19


async def test_what_another_node_sent_outdates_an_answer(nodes: tuple[Journal, Journal]) -> None:
    """``Known`` is checked where everyone writes."""
    one, two = nodes
    await one.accept(message(lanes=("x",)))
    held = await lease(one, LAB)
    known = await one.known(Question(objects=("Patient/1",)), ("exchange/hub",))
    await forwarded(two, delivery(sent=(sent(),)))
    assert not await one.forward(held, Forward((delivery(),), stamp=known.stamp))
    known = await one.known(Question(objects=("Patient/1",)), ("exchange/hub",))
    assert await one.forward(held, Forward((delivery(),), stamp=known.stamp))


async def test_a_node_that_stops_gives_its_lanes_back_at_once(url: str) -> None:
    """Nobody waits for the time of a lease that was ended properly."""
    async with node(url) as staying:
        async with node(url) as leaving:
            await leaving.accept(message())
            held = await lease(leaving, LAB)
            waiting = asyncio.ensure_future(staying.lease(LAB, "staying"))
            await lease_now(staying, HUB)
        assert (await asyncio.wait_for(waiting, 3)).message == held.message


# --- fences -----------------------------------------------------------------------------------------------------------


async def test_a_worker_whose_lease_ended_is_fenced_off(url: str) -> None:
    """Forward, park and settle say so, and change nothing, once another node has the item."""
    async with node(url, lease_time=timedelta(milliseconds=20)) as slow, node(url) as other:
        await slow.accept(message(control_id="M"))
        late = await lease(slow, LAB)
        held = await lease(other, LAB)
        for write in (slow.forward(late, Forward()), slow.park(late, "x", "y")):
            with pytest.raises(UnknownItem):
                await write
        assert (await slow.search(Selection()))[0].state == MessageState.RECEIVED
        assert await other.forward(held, Forward((delivery(),)))
        late = await lease(slow, HUB)
        held = await lease(other, HUB)
        with pytest.raises(UnknownItem):
            await slow.settle(late, Park("x", "y"))
        await slow.release(late)
        assert await lease_now(slow, HUB) is None, "the other's lease is untouched"
        await other.settle(held, DELIVERED)
        assert (await slow.search(Selection()))[0].deliveries[0].state == DeliveryState.DELIVERED


async def test_a_fenced_off_worker_goes_on_to_the_next_item(url: str) -> None:
    """It neither tries for ever nor stops the engine."""
    fenced, broken = asyncio.Event(), []
    async with node(url, lease_time=timedelta(milliseconds=20)) as slow, node(url) as other:

        async def handle(leased: Lease) -> None:
            held = await lease(other, LAB)
            await other.forward(held, Forward())
            assert not await workers.durable(lambda: slow.park(leased, "x", "y"), "x")
            fenced.set()

        workers = Workers(slow, LAB, handle, owner="w", concurrency=1, broken=broken.append)
        workers.start()
        await slow.accept(message())
        await asyncio.wait_for(fenced.wait(), 10)
        await workers.stop(1)
    assert broken == []


# --- a node dies ------------------------------------------------------------------------------------------------------

_NODE = """
    import asyncio, sys
    from interop_engine.core.model import Delivered
    from interop_engine.journal import open_journal
    from interop_engine.journal.base import Forward
    from tests.support.journals import HUB, LAB, delivery

    async def transform(journal):
        while True:
            held = await journal.lease(LAB, "child")
            made = delivery(lanes=held.lanes)
            await journal.forward(held, Forward((made,)))

    async def deliver(journal):
        while True:
            held = await journal.lease(HUB, "child")
            print(held.delivery.message_id, flush=True)  # the receiver has it from here on
            await journal.settle(held, Delivered())

    async def main():
        journal = open_journal(sys.argv[1])
        await journal.open()
        await asyncio.gather(*(work(journal) for work in (transform, deliver) for _ in range(4)))

    asyncio.run(main())
"""


_HOLDER = """
    import asyncio, sys
    from interop_engine.journal import open_journal
    from tests.support.journals import LAB

    async def main():
        journal = open_journal(sys.argv[1])
        await journal.open()
        for _ in range(2):
            held = await journal.lease(LAB, "child")
            print(held.message.id, flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


async def test_a_killed_node_loses_nothing_doubles_nothing_and_keeps_the_order(url: str) -> None:
    """SIGKILL of one of two nodes under load, twice: all arrives, once (but what was on the wire), in order of its lane."""
    lanes = [f"patient{n}" for n in range(20)]
    async with AsyncExitStack() as stack:
        feeder = await stack.enter_async_context(node(url))
        receiver = Receiver(url)
        stack.push_async_callback(receiver.stop)
        await receiver.start(2)
        ids: dict[str, list[str]] = {lane: [] for lane in lanes}
        for round_ in range(3):
            for _ in range(5):
                stored = await asyncio.gather(*(feeder.accept(message(lanes=(lane,))) for lane in lanes))
                for lane, each in zip(lanes, stored, strict=True):
                    ids[lane].append(each.id)
            if round_ < 2:
                await receiver.kill_one()
        await asyncio.wait_for(receiver.has_all({id_ for each in ids.values() for id_ in each}), 60)
    seen: set[str] = set()
    firsts = [id_ for id_ in receiver.got if not (id_ in seen or seen.add(id_))]
    for lane in lanes:
        assert [id_ for id_ in firsts if id_ in set(ids[lane])] == ids[lane]
    twice = {id_ for id_, n in Counter(receiver.got).items() if n > 1}
    assert twice <= receiver.on_the_wire, "only what a killed node had sent and not settled comes twice"


async def test_a_killed_node_is_missed_within_ten_seconds(url: str) -> None:
    """Its lanes are free then; those of a living node that waits for a slow receiver all that time are not."""
    async with node(url) as staying:
        await forwarded(staying, delivery(lanes=("slow",)))
        slow = await lease(staying, HUB)
        for lane in ("a", "b"):
            await staying.accept(message(lanes=(lane,)))
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(_HOLDER), url, stdout=subprocess.PIPE, cwd=_ROOT
        )
        assert holder.stdout is not None
        held = {(await holder.stdout.readline()).decode().strip() for _ in range(2)}
        assert await lease_now(staying, LAB) is None
        holder.kill()
        began = asyncio.get_running_loop().time()
        got = {each.message.id for each in await asyncio.gather(*(lease(staying, LAB) for _ in held)) if each.message}
        assert (got, asyncio.get_running_loop().time() - began < 10) == (held, True)
        await holder.wait()
        assert await lease_now(staying, HUB) is None
        await staying.settle(slow, DELIVERED)


class Receiver:
    """What the nodes deliver, in the order in which it arrives; the nodes are processes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._nodes: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []
        self._last: dict[int, list[str]] = {}
        self._arrived = asyncio.Event()
        self.got: list[str] = []
        self.on_the_wire: set[str] = set()

    async def start(self, count: int) -> None:
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", textwrap.dedent(_NODE), self._url, stdout=subprocess.PIPE, cwd=_ROOT
            )
            self._nodes.append(process)
            self._readers.append(asyncio.create_task(self._read(process)))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        own = self._last.setdefault(process.pid, [])
        while line := await process.stdout.readline():
            own.append(line.decode().strip())
            self.got.append(own[-1])
            self._arrived.set()

    async def kill_one(self) -> None:
        """Kill the older node in the middle of its work, and start another."""
        victim = self._nodes.pop(0)
        working = self._last.setdefault(victim.pid, [])
        before = len(working)
        async with asyncio.timeout(30):
            while len(working) == before:
                self._arrived.clear()
                await self._arrived.wait()
        victim.kill()
        await victim.wait()
        await self._readers.pop(0)
        self.on_the_wire.update(working[-4:])  # one for each of its workers
        await self.start(1)

    async def has_all(self, ids: set[str]) -> None:
        while not ids <= set(self.got):
            self._arrived.clear()
            await self._arrived.wait()

    async def stop(self) -> None:
        for each in self._nodes:
            each.kill()
            await each.wait()
        await asyncio.gather(*self._readers)


# --- Who tells senders --------------------------------------------------------------------------------------------------------


async def test_one_node_at_a_time_tells_senders(url: str) -> None:
    """Three workers that look at once send each receipt once; who looked to the end, or died, leaves the rest to others."""
    async with node(url) as one, node(url) as two:
        for number in range(3):
            headers = {"sender": "24001", "receiver": "hub", "kind": "lab", "delivery-id": f"d{number}"}
            await one.accept(message(headers=headers))
        first = [each.receipt.number for each in await one.reports(limit=2)]
        assert await two.reports() == []
        (last,) = await one.reports(first[-1])
        assert await two.reports() == []
        await one.reported(first)
        assert await one.reports(last.receipt.number) == []
        assert await two.reports() == [last]  # one could not send it
    async with node(url) as three:  # the others ended in the middle
        assert await three.reports() == [last]
