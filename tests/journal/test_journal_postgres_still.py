"""Several nodes on one PostgreSQL journal, where a node or the database stands still, or its clock is wrong."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE
from urllib.parse import urlsplit

import psycopg
import pytest

from interop_engine.core import events
from interop_engine.core.errors import JournalBroken, JournalError
from interop_engine.core.model import Question
from interop_engine.journal import codec
from interop_engine.journal.base import Journal
from interop_engine.journal.postgres import PostgresJournal, desks, heart, reads, schema, sessions, statements, writer
from tests.support.journals import DELIVERED, HUB, LAB, ahead, delivery, forwarded, lease, lease_now, message, node, sent, settled
from tests.support.postgres import fresh_journal
from tests.support.proxy import SILENT, WELL, FaultProxy

pytestmark = pytest.mark.postgres
_ROOT = Path(__file__).resolve().parent.parent.parent
_PATIENCE = 10  # seconds within which the others go on, as docs/decisions/postgres-journal.md says


@pytest.fixture
def url(postgres: str) -> str:
    """An empty journal."""
    return fresh_journal(postgres)


# --- a node stands still ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", ["the rest of its group", "the end of its turn"])
async def test_a_node_that_stops_in_its_turn_is_missed_within_ten_seconds(url: str, expected: str) -> None:
    """Whatever its server process expects of it: its connection is ended, and the others go on."""
    async with node(url) as other:
        await other.accept(message())
        frozen = psycopg.connect(url, autocommit=True, application_name="interop-engine frozen")
        try:
            await asyncio.to_thread(_take_turn, frozen, url, whole=expected == "the end of its turn")
            await asyncio.wait_for(other.accept(message()), _PATIENCE)
            await asyncio.wait_for(other.accept(message()), _PATIENCE)
        finally:
            frozen.close()


def _take_turn(frozen: psycopg.Connection[tuple[object, ...]], url: str, *, whole: bool) -> None:
    """As a node does, which without ``whole`` does not say that this was all."""
    if whole:
        frozen.execute("BEGIN")
        frozen.execute(schema.TAKE_TURNS)
        return
    frozen.pgconn.enter_pipeline_mode()
    for query in ("BEGIN", schema.TAKE_TURNS):
        frozen.pgconn.send_query_params(query.encode(), None)
    frozen.pgconn.send_flush_request()
    frozen.pgconn.flush()
    with psycopg.connect(url, autocommit=True) as server:
        while not server.execute(
            "SELECT 1 FROM pg_locks WHERE pid = %s AND locktype = 'advisory'", (frozen.info.backend_pid,)
        ).fetchall():
            pass


_PAUSED = """
    import asyncio, sys
    from interop_engine.journal import open_journal
    from tests.support.journals import HUB

    async def main():
        journal = open_journal(sys.argv[1])
        await journal.open()
        held = await journal.lease(HUB, "child")
        print(journal.holds(held), flush=True)
        sys.stdin.readline()  # stopped, and continued
        print(journal.holds(held), flush=True)
        await asyncio.sleep(1.5)  # it beats again
        print(journal.holds(held), flush=True)
        await journal.release(held)
        print((await journal.lease(HUB, "child")).fence != held.fence, flush=True)

    asyncio.run(main())
"""


async def test_a_paused_node_knows_that_its_items_may_be_anothers(url: str) -> None:
    """Stopped between the lease and the sending, while another node sends: it must not send the old state after the newer."""
    async with node(url) as other:
        await forwarded(other, delivery(lanes=("slow",)))
        paused = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(_PAUSED), url, stdin=PIPE, stdout=PIPE, cwd=_ROOT
        )
        assert paused.stdin is not None
        assert paused.stdout is not None
        try:
            assert await paused.stdout.readline() == b"True\n"
            paused.send_signal(signal.SIGSTOP)
            taken = await asyncio.wait_for(other.lease(HUB, "other"), 2 * _PATIENCE)
            paused.stdin.write(b"\n")
            paused.send_signal(signal.SIGCONT)
            assert [await paused.stdout.readline() for _ in range(2)] == [b"False\n", b"False\n"]
            await other.release(taken)
            assert await paused.stdout.readline() == b"True\n"
        finally:
            paused.kill()
            await paused.wait()


async def test_a_node_that_was_not_heard_leases_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is again: others may be given what it would take."""
    async with node(url) as journal:
        await journal.accept(message())
        with monkeypatch.context() as patched:
            patched.setattr(desks, "_SURE_SECONDS", -1.0)
            assert await lease_now(journal, LAB) is None
        assert journal.holds(await lease(journal, LAB))


