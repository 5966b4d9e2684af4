"""The exchange against a model of what it promises: random lives of a sender and a receiver, the same on both adapters.

What was confirmed arrives, each sender's in its order; what arrives again had not been acknowledged; nothing else arrives.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from interop_engine.core.model import Outcome, Park, Retry
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import Exchange, Parcel, Subscription

_SENDERS = st.sampled_from(["24001", "24017", "24033"])
_names = itertools.count(random.randrange(10**9))


class ExchangeLife(RuleBasedStateMachine):
    """One receiver under a name of its own, which is there or not, and takes or not; senders that publish as the engine does."""

    place: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.receiver = f"m{next(_names)}"
        self.numbers = itertools.count()
        self.taken: list[str] = []  # committed, again and again where the answer was lost
        self.confirmed: dict[str, list[str]] = {}
        self.uncertain: dict[str, Parcel] = {}  # of a sender: what it must publish again before anything else
        self.moods: list[str] = []
        self.subscription: Subscription | None = None

    def do(self, work: Any) -> Any:
        return self.runner.run(asyncio.wait_for(work, 60))

    @initialize()
    def open(self) -> None:
        """A receiver was there once; before that, what is sent would park."""
        self.sending = self._new("sender")
        self.receiving = self.sending if self.place == "embedded" else self._new("receiver")
        self.subscribe()

    def _new(self, name: str) -> Exchange:
        async def opened() -> Exchange:
            exchange = open_exchange(self.place, name=name)
            await exchange.open()
            await exchange.begin()
            return exchange

        return self.do(opened())  # type: ignore[no-any-return]

    async def take(self, parcel: Parcel) -> bool:
        mood = self.moods.pop() if self.moods else "takes"
        if mood != "refuses":
            self.taken.append(parcel.delivery_id)
        if mood == "dies":
            raise OSError("after the commit")
        return mood != "refuses"

    @rule(sender=_SENDERS)
    def publish(self, sender: str) -> None:
        """The next parcel of a sender, or the one whose fate is uncertain, with the same id."""
        parcel = self.uncertain.pop(sender, None) or Parcel(
            f"{sender}-{next(self.numbers)}", sender, self.receiver, "lab", b"{}", "fhir"
        )
        outcome: Outcome = self.do(self.sending.publish(parcel))
        assert not isinstance(outcome, Park)
        if isinstance(outcome, Retry):
            self.uncertain[sender] = parcel
        else:
            self.confirmed.setdefault(sender, []).append(parcel.delivery_id)

    @rule(sender=_SENDERS)
    def publish_what_nobody_takes(self, sender: str) -> None:
        """It parks, whatever else goes on."""
        outcome = self.do(self.sending.publish(Parcel("lost", sender, self.receiver, "imaging", b"{}", "fhir")))
        assert isinstance(outcome, Park)
        assert outcome.code == "unrouted"

    @rule(moods=st.lists(st.sampled_from(["refuses", "dies", "takes"]), max_size=4))
    def the_receiver_has_moods(self, moods: list[str]) -> None:
        """It refuses, or dies after its commit."""
        self.moods = moods

    @precondition(lambda self: self.subscription is None)
    @rule()
    def subscribe(self) -> None:
        """The receiver starts."""
        self.subscription = self.do(self.receiving.subscribe(self.receiver, ["lab"], self.take))

    @precondition(lambda self: self.subscription is not None)
    @rule()
    def unsubscribe(self) -> None:
        """The receiver stops: what is under way ends first."""
        assert self.subscription is not None
        self.do(self.subscription.close())
        self.subscription = None

    @precondition(lambda self: self.place != "embedded")
    @rule()
    def restart_the_receivers_node(self) -> None:
        """With parcels that it has and did not acknowledge."""
        self.do(self.receiving.close())
        self.receiving = self._new("receiver")
        self.subscription = None
        self.subscribe()

    def teardown(self) -> None:
        """In the end everything confirmed is there, in order, and nothing that was never sent."""
        try:
            if not hasattr(self, "sending"):
                return
            self.moods = []
            if self.subscription is None:
                self.subscribe()
            while self.uncertain:
                self.publish(next(iter(self.uncertain)))
            self.do(self._arrived())
            for sender, ids in self.confirmed.items():
                assert list(dict.fromkeys(each for each in self.taken if each.startswith(f"{sender}-"))) == ids
        finally:
            if hasattr(self, "sending"):
                self.do(self._closed())
            self.runner.close()

    async def _arrived(self) -> None:
        while not {each for ids in self.confirmed.values() for each in ids} <= set(self.taken):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)

    async def _closed(self) -> None:
        await self.receiving.close()
        await self.sending.close()


@pytest.mark.parametrize(("adapter", "lives"), [("embedded", 60), pytest.param("rabbitmq", 4, marks=pytest.mark.rabbitmq)])
def test_random_lives(adapter: str, lives: int, request: pytest.FixtureRequest) -> None:
    """Whatever happens to receiver and sender, the exchange does what the model does."""

    class Life(ExchangeLife):
        place = "embedded" if adapter == "embedded" else request.getfixturevalue("broker")

    run_state_machine_as_test(
        Life,
        settings=settings(max_examples=lives, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)),
    )
