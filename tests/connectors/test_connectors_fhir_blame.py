"""Whose fault it is that a FHIR server does not take a message: the message's, ours or the server's; and what people are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from interop_engine.connectors import fhir_troubles
from interop_engine.connectors.fhir_rest import FhirRestDestination
from interop_engine.core.events import subscribe
from interop_engine.core.model import Delivered, Outcome, Park, Retry
from tests.support.scripted_fhir import (
    Answer,
    Request,
    ScriptedServer,
    again_until_settled,
    bundle_of,
    open_destination,
    operation_outcome,
    receipt,
    reply,
)

_TAKEN = reply(200, receipt("200", "200"))


async def _reset(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def poison(answer: Answer) -> Answer:
    """Answer the first delivery so, and take the others."""

    async def choose(request: Request, writer: asyncio.StreamWriter) -> None:
        await (answer if request.headers["x-request-id"] == "d1" else _TAKEN)(request, writer)

    return choose


@contextmanager
def told() -> Iterator[list[str]]:
    """What is told of the destination meanwhile."""
    names: list[str] = []
    end = subscribe(lambda event: names.append(type(event).__name__) if "Destination" in type(event).__name__ else None)
    try:
        yield names
    finally:
        end()


async def asked(destination: FhirRestDestination, number: int) -> Outcome:
    """What the server says to a delivery, once the breaker lets it through."""
    while True:
        outcome = await destination.deliver(bundle_of(number))
        if not isinstance(outcome, Retry) or outcome.code != "breaker-open":
            return outcome
        await asyncio.sleep(outcome.after or 0)


# --- The message's -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "times"),
    [
        (reply(403, operation_outcome("forbidden", text="no right to this patient")), "fhir-403", 5),
        (reply(401), "fhir-401", 5),
        (reply(404, b"<html>"), "fhir-404", 5),
        (reply(500, operation_outcome("exception")), "fhir-500", 5),
        (_reset, "network", 10),
        (reply(504), "fhir-504", 10),
        (reply(200, b"<html>The requested URL was rejected</html>"), "fhir-reply", 10),
    ],
)
async def test_one_that_fails_while_others_pass_parks(server: ScriptedServer, answer: Answer, code: str, times: int) -> None:
    """With a pass between all its failures it is the message's fault, and it holds up nobody; the last answer is kept."""
    server.answers = [poison(answer)]
    async with open_destination(server.url) as destination:
        for number in range(times - 1):
            assert isinstance(await asked(destination, 1), Retry)
            assert isinstance(await asked(destination, number + 2), Delivered)
        parked = await asked(destination, 1)
        assert destination.health().problem == ""
    assert isinstance(parked, Park)
    assert parked.code == code
    if code == "fhir-403":
        assert parked.why == "403 Forbidden; forbidden: no right to this patient (5 times)"


@pytest.mark.parametrize("answer", [reply(403), reply(500), _reset, reply(504)])
async def test_failures_without_a_pass_between_are_one(server: ScriptedServer, answer: Answer) -> None:
    """However often it was sent during an outage, in which all others failed too: that says nothing about the message."""
    server.answers = [poison(answer)]
    async with open_destination(server.url) as destination:
        for _ in range(12):
            assert isinstance(await asked(destination, 1), Retry)
        assert isinstance(await asked(destination, 2), Delivered)
        assert isinstance(await asked(destination, 1), Retry)


async def test_a_server_that_comes_back_with_some_500s_parks_nothing(server: ScriptedServer) -> None:
    """Each failed five times while nothing passed; now one passes, and each fails once more: nobody is blamed for the outage."""
    server.answers = [reply(500)]
    async with open_destination(server.url) as destination:
        for _ in range(5):
            for number in range(20):
                await destination.deliver(bundle_of(number))
        server.answers = [_TAKEN]
        assert isinstance(await destination.deliver(bundle_of(99)), Delivered)
        server.answers = [reply(500)]
        outcomes = [await destination.deliver(bundle_of(number)) for number in range(20)]
    assert {type(outcome) for outcome in outcomes} == {Retry}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_blames_no_message(server: ScriptedServer, status: int) -> None:
    """Whom it turns away while it is busy is chance."""
    server.answers = [poison(reply(status))]
    async with open_destination(server.url) as destination:
        for number in range(12):
            assert isinstance(await asked(destination, 1), Retry)
            assert isinstance(await asked(destination, number + 2), Delivered)


async def test_each_answer_is_counted_by_itself(server: ScriptedServer) -> None:
    """Six times 429 and seven times 503 use up none of the tries that a conflict or a missing reference has."""
    async with open_destination(server.url) as destination:
        for status, times in ((429, 6), (503, 7)):
            server.answers = [reply(status)]
            for _ in range(times):
                await asked(destination, 1)
        server.answers = [reply(409)]
        assert await asked(destination, 1) == Retry("409 Conflict", "fhir-409", nth=1)
        server.answers = [reply(422, operation_outcome("not-found"))]
        assert await asked(destination, 1) == Retry("422 Unprocessable Entity; not-found", "fhir-422", nth=1)


