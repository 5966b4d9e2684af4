"""A journal in PostgreSQL that is encrypted, or given other keys: it knows and does what it did, and shows nothing of before."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from interop_engine.core.errors import JournalBroken, JournalError
from interop_engine.journal import checking
from interop_engine.journal.base import Forward, Selection
from interop_engine.journal.keys import read_keys
from interop_engine.journal.postgres.rekeying import rekey
from tests.support.filled import LANE, NAME, NUMBER, PATIENT, QUESTION, fill, seen
from tests.support.journals import DELIVERED, HUB, LAB, Store, delivery, key_file, lease, message, sent, settled
from tests.support.postgres import fresh_journal

pytestmark = pytest.mark.postgres


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """The keys that a journal is to have."""
    return key_file(tmp_path / "new.keys", "c", "d")


@pytest.fixture(params=["from plain", "from other keys"])
def store(request: pytest.FixtureRequest, tmp_path: Path, postgres: str) -> Iterator[Store]:
    """An empty journal, in plain or with keys; what is put aside is dropped."""
    keys = {} if request.param == "from plain" else {"keys": key_file(tmp_path / "old.keys", "a", "b")}
    yield Store("postgres", fresh_journal(postgres, tables=False), keys)
    with psycopg.connect(postgres, autocommit=True) as connection:
        for (name,) in connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname ~ '_(rekey|before_[0-9]+)$'"
        ).fetchall():
            connection.execute(f'DROP SCHEMA "{name}" CASCADE')


async def rekeyed(store: Store, new: Path) -> tuple[Store, str]:
    """The journal with its new keys, and the schema that was put aside."""
    old = store.options.get("keys")
    before = await rekey(str(store.place), None if old is None else read_keys(old), read_keys(new))
    return Store("postgres", store.place, {"keys": new}), before


async def faults(store: Store) -> list[str]:
    """What ``journal check`` finds."""
    async with store.opened(readonly=True) as journal:
        return [each async for each in checking.faults(journal)]


def schemas(store: Store) -> list[str]:
    """That of the journal, and those beside it."""
    with psycopg.connect(str(store.place)) as connection:
        found = "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE current_schema() || '%' ORDER BY 1"
        return [name for (name,) in connection.execute(found).fetchall()]


def told(store: Store, schema: str = "") -> str:
    """Everything that stands in the tables of a schema, as text."""
    with psycopg.connect(str(store.place)) as connection:
        if schema:
            connection.execute(f'SET search_path TO "{schema}"')
        tables = connection.execute("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()").fetchall()
        rows = [connection.execute(f'SELECT t::text FROM "{table}" t').fetchall() for (table,) in tables]
        bodies = [bytes(data) for (data,) in connection.execute("SELECT data FROM bodies").fetchall()]
    return f"{rows}{bodies}"


async def test_all_is_known_as_before(store: Store, new: Path) -> None:
    """Listings, contents, attempts, what is known and counted: the same, under the same ids; and all of it is sound."""
    async with store.opened() as journal:
        await fill(journal)
        before = await seen(journal)
    there, _ = await rekeyed(store, new)
    assert await faults(there) == []
    async with there.opened() as journal:
        assert await seen(journal) == before
        (row,) = await journal.search(Selection(search=(("patient", NUMBER),), control_id=NUMBER, states=("transformed",)))
        assert row.findings == (f"PID-5: {NAME}",)


async def test_it_goes_on_where_it_stood(store: Store, new: Path) -> None:
    """What waits is delivered, what is parked is retried, a resend is known, and what comes next takes numbers of its own."""
    async with store.opened() as journal:
        ids = await fill(journal)
        first = await journal.content(ids["first"])
    there, _ = await rekeyed(store, new)
    async with there.opened() as journal:
        stored = await journal.accept(message(first.data.decode(), digest=first.digest, duplicate_key=NUMBER))
        assert (stored.id, stored.duplicate, stored.reply) == (ids["first"], True, NAME.encode())
        held = await lease(journal, LAB)
        assert held.message == await journal.content(ids["received"])
        waiting = await lease(journal, replace(HUB, destination="late"))
        assert waiting.delivery is not None
        assert (waiting.delivery.message_id, waiting.lanes) == (ids["waiting"], (LANE,))
        (parked,) = (await journal.show(ids["parked"])).deliveries
        assert await journal.retry(parked.id) is None
        known = await journal.known(QUESTION, ("exchange/hub",))
        assert known.sent["exchange/hub", PATIENT].version == "9"
        assert await journal.forward(held, Forward((delivery(lanes=(LANE,), sent=(sent(PATIENT, "10"),)),), stamp=known.stamp))
        for _ in range(2):
            await settled(journal, DELIVERED)
        assert (await journal.known(QUESTION, ("exchange/hub",))).sent["exchange/hub", PATIENT].version == "10"
        replay = await journal.replay(ids["first"])
        assert (await journal.content(replay)).data == first.data
    assert await faults(there) == []


async def test_nothing_of_a_patient_is_in_the_tables(store: Store, new: Path) -> None:
    """The journal before is put aside as it was; what has its place says nothing, and does not open with the keys before."""
    async with store.opened() as journal:
        await fill(journal)
    there, before = await rekeyed(store, new)
    assert "CANARY" not in told(there)
    assert ("CANARY" in told(there, before)) == ("keys" not in store.options)
    assert schemas(store) == sorted([before.removesuffix("_before_1"), before])
    with pytest.raises(JournalError, match="encrypted"):
        async with store.opened():
            pass
    with psycopg.connect(str(store.place)) as connection:
        seals = connection.execute("SELECT seal FROM seals ORDER BY seal").fetchall()
    assert [seal.split()[0] for (seal,) in seals] == ["(names)", "d"]


async def test_rows_keep_their_numbers_and_what_acts_on_them(store: Store, new: Path) -> None:
    """Numbers that were given once are not given again; indexes, triggers and functions are those of a new journal."""
    made = (
        "SELECT indexname::text FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1",
        "SELECT tgname::text, tgenabled FROM pg_trigger WHERE tgrelid = 'messages'::regclass AND NOT tgisinternal ORDER BY 1",
        "SELECT proname::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace ORDER BY 1",
        "SELECT sequencename::text, last_value FROM pg_sequences WHERE schemaname = current_schema() ORDER BY 1",
        "SELECT seq, id FROM messages ORDER BY seq",
    )

    def there_is() -> list[object]:
        with psycopg.connect(str(store.place)) as connection:
            return [connection.execute(query).fetchall() for query in made]

    async with store.opened() as journal:
        await fill(journal)
    before = there_is()
    await rekeyed(store, new)
    assert there_is() == before


async def test_a_channels_bytes_are_counted_anew(store: Store, new: Path) -> None:
    """What is sealed is longer: by it the largest channel is told."""
    async with store.opened() as journal:
        await fill(journal)
        await journal.accept(message(channel="orders"))
    there, _ = await rekeyed(store, new)
    of_each = "SELECT channel, body FROM messages UNION SELECT channel, body FROM deliveries"
    counted = f"SELECT channel, sum(length(data)) FROM ({of_each}) of JOIN bodies ON id = body GROUP BY channel"
    with psycopg.connect(str(store.place)) as connection:
        found = dict(connection.execute(counted).fetchall())
    async with there.opened() as journal:
        assert await journal.stored() == found


# --- what stops it ----------------------------------------------------------------------------------------------------


async def test_a_node_that_works_on_it(store: Store, new: Path) -> None:
    """It is refused, and the node is not disturbed."""
    async with store.opened() as journal:
        with pytest.raises(JournalError, match="stop all nodes"):
            await rekeyed(store, new)
        await journal.accept(message())
        assert (await journal.health()).problem == ""


async def test_a_row_that_does_not_open_is_named(store: Store, new: Path) -> None:
    """Nothing takes the journal's place, and nothing is left beside it."""
    async with store.opened() as journal:
        ids = await fill(journal)
    with psycopg.connect(str(store.place)) as connection:
        connection.execute("UPDATE messages SET digest = 'x' WHERE id = %s", (ids["waiting"],))
    before = told(store)
    with pytest.raises(JournalBroken, match=f"message {ids['waiting']}"):
        await rekeyed(store, new)
    assert (told(store), len(schemas(store))) == (before, 1)


