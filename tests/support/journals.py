"""Journals for tests: one ``Store`` an adapter, and short ways to say what a message, a forward and a lease are."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Delivered, Learned, Outcome, Sent, digest, new_id
from interop_engine.journal import open_journal
from interop_engine.journal.base import Forward, Journal, Lease, NewDelivery, NewMessage, Queue
from interop_engine.journal.sqlite import SqliteJournal
from tests.support.postgres import fresh_journal

LAB = Queue("lab")
HUB = Queue("lab", "hub")
START = datetime(2024, 3, 5, 1, 30, tzinfo=UTC)
_numbers = itertools.count()


@dataclass
class Store:
    """Where an adapter keeps a journal. ``options`` go to ``open_journal``."""

    adapter: str
    place: Path | str
    options: dict[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def opened(self, **options: Any) -> AsyncIterator[Journal]:
        """The journal, open; a second time is what a restart finds."""
        journal = open_journal(self.place, **{"reserve": 0, **self.options, **options})
        await journal.open()
        try:
            yield journal
        finally:
            await journal.close()


@asynccontextmanager
async def node(url: str, **options: timedelta) -> AsyncIterator[Journal]:
    """One node's view of a journal that several share."""
    journal = open_journal(url, **options)
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


async def lease_now(journal: Journal, queue: Queue) -> Lease | None:
    """What can be leased at once; None where the caller would have to wait.

    SQLite answers from memory. PostgreSQL hands out with the group of writes that is next: one that does nothing is waited for.
    """
    task = asyncio.ensure_future(journal.lease(queue, "test"))
    await _turns()
    if not task.done() and not isinstance(getattr(journal, "_journal", journal), SqliteJournal):
        with contextlib.suppress(UnknownItem):
            await journal.retry("nothing")
        await _turns()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait([task])
    return None


def new_store(adapter: str, request: pytest.FixtureRequest, folder: Path) -> Store:
    """An empty store of an adapter. That of PostgreSQL is a schema of the session's server."""
    adapter, _, sealed = adapter.partition("-")
    options = {"keys": key_file(folder / "keys")} if sealed else {}
    if adapter == "postgres":
        return Store(adapter, fresh_journal(request.getfixturevalue("postgres")), options)
    return Store(adapter, folder / "journal.db", options)


def key_file(path: Path, *ids: str) -> Path:
    """A file of journal keys with these ids, or one; a key is made of its id, so that two files with one id hold one key."""
    lines = [f"{each} {base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}\n" for each in ids or ("2026",)]
    path.touch(0o600)
    path.write_text("".join(lines), encoding="ascii")
    return path


ADAPTERS = [
    "sqlite",
    "sqlite-sealed",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("postgres-sealed", marks=pytest.mark.postgres),
]


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def lease(journal: Journal, queue: Queue) -> Lease:
    """Lease, or fail the test after a while."""
    return await asyncio.wait_for(journal.lease(queue, "test"), 10)


def message(content: str = "", *, lanes: tuple[str, ...] = ("24001|BN1",), **changes: Any) -> NewMessage:
    """A message with a content of its own, and no duplicate key."""
    data = (content or f"MSH|^~\\&|LIS|24001|||||ORU^R01|{next(_numbers)}|P|2.5.1\rPID|1||BN1\r").encode()
    values: dict[str, Any] = {
        "id": new_id(),
        "channel": "lab",
        "data": data,
        "media": "hl7v2",
        "received_at": START,
        "peer": "10.0.0.7:1024",
        "control_id": "M1",
        "message_type": "ORU^R01",
        "digest": digest(data),
        "reply": b"MSA|AA|M1\r",
        "lanes": lanes,
        "config": "c1",
    }
    return NewMessage(**{**values, **changes})


def delivery(destination: str = "hub", *, lanes: tuple[str, ...] = ("24001|BN1",), sent: tuple[Sent, ...] = ()) -> NewDelivery:
    """A delivery with bytes of its own."""
    return NewDelivery(new_id(), destination, lanes, f'{{"n":{next(_numbers)}}}'.encode(), "fhir", {"kind": "lab"}, sent)


def sent(thing: str = "Patient/1", version: str = "1", content: bytes | None = b"{}") -> Sent:
    """A state the hub was sent."""
    return Sent("exchange/hub", thing, digest(version.encode()), version, 4, content)


def learned(aliases: dict[str, str] | None = None, merged: dict[str, str] | None = None) -> Learned:
    """What one message teaches."""
    return Learned(aliases or {}, merged or {})


async def forwarded(journal: Journal, *deliveries: NewDelivery, **changes: Any) -> str:
    """Accept a message and forward it with these deliveries; returns its id."""
    stored = await journal.accept(message(lanes=()))
    leased = await lease(journal, LAB)
    assert leased.message is not None
    assert leased.message.id == stored.id
    assert await journal.forward(leased, Forward(deliveries, **changes))
    return stored.id


async def settled(journal: Journal, outcome: Outcome, queue: Queue = HUB) -> str:
    """Lease the next delivery and settle it; returns its id."""
    leased = await lease(journal, queue)
    assert leased.delivery is not None
    await journal.settle(leased, outcome)
    return leased.delivery.id


def ahead(seconds: float) -> datetime:
    """So many seconds from now."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


DELIVERED = Delivered()
