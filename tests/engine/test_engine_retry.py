"""When a delivery is tried again, and when no more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from interop_engine.core.model import Delivered, Delivery, Park, Retry
from interop_engine.core.retry import Backoff
from interop_engine.engine.delivery import Policy, decide
from interop_engine.journal.base import HELD

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
POLICY = Policy(Backoff(first=2.0, up_to=60.0), give_up=3600.0)


def delivery(*, attempts: int = 0, age: float = 1.0) -> Delivery:
    """A delivery that was made ``age`` seconds ago."""
    created = NOW - timedelta(seconds=age)
    return Delivery("d1", "m1", "lab", "hub", ("p1",), b"{}", "fhir", {}, attempts, created)


@pytest.mark.parametrize("outcome", [Delivered("ok"), Park("fhir-422", "no")])
def test_what_is_settled_is_not_due_again(outcome: Delivered | Park) -> None:
    """Delivered and parked deliveries keep their outcome and have no time to be due at."""
    assert decide(delivery(), outcome, POLICY, NOW) == (outcome, None)


def test_where_parked_deliveries_hold_they_are_due_when_a_person_says_so() -> None:
    """With ``hold`` a parked delivery stays in its lanes, also one that was given up; a delivered one never does."""
    policy = replace(POLICY, hold=True)
    assert decide(delivery(), Park("fhir-422", "no"), policy, NOW) == (Park("fhir-422", "no"), HELD)
    assert decide(delivery(age=3601), Retry("503"), policy, NOW)[1] == HELD
    assert decide(delivery(), Delivered("ok"), policy, NOW) == (Delivered("ok"), None)


@pytest.mark.parametrize(("attempts", "longest"), [(0, 2), (1, 4), (2, 8), (5, 60), (500, 60)])
def test_the_delay_doubles_to_its_ceiling(attempts: int, longest: float) -> None:
    """The delay after attempt n lies between half of and the whole first·2ⁿ⁻¹, capped."""
    _, due_at = decide(delivery(attempts=attempts), Retry("503"), POLICY, NOW)
    assert due_at is not None
    assert longest / 2 <= (due_at - NOW).total_seconds() <= longest


def test_what_is_counted_by_itself_is_waited_for_by_itself() -> None:
    """A few short retries stay short, however often the delivery was tried for other reasons before."""
    for nth, longest in ((1, 2), (3, 8)):
        for counts in (True, False):
            _, due_at = decide(delivery(attempts=50), Retry("409", counts=counts, nth=nth), POLICY, NOW)
            assert due_at is not None
            assert longest / 2 <= (due_at - NOW).total_seconds() <= longest


def test_retry_after_is_a_floor() -> None:
    """A receiver that asks for 45 seconds is left alone for at least 45 seconds."""
    _, due_at = decide(delivery(), Retry("429", after=45.0), POLICY, NOW)
    assert due_at is not None
    assert (due_at - NOW).total_seconds() >= 45


def test_an_old_delivery_gives_up() -> None:
    """Past ``give_up`` a failed attempt parks, and says what the last answer was."""
    outcome, due_at = decide(delivery(age=3601), Retry("503 from the hub"), POLICY, NOW)
    assert due_at is None
    assert isinstance(outcome, Park)
    assert outcome.code == "gave-up"
    assert "503 from the hub" in outcome.why


def test_what_is_no_failure_of_a_delivery_never_gives_up() -> None:
    """Where our credentials are refused, or nothing was sent, age does not count: what waits a week for a person is not lost."""
    outcome, due_at = decide(delivery(age=10**7, attempts=9), Retry("401", counts=False), POLICY, NOW)
    assert isinstance(outcome, Retry)
    assert due_at is not None
    assert (due_at - NOW).total_seconds() <= 2


@pytest.mark.parametrize(("pause", "seconds"), [(0.0, 1), (4.0, 5), (3600.0, 11)])
def test_behind_a_closed_gate_the_gate_does_the_waiting(pause: float, seconds: float) -> None:
    """However often it failed, whatever it was told: due soon after the gate lets one go ahead; its backoff does not grow."""
    outcome, due_at = decide(delivery(attempts=50), Retry("503", after=3600.0), POLICY, NOW, pause)
    assert outcome == Retry("503", after=3600.0, counts=False)
    assert due_at == NOW + timedelta(seconds=seconds)


def test_age_counts_behind_a_closed_gate_too() -> None:
    """What could not be sent for so long parks; what only waits for our credentials does not."""
    assert isinstance(decide(delivery(age=3601), Retry("network"), POLICY, NOW, 4.0)[0], Park)
    assert isinstance(decide(delivery(age=3601), Retry("401", counts=False), POLICY, NOW, 4.0)[0], Retry)
