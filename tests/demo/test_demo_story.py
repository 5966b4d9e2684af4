"""The demonstration as a whole: the real engine between simulated systems and servers, and what it says of itself."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from interop_engine.demo import day, story
from interop_engine.demo.fhir_server import Fault
from tests.support.broker import Broker


def played(broker: str | None = None) -> tuple[int, str]:
    """The exit code and what was shown."""
    shown = io.StringIO()
    code = story.run(broker, console=Console(file=shown, width=160))
    return code, shown.getvalue()


def test_the_day_ends_well() -> None:
    """With no broker and no other set-up every message and every check is as it must be, in less than a minute."""
    began = time.monotonic()
    code, shown = played()
    assert "✗" not in shown
    assert "All is well" in shown
    assert code == 0
    assert time.monotonic() - began < 60


def test_a_wrong_expectation_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that does not end as the day says makes the demonstration fail, and is marked in the table."""
    first = day.steps()[0]
    monkeypatch.setattr(story, "steps", lambda: (replace(first, state="filtered", code="stale", receivers={}),))
    code, shown = played()
    assert code == 1
    assert "✗ must end: not delivered: something newer was" in shown
    assert "Something is wrong: 1 of 1 messages" in shown


def test_a_refusing_receiver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle that the hub refuses for good parks there, and the demonstration fails."""
    first = day.steps()[0]
    monkeypatch.setattr(story, "steps", lambda: (replace(first, fault=Fault("refuse", status=422)),))
    code, shown = played()
    assert code == 1
    assert "hub parked" in shown


@pytest.mark.rabbitmq
def test_the_day_over_rabbitmq(own_broker: Broker) -> None:
    """The same day over a real broker ends the same way."""
    code, shown = played(own_broker.url)
    assert "✗" not in shown
    assert code == 0
