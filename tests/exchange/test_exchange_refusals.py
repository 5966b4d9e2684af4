"""What the broker has refused is remembered for a minute."""

from __future__ import annotations

import pytest
from aio_pika.exceptions import ChannelPreconditionFailed
from aiormq.exceptions import ChannelAccessRefused

from interop_engine.core.model import Park
from interop_engine.exchange.base import Parcel
from interop_engine.exchange.rabbitmq.refusals import Refusals

PARCEL = Parcel("d1", "24001", "hub", "lab", b"{}", "fhir")
OTHER = Parcel("d1", "24001", "hub", "imaging", b"{}", "fhir")
MIB = 1024 * 1024


def code(refusal: Park | None) -> str:
    """Of a refusal; empty where there is none."""
    return "" if refusal is None else refusal.code


def refused(key: str) -> ChannelAccessRefused:
    """As RabbitMQ says it."""
    return ChannelAccessRefused(f"ACCESS_REFUSED - write access to topic '{key}' in exchange 'interop' in vhost '/' refused")


def test_a_limit_that_the_broker_says_counts_from_then_on() -> None:
    """Of the one refused and of its neighbours, who learn it too."""
    refusals = Refusals(100 * MIB)
    error = ChannelPreconditionFailed("PRECONDITION_FAILED - message size 60000000 is larger than configured max size 33554432")
    assert code(refusals.known(PARCEL, 40 * MIB)) == ""
    assert code(refusals.learn(error, OTHER, 2000)) == ""
    assert code(refusals.learn(error, PARCEL, 60_000_000)) == "too-large"
    assert [code(refusals.known(PARCEL, size)) for size in (33554432, 33554433)] == ["", "too-large"]


def test_a_limit_that_the_broker_does_not_say_is_the_size_it_refused() -> None:
    """Another as large is not sent either, a smaller one is tried."""
    refusals = Refusals(100 * MIB)
    refusals.learn(ChannelPreconditionFailed("message size 5000 is too large"), PARCEL, 5000)
    assert [code(refusals.known(PARCEL, size)) for size in (4999, 5000)] == ["", "too-large"]


def test_what_was_refused_is_asked_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights and limits may have been put right; until then what they refused is not sent, and nothing else is touched."""
    now = 1000.0
    monkeypatch.setattr("interop_engine.exchange.rabbitmq.refusals.time.monotonic", lambda: now)
    refusals = Refusals(MIB)
    assert code(refusals.learn(refused(PARCEL.routing_key), OTHER, 2)) == ""
    assert code(refusals.learn(refused(PARCEL.routing_key), PARCEL, 2)) == "not-permitted"
    refusals.learn(ChannelPreconditionFailed("message size 500 is larger than configured max size 400"), PARCEL, 500)
    assert [code(refusals.known(each, 2)) for each in (PARCEL, OTHER)] == ["not-permitted", ""]
    assert [code(refusals.known(OTHER, size)) for size in (400, 401)] == ["", "too-large"]
    now += 61
    assert [code(refusals.known(PARCEL, size)) for size in (2, 401)] == ["", ""]
    assert code(refusals.known(PARCEL, MIB + 1)) == "too-large"
