"""The death of the process loses nothing that was acknowledged, delivers nothing twice, and turns no order around."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.support.rig import CARELESS, KEPT, Rig, recovery, rig

MESSAGES = 2_000
_KILLS = 2


async def kill_at(node: Rig, count: int) -> None:
    """SIGKILL when so many messages are acknowledged: no handler runs, nothing is flushed."""
    await node.acknowledged(count)
    node.engine.kill()


@pytest.mark.faults
@pytest.mark.rabbitmq
@pytest.mark.timeout(600)
@pytest.mark.seeds(10)
async def test_sigkill_while_messages_come_in(tmp_path: Path, broker: str, seed: int, scale: int) -> None:
    """Killed twice at random moments under load, over RabbitMQ to a FHIR server and to an MLLP receiver."""
    messages = MESSAGES * scale
    moments = sorted(random.Random(seed).sample(range(50, messages - 100), _KILLS))
    async with rig(tmp_path / "site", exchange=broker) as node:
        sending = asyncio.create_task(node.senders.send(seed * 10_000_000, messages))
        for moment in moments:
            await kill_at(node, moment)
            restarted = await node.restart()
            await node.acknowledged(moment + 16)
            assert node.senders.log.pause_after(restarted) < recovery()
            assert node.his.inbox.pause_after(restarted) < recovery()
        await sending
        await node.arrived()
        assert len(node.senders.log.acknowledged) == messages
        assert node.verdicts() == (KEPT, KEPT)
        assert await node.checked()


@pytest.mark.faults
@pytest.mark.timeout(200)
async def test_an_engine_that_acknowledges_too_early_is_found_out(tmp_path: Path) -> None:
    """Negative control: one that answers from memory and commits a tenth of a second later loses what it acknowledged."""
    async with rig(tmp_path / "site", command=CARELESS) as node:
        node.senders.resend = False
        sending = asyncio.create_task(node.senders.send(0, 400))
        await kill_at(node, 200)
        await sending
        await node.restart()
        await node.settled()
        assert all(verdict.lost > 0 for verdict in node.verdicts())
