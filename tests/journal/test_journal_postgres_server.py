"""A PostgreSQL journal and its server: gone and back, not to be trusted, and what is in the rows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from interop_engine.core.errors import JournalBroken, JournalError
from interop_engine.core.model import Delivered, Retry
from interop_engine.engine.workers import Workers
from interop_engine.journal import open_journal
from interop_engine.journal.base import Forward, Journal, Lease, MessageState, Selection
from interop_engine.journal.postgres import schema
from tests.support.journals import HUB, LAB, ahead, delivery, forwarded, lease, lease_now, message, node
from tests.support.postgres import Postgres, fresh_journal

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(postgres: str) -> str:
    """An empty journal."""
    return fresh_journal(postgres)


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> None:
    """Wait for what the database tells nobody."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# --- the server goes away ---------------------------------------------------------------------------------------------


async def test_a_server_restarted_under_load_loses_nothing(own_postgres: Postgres) -> None:
    """Meanwhile senders are told to come again, workers wait; afterwards all that was accepted is delivered once, in order."""
    url = fresh_journal(own_postgres.url)
    accepted: list[str] = []
    delivered: list[str] = []
    refused: list[JournalError] = []
    async with node(url) as journal:

        async def transform(held: Lease) -> None:
            assert await transformers.durable(lambda: _forward(journal, held), "x")

        async def deliver(held: Lease) -> None:
            assert held.delivery is not None
            delivered.append(held.delivery.message_id)
            await deliverers.durable(lambda: journal.settle(held, Delivered()), "x")

        broken: list[JournalError] = []
        transformers = Workers(journal, LAB, transform, owner="w", concurrency=4, broken=broken.append)
        deliverers = Workers(journal, HUB, deliver, owner="w", concurrency=4, broken=broken.append)
        transformers.start()
        deliverers.start()
        restarting: asyncio.Task[None] | None = None
        while len(accepted) < 120:
            try:
                accepted.append((await journal.accept(message(lanes=("one",)))).id)
            except JournalError as error:
                refused.append(error)
            if len(accepted) == 40 and restarting is None:
                restarting = asyncio.create_task(asyncio.to_thread(_restart, own_postgres))
        assert restarting is not None
        await restarting
        await until(lambda: _settled(journal))
        await transformers.stop(5)
        await deliverers.stop(5)
        assert (await journal.health()).problem == ""
    assert broken == []
    assert {type(error) for error in refused} == {JournalError}, "none is final"
    firsts = list(dict.fromkeys(delivered))
    assert [id_ for id_ in firsts if id_ in set(accepted)] == accepted
    assert len(delivered) - len(firsts) <= 4, "only what was under way when the server went"


async def _forward(journal: Journal, held: Lease) -> None:
    await journal.forward(held, Forward((delivery(lanes=held.lanes),)))


async def _settled(journal: Journal) -> bool:
    return not any(count.waiting for count in await journal.counts())


def _restart(server: Postgres) -> None:
    server.kill()
    server.start()


async def test_a_commit_whose_answer_is_lost_leaves_no_lease_behind(own_postgres: Postgres) -> None:
    """Leases that no worker knows of end when the node is connected again, not after their time."""
    url = fresh_journal(own_postgres.url)
    async with node(url) as journal:
        await journal.accept(message())
        held = await lease(journal, LAB)
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("UPDATE work SET fence = nextval('fences')")  # as if the answer with this fence had been lost
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
            )
        with pytest.raises(JournalError):
            await journal.accept(message())
        again = await lease(journal, LAB)
        assert again.message == held.message
        assert again.fence != held.fence


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_a_server_that_loses_commits_is_refused(own_postgres: Postgres) -> None:
    """With fsync off, or commits that do not wait for the disk: nothing may be acknowledged there."""
    url = fresh_journal(own_postgres.url)
    with psycopg.connect(own_postgres.url, autocommit=True) as server:
        server.execute("ALTER SYSTEM SET fsync = off")
        server.execute("SELECT pg_reload_conf()")
        try:
            await until(lambda: asyncio.to_thread(lambda: server.execute("SHOW fsync").fetchone() == ("off",)))
            with pytest.raises(JournalError, match="fsync = off"):
                await open_journal(url).open()
        finally:
            server.execute("ALTER SYSTEM RESET fsync")
            server.execute("SELECT pg_reload_conf()")


async def test_a_lax_default_of_the_server_does_not_bind_the_journal(own_postgres: Postgres) -> None:
    """``synchronous_commit = off`` for everyone else is put right for our sessions."""
    url = fresh_journal(own_postgres.url)
    with psycopg.connect(own_postgres.url, autocommit=True) as server:
        server.execute("ALTER ROLE interop SET synchronous_commit = off")
        try:
            async with node(url) as journal:
                await journal.accept(message())
        finally:
            server.execute("ALTER ROLE interop RESET synchronous_commit")


