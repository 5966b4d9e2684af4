"""Mapping in processes beside the engine's own gives what mapping inside gives, and their death loses nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from interop_engine.engine import transformers
from interop_engine.engine.transformers import Beside
from interop_engine.journal.base import Forward
from tests.support.node import Node, make_site, running
from tests.support.texts import admission, merge, order, result

ENGINE = 'site: Test\nfacility: "24001"\ntimezone: Asia/Ho_Chi_Minh\ntransform: {{processes: {0}}}\n'


def processes(node: Node) -> list[int]:
    """The ids of the processes beside the engine's."""
    beside = node.runtime.beside
    assert isinstance(beside, Beside)
    return [worker._process.pid for workers in beside._workers.values() for worker in workers]


def is_running(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def a_day(node: Node) -> list[dict[str, Any]]:
    """Orders, results, a stale one, a duplicate, a merge, one that parks; what the hub has of it in the end."""
    await node.send("patients", admission("P1", patient="BN001"), admission("P2", patient="BN009"))
    await node.send("orders", order("O1"))
    await node.settled()
    late = result("M2", status="P", value="9.9", at="20261121070000+0700")
    await node.send("lab-results", result("M1"), late, result("M1"), result("M3", patient="").replace(b"BV24001^MR", b""))
    await node.send("patients", merge("P3", survivor="BN001", retired="BN009"))
    await node.settled()
    return [entry["resource"] for bundle in node.bundles("hub") for entry in bundle["entry"]]


def without_times(resources: list[dict[str, Any]]) -> list[str]:
    """Resources without what differs from receipt to receipt, in an order of their own."""
    return sorted(str(each) for each in resources if each["resourceType"] != "Provenance")


async def test_beside_gives_what_inside_gives(tmp_path: Path) -> None:
    """The same day through both: the same resources at the hub, the same states in the journal."""
    found = []
    for number in (0, 2):
        async with running(make_site(tmp_path / str(number), engine=ENGINE.format(number))) as node:
            found.append((without_times(await a_day(node)), await node.runtime.journal.totals()))
    assert found[0] == found[1]
    assert found[0][0]


async def test_the_death_of_a_process_loses_nothing(tmp_path: Path) -> None:
    """SIGKILL of one, then of all, with messages on their way: every message arrives, once."""
    async with running(make_site(tmp_path, engine=ENGINE.format(2))) as node:
        first, second = processes(node)
        messages = [result(f"M{n}", patient=f"BN{n % 5}", order=f"A{n}", filler=f"F{n}") for n in range(30)]
        await node.send("lab-results", *messages[:10])
        os.kill(first, signal.SIGKILL)
        await node.send("lab-results", *messages[10:20])
        os.kill(second, signal.SIGKILL)
        await node.send("lab-results", *messages[20:])
        await node.settled()
        assert len(node.bundles("hub")) == 30
        assert not any(count.parked for count in await node.runtime.journal.counts())


async def test_what_a_process_cannot_say_parks_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result with half a character, as a site's own function may make it, parks its message; the process does the next."""
    monkeypatch.setattr(transformers, "_first", lambda *_: Forward(why="\ud800"))
    async with running(make_site(tmp_path, engine=ENGINE.format(1))) as node:
        await node.send("lab-results", result("M1"), result("M2"))
        await node.settled()
        assert (await node.runtime.journal.totals())["lab-results"] == {"parked": 2}


async def test_processes_end_with_the_engine(tmp_path: Path) -> None:
    """A stopped engine leaves no process behind, and none of them ends at a signal meant for the engine."""
    async with running(make_site(tmp_path, engine=ENGINE.format(2))) as node:
        pids = processes(node)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        await node.send("lab-results", result("M1"))
        await node.settled()
        assert [is_running(pid) for pid in pids] == [True, True]
    assert [is_running(pid) for pid in pids] == [False, False]
