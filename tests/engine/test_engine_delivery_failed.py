"""A connector that raises: the delivery is tried again, and a person is told where the fault is."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interop_engine.connectors.base import ConnectorHealth
from interop_engine.connectors.breaker import BreakerOptions
from interop_engine.connectors.gate import Gate
from interop_engine.core.events import ConnectorFailed, subscribe
from interop_engine.core.model import Delivered, Delivery, Outcome
from interop_engine.core.retry import Backoff
from interop_engine.engine.delivery import Deliverer, Policy
from interop_engine.fhir import bundle
from tests.support.journals import HUB, Store, delivery, forwarded


class Faulty:
    """A destination that makes a mistake once, which shows in a module of ours."""

    def __init__(self) -> None:
        self.deliveries = 0
        self.gate = Gate(BreakerOptions().breaker(), "lab", "hub")

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def health(self) -> ConnectorHealth:
        """Nothing to say."""
        return ConnectorHealth("")

    async def deliver(self, given: Delivery) -> Outcome:
        """Fail the first time, over patient data."""
        self.deliveries += 1
        moment: Any = "Nguyễn Thị Canary" if self.deliveries == 1 else datetime.now(UTC)
        return Delivered(bundle.instant(moment))


async def test_a_connector_that_raises_is_named_by_type_and_place(tmp_path: Path) -> None:
    """One event at ERROR: which delivery, what kind of exception, which module and line; nothing of what it was about."""
    told: list[ConnectorFailed] = []
    end = subscribe(lambda event: told.append(event) if isinstance(event, ConnectorFailed) else None)
    settled = asyncio.Event()
    try:
        async with Store("sqlite", tmp_path / "journal.db").opened() as journal:
            made = delivery()
            await forwarded(journal, made)
            deliverer = Deliverer(
                journal, HUB, Faulty(), Policy(Backoff(0.001, 0.001), 3600.0), owner="test", concurrency=1,
                settled=lambda _: settled.set(), broken=lambda _: None,
            )  # fmt: skip
            await deliverer.open()
            deliverer.start()
            await asyncio.wait_for(settled.wait(), 10)
            await deliverer.stop(5)
    finally:
        end()
    (event,) = told
    assert (event.level, event.delivery, event.code) == ("error", made.id, "AttributeError")
    assert re.fullmatch(r"interop_engine\.fhir\.bundle:[0-9]+", event.place)
    assert "Canary" not in str(event)