async def test_one_that_is_known_to_be_refused_alone_holds_up_nobody(server: ScriptedServer) -> None:
    """Its first refusal may be about us; once others have passed, the next one closes the server to nobody."""
    server.answers = [poison(reply(403))]
    async with open_destination(server.url, breaker={"failures": 1, "first": "10ms", "up_to": "10ms"}) as destination:
        assert isinstance(await asked(destination, 1), Retry)
        assert isinstance(await asked(destination, 2), Delivered)
        assert isinstance(await destination.deliver(bundle_of(1)), Retry)
        assert isinstance(await destination.deliver(bundle_of(3)), Delivered)


# --- Ours, or the server's ---------------------------------------------------------------------------------------------


async def test_where_all_are_refused_nothing_parks(server: ScriptedServer) -> None:
    """A token that is withdrawn in the middle of work: after five in a row one at a time is sent, and in the end all pass."""
    with told() as events:
        async with open_destination(server.url) as destination:
            assert isinstance(await destination.deliver(bundle_of(0)), Delivered)
            server.answers = [reply(403)]
            for _ in range(5):
                outcomes = [await asked(destination, number) for number in range(1, 7)]
                assert {type(outcome) for outcome in outcomes} == {Retry}
            assert events == ["DestinationBarred"]
            server.answers = [_TAKEN]
            for number in range(1, 7):
                assert isinstance(await again_until_settled(destination, bundle_of(number)), Delivered)
    assert events == ["DestinationBarred", "DestinationUp"]


async def test_a_refusal_after_an_outage_is_told(server: ScriptedServer) -> None:
    """A person must act on the one and not on the other."""
    with told() as events:
        async with open_destination(server.url) as destination:
            server.answers = [reply(503)]
            for number in range(5):
                await destination.deliver(bundle_of(number))
            server.answers = [reply(401)]
            for _ in range(3):
                await asked(destination, 7)
            assert events == ["DestinationDown", "DestinationBarred"]


async def test_a_server_that_asks_to_wait_no_time_is_left_alone(server: ScriptedServer) -> None:
    """503 with Retry-After: 0 does not make it asked more often than one that says nothing."""
    server.answers = [reply(503, Retry_After="0")]
    async with open_destination(server.url, breaker={"first": "10s", "up_to": "10s"}) as destination:
        for number in range(50):
            await destination.deliver(bundle_of(number))
    assert len(server.requests) == 1


# --- What people are told ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (reply(500), "500 Internal Server Error"),
        (reply(429), "429 Too Many Requests"),
        (reply(408), "408 Request Timeout"),
        (reply(409), "409 Conflict"),
        (reply(200, b"<html>Please log in</html>"), "200, but the reply is no FHIR resource"),
        (_reset, "the server cannot be reached"),
    ],
)
async def test_the_last_failure_is_the_problem_until_a_success(server: ScriptedServer, answer: Answer, why: str) -> None:
    """A receiver that takes nothing is not well, whether or not it is left alone."""
    async with open_destination(server.url) as destination:
        server.answers = [answer]
        for number in range(3):
            await destination.deliver(bundle_of(number))
        problem = destination.health().problem
        assert problem.startswith(f"{why} (")
        assert " (3 in a row, since 2" in problem
        server.answers = [_TAKEN]
        assert isinstance(await destination.deliver(bundle_of(9)), Delivered)
        assert destination.health().problem == ""


@pytest.mark.parametrize("answer", [reply(500), reply(403), _reset, reply(504)])
async def test_one_message_alone_is_no_problem_of_the_server(server: ScriptedServer, answer: Answer) -> None:
    """Others passed, and nothing else is there for hours: nobody is paged for it at night. Of a second one it is said."""
    server.answers = [poison(answer)]
    async with open_destination(server.url) as destination:
        assert isinstance(await destination.deliver(bundle_of(2)), Delivered)
        for _ in range(3):
            assert isinstance(await asked(destination, 1), Retry)
        assert destination.health().problem == ""
        assert "(3 in a row, since 2" in destination.health().details["alone"]
        server.answers = [answer]
        assert isinstance(await asked(destination, 3), Retry)
        assert "(4 in a row, since 2" in destination.health().problem


async def test_what_waits_at_the_breaker_is_not_remembered(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """How far the one under way came is not forgotten for thousands that were never sent."""
    monkeypatch.setattr(fhir_troubles, "_REMEMBERED", 1)
    server.answers = [reply(200, {"resourceType": "Patient"}), reply(503), reply(200, {"resourceType": "Patient"})]
    options: dict[str, Any] = {"bundle": "split", "entries": 1, "breaker": {"failures": 1, "first": "50ms", "up_to": "50ms"}}
    async with open_destination(server.url, **options) as destination:
        first = await destination.deliver(bundle_of(1))
        assert isinstance(first, Retry)
        waiting = [await destination.deliver(bundle_of(number)) for number in range(2, 9)]
        assert {outcome.code for outcome in waiting if isinstance(outcome, Retry)} == {"breaker-open"}
        assert isinstance(await again_until_settled(destination, bundle_of(1)), Delivered)
    assert [json.loads(request.body)["id"] for request in server.requests] == ["p0", "p1", "p1"]
