"""The workers of a queue, where the journal cannot do what they ask."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from interop_engine.core import events
from interop_engine.core.errors import ItemRefused, JournalBroken, JournalError
from interop_engine.core.model import Received
from interop_engine.engine import workers
from interop_engine.journal.base import Forward, Lease
from interop_engine.journal.sqlite import leases
from interop_engine.journal.sqlite.reads import Reads
from tests.support.journals import LAB, Store, lease_now, message


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


async def test_a_worker_survives_whatever_goes_wrong_and_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item that cannot be read for once, and a handler's own mistake: the worker goes on, and so does the item's lane."""
    monkeypatch.setattr(workers, "_PAUSE", 0)
    seen: list[events.Event] = []
    done = asyncio.Event()
    mistakes: list[Exception] = [KeyError("BN001"), KeyError("BN001"), OSError("read")]

    async with Store("sqlite", tmp_path / "journal.db").opened() as journal:
        read = Reads.due_message

        def unsteady(self: Reads, seq: int) -> Received | None:
            if mistakes:
                raise mistakes.pop()
            return read(self, seq)

        async def handle(lease: Lease) -> None:
            assert lease.message is not None
            handled.append(lease.message.control_id)
            await journal.forward(lease, Forward())
            if len(handled) == 1:
                raise ValueError("BN001")
            done.set()

        handled: list[str] = []
        for name in ("1", "2"):  # of one lane, and not warm: nobody leases yet
            await journal.accept(message(control_id=name))
        monkeypatch.setattr(Reads, "due_message", unsteady)
        monkeypatch.setattr(leases, "_AGAIN", 0)
        end = events.subscribe(seen.append)
        ours = workers.Workers(journal, LAB, handle, owner="w", concurrency=1, broken=lambda _: None)
        ours.start()
        await asyncio.wait_for(done.wait(), 10)
        await ours.stop(1)
        end()
    assert handled == ["1", "2"]
    told = [each for each in seen if isinstance(each, events.WorkerFailed)]
    assert [each.why.partition(" in ")[0] for each in told] == ["OSError", "KeyError", "ValueError"]
    assert not any("BN001" in each.why for each in told)


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


async def test_what_the_journal_cannot_hold_is_reported_and_not_tried_for_ever(tmp_path: Path) -> None:
    """It stays with its worker until its lease ends: given back, it would be done again at once, a delivery be sent again."""
    seen: list[events.Event] = []
    end = events.subscribe(seen.append)
    async with Store("sqlite", tmp_path / "journal.db").opened() as journal:
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        tries: list[Lease] = []

        async def handle(lease: Lease) -> None:
            async def write() -> None:
                tries.append(lease)
                raise ItemRefused("too large")

            assert lease.message is not None
            ended.set_result(await ours.durable(write, lease.message.id))

        ours = workers.Workers(journal, LAB, handle, owner="w", concurrency=2, broken=lambda _: None)
        ours.start()
        stored = await journal.accept(message())
        assert not await asyncio.wait_for(ended, 10)
        assert await lease_now(journal, LAB) is None
        await ours.stop(1)
    end()
    assert len(tries) == 1
    assert [each for each in seen if each.level == "error"] == [events.ItemNotKept("lab", "", stored.id)]
