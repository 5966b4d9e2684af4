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
from interop_engine.journal.sqlite import sentstate
from tests.support.journals import HUB, LAB, Store, ahead, delivery, lease_now, message, new_store, sent

LANES = st.sampled_from([("a",), ("b",), ("a", "b"), ("b", "c"), ()])
KEYS = st.sampled_from([None, "k1", "k2"])
OBJECTS = ("Patient/1", "Patient/2", "Patient/3")
BRING = st.lists(st.sets(st.sampled_from(OBJECTS), min_size=1), max_size=2)  # objects, for each delivery
ENDS = st.lists(st.sampled_from(["delivered", "delivered", "parked"]), max_size=3)


@dataclass
class Item:
    """What the model knows of a message or a delivery."""

    id: str
    lanes: tuple[str, ...]
    state: str
    due_later: bool = False
    holds: bool = False  # its lanes, while it is parked
    lease: Lease | None = None
    sent: dict[str, str] = field(default_factory=dict)  # versions by object
    parent: str = ""
    new: NewMessage | None = None
    pruned: bool = False


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

    def overtaken(self, item: Item, remembered: int | None = None) -> bool:
        """Whether a later delivery that counts brought what this one carries."""
        later = {each.id for each in self.deliveries[self.deliveries.index(item) + 1 :]}
        return any(each.id in later for thing in item.sent for each in self.counting(thing, remembered))

    def version(self, thing: str, remembered: int | None = None) -> str | None:
        """What counts as sent of an object."""
        kept = self.counting(thing, remembered)
        return kept[-1].sent[thing] if kept else None

    def counting(self, thing: str, remembered: int | None = None) -> list[Item]:
        """The deliveries that count and brought an object; of the last so many messages that did."""
        brought = [each for each in self.deliveries if thing in each.sent]
        last = list(dict.fromkeys(each.parent for each in reversed(brought)))[:remembered]
        return [each for each in brought if each.parent in last and each.state in {"waiting", "delivered"}]

    def done(self) -> list[Item]:
        """The messages that may be removed: neither the newest nor that of the newest delivery."""
        due = {each.parent for each in self.deliveries if each.state in {"waiting", "parked"}}
        due |= {each.parent for each in self.deliveries[-1:]} | {each.id for each in self.messages[-1:]}
        return [each for each in self.kept() if each.id not in due and each.state not in {"received", "parked"}]

    def kept(self) -> list[Item]:
        """The messages that were not removed."""
        return [each for each in self.messages if not each.pruned]


class JournalLife(RuleBasedStateMachine):
    """Every rule does one thing to the journal and to the model, and compares."""

    new_store: ClassVar[Callable[[Path], Store]]
    remembers: ClassVar[int | None] = (
        None  # by how many of the messages that brought an object it tells at least, where not by all
    )

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

    @rule(data=st.data(), bring=BRING, lanes=LANES)
    def forward(self, data: Any, bring: list[set[str]], lanes: tuple[str, ...]) -> None:
        if (item := self._held(data, self.model.messages)) is None:
            return
        made = []
        for things in bring:
            self.versions += 1
            version = str(self.versions)
            states = tuple(sent(thing, version, thing.encode()) for thing in sorted(things))
            made.append(delivery(lanes=lanes, sent=states))
        stamp = self.do(self.journal.known(Question(objects=OBJECTS), ("exchange/hub",))).stamp
        assert self.do(self.journal.forward(item.lease, Forward(tuple(made), stamp=stamp)))
        item.lease = None
        item.state = "transformed" if made else "filtered"
        for each in made:
            states = {state.object: state.version for state in each.sent}
            self.model.deliveries.append(Item(each.id, lanes, "waiting", sent=states, parent=item.id))

    @rule(data=st.data(), messages=st.lists(st.tuples(BRING, ENDS), min_size=1, max_size=5), prune=st.booleans())
    def traffic(self, data: Any, messages: list[tuple[list[set[str]], list[str]]], prune: bool) -> None:
        for bring, ends in messages:
            self.accept((), None, "x")
            self.lease_message()
            self.forward(data, bring, ())
            for how in ends:
                self.lease_delivery()
                self.settle(data, how)
        if prune:
            self.prune()

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
            passed = item.state == "parked" and not item.holds
            if passed and self.model.overtaken(item) and (made or self.model.overtaken(item, self.remembers)):
                assert made is not None
                item.state = "discarded"
                of = next(each for each in self.model.messages if each.id == item.parent)
                self.model.messages.append(Item(made, of.lanes, "received", new=of.new))
            else:
                assert made is None
                item.state, item.due_later, item.holds = "waiting", False, False

    @rule(data=st.data(), waiting=st.booleans())
    def discard(self, data: Any, waiting: bool) -> None:
        if self.model.messages:
            item = data.draw(st.sampled_from(self.model.kept()))
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
            item = data.draw(st.sampled_from(self.model.kept()))
            again = Item(self.do(self.journal.replay(item.id)), item.lanes, "received", new=item.new)
            self.model.messages.append(again)
            for key, first in self.model.first.items():
                if first is item:
                    self.model.first[key] = again
            self.model.supersede(item)

    @rule()
    def prune(self) -> None:
        """What is done goes, with what receivers were sent and nobody asks about; the answers stay."""
        for _ in range(2 * len(OBJECTS) if self.remembers else 0):
            self.do(self.journal.keep_config("c1", "c1"))  # by then all has moved that was to move from memory to the table
        known, done = self._known(), self.model.done()
        removed = 0
        while some := self.do(self.journal.prune()):
            removed += some
        assert removed == len(done)
        for item in done:
            item.pruned = True
        self.model.first = {key: item for key, item in self.model.first.items() if not item.pruned}
        assert self._known() == known

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
        assert {row.id: str(row.state) for row in rows} == {each.id: each.state for each in self.model.kept()}
        got = {each.id: str(each.state) for row in rows for each in row.deliveries}
        kept = {each.id for each in self.model.kept()}
        assert got == {each.id: each.state for each in self.model.deliveries if each.parent in kept}

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
        known = self._known()
        for thing in OBJECTS:
            version = self.model.version(thing)
            if thing not in known:
                version = self.model.version(thing, self.remembers)
            assert known.get(thing) == (None if version is None else (version, thing.encode()))

    def _known(self) -> dict[str, tuple[str, bytes | None]]:
        known: Known = self.do(self.journal.known(Question(whole=OBJECTS), ("exchange/hub",)))
        return {thing: (state.version, state.content) for (_, thing), state in known.sent.items()}


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


def test_random_lives_with_little_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What receivers were sent moves from memory to a table that tells of two messages; only what it does not is removed."""
    monkeypatch.setattr(sentstate, "_GENERATION", 2)
    monkeypatch.setattr("interop_engine.journal.sqlite.warm._MOST_BYTES", 0)

    class Life(JournalLife):
        new_store = partial(new_store, "sqlite", request)
        remembers = 2

    run_state_machine_as_test(
        Life,
        settings=settings(max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)),
    )
