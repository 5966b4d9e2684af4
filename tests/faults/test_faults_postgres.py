"""Two nodes on one PostgreSQL journal: a node, the server or the way between dies, stands still or goes; the other goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from tests.support.outage import through
from tests.support.postgres import Postgres, fresh_journal
from tests.support.proxy import AWAY, RESET, SILENT, WELL, At, FaultProxy
from tests.support.rig import CARELESS, COMMAND, KEPT, SLOW, UNFENCED, Rig, recovery, rig

pytestmark = [pytest.mark.faults, pytest.mark.postgres, pytest.mark.timeout(400)]
_NODES = 2
_RATE = 15
_SLOW_RATE = 8
_PATIENTS = 15
_ENDLESS = 1_000_000
_PATIENCE = 2.0  # seconds that a sender waits for an acknowledgement
_AWAY = 9.0  # seconds that a node's way to the database is gone
_FROZEN = 12.0  # seconds


@pytest.fixture
def journal(own_postgres: Postgres) -> str:
    """The URL of an empty journal."""
    return fresh_journal(own_postgres.url)


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    journal: str,
    first: str = "",
    *,
    exchange: str = "embedded",
    command: Sequence[str] = COMMAND,
    rate: float = _RATE,
) -> AsyncIterator[Rig]:
    """Two nodes, and senders at both who do not wait for long. ``first``: the first node's own URL of the journal."""
    journals = [first or journal, journal]
    async with rig(folder / "site", exchange=exchange, command=command, rate=rate, journals=journals) as found:
        found.senders.timeout, found.senders.patients = _PATIENCE, _PATIENTS
        yield found


@pytest.fixture
async def node(tmp_path: Path, journal: str) -> AsyncIterator[Rig]:
    """Two nodes as they are."""
    async with running(tmp_path, journal) as found:
        yield found


async def kept(node: Rig, sending: asyncio.Task[None]) -> None:
    """Stop sending; all that was acknowledged arrives, once and in order, and the journal is sound."""
    node.senders.stopping = True
    await sending
    await node.arrived(120)
    assert node.senders.log.refused == []
    assert node.verdicts() == (KEPT, KEPT)
    assert await node.checked()


async def more(node: Rig, seconds: float) -> None:
    """Wait until as many more are acknowledged as are sent in so many seconds."""
    await node.acknowledged(len(node.senders.log.acknowledged) + int(node.senders.rate * seconds))


def moved(node: Rig, since: float) -> None:
    """No patient's messages have stood still for long at either receiver, nor have the senders all waited for long."""
    pauses = node.senders.log.pause_after(since), node.longest_pause(since)
    print("\nan acknowledgement after {:.1f} s, and no lane stood still for longer than {:.1f} s".format(*pauses))
    assert max(pauses) < recovery()


@pytest.mark.seeds(1)
async def test_sigkill_of_either_node(node: Rig, seed: int, scale: int) -> None:
    """Each once at a random moment: what it held goes on at the other within seconds, and it comes back to a journal at work."""
    chance = random.Random(seed)
    sending = asyncio.create_task(node.senders.send(seed * 10_000_000, _ENDLESS))
    await more(node, 1)
    for _ in range(scale):
        for number in chance.sample(range(_NODES), _NODES):
            await more(node, 1 + chance.random())
            node.engines[number].kill()
            killed = time.monotonic()
            await more(node, 2)
            await node.restart(number)
            await more(node, 6)
            moved(node, killed)
    await kept(node, sending)


async def _killed(server: Postgres) -> None:
    await asyncio.to_thread(server.vanish)
    await asyncio.to_thread(server.start)


async def _frozen(server: Postgres) -> None:
    server.freeze()
    await asyncio.sleep(_AWAY)
    server.thaw()


_HARMS: dict[str, Callable[[Postgres], Awaitable[None]]] = {"killed": _killed, "frozen": _frozen}


@pytest.mark.parametrize("harm", _HARMS)
async def test_a_database_in_trouble(node: Rig, own_postgres: Postgres, harm: str, scale: int) -> None:
    """Twice under load: nothing is acknowledged that it does not have, and both ends go on within seconds of its return."""
    sending = asyncio.create_task(node.senders.send(0, _ENDLESS))
    for _ in range(2 * scale):
        await more(node, 2)
        await _HARMS[harm](own_postgres)
        back = time.monotonic()
        await more(node, 4)
        moved(node, back)
    await kept(node, sending)