async def test_a_journal_of_a_newer_engine_is_refused(url: str) -> None:
    """What it wrote, this one does not know to keep."""
    async with node(url):
        pass
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("UPDATE journal_schema SET version = 99")
        try:
            for readonly in (False, True):
                with pytest.raises(JournalError, match="schema 99"):
                    await open_journal(url, readonly=readonly).open()
        finally:
            server.execute("UPDATE journal_schema SET version = %s", (len(schema.MIGRATIONS),))


async def test_an_older_journal_is_told_how_much_each_channel_has(postgres: str) -> None:
    """Which was not counted before: by it a channel's size is kept."""
    url = fresh_journal(postgres, tables=False)
    with psycopg.connect(url, autocommit=True) as server:
        for name in schema.MIGRATIONS[:8]:
            server.execute(schema._text(name))
        server.execute("CREATE TABLE journal_schema (version integer NOT NULL); INSERT INTO journal_schema VALUES (8)")
        server.execute("INSERT INTO bodies (digest, size, zipped, data) VALUES ('', 3, 0, 'abc')")
        server.execute(
            "INSERT INTO messages (id, channel, state, received_at, control_id, message_type, peer, media, digest, body, size,"
            " reply, lanes, headers, code, why, config)"
            " VALUES ('1', 'lab', 'filtered', 0, '', '', '', '', '', 1, 3, '', '{}', '{}', '', '', '')"
        )
    async with node(url) as journal:
        assert await journal.stored() == {"lab": 3}


async def test_nodes_that_start_together_migrate_once(postgres: str) -> None:
    """Three at once on an empty schema."""
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(f"CREATE SCHEMA together_{os.getpid()}")
    url = f"{postgres}{'&' if '?' in postgres else '?'}options=-csearch_path%3Dtogether_{os.getpid()}"
    journals = [open_journal(url) for _ in range(3)]
    await asyncio.gather(*(journal.open() for journal in journals))
    await journals[0].accept(message())
    assert [await journal.totals() for journal in journals] == [{"lab": {"received": 1}}] * 3
    for journal in journals:
        await journal.close()


async def test_a_server_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """Without the password of the URL."""
    with pytest.raises(JournalError) as caught:
        await open_journal("postgresql://me:secret@127.0.0.1:1/none").open()
    assert "127.0.0.1:1/none" in str(caught.value)
    assert "secret" not in str(caught.value)


# --- content ----------------------------------------------------------------------------------------------------------


async def test_a_nul_in_a_field_does_not_stop_a_sender(url: str) -> None:
    """PostgreSQL's text cannot hold it; the bytes of the message are kept as they are."""
    async with node(url) as journal:
        new = message("MSH|a\0b", control_id="1\0", search=(("patient", "B\0"),), lanes=("l\0",), duplicate_key="k\0")
        stored = await journal.accept(new)
        assert (await journal.content(stored.id)).data == b"MSH|a\0b"
        assert [row.id for row in await journal.search(Selection(search=(("patient", "B\0"),)))] == [new.id]
        held = await lease(journal, LAB)
        assert await journal.forward(held, Forward((delivery(lanes=("l\0",)),), findings=("a\0",)))
        await journal.settle(await lease(journal, HUB), Retry("no\0"), due_at=ahead(3600))


async def test_an_edited_row_is_found_and_parked(url: str) -> None:
    """Content is verified by its digest whenever it is read."""
    async with node(url) as journal:
        stored = await journal.accept(message())
        with psycopg.connect(url, autocommit=True) as server:
            server.execute("UPDATE bodies SET data = 'other', zipped = 0")
        with pytest.raises(JournalBroken):
            await journal.content(stored.id)
        assert await lease_now(journal, LAB) is None
        assert (await lease_now(journal, LAB)) is None
        assert (await journal.show(stored.id)).state == MessageState.PARKED


async def test_a_reader_beside_the_nodes_cannot_write(url: str) -> None:
    """Listings and content for the command line."""
    async with node(url) as journal:
        stored = await journal.accept(message())
        reader = open_journal(url, readonly=True)
        await reader.open()
        assert (await reader.show(stored.id)).id == stored.id
        with pytest.raises(JournalError, match="reading only"):
            await reader.accept(message())
        await reader.close()


async def test_the_counts_are_the_same_after_folding(url: str) -> None:
    """Differences are summed up now and then; nobody sees it."""
    async with node(url) as journal:
        for _ in range(3):
            await forwarded(journal, delivery(), ledger=("ZPI-3",))
        before = (await journal.counts(), await journal.totals(), await journal.last_received(), await journal.unread())
        with psycopg.connect(url, autocommit=True) as server:
            server.execute("SELECT fold_tally()")
            assert server.execute("SELECT count(*) FROM tally WHERE kind = 'arrival'").fetchone() == (1,)
        after = (await journal.counts(), await journal.totals(), await journal.last_received(), await journal.unread())
        assert after == before
