"""The status: what an operator sees at a glance."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from interop_engine.config.schema import WaitingOptions
from interop_engine.connectors.base import ConnectorHealth
from interop_engine.journal.base import Queue, QueueCount
from interop_engine.ops.metrics import Metrics
from interop_engine.ops.rates import Arrivals
from interop_engine.ops.status import Backlog, observe, problems
from tests.support.observed import AT, FakeChannel, FakeEngine, FakeJournal


async def test_counts_come_from_the_journal() -> None:
    """Received is everything the journal holds of a channel; all but the rejected were accepted."""
    status = await observe(FakeEngine(), Arrivals(), AT, AT + timedelta(minutes=2))
    (channel,) = status.channels
    assert (channel.received, channel.accepted, channel.rejected, channel.filtered, channel.parked) == (13, 11, 2, 3, 1)
    assert (status.uptime, status.problems) == (120.0, ())


async def test_times_are_local_and_the_oldest_has_an_age() -> None:
    """An operator reads the wall clock of the hospital; the age of the oldest waiting item is in seconds."""
    status = await observe(FakeEngine(), Arrivals(), AT, AT + timedelta(seconds=90))
    (destination,) = status.channels[0].destinations
    assert destination.backlog == Backlog(2, 1, AT, 90.0)
    assert destination.backlog.oldest is not None
    assert destination.backlog.oldest.isoformat() == "2026-03-02T08:00:00+07:00"
    assert status.at.isoformat() == "2026-03-02T08:01:30+07:00"


@pytest.mark.parametrize(
    ("waiting", "told"),
    [
        ({}, ""),
        ({"messages": 2, "age": "90s"}, ""),
        ({"messages": 1}, "2 wait, more than 1"),
        ({"age": "1m"}, "the oldest waits for 0:01:30, longer than 0:01:00"),
        ({"messages": 1, "age": "1m"}, "2 wait, more than 1; the oldest waits for 0:01:30, longer than 0:01:00"),
    ],
)
async def test_more_waits_than_is_right(waiting: dict[str, Any], told: str) -> None:
    """Beyond `waiting:` of its channel, and not at it, a backlog says so, in the metrics too; it is no reason to be unready."""
    engine = FakeEngine()
    options = SimpleNamespace(waiting=WaitingOptions(**waiting))
    engine.site.channels = (SimpleNamespace(name="lab", options=options, source=None, destinations=()),)
    status = await observe(engine, Arrivals(), AT, AT + timedelta(seconds=90))
    (destination,) = status.channels[0].destinations
    assert (destination.backlog.over, status.problems) == (told, ())
    expected = f'interop_engine_waiting_over_limit{{channel="lab",destination="hub"}} {float(bool(told))}'
    assert expected in Metrics().exposition(status).decode().splitlines()


async def test_work_of_a_removed_destination_stays_in_sight() -> None:
    """A destination that left the configuration is shown as long as something waits for it."""
    status = await observe(FakeEngine(channels=[FakeChannel(destination_healths={})]), Arrivals(), AT, AT)
    (destination,) = status.channels[0].destinations
    assert (destination.name, destination.health.problem) == ("hub", "not configured any more")


async def test_a_removed_destination_without_work_is_gone() -> None:
    """Once nothing waits or is parked for it, a destination that left the configuration is shown no more."""
    engine = FakeEngine(channels=[FakeChannel(destination_healths={})])
    engine.journal.queues = [QueueCount(Queue("lab", "hub"), 0, 0)]
    status = await observe(engine, Arrivals(), AT, AT)
    assert status.channels[0].destinations == ()


async def test_work_of_a_removed_channel_stays_in_sight() -> None:
    """A channel that left the configuration is shown as long as work waits or is parked there; it is no reason to be unready."""
    status = await observe(FakeEngine(channels=[]), Arrivals(), AT, AT)
    (channel,) = status.channels
    assert (channel.name, channel.state, channel.backlog.parked) == ("lab", "removed", 1)
    assert [(each.name, each.backlog.waiting) for each in channel.destinations] == [("hub", 2)]
    assert status.problems == ()


async def test_not_ready_is_said_with_its_reasons() -> None:
    """A broken journal and a source that cannot listen are reasons; a receiver that refuses and a stopped channel are none."""
    failed = FakeChannel("images", state="failed", problem="The source cannot start: Address already in use")
    deaf = FakeChannel("orders", source_health=ConnectorHealth("broker", problem="not connected"))
    stopped = FakeChannel("patients", state="stopped", source_health=ConnectorHealth("x", problem="closed"))
    engine = FakeEngine(journal=FakeJournal(problem="No room."), channels=[FakeChannel(), failed, deaf, stopped])
    assert await problems(engine) == (
        "journal: No room.",
        "channel images: The source cannot start: Address already in use",
        "channel orders: not connected",
    )