_SCRIPTS = {
    "silent": [At(0.0, SILENT), At(_AWAY, WELL)],
    "reset": [At(at, RESET) for at in (0.0, _AWAY / 3, _AWAY * 2 / 3, _AWAY)],
    "away": [At(0.0, AWAY), At(_AWAY, WELL)],
}


@pytest.mark.parametrize("network", _SCRIPTS)
async def test_a_node_cut_off_from_the_database(
    tmp_path: Path, own_postgres: Postgres, journal: str, network: str, scale: int
) -> None:
    """One node's way is silent, reset or gone for nine seconds: the other takes over what it held, and no lane waits for long."""
    async with (
        FaultProxy(("127.0.0.1", own_postgres.port)) as proxy,
        running(tmp_path, journal, through(proxy, journal)) as node,
    ):
        sending = asyncio.create_task(node.senders.send(0, _ENDLESS))
        for _ in range(scale):
            await more(node, 3)
            cut = time.monotonic()
            await proxy.play(_SCRIPTS[network])
            await more(node, 4)
            moved(node, cut)
        assert proxy.ended or network == "silent"
        await kept(node, sending)


async def freeze(node: Rig) -> float:
    """The first node stands still for some time and goes on, while messages come in at the other; returns when it began."""
    await more(node, 3)
    node.engine.freeze()
    frozen = time.monotonic()
    await asyncio.sleep(_FROZEN)
    node.engine.thaw()
    await more(node, 4)
    return frozen


async def test_a_frozen_node(node: Rig, scale: int) -> None:
    """The other goes on with what it held, and after it goes on itself nothing comes a second time behind what came since."""
    sending = asyncio.create_task(node.senders.send(0, _ENDLESS))
    for _ in range(scale):
        moved(node, await freeze(node))
    await kept(node, sending)


async def test_a_frozen_node_does_not_send_what_it_had_leased(tmp_path: Path, journal: str, scale: int) -> None:
    """The same where a second passes between lease and sending, so that it stands still with much that it has not sent."""
    async with running(tmp_path, journal, command=SLOW, rate=_SLOW_RATE) as node:
        sending = asyncio.create_task(node.senders.send(0, _ENDLESS))
        for _ in range(scale):
            assert node.senders.log.pause_after(await freeze(node)) < recovery()
        await kept(node, sending)


async def test_a_frozen_node_without_fences_is_found_out(tmp_path: Path, journal: str) -> None:
    """Negative control: one that sends what it had leased before, although another has it now, puts old states back."""
    async with running(tmp_path, journal, command=UNFENCED, rate=_SLOW_RATE) as node:
        sending = asyncio.create_task(node.senders.send(0, _ENDLESS))
        await freeze(node)
        node.senders.stopping = True
        await sending
        await node.arrived(120)
        assert sum(verdict.late for verdict in node.verdicts()) > 0


async def test_nodes_that_acknowledge_too_early_are_found_out(tmp_path: Path, journal: str) -> None:
    """Negative control: of two that answer from memory and commit a tenth of a second later, one is killed."""
    async with running(tmp_path, journal, command=CARELESS, rate=0) as node:
        node.senders.resend = False
        sending = asyncio.create_task(node.senders.send(0, 200))
        await node.acknowledged(100)
        node.engine.kill()
        await sending
        await node.restart()
        await node.settled()
        assert all(verdict.lost > 0 for verdict in node.verdicts())


@pytest.mark.rabbitmq
async def test_one_node_after_the_other_is_restarted(tmp_path: Path, journal: str, broker: str, scale: int) -> None:
    """SIGTERM under load, over RabbitMQ, as an update does it: each ends in order, and no lane waits for long."""
    async with running(tmp_path, journal, exchange=broker) as node:
        sending = asyncio.create_task(node.senders.send(0, _ENDLESS))
        await more(node, 2)
        began = time.monotonic()
        for number in list(range(_NODES)) * scale:
            assert await asyncio.to_thread(node.engines[number].stop) == 0
            await node.restart(number)
            await more(node, 2)
        moved(node, began)
        await kept(node, sending)
