"""RabbitMQ killed, restarted, unreachable, alarmed, each twice under load, and away for a while: senders see nothing of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.cluster import running_cluster
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


@pytest.mark.soak
@pytest.mark.rabbitmq
@pytest.mark.timeout(1200)
async def test_one_of_three_nodes_dies_and_comes_back(tmp_path: Path) -> None:
    """Quorum queues on three nodes: each is killed once under load and brought back; traffic goes on by way of the others."""
    with running_cluster() as cluster:
        async with (
            FaultProxy(*(("127.0.0.1", each.port) for each in cluster)) as proxy,
            rig(tmp_path / "site", exchange=through(proxy, cluster[0].url), rate=_RATE) as node,
        ):
            sending = asyncio.create_task(node.senders.send(0, _ENDLESS))
            await node.recorded(_RATE)
            for each in cluster:
                await asyncio.to_thread(each.kill)
                killed = time.monotonic()
                await node.recorded(len(node.record.inbox) + _RATE)
                print(f"\na node killed: the next parcel {node.record.inbox.pause_after(killed):.1f} s later")
                await asyncio.to_thread(each.start)
                await node.recorded(len(node.record.inbox) + _RATE)
            node.senders.stopping = True
            await sending
            await node.arrived()
            assert node.senders.log.broken == 0
            assert node.verdicts() == (KEPT, KEPT)
            assert await node.checked()
