"""A journal within its limits: by age, by channel, by size, beside what is never removed."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from interop_engine.config import loader
from interop_engine.config.site import Site
from interop_engine.core import events
from interop_engine.engine.retention import Retention
from interop_engine.journal import open_journal
from interop_engine.journal.base import Journal, MessageState, Selection
from tests.support.journals import START, message
from tests.support.postgres import fresh_journal

_ENGINE = 'site: Test\nfacility: "24001"\njournal: {{{journal}, keep: {{{keep}}}}}\n'
_CHANNEL = """\
channel: {name}
source: {{mllp: {{listen: "127.0.0.1:0"}}}}
accept: [ORU^R01]
otherwise: reject
keep: {{{keep}}}
deliver: [{{name: archive, file: {{folder: out, send: original}}}}]
"""


def site(folder: Path, keep: str, orders: str = "", journal: str = "path: journal.db") -> Site:
    """Two channels, one of which may have a limit of its own."""
    (folder / "channels").mkdir()
    (folder / "engine.yaml").write_text(_ENGINE.format(keep=keep, journal=journal))
    for name, own in (("lab", ""), ("orders", orders)):
        (folder / "channels" / f"{name}.yaml").write_text(_CHANNEL.format(name=name, keep=own))
    return loader.load(folder, {})


async def opened(site_: Site) -> Journal:
    """The site's journal."""
    journal = open_journal(site_.options.journal.place(site_.root), reserve=0)
    await journal.open()
    return journal


def unbroken(error: Exception) -> None:
    """The journal never fails here."""
    raise AssertionError(error)


async def test_each_channel_by_its_own_age(tmp_path: Path) -> None:
    """The channel's own days, else the journal's; it is said how many went."""
    told: list[events.Event] = []
    end = events.subscribe(told.append)
    loaded = site(tmp_path, "days: 30", orders="days: 300")
    journal = await opened(loaded)
    for channel in ("lab", "orders"):
        for age in (400, 40, 1):
            at = START - timedelta(days=age)
            new = message(channel=channel, received_at=at, state=MessageState.FILTERED, lanes=())
            await journal.accept(replace(new, control_id=f"{channel}-{age}"))
    await Retention(loaded, journal, unbroken).once(START)
    left = [row.control_id for row in await journal.search(Selection())]
    await journal.close()
    end()
    assert sorted(left) == ["lab-1", "orders-1", "orders-40"]
    assert [each for each in told if isinstance(each, events.JournalPruned)] == [events.JournalPruned("age", 3)]


async def test_a_file_stays_within_its_limit(tmp_path: Path) -> None:
    """Three times the limit comes in; the newest stay, the file is never much larger, and shrinks to the limit."""
    limit = 2_000_000
    loaded = site(tmp_path, "size: 2MB")
    journal = await opened(loaded)
    retention = Retention(loaded, journal, unbroken)
    largest = 0
    for number in range(240):
        data = f"MSH|{number}|".encode() + os.urandom(20_000)
        await journal.accept(replace(message(state=MessageState.FILTERED, lanes=()), data=data, control_id=str(number)))
        if number % 40 == 39:
            largest = max(largest, (await journal.health()).size)
            await retention.once(START)
    rows = await journal.search(Selection(limit=1000))
    health = await journal.health()
    await journal.close()
    assert (tmp_path / "journal.db").stat().st_size <= limit
    assert largest <= limit + 40 * 25_000
    assert health.used <= limit
    assert [row.control_id for row in rows] == [str(number) for number in range(239, 239 - len(rows), -1)]
    assert len(rows) >= 40


async def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    """A journal full of what is due stays as it is, and a person must know; once."""
    told: list[events.Event] = []
    loaded = site(tmp_path, "size: 1MB")
    journal = await opened(loaded)
    for _ in range(60):
        await journal.accept(replace(message(lanes=()), data=os.urandom(30_000)))
    end = events.subscribe(told.append)
    retention = Retention(loaded, journal, unbroken)
    await retention.once(START)
    await retention.once(START)
    end()
    kept = len(await journal.search(Selection(limit=1000)))
    await journal.close()
    assert ([each.name() for each in told], kept) == (["journal_over_limit"], 60)


@pytest.mark.postgres
async def test_the_channels_of_other_nodes_are_left_to_them(tmp_path: Path, postgres: str) -> None:
    """Where a journal is shared, this node's days are not those of a channel that only another node runs."""
    loaded = site(tmp_path, "days: 30")
    options = loaded.options.journal.model_copy(update={"postgres": fresh_journal(postgres)})
    loaded = replace(loaded, options=loaded.options.model_copy(update={"journal": options}))
    journal = await opened(loaded)
    for channel in ("lab", "another"):
        for age in (40, 1):
            at = START - timedelta(days=age)
            new = message(channel=channel, received_at=at, state=MessageState.FILTERED, lanes=(), control_id=f"{channel}-{age}")
            await journal.accept(new)
    await Retention(loaded, journal, unbroken).once(START)
    left = [row.control_id for row in await journal.search(Selection())]
    await journal.close()
    assert sorted(left) == ["another-1", "another-40", "lab-1"]


async def fill(journal: Journal, channel: str, count: int, size: int = 20_000) -> None:
    """Messages of a channel that are done."""
    for number in range(count):
        new = message(channel=channel, state=MessageState.FILTERED, lanes=())
        await journal.accept(replace(new, data=os.urandom(size), control_id=f"{channel}-{number}"))


async def count(journal: Journal, channel: str) -> int:
    """How many messages a channel has left."""
    return len(await journal.search(Selection(channel=channel, limit=1000)))


@pytest.fixture(params=["file", pytest.param("database", marks=pytest.mark.postgres)])
def where(request: pytest.FixtureRequest) -> str:
    """What engine.yaml says of an empty journal's place."""
    if request.param == "file":
        return "path: journal.db"
    return f"postgres: '{fresh_journal(request.getfixturevalue('postgres'))}'"


async def test_a_channel_stays_within_its_own_size(tmp_path: Path, where: str) -> None:
    """The oldest of it go, those of others stay, and what waits stays too; bytes are counted with every write."""
    loaded = site(tmp_path, "days: 3000", orders="size: 500kB", journal=where)
    journal = await opened(loaded)
    await fill(journal, "lab", 40)
    waiting = message(channel="orders", lanes=())
    await journal.accept(replace(waiting, data=os.urandom(100_000)))
    await fill(journal, "orders", 40)
    assert (await journal.stored())["orders"] in range(900_000, 901_000)
    await Retention(loaded, journal, unbroken).once(START)
    stored, left = await journal.stored(), await count(journal, "orders")
    assert stored["orders"] <= 500_000
    assert (await count(journal, "lab"), left) == (40, 1 + (stored["orders"] - 100_000) // 20_000)
    assert (await journal.show(waiting.id)).state == MessageState.RECEIVED
    await journal.close()


async def test_one_noisy_channel_does_not_evict_the_others(tmp_path: Path, where: str) -> None:
    """What is removed to keep the whole within its limit is of the channel that has most."""
    loaded = site(tmp_path, "size: 2MB", journal=where)
    journal = await opened(loaded)
    await fill(journal, "orders", 10)  # the oldest of all
    await fill(journal, "lab", 120)
    await Retention(loaded, journal, unbroken).once(START)
    contents = sum((await journal.stored()).values())
    assert (contents if loaded.options.journal.postgres else (await journal.health()).used) in range(1_500_000, 2_000_001)
    assert await count(journal, "orders") == 10
    assert await count(journal, "lab") < 100
    await journal.close()
