"""A receiver that takes nothing for hours, and many connections that say nothing: memory stays flat, and traffic passes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.receivers import judge
from tests.support.rig import KEPT, rig

_BACKLOG = 20_000
_CACHE = 72 << 20  # bytes that SQLite keeps of a large journal, for the writer and the reader (schema): they grow to here
_HELD = 1 << 10  # bytes for each item that a line knows of, and it knows of 50,000 at most (lanes)
_PLAY = 16 << 20  # the allocator's
_IDLE = 500


@pytest.mark.faults
@pytest.mark.timeout(3600)
async def test_a_slow_consumer_and_a_backlog(tmp_path: Path, scale: int) -> None:
    """20,000 messages wait for a receiver that stands still: memory grows to a bound and no further, and they leave in order."""
    async with rig(tmp_path / "site", relay=True, connections=32) as node:
        node.his.gate.clear()
        quarter = _BACKLOG * scale // 4
        await node.senders.send(0, quarter)
        early = node.engine.memory()
        await node.senders.send(quarter, 3 * quarter)
        late = node.engine.memory()
        node.his.gate.set()
        async with asyncio.timeout(600 * scale):
            while len(node.his.inbox) < 4 * quarter:  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.5)
        drained = node.engine.memory()
        await node.settled()
        assert judge(node.senders.log, node.his.inbox) == KEPT
        print(f"\n{early >> 20} MiB at {quarter} waiting, {late >> 20} MiB at {4 * quarter}, {drained >> 20} MiB drained")
        assert max(late, drained) - early < _CACHE + _HELD * min(3 * quarter, 50_000) + _PLAY


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_idle_connections_beside_traffic(tmp_path: Path, scale: int) -> None:
    """500 connections that say nothing do not keep 50 messages a second from being acknowledged: p99 below a second."""
    async with rig(tmp_path / "site", relay=True, rate=50) as node:
        idle = [await asyncio.open_connection("127.0.0.1", node.senders.port) for _ in range(_IDLE)]
        await node.senders.send(0, 500 * scale)
        log = node.senders.log
        print(f"\n{_IDLE} idle connections: p50 {log.percentile(50) * 1000:.1f} ms, p99 {log.percentile(99) * 1000:.1f} ms")
        assert log.percentile(99) < 1.0
        assert log.broken == 0
        for reader, writer in idle:
            assert not reader.at_eof()
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in idle))
