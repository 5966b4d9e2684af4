"""Deliveries at once: order per lane, merges as barriers, never more than the destination wants, whatever is answered."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interop_engine.connectors.base import ConnectorHealth
from interop_engine.connectors.breaker import Breaker
from interop_engine.connectors.gate import Gate
from interop_engine.core.errors import JournalError
from interop_engine.core.model import Delivered, Delivery, Outcome, Park, Retry
from interop_engine.core.retry import Backoff
from interop_engine.engine.delivery import Deliverer, Policy
from interop_engine.journal import open_journal
from interop_engine.journal.base import DeliveryState, Journal, Selection
from tests.support.journals import HUB, delivery, forwarded

_LANES = ("a", "b", "c", "d")
_ANSWERS: dict[str, Outcome] = {
    "yes": Delivered(),
    "later": Retry("503", "fhir-503"),
    "behind": Retry("open", "breaker-open", counts=False),
    "never": Park("fhir-422", "no"),
}


@dataclass
class Receiver:
    """Answers each delivery as the script says, in turns, and writes down who was there when; None breaks the connector."""

    script: dict[str, list[str]]
    concurrency: int
    began: list[str] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)  # lanes
    flying: int = 0
    most: int = 0
    gate: Gate = field(default_factory=lambda: Gate(Breaker(1, Backoff()), "lab", "hub"))

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    def health(self) -> ConnectorHealth:
        """Well."""
        return ConnectorHealth("receiver")

    async def deliver(self, given: Delivery) -> Outcome:
        """Take it as the script says; a lane that is entered twice at once is noticed."""
        assert not self.busy & set(given.lanes), "two of one lane at once"
        self.busy |= set(given.lanes)
        self.flying += 1
        self.most = max(self.most, self.flying)
        self.began.append(given.id)
        for _ in range(3):
            await asyncio.sleep(0)
        self.flying -= 1
        self.busy -= set(given.lanes)
        answer = self.script[given.id].pop(0) if self.script[given.id] else "yes"
        self.ended.append((given.id, answer))
        if answer == "broken":
            raise RuntimeError("the connector's own mistake")
        return _ANSWERS[answer]


_ANSWER = st.sampled_from(["yes", "yes", "later", "behind", "never", "broken"])
_ITEM = st.tuples(st.lists(st.sampled_from(_LANES), min_size=1, max_size=2, unique=True), st.lists(_ANSWER, max_size=3))


async def _run(items: list[tuple[list[str], list[str]]], concurrency: int, *, hold: bool) -> tuple[Receiver, list[str], Journal]:
    """Deliver all; what parked stays parked. Returns the receiver, the ids in order of arrival, and the closed journal's rows."""
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(Path(folder, "journal.db"))
        await journal.open()
        made = [delivery(lanes=tuple(lanes)) for lanes, _ in items]
        receiver = Receiver({each.id: list(script) for each, (_, script) in zip(made, items, strict=True)}, concurrency)
        lanes = {each.id: set(each.lanes) for each in made}
        messages = {await forwarded(journal, each): each.id for each in made}
        settled = asyncio.Event()
        failures: list[JournalError] = []
        policy = Policy(Backoff(0.001, 0.001), 3600.0, hold)
        deliverer = Deliverer(
            journal, HUB, receiver, policy, owner="test", concurrency=concurrency,
            settled=lambda _: settled.set(), broken=failures.append,
        )  # fmt: skip
        await deliverer.open()
        deliverer.start()
        try:
            async with asyncio.timeout(30):
                while not _is_done(await _states(journal, messages), list(messages.values()), lanes, hold=hold):
                    settled.clear()
                    await settled.wait()
        finally:
            await deliverer.stop(5)
        await journal.close()
        assert failures == []
        return receiver, [each.id for each in made], journal


async def _states(journal: Journal, messages: dict[str, str]) -> dict[str, DeliveryState]:
    rows = await journal.search(Selection(limit=100))
    return {messages[row.id]: row.deliveries[0].state for row in rows}


def _is_done(states: dict[str, DeliveryState], order: list[str], lanes: dict[str, set[str]], *, hold: bool) -> bool:
    """Nothing more will be tried: all is settled, or waits behind what holds its lane, or behind what waits so."""
    stuck: set[str] = set()
    for each in order:
        waits = bool(lanes[each] & stuck)
        if states[each] is DeliveryState.WAITING and not waits:
            return False
        if hold and (states[each] is DeliveryState.PARKED or waits):
            stuck |= lanes[each]
    return True


@settings(max_examples=12, deadline=None)
@given(items=st.lists(_ITEM, min_size=1, max_size=12), concurrency=st.integers(1, 4))
def test_order_is_kept_in_each_lane(items: list[tuple[list[str], list[str]]], concurrency: int) -> None:
    """Of each lane, the next is begun only after the one before was delivered or parked; one in two lanes waits in both."""
    receiver, order, _ = asyncio.run(_run(items, concurrency, hold=False))
    assert receiver.most <= concurrency
    _prove_order(receiver, order, items)
    assert set(receiver.began) == set(order)


@settings(max_examples=12, deadline=None)
@given(items=st.lists(_ITEM, min_size=1, max_size=12), concurrency=st.integers(1, 4))
def test_behind_what_holds_nothing_is_begun(items: list[tuple[list[str], list[str]]], concurrency: int) -> None:
    """With ``on_parked: hold``, nothing that shares a lane with a parked delivery is begun after it; the rest is delivered."""
    receiver, order, _ = asyncio.run(_run(items, concurrency, hold=True))
    _prove_order(receiver, order, items)
    lanes = {id_: set(item[0]) for id_, item in zip(order, items, strict=True)}
    stuck: set[str] = set()
    for each in order:
        waits = bool(lanes[each] & stuck)
        assert (each in receiver.began) is not waits
        if waits or (each, "never") in receiver.ended:
            stuck |= lanes[each]


def _prove_order(receiver: Receiver, order: list[str], items: list[tuple[list[str], list[str]]]) -> None:
    """The oracle: what was begun in each lane, in the order of arrival, each until its last answer."""
    asked: dict[str, list[str]] = defaultdict(list)
    by_id = dict(zip(order, items, strict=True))
    for each in receiver.began:
        for lane in by_id[each][0]:
            asked[lane].append(each)
    for lane, seen in asked.items():
        first_seen = list(dict.fromkeys(seen))
        assert first_seen == [each for each in order if lane in by_id[each][0] and each in first_seen]
        assert seen == sorted(seen, key=order.index), "something was begun again after its successor"


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_lanes_go_side_by_side_as_far_as_the_receiver_wants(concurrency: int) -> None:
    """Three patients: at concurrency 3 all are under way at once, at 1 one after the other."""
    receiver, order, _ = await _run([(["a"], []), (["b"], []), (["c"], [])], concurrency, hold=False)
    assert receiver.most == concurrency
    assert sorted(each for each, _ in receiver.ended) == sorted(order)
