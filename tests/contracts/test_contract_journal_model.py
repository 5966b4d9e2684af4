"""The journal against a model of its state machines and lanes: random lives, restarts among them, the same on every adapter."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Delivered, Known, Park, Question, Retry
from interop_engine.journal.base import HELD, Forward, Lease, NewMessage, Selection
from tests.support.journals import HUB, LAB, Store, ahead, delivery, lease_now, message, new_store, sent

LANES = st.sampled_from([("a",), ("b",), ("a", "b"), ("b", "c"), ()])
KEYS = st.sampled_from([None, "k1", "k2"])
OBJECTS = ("Patient/1", "Patient/2")


@dataclass
class Item:
    """What the model knows of a message or a delivery."""

    id: str
    lanes: tuple[str, ...]
    state: str
    due_later: bool = False
    holds: bool = False  # its lanes, while it is parked
    lease: Lease | None = None
    sent: tuple[str, str] | None = None  # object, version
    parent: str = ""
    new: NewMessage | None = None


@dataclass
class Model:
    """Messages and deliveries in order of arrival."""

    messages: list[Item] = field(default_factory=list)
    deliveries: list[Item] = field(default_factory=list)
    first: dict[tuple[str, str], Item] = field(default_factory=dict)

    def next(self, items: list[Item], open_state: str) -> Item | None:
        """The item the contract hands out: the oldest that is due, free, and the first of each of its lanes."""
        held = {lane for item in items if item.lease for lane in item.lanes}
        seen: set[str] = set()
        for item in items:
            if item.state != open_state:
                if item.holds and item.state == "parked":
                    seen |= set(item.lanes)
                continue
            blocked = bool(item.lease) or item.due_later or bool(set(item.lanes) & (seen | held))
            if not blocked:
                return item
            seen |= set(item.lanes)
        return None

    def stale(self, item: Item) -> bool:
        """Whether a resend of the message is processed."""
        given_up = any(each.parent == item.id and each.state in {"parked", "discarded"} for each in self.deliveries)
        return given_up or item.state in {"rejected", "parked", "discarded", "superseded"}

    def supersede(self, old: Item) -> None:
        """What a resend or replay does to the one before."""
        parked = [each for each in self.deliveries if each.parent == old.id and each.state == "parked"]
        if parked or old.state == "parked":
            old.state = "superseded"
        for each in parked:
            each.state = "discarded"

    def overtaken(self, item: Item) -> bool:
        """Whether a later delivery that counts brought what this one carries."""
        assert item.sent is not None
        later = self.deliveries[self.deliveries.index(item) + 1 :]
        return any(each.sent and each.sent[0] == item.sent[0] and each.state in {"waiting", "delivered"} for each in later)

    def version(self, thing: str) -> str | None:
        """What counts as sent of an object."""
        counted = [each for each in self.deliveries if each.sent and each.sent[0] == thing]
        kept = [each.sent[1] for each in counted if each.sent and each.state in {"waiting", "delivered"}]
        return kept[-1] if kept else None


class JournalLife(RuleBasedStateMachine):
    """Every rule does one thing to the journal and to the model, and compares."""

    new_store: ClassVar[Callable[[Path], Store]]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.store = type(self).new_store(Path(self.folder.name))
        self.model = Model()
        self.versions = 0
        self.stack = AsyncExitStack()

    def do(self, what: Any) -> Any:
        return self.loop.run_until_complete(what)

    @initialize()
    def start(self) -> None:
        self.journal = self.do(self.stack.enter_async_context(self.store.opened()))

    def teardown(self) -> None:
        self.do(self.stack.aclose())
        self.loop.close()
        self.folder.cleanup()

    @rule(lanes=LANES, key=KEYS, content=st.sampled_from(["x", "y"]))
    def accept(self, lanes: tuple[str, ...], key: str | None, content: str) -> None:
        new = message(content, lanes=lanes, duplicate_key=key)
        before = self.model.first.get((key, content)) if key else None
        stored = self.do(self.journal.accept(new))
        if before is not None and not self.model.stale(before):
            assert (stored.duplicate, stored.id) == (True, before.id)
            return
        assert (stored.duplicate, stored.id) == (False, new.id)
        item = Item(new.id, lanes, "received", new=new)
        self.model.messages.append(item)
        if before is not None:
            self.model.supersede(before)
        if key:
            self.model.first[key, content] = item

    @rule()
    def lease_message(self) -> None:
        self._lease(LAB, self.model.messages, "received")

    @rule()
    def lease_delivery(self) -> None:
        self._lease(HUB, self.model.deliveries, "waiting")

    def _lease(self, queue: Any, items: list[Item], state: str) -> None:
        expected = self.model.next(items, state)
        lease = self.do(lease_now(self.journal, queue))
        got = lease and (lease.message or lease.delivery)
        assert (got and got.id) == (expected and expected.id)
        if expected is not None:
            expected.lease = lease

    def _held(self, data: Any, items: list[Item]) -> Item | None:
        held = [item for item in items if item.lease]
        return data.draw(st.sampled_from(held)) if held else None

    @rule(data=st.data(), count=st.integers(0, 2), lanes=LANES, thing=st.sampled_from(OBJECTS))
    def forward(self, data: Any, count: int, lanes: tuple[str, ...], thing: str) -> None:
        if (item := self._held(data, self.model.messages)) is None:
            return
        made = []
        for _ in range(count):
            self.versions += 1
            made.append(delivery(lanes=lanes, sent=(sent(thing, str(self.versions)),)))
        stamp = self.do(self.journal.known(Question(objects=OBJECTS), ("exchange/hub",))).stamp
        assert self.do(self.journal.forward(item.lease, Forward(tuple(made), stamp=stamp)))
        item.lease = None
        item.state = "transformed" if made else "filtered"
        for each in made:
            state = (each.sent[0].object, each.sent[0].version)
            self.model.deliveries.append(Item(each.id, lanes, "waiting", sent=state, parent=item.id))

    @rule(data=st.data())
    def park_message(self, data: Any) -> None:
        if (item := self._held(data, self.model.messages)) is not None:
            self.do(self.journal.park(item.lease, "204", "order unknown"))
            item.lease, item.state = None, "parked"

    @rule(data=st.data(), how=st.sampled_from(["delivered", "parked", "held", "now", "later"]))
    def settle(self, data: Any, how: str) -> None:
        if (item := self._held(data, self.model.deliveries)) is None:
            return
        outcome = {"delivered": Delivered(), "parked": Park("x", "y"), "held": Park("x", "y")}.get(how, Retry("no"))
        due = {"now": ahead(-1), "later": ahead(3600), "held": HELD}.get(how)
        self.do(self.journal.settle(item.lease, outcome, due_at=due))
        item.lease = None
        if item.state == "waiting" and not isinstance(outcome, Retry):
            item.state, item.holds = how.replace("held", "parked"), how == "held"
        item.due_later = how == "later"

    @rule(data=st.data(), deliveries=st.booleans())
    def release(self, data: Any, deliveries: bool) -> None:
        if (item := self._held(data, self.model.deliveries if deliveries else self.model.messages)) is not None:
            self.do(self.journal.release(item.lease))
            item.lease = None
            item.due_later = False

    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        if open_ := [each for each in self.model.deliveries if each.state in {"parked", "waiting"}]:
            item = data.draw(st.sampled_from(open_))
            made = self.do(self.journal.retry(item.id))
            if item.state == "parked" and not item.holds and self.model.overtaken(item):
                item.state = "discarded"
                of = next(each for each in self.model.messages if each.id == item.parent)
                self.model.messages.append(Item(made, of.lanes, "received", new=of.new))
            else:
                assert made is None
                item.state, item.due_later, item.holds = "waiting", False, False

    @rule(data=st.data(), waiting=st.booleans())
    def discard(self, data: Any, waiting: bool) -> None:
        if self.model.messages:
            item = data.draw(st.sampled_from(self.model.messages))
            states = {"parked", "waiting"} if waiting else {"parked"}
            meant = [each for each in self.model.deliveries if each.parent == item.id and each.state in states]
            meant += [item] if item.state == "parked" else []
            giving_up = self.journal.discard(item.id, "useless", waiting=waiting)
            if not meant:
                with pytest.raises(UnknownItem):
                    self.do(giving_up)
                return
            self.do(giving_up)
            for each in meant:
                each.state = "discarded"

    @rule(data=st.data())
    def replay(self, data: Any) -> None:
        if self.model.messages:
            item = data.draw(st.sampled_from(self.model.messages))
            again = Item(self.do(self.journal.replay(item.id)), item.lanes, "received", new=item.new)
            self.model.messages.append(again)
            for key, first in self.model.first.items():
                if first is item:
                    self.model.first[key] = again
            self.model.supersede(item)

    @rule()
    def restart(self) -> None:
        self.do(self.stack.aclose())
        for item in (*self.model.messages, *self.model.deliveries):
            item.lease = None
        self.start()

    @invariant()
    def the_same_states(self) -> None:
        if not hasattr(self, "journal"):
            return
        rows = self.do(self.journal.search(Selection(limit=1000)))
        assert {row.id: str(row.state) for row in rows} == {each.id: each.state for each in self.model.messages}
        got = {each.id: str(each.state) for row in rows for each in row.deliveries}
        assert got == {each.id: each.state for each in self.model.deliveries}

    @invariant()
    def the_same_counts(self) -> None:
        if not hasattr(self, "journal"):
            return
        counts = {count.queue: (count.waiting, count.parked) for count in self.do(self.journal.counts())}
        states = Counter(each.state for each in self.model.messages)
        assert counts.get(LAB, (0, 0)) == (states["received"], states["parked"])
        states = Counter(each.state for each in self.model.deliveries)
        assert counts.get(HUB, (0, 0)) == (states["waiting"], states["parked"])
        holding = sum(each.holds and each.state == "parked" for each in self.model.deliveries)
        assert sum(count.holding for count in self.do(self.journal.counts())) == holding

    @invariant()
    def the_same_knowledge(self) -> None:
        if not hasattr(self, "journal"):
            return
        known: Known = self.do(self.journal.known(Question(objects=OBJECTS), ("exchange/hub",)))
        got = {thing: state.version for (_, thing), state in known.sent.items()}
        assert got == {thing: version for thing in OBJECTS if (version := self.model.version(thing)) is not None}


@pytest.mark.parametrize(
    ("adapter", "lives"), [("sqlite", 40), ("sqlite-sealed", 10), pytest.param("postgres", 8, marks=pytest.mark.postgres)]
)
def test_random_lives(adapter: str, lives: int, request: pytest.FixtureRequest) -> None:
    """Whatever is done to a journal, it does what the model does."""

    class Life(JournalLife):
        new_store = partial(new_store, adapter, request)

    run_state_machine_as_test(
        Life,
        settings=settings(max_examples=lives, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
    )
