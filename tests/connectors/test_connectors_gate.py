"""The gate of a destination: who may come in while its receiver is left alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from interop_engine.connectors.breaker import Breaker
from interop_engine.connectors.gate import Gate
from interop_engine.core.events import Event, subscribe
from interop_engine.core.model import Delivered, Outcome, Retry
from interop_engine.core.retry import Backoff


def closed(first: float = 0.02) -> tuple[Gate, Breaker]:
    """A gate whose receiver has just failed."""
    breaker = Breaker(1, Backoff(first, first))
    gate = Gate(breaker, "lab", "his")
    breaker.trip("no connection")
    return gate, breaker


async def entering(gate: Gate, count: int) -> list[asyncio.Task[bool]]:
    """So many who want to come in, each as far as it comes."""
    tasks = [asyncio.create_task(gate.enter()) for _ in range(count)]
    await asyncio.wait(tasks, timeout=0)
    return tasks


async def test_an_open_gate_lets_everybody_in() -> None:
    """Nobody goes ahead of anybody."""
    gate = Gate(Breaker(1, Backoff()), "lab", "his")
    assert await asyncio.gather(*(gate.enter() for _ in range(4))) == [False] * 4


async def test_one_goes_ahead_and_the_others_wait_for_it() -> None:
    """After the pause exactly one comes in; the others do when it has reported that the receiver is back."""
    gate, breaker = closed()
    tasks = await entering(gate, 4)
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    assert [task.result() for task in done] == [True]
    assert (await asyncio.wait(waiting, timeout=0.1))[0] == set()  # several pauses long
    assert not gate.shut(ahead=True)
    assert gate.shut(ahead=False)
    breaker.success()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 10) == [False] * 3
    gate.leave(ahead=True)


async def test_one_that_went_ahead_in_vain_is_followed_by_another() -> None:
    """Also where it was cancelled and reported nothing."""
    gate, breaker = closed()
    assert await gate.enter()
    breaker.failure("no connection")
    gate.leave(ahead=True)
    assert await asyncio.wait_for(gate.enter(), 10)
    breaker.trip("asks for an hour", 3600)
    gate.leave(ahead=True)
    first, second = await entering(gate, 2)
    first.cancel()
    gate.go()
    assert await asyncio.wait_for(second, 10)


async def test_an_operator_holds_and_lets_go() -> None:
    """While deliveries are held nobody comes in; letting go ends a pause too, and one is sent ahead at once."""
    gate, _ = closed(first=3600)
    gate.hold(datetime(2026, 11, 21, 8, tzinfo=UTC))
    gate.hold()
    assert gate.held_since == datetime(2026, 11, 21, 8, tzinfo=UTC)
    tasks = await entering(gate, 2)
    gate.go()
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    assert [task.result() for task in done] == [True]
    assert gate.held_since is None
    for task in waiting:
        task.cancel()


async def test_what_is_sent_reports_and_is_told() -> None:
    """It is said once that a receiver takes nothing, and once that it does again; what the gate holds back was not sent."""
    seen: list[Event] = []
    end = subscribe(seen.append)
    breaker = Breaker(2, Backoff(3600, 3600))
    gate = Gate(breaker, "lab", "his")

    async def fail() -> Outcome:
        breaker.failure("no connection")
        return Retry("no connection", "connect")

    async def pass_() -> Outcome:
        breaker.success()
        return Delivered()

    await gate.attempt(fail)
    assert gate.problem == ""
    await gate.attempt(fail)
    held = await gate.attempt(pass_)
    assert isinstance(held, Retry)
    assert (held.code, held.counts, held.sent) == ("breaker-open", False, False)
    assert gate.problem in held.why
    gate.go()
    assert await gate.enter()
    assert await gate.attempt(pass_) == Delivered()
    end()
    assert [type(each).__name__ for each in seen] == ["DestinationDown", "DestinationUp"]


async def test_what_several_found_out_at_once_is_told_once() -> None:
    """Of those under way as a receiver went away each finds it; of those that find it back one came in before it was away."""
    seen: list[Event] = []
    end = subscribe(seen.append)
    breaker = Breaker(1, Backoff(3600, 3600))
    gate = Gate(breaker, "lab", "his")
    may_fail, may_pass = asyncio.Event(), asyncio.Event()

    async def fail() -> Outcome:
        await may_fail.wait()
        breaker.failure("no connection")
        return Retry("no connection", "connect")

    async def pass_() -> Outcome:
        await may_pass.wait()
        breaker.success()
        return Delivered()

    passing = asyncio.create_task(gate.attempt(pass_))
    failing = [asyncio.create_task(gate.attempt(fail)) for _ in range(3)]
    await asyncio.wait([passing, *failing], timeout=0)
    may_fail.set()
    await asyncio.gather(*failing)
    may_pass.set()
    await passing
    end()
    assert gate.problem == ""
    assert [type(each).__name__ for each in seen] == ["DestinationDown", "DestinationUp"]