async def test_nodes_that_stood_still_together_bury_nobody(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on one machine that was paused: the first to beat again waits for the others before it ends their leases."""
    monkeypatch.setattr(heart, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(heart, "DEAD_SECONDS", 2.0)
    monkeypatch.setattr(heart, "_AWAY_SECONDS", 1.0)
    async with node(url) as one, node(url) as two:
        held = []
        for each in (one, two):
            await each.accept(message(lanes=("a" if each is one else "b",)))
            held.append(await lease(each, LAB))
        beat = heart.beat

        async def later(connection: schema.Connection, name: str, own: desks.Desks) -> None:
            await asyncio.sleep(0.5 if own.seq(held[1].fence) else 0)
            await beat(connection, name, own)

        await asyncio.sleep(2.5)  # both may bury by now
        monkeypatch.setattr(heart, "beat", later)
        time.sleep(2.5)  # noqa: ASYNC251 - this is what stands still
        await asyncio.sleep(2)  # some beats
        for each, leased in zip((one, two), held, strict=True):
            assert each.holds(leased)
            await each.park(leased, "x", "y")


# --- the database stands still ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Far:
    """A journal whose database is reached through a proxy."""

    journal: Journal
    proxy: FaultProxy


@pytest.fixture
async def far(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Far]:
    """With little patience."""
    monkeypatch.setattr(writer, "_GROUP_SECONDS", 1.0)
    monkeypatch.setattr(reads, "_HEALTH_SECONDS", 0.5)
    monkeypatch.setitem(schema._NETWORK, "connect_timeout", 2)
    parts = urlsplit(url)
    async with (
        FaultProxy((parts.hostname or "", parts.port or 0)) as proxy,
        node(url.replace(f":{parts.port}/", f":{proxy.port}/")) as journal,
    ):
        yield Far(journal, proxy)
        proxy.now(WELL)


async def test_a_silent_database_is_told_to_senders_and_operators(far: Far) -> None:
    """Nothing waits for ever; once it speaks again all is well."""
    await far.journal.accept(message())
    assert (await far.journal.health()).problem == ""
    far.proxy.now(SILENT)
    with pytest.raises(JournalError, match="no answer within"):
        await far.journal.accept(message())
    assert "no answer within" in (await far.journal.health()).problem
    far.proxy.now(WELL)
    async with asyncio.timeout(60):
        while (await far.journal.health()).problem:
            await asyncio.gather(far.journal.accept(message()), return_exceptions=True)
    assert await lease(far.journal, LAB)


async def test_a_database_that_is_silent_from_the_start_is_said_so(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and says nothing."""
    monkeypatch.setitem(schema._NETWORK, "connect_timeout", 2)
    parts = urlsplit(url)
    async with FaultProxy((parts.hostname or "", parts.port or 0)) as proxy:
        proxy.now(SILENT)
        journal = PostgresJournal(
            url.replace(f":{parts.port}/", f":{proxy.port}/"), window=timedelta(days=1), lease_time=timedelta(days=1)
        )
        with pytest.raises(JournalError, match="cannot be opened"):
            await asyncio.wait_for(journal.open(), 30)
        await journal.close()


# --- one faulty item --------------------------------------------------------------------------------------------------


async def test_what_can_never_be_written_is_refused_by_itself(url: str) -> None:
    """Each kind, and those beside it in one group are written."""
    async with node(url) as journal:
        some = (message(), message(size=1 << 40), message(media=object()), message())
        answers = await asyncio.gather(*(journal.accept(each) for each in some), return_exceptions=True)
        assert [type(answer).__name__ for answer in answers] == ["Stored", "ItemRefused", "ItemRefused", "Stored"]
        assert (await journal.health()).problem == ""


async def test_a_writer_that_fails_is_not_silent(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own: who waits and who comes is told, the engine stops, and operators see why."""
    async with node(url) as journal:
        waiting = asyncio.ensure_future(journal.lease(LAB, "w"))
        assert await lease_now(journal, HUB) is None

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(desks.Desks, "hand_out", fail)
        await asyncio.gather(journal.accept(message()), return_exceptions=True)
        for each in (waiting, journal.accept(message()), journal.lease(LAB, "w")):
            with pytest.raises(JournalError):
                await asyncio.wait_for(each, 10)
        assert isinstance(waiting.exception(), JournalBroken)
        assert "ZeroDivisionError" in (await journal.health()).problem


# --- clocks -----------------------------------------------------------------------------------------------------------


async def test_a_node_whose_clock_is_ahead_takes_nobodys_lease(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a lease ends is told by the database's clock."""
    async with node(url) as living, node(url) as ahead:
        await living.accept(message())
        held = await lease(living, LAB)
        real = codec.now
        monkeypatch.setattr(codec, "now", lambda: real() + 31 * 60 * 1_000_000)
        assert await lease_now(ahead, LAB) is None
        monkeypatch.undo()
        await living.park(held, "x", "y")


async def test_a_clock_that_is_wrong_is_told_at_the_start(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a second, either way."""
    told: list[events.Event] = []
    end = events.subscribe(told.append)
    real = codec.now
    for wrong in (0, -90_000_000):
        monkeypatch.setattr(codec, "now", lambda wrong=wrong: real() + wrong)
        async with node(url):
            pass
    end()
    assert [each for each in told if isinstance(each, events.ClockApart)] == [events.ClockApart(-90.0)]


# --- what is removed --------------------------------------------------------------------------------------------------


async def test_removing_nothing_takes_no_turn(url: str) -> None:
    """What is old is chosen beside the work: the others need not wait for the look."""
    async with node(url) as journal:
        await journal.accept(message())
        with psycopg.connect(url, autocommit=True) as other, other.transaction():
            other.execute(schema.TAKE_TURNS)
            assert await asyncio.wait_for(journal.prune(before=ahead(0)), 2) == 0


async def test_what_a_receiver_was_sent_is_kept_once(url: str) -> None:
    """The states that newer ones have replaced go with what they were kept in."""
    async with node(url) as journal:
        for n in range(20):
            await forwarded(journal, delivery(sent=(sent("Patient/1", str(n), f"content {n}".encode()),)))
            await settled(journal, DELIVERED)
        with psycopg.connect(url, autocommit=True) as server:
            assert server.execute("SELECT (SELECT count(*) FROM sent), (SELECT count(*) FROM packs)").fetchone() == (1, 1)
        known = await journal.known(Question(whole=("Patient/1",)), ("exchange/hub",))
        assert known.sent["exchange/hub", "Patient/1"].content == b"content 19"


async def test_what_is_replaced_while_it_is_read_is_read_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a state and its content a newer one may come."""
    async with node(url) as journal:
        await forwarded(journal, delivery(sent=(sent("Patient/1", "1", b"old"),)))
        await settled(journal, DELIVERED)
        rows, later = sessions.Session.rows, [("2", b"new")]

        async def slow(session: sessions.Session, query: object, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
            if query == statements.PACKS and later:
                await forwarded(journal, delivery(sent=(sent("Patient/1", *later.pop()),)))
                await settled(journal, DELIVERED)
            return await rows(session, query, values)

        monkeypatch.setattr(sessions.Session, "rows", slow)
        known = await journal.known(Question(whole=("Patient/1",)), ("exchange/hub",))
        assert known.sent["exchange/hub", "Patient/1"].content == b"new"


# --- where it stands --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql://u:secret@h1:5432,h2:5433/db", "postgresql://h1:5432,h2:5433/db"),
        ("postgresql://u:secret@h1,h2/db?target_session_attrs=primary", "postgresql://h1:5432,h2:5432/db"),
        ("postgresql://u@h1:6000/db", "postgresql://h1:6000/db"),
        ("postgresql:///db?host=/run/postgresql", "postgresql:///run/postgresql:5432/db"),
        ("postgresql://u:sec%ret@h1/db", "postgresql://"),
    ],
)
def test_a_place_is_shown_without_its_credentials(given: str, shown: str) -> None:
    """Of several hosts all; nothing of what cannot be read."""
    assert schema.place(given) == shown
