"""A disk that is full, or fails to sync, under a running node: nothing is acknowledged after, and a restart has all."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Literal

import pytest

from tests.support.disk import FailingDisk
from tests.support.mllp import code_and_id, message
from tests.support.node import Node, running
from tests.support.torture import CHANNEL, ENGINE, Peer

_POINTS = 10
_MESSAGES = 30


def make_site(folder: Path) -> Path:
    """One channel that writes what it gets to files."""
    (folder / "channels").mkdir(parents=True)
    (folder / "channels" / "lab.yaml").write_text(CHANNEL.format(source=""), encoding="utf-8")
    (folder / "engine.yaml").write_text(ENGINE, encoding="utf-8")
    return folder


async def ask(node: Node, number: int) -> tuple[str, str]:
    """Send one message on a connection of its own; what was answered, ("", "") where nothing was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port("lab"))
    peer = Peer(reader, writer)
    try:
        async with asyncio.timeout(5):
            answer = await peer.ask(message(f"M{number}"))
    except (TimeoutError, ConnectionError):
        return "", ""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return code_and_id(answer) if answer else ("", "")


async def sent_until_it_fails(node: Node, disk: FailingDisk, at: int) -> set[str]:
    """Send until the disk has failed, and on; returns what was acknowledged. Nothing may be after the first that was not."""
    disk.arm(at)
    acknowledged, silent = set(), 0
    for number in range(_MESSAGES + at):
        code, control = await ask(node, number)
        if code == "AA":
            assert not silent, "acknowledged after the disk had failed"
            acknowledged.add(control)
        else:
            silent += 1
        if silent > 3:
            break
    assert disk.failed
    return acknowledged


def delivered(folder: Path) -> set[str]:
    """MSH-10 of the files that the receiver has."""
    return {file.read_bytes().split(b"|")[9].decode() for file in (folder / "out").glob("*") if file.is_file()}


@pytest.mark.faults
@pytest.mark.parametrize("at", range(_POINTS))
@pytest.mark.parametrize("kind", ["full", "sync"])
async def test_a_disk_that_fails(tmp_path: Path, kind: Literal["full", "sync"], at: int) -> None:
    """20 points: the operator is told, no sender is told a lie, and after a restart on a disk that works all is delivered."""
    site = make_site(tmp_path / "site")
    with FailingDisk(kind) as disk:
        async with running(site) as node:
            acknowledged = await sent_until_it_fails(node, disk, at * 2)
            assert (await node.runtime.journal.health()).problem
    async with running(site) as node:
        assert await ask(node, 1_000) == ("AA", "M1000")
        await node.settled()
        assert not (await node.runtime.journal.health()).problem
    assert acknowledged | {"M1000"} <= await asyncio.to_thread(delivered, site)
