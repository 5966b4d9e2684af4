"""RabbitMQ killed, restarted, unreachable, alarmed, each twice under load, and away for a while: senders see nothing of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.broker import Broker, available
from tests.support.cluster import Cluster, running_cluster
from tests.support.needs import require
from tests.support.outage import outage, through
from tests.support.proxy import AWAY, SILENT, WELL, FaultProxy
from tests.support.rig import KEPT, recovery, rig

_RATE = 50
_ENDLESS = 1_000_000
_PAUSE = 2.0  # seconds that a fault lasts, on top of the broker's own restart

Harm = Callable[[Broker, FaultProxy], Awaitable[None]]


async def _killed(broker: Broker, _: FaultProxy) -> None:
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)


async def _restarted(broker: Broker, _: FaultProxy) -> None:
    await asyncio.to_thread(broker.control, "stop_app")
    await asyncio.sleep(_PAUSE)
    await asyncio.to_thread(broker.control, "start_app")


async def _unreachable(_: Broker, proxy: FaultProxy) -> None:
    proxy.now(AWAY)
    await asyncio.sleep(_PAUSE)
    proxy.now(WELL)


async def _silent(_: Broker, proxy: FaultProxy) -> None:
    proxy.now(SILENT)
    await asyncio.sleep(_PAUSE)
    proxy.now(WELL)


async def _alarmed(broker: Broker, _: FaultProxy) -> None:
    await asyncio.to_thread(broker.alarm, True)
    await asyncio.sleep(_PAUSE)
    await asyncio.to_thread(broker.alarm, False)


_HARMS: dict[str, Harm] = {
    "killed": _killed,
    "restarted": _restarted,
    "unreachable": _unreachable,
    "silent": _silent,
    "alarmed": _alarmed,
}


@pytest.mark.faults
@pytest.mark.rabbitmq
@pytest.mark.timeout(400)
@pytest.mark.parametrize("harm", _HARMS)
async def test_a_broker_in_trouble(tmp_path: Path, own_broker: Broker, harm: str, scale: int) -> None:
    """Twice in one run; every message was acknowledged at the first try, and parcels flow again within seconds of its return."""
    async with (
        FaultProxy(("127.0.0.1", own_broker.port)) as proxy,
        rig(tmp_path / "site", exchange=through(proxy, own_broker.url), rate=_RATE) as node,
    ):
        await asyncio.to_thread(own_broker.settle)
        sending = asyncio.create_task(node.senders.send(0, _ENDLESS))
        for _ in range(2 * scale):
            before = len(node.record.inbox)
            await node.recorded(before + _RATE)
            await _HARMS[harm](own_broker, proxy)
            back = time.monotonic()
            await node.recorded(len(node.record.inbox) + 1)
            assert node.record.inbox.pause_after(back) < recovery()
        node.senders.stopping = True
        await sending
        await node.arrived()
        assert node.senders.log.broken == 0
        assert node.verdicts() == (KEPT, KEPT)
        assert await node.checked()


@pytest.mark.faults
@pytest.mark.rabbitmq
@pytest.mark.timeout(400)
async def test_a_broker_away_under_load(tmp_path: Path, own_broker: Broker) -> None:
    """Away for ten seconds under 100 messages a second; the soak, and ``./dev bench outage``, take 60 and 200."""
    async with rig(tmp_path / "site", exchange=own_broker.url) as node:
        await asyncio.to_thread(own_broker.settle)
        print(await outage(node, own_broker, rate=100, seconds=10))


@pytest.mark.soak
@pytest.mark.rabbitmq
@pytest.mark.timeout(1200)
async def test_a_broker_away_for_a_minute(tmp_path: Path, own_broker: Broker) -> None:
    """Away for 60 s under 200 messages a second."""
    async with rig(tmp_path / "site", exchange=own_broker.url) as node:
        await asyncio.to_thread(own_broker.settle)
        print(await outage(node, own_broker, rate=200, seconds=60))


Away = Callable[[Cluster, Broker], None]


def _dead(_: Cluster, node: Broker) -> None:
    node.kill()


def _started(_: Cluster, node: Broker) -> None:
    node.start()


def _frozen(_: Cluster, node: Broker) -> None:
    node.freeze()


def _thawed(_: Cluster, node: Broker) -> None:
    node.thaw()


_AWAY: dict[str, tuple[Away, Away]] = {
    "dies": (_dead, _started),
    "stands still": (_frozen, _thawed),
    "is cut off": (Cluster.cut_off, Cluster.bring_back),
}
_LONG = {"stands still": pytest.mark.soak}  # until a node is missed that still takes connections


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes, which each test leaves up and together."""
    require(available(), "RabbitMQ (apt-get install rabbitmq-server)")
    with running_cluster() as ours:
        yield ours


@pytest.mark.rabbitmq
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", [pytest.param(each, marks=_LONG.get(each, pytest.mark.faults)) for each in _AWAY])
async def test_one_of_three_nodes(tmp_path: Path, cluster: Cluster, what: str, scale: int) -> None:
    """Each node of a quorum is taken away under load: traffic goes on by way of the others before it is back, and after."""
    harm, mend = _AWAY[what]
    async with rig(tmp_path / "site", exchange=cluster.url, rate=_RATE) as node:
        sending = asyncio.create_task(node.senders.send(0, _ENDLESS))
        await node.recorded(_RATE)
        for each in cluster.nodes * max(1, scale // 5):
            began = time.monotonic()
            await asyncio.to_thread(harm, cluster, each)
            await node.recorded(len(node.record.inbox) + 5 * _RATE)
            away = node.longest_pause(began)
            back = time.monotonic()
            await asyncio.to_thread(mend, cluster, each)
            await node.recorded(len(node.record.inbox) + 5 * _RATE)
            print(f"\none of three {what}: no patient's results stood still for longer than {away:.1f} s,", end=" ")
            print(f"and {(again := node.longest_pause(back)):.1f} s once it was back")
            assert again < recovery()
            assert away < recovery() or what in _LONG
        node.senders.stopping = True
        await sending
        await node.arrived()
        assert node.senders.log.broken == 0
        assert node.verdicts() == (KEPT, KEPT)
        assert await node.checked()