async def test_wrong_keys_are_refused(store: Store, new: Path) -> None:
    """Before anything is written."""
    async with store.opened() as journal:
        await fill(journal)
    with pytest.raises(JournalError, match="plain" if "keys" not in store.options else "not all the keys"):
        await rekey(str(store.place), read_keys(key_file(new.with_name("other"), "z")), read_keys(new))
    assert len(schemas(store)) == 1


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from interop_engine.journal.keys import read_keys
from interop_engine.journal.postgres import rekeying, tablecopy

tablecopy._BATCH = 1
steps = int(sys.argv[4])

def progress(done, of):
    global steps
    steps -= 1
    if steps == 0:
        os.kill(os.getpid(), signal.SIGKILL)

old = read_keys(Path(sys.argv[2])) if sys.argv[2] else None
asyncio.run(rekeying.rekey(sys.argv[1], old, read_keys(Path(sys.argv[3])), progress))
"""


@pytest.mark.parametrize("steps", [1, 9, 40])
async def test_killed_halfway_the_journal_is_what_it_was(store: Store, new: Path, steps: int) -> None:
    """It opens with its keys of before; and a second try does what the first should have."""
    async with store.opened() as journal:
        await fill(journal)
        before = await seen(journal)
    values = (str(store.place), str(store.options.get("keys", "")), str(new), str(steps))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _KILLED, *values)
    assert await process.wait() == -9
    assert re.search(r"_rekey$", schemas(store)[-1])
    async with store.opened() as journal:
        assert await seen(journal) == before
    there, _ = await rekeyed(store, new)
    assert len(schemas(store)) == 2
    async with there.opened() as journal:
        assert await seen(journal) == before


async def test_a_node_that_was_cut_off_meanwhile_writes_nothing(store: Store, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not heard and so not seen; when it is back it finds that its keys are not the journal's."""
    monkeypatch.setattr("interop_engine.journal.postgres.rekeying.DEAD_SECONDS", -60)
    async with store.opened() as journal:
        await journal.accept(message())
        there, _ = await rekeyed(store, new)
        for _ in range(2):
            with pytest.raises(JournalError):
                await journal.accept(message())
    async with there.opened() as journal:
        assert await journal.totals() == {"lab": {"received": 1}}
