"""A delivery whose end the journal cannot hold: it ends all the same, in words that can be held."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from interop_engine.connectors.base import ConnectorHealth
from interop_engine.connectors.breaker import BreakerOptions
from interop_engine.connectors.gate import Gate
from interop_engine.core.errors import ItemRefused
from interop_engine.core.model import Delivered, Delivery, Outcome, Park, Retry
from interop_engine.core.retry import Backoff
from interop_engine.engine.delivery import Deliverer, Policy
from interop_engine.journal.base import Lease
from interop_engine.journal.sqlite import SqliteJournal
from tests.support.journals import HUB, Store, delivery, forwarded

_WORDS = "words that the journal refuses"


class Answering:
    """A destination that answers what it is told to, and then takes all."""

    def __init__(self, *answers: Outcome) -> None:
        self.answers = list(answers)
        self.got: list[str] = []
        self.gate = Gate(BreakerOptions().breaker(), "lab", "hub")

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def health(self) -> ConnectorHealth:
        """Nothing to say."""
        return ConnectorHealth("")

    async def deliver(self, given: Delivery) -> Outcome:
        """Answer."""
        self.got.append(given.id)
        return self.answers.pop(0) if self.answers else Delivered("200")


@pytest.mark.parametrize(
    ("answer", "ends", "sends"),
    [
        (Delivered(_WORDS), [("delivered", "", "journal-refused")], 1),
        (Park("fhir-422", _WORDS), [("parked", "journal-refused", "The journal cannot hold what its receiver said.")], 1),
        (
            Retry(_WORDS, "fhir-503"),
            [("retry", "journal-refused", "The journal cannot hold what its receiver said."), ("delivered", "", "200")],
            2,
        ),
    ],
    ids=["delivered", "parked", "retry"],
)
async def test_a_refused_end_is_kept_without_the_receivers_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Outcome, ends: list[tuple[str, str, str]], sends: int
) -> None:
    """What it was stays: what was taken is not sent again, what parked is parked, and the code says why its words are gone."""
    settle = SqliteJournal.settle

    async def picky(
        journal: SqliteJournal, lease: Lease, outcome: Outcome, *, due_at: datetime | None = None, took: float = 0.0
    ) -> None:
        if _WORDS in str(outcome):
            raise ItemRefused("too large")
        await settle(journal, lease, outcome, due_at=due_at, took=took)
        if not isinstance(outcome, Retry):
            done.set()

    done = asyncio.Event()
    monkeypatch.setattr(SqliteJournal, "settle", picky)
    destination = Answering(answer)
    async with Store("sqlite", tmp_path / "journal.db").opened() as journal:
        stored = await forwarded(journal, delivery())
        deliverer = Deliverer(
            journal, HUB, destination, Policy(Backoff(0.001, 0.001), 3600.0), owner="test", concurrency=1,
            settled=lambda _: None, broken=lambda _: None,
        )  # fmt: skip
        await deliverer.open()
        deliverer.start()
        await asyncio.wait_for(done.wait(), 10)
        await deliverer.stop(5)
        attempts = await journal.attempts(stored)
    assert [(each.outcome, each.code, each.why) for each in attempts] == ends
    assert len(destination.got) == sends
