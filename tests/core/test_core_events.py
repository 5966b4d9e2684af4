"""An event is one log line and one metric, and carries no content of a message."""

from __future__ import annotations

import dataclasses

import pytest
import structlog

from interop_engine.core import events
from interop_engine.core.events import DeliveryParked, Event, MessageParked, emit, subscribe

ALL = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Event) and each is not Event]
# Names of fields that hold ids, names, places, counts, codes, and reasons the engine words itself.
HARMLESS = {
    "after", "attempt", "certificate", "changed", "channel", "channels", "code", "commit", "config", "deliveries", "delivery",
    "destination", "duplicate", "facility", "item", "library", "limit", "message", "messages", "peer", "place", "process",
    "seconds", "site", "state", "used", "why",
}  # fmt: skip


def test_an_event_is_one_line_with_its_fields() -> None:
    """Sentence, level, type and the fields that say something; empty ones are left out, zero is not."""
    with structlog.testing.capture_logs() as lines:
        emit(MessageParked("lab", "m1", "204"))
        emit(events.DeliveryRetried("lab", "hub", "d1", "503", 1, 0.0))
    assert lines == [
        {
            "event": "A message is parked and needs a person.",
            "log_level": "error",
            "event_type": "message_parked",
            "channel": "lab",
            "message": "m1",
            "code": "204",
        },
        {
            "event": "A delivery will be tried again.",
            "log_level": "warning",
            "event_type": "delivery_retried",
            "channel": "lab",
            "destination": "hub",
            "delivery": "d1",
            "code": "503",
            "attempt": 1,
            "after": 0.0,
        },
    ]


def test_what_is_not_logged_is_counted_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """The level is the logger's, asked anew when another one is configured."""
    seen: list[Event] = []
    leave = subscribe(seen.append)
    event = events.MessageAccepted("lab", "m1")
    try:
        for level in ("info", "debug"):
            structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
            emit(event)
    finally:
        leave()
        structlog.reset_defaults()
    assert seen == [event, event]
    assert capsys.readouterr().out.count("A message was accepted.") == 1


def test_a_subscriber_gets_events_until_it_leaves() -> None:
    """Each once, in order."""
    seen: list[Event] = []
    leave = subscribe(seen.append)
    first, second = DeliveryParked("lab", "hub", "d1", "x"), DeliveryParked("lab", "hub", "d2", "x")
    with structlog.testing.capture_logs():
        emit(first)
        leave()
        emit(second)
    assert seen == [first]


def test_there_are_events() -> None:
    """The checks below look at all of them."""
    assert len(ALL) >= 6


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.__name__)
def test_an_event_is_worded_and_typed_as_all_are(event: type[Event]) -> None:
    """A sentence with a capital and a full stop; a level the logger has; a frozen value; a name of its own."""
    assert event.sentence[0].isupper()
    assert event.sentence.endswith(".")
    assert event.level in {"debug", "info", "warning", "error"}
    assert event.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert [each.name() for each in ALL].count(event.name()) == 1


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.__name__)
def test_an_event_has_no_room_for_content(event: type[Event]) -> None:
    """Only fields that are known to hold no data of a patient: a new name must be thought about here first."""
    assert {each.name for each in dataclasses.fields(event)} - HARMLESS == set()
