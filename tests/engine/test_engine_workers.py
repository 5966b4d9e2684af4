"""The workers of a queue, where the journal cannot do what they ask."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from interop_engine.core.errors import JournalBroken, JournalError
from interop_engine.engine import workers
from interop_engine.journal.base import Forward, Lease
from tests.support.journals import LAB, Store, message


async def test_an_item_whose_history_cannot_be_read_is_given_back_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was away for a moment: the worker lives on."""
    monkeypatch.setattr(workers, "_PAUSE", 0)
    tried: list[Lease] = []
    done = asyncio.Event()
    broken: list[JournalError] = []

    async with Store("sqlite", tmp_path / "journal.db").opened() as journal:

        async def handle(lease: Lease) -> None:
            tried.append(lease)
            if len(tried) == 1:
                raise JournalError("away")
            await journal.forward(lease, Forward())
            done.set()

        ours = workers.Workers(journal, LAB, handle, owner="w", concurrency=1, broken=broken.append)
        ours.start()
        await journal.accept(message())
        await asyncio.wait_for(done.wait(), 10)
        await ours.stop(1)
    first, second = tried
    assert first.message == second.message
    assert broken == []


async def test_a_journal_that_failed_for_good_is_reported(tmp_path: Path) -> None:
    """The engine must stop; nobody tries again."""
    reported: asyncio.Future[JournalError] = asyncio.get_running_loop().create_future()
    async with Store("sqlite", tmp_path / "journal.db").opened() as journal:

        async def handle(_lease: Lease) -> None:
            raise JournalBroken("gone")

        ours = workers.Workers(journal, LAB, handle, owner="w", concurrency=1, broken=reported.set_result)
        ours.start()
        await journal.accept(message())
        assert str(await asyncio.wait_for(reported, 10)) == "gone"
        await ours.stop(1)
