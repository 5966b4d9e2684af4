"""The exchange as a connector: what a delivery becomes on the way, and what an arrival's answer does to the parcel."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from interop_engine.connectors.base import Surroundings
from interop_engine.connectors.exchange import (
    ExchangeDestination,
    ExchangeDestinationOptions,
    ExchangeSource,
    ExchangeSourceOptions,
)
from interop_engine.core.model import Accepted, Answer, Arrival, Delivered, Delivery, Outcome, Park, Refused, Retry, Unavailable
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import Exchange, Parcel
from interop_engine.exchange.embedded import EmbeddedExchange

_HEADERS = {"receiver": "hub", "kind": "lab", "control-digest": "ab" * 32, "event": "ORU^R01", "mapping": "", "config": "c1"}


async def _exchange() -> Exchange:
    exchange = open_exchange("embedded")
    await exchange.open()
    await exchange.begin()
    return exchange


def _source(exchange: Exchange) -> ExchangeSource:
    options = ExchangeSourceOptions.model_validate({"as": "hub", "kinds": ["lab", "patient"]})
    return ExchangeSource(options, Surroundings("hub", exchange, "hub", "source"))


def _destination(exchange: Exchange) -> ExchangeDestination:
    options = ExchangeDestinationOptions.model_validate({"to": "=hub", "kind": "lab"})
    return ExchangeDestination(options, Surroundings("24001", exchange, "lab-results", "hub"))


def _delivery(**headers: str) -> Delivery:
    return Delivery("d1", "m1", "lab-results", "hub", ("24001|p1", "24001|p2"), b'{"a":1}', "fhir", _HEADERS | headers)


class _Accept:
    """Answers as told, and keeps the arrivals."""

    def __init__(self, *answers: Answer) -> None:
        self.arrivals: list[Arrival] = []
        self._answers = list(answers)

    async def __call__(self, arrival: Arrival) -> Answer:
        self.arrivals.append(arrival)
        return self._answers.pop(0)


async def test_a_delivery_arrives_at_the_other_node() -> None:
    """Body and media as sent; sender, kind, lanes, event and the delivery id as headers; the sender is the peer."""
    exchange, accept = await _exchange(), _Accept(Accepted("m9"))
    source, destination = _source(exchange), _destination(exchange)
    await source.start(accept)
    assert await destination.deliver(_delivery()) == Delivered()
    (arrival,) = accept.arrivals
    assert (arrival.data, arrival.media, arrival.peer, arrival.fault) == (b'{"a":1}', "fhir", "24001", "")
    assert arrival.headers == {
        "sender": "24001",
        "receiver": "hub",
        "kind": "lab",
        "delivery-id": "d1",
        "lane": "24001|p1\n24001|p2",
        "control-digest": "ab" * 32,
        "event": "ORU^R01",
        "config": "c1",
    }


async def test_the_sender_may_be_another_facility() -> None:
    """A node that relays for another says whose it is."""
    exchange, accept = await _exchange(), _Accept(Accepted("m9"))
    source = _source(exchange)
    await source.start(accept)
    assert await _destination(exchange).deliver(_delivery(sender="24017")) == Delivered()
    assert accept.arrivals[0].peer == "24017"


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        (Accepted("m9", duplicate=True), True),
        (Refused("m9", "207", "no"), True),  # journaled as rejected: settled for its sender, shown here
        (Unavailable("the disk is full"), False),
    ],
)
async def test_a_parcel_is_acknowledged_once_it_is_journaled(answer: Answer, taken: bool) -> None:
    """Accepted and Refused are in the journal; Unavailable is not, and the sender tries again."""
    exchange = await _exchange()
    source = _source(exchange)
    await source.start(_Accept(answer))
    assert isinstance(await _destination(exchange).deliver(_delivery()), Delivered if taken else Retry)


async def test_a_faulty_parcel_arrives_with_its_fault() -> None:
    """What the carrier says is wrong with a parcel makes the channel journal it as rejected."""
    exchange, accept = await _exchange(), _Accept(Refused("m9", "207", "forged"))
    source = _source(exchange)
    await source.start(accept)
    await exchange.publish(Parcel("d1", "24001", "hub", "lab", b"{}", "fhir", {"fault": "forged", "event": "x"}))
    assert accept.arrivals[0].fault == "forged"
    assert "fault" not in accept.arrivals[0].headers


@pytest.mark.parametrize(
    ("headers", "code"), [({"receiver": ""}, "bad-address"), ({"kind": ""}, "bad-address"), ({"kind": "x"}, "unrouted")]
)
async def test_a_delivery_without_a_receiver_parks(headers: dict[str, str], code: str) -> None:
    """Nobody to send to, or nobody there, is for a person to see."""
    exchange = await _exchange()
    await _source(exchange).start(_Accept())
    outcome = await _destination(exchange).deliver(_delivery(**headers))
    assert isinstance(outcome, Park)
    assert outcome.code == code


async def test_a_broker_that_takes_nothing_is_left_alone() -> None:
    """What it says it did not take is no fault of the message: after five in a row the others wait for one."""

    class Refusing(EmbeddedExchange):
        attempts = 0

        async def publish(self, parcel: Parcel) -> Outcome:
            self.attempts += 1
            return Retry("the broker did not take it", "nacked", counts=False)

    exchange = Refusing()
    destination = _destination(exchange)
    outcomes = [await destination.deliver(_delivery()) for _ in range(6)]
    assert [isinstance(outcome, Retry) and (outcome.code, outcome.counts) for outcome in outcomes] == [
        *[("nacked", False)] * 5,
        ("breaker-open", False),
    ]
    assert exchange.attempts == 5
    assert destination.gate.problem == "the broker did not take it"


async def test_a_stopped_source_takes_nothing() -> None:
    """Starting and stopping twice is harmless; while it is stopped its senders wait."""
    exchange, accept = await _exchange(), _Accept(Accepted("m9"))
    source, destination = _source(exchange), _destination(exchange)
    await source.start(accept)
    await source.start(accept)
    assert (source.health().connections, source.health().problem) == (1, "")
    await source.stop()
    await source.stop()
    assert source.health().connections == 0
    outcome = await destination.deliver(_delivery())
    assert isinstance(outcome, Retry)
    assert not outcome.counts
    await source.start(accept)
    assert await destination.deliver(_delivery()) == Delivered()
    await exchange.close()
    assert source.health().problem == destination.health().problem == "closed"


@pytest.mark.parametrize(
    "options", [{"kinds": ["lab"]}, {"as": "hub"}, {"as": "hub", "kinds": []}, {"as": "hub", "kinds": ["lab"], "to": "x"}]
)
def test_a_source_says_its_name_and_kinds(options: dict[str, object]) -> None:
    """A subscription to nothing is a mistake in the file."""
    with pytest.raises(ValidationError):
        ExchangeSourceOptions.model_validate(options)
