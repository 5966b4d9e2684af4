"""The parts of the SQLite journal: lines with more than memory holds, the index of what was sent, the memory of changes."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from interop_engine.core.model import Learned, Outcome, Park, Question
from interop_engine.journal.base import STATES, Forward, Journal, MessageState, Queue, Selection
from interop_engine.journal.sqlite import lanes, pruning, reads, schema, sentstate, sweeping, transaction, writer
from interop_engine.journal.sqlite.lanes import Line, Row
from interop_engine.journal.sqlite.transaction import Changes
from interop_engine.journal.sqlite.warm import Warm
from tests.support.journals import DELIVERED, LAB, Store, delivery, forwarded, lease, lease_now, message, sent, settled


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store("sqlite", tmp_path / "journal.db")


# --- lines ------------------------------------------------------------------------------------------------------------


class Backlog:
    """Unsettled items as the database would give them."""

    def __init__(self, *rows: Row) -> None:
        self.rows = list(rows)
        self.reads = 0

    def read(self, after: int, limit: int) -> list[Row]:
        """Items in order of arrival."""
        self.reads += 1
        return [row for row in self.rows if row[0] > after][:limit]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that read two at a time and hold four."""
    monkeypatch.setattr(lanes, "_CHUNK", 2)
    monkeypatch.setattr(lanes, "_MOST_HELD", 4)


@pytest.mark.usefixtures("small")
async def test_a_line_reads_on_when_nothing_held_is_ready() -> None:
    """What is behind a blocked lane is found, as far as memory allows; what leaves makes room."""
    backlog = Backlog(*((n, ("a",), None) for n in range(1, 5)), (5, ("b",), None))
    line = Line(Queue("lab"), backlog.read)
    first = line.take(1)
    assert first is not None
    assert first.seq == 1
    assert line.take(2) is None, "four are held, three of them behind the first"
    waiting = asyncio.ensure_future(line.wait())
    await asyncio.sleep(0)
    line.finish(first)
    await waiting
    second, other = line.take(2), line.take(3)
    assert second is not None
    assert other is not None
    assert (second.seq, other.seq) == (2, 5)


@pytest.mark.usefixtures("small")
async def test_what_arrives_beyond_the_window_is_read_later_and_once() -> None:
    """An item that was committed while the line was full comes from the database, in its turn."""
    backlog = Backlog(*((n, (), None) for n in range(1, 4)))
    line = Line(Queue("lab"), backlog.read)
    taken = [item.seq for n in range(3) if (item := line.take(n + 1))]
    for seq in range(4, 9):
        backlog.rows.append((seq, (), None))
        line.add(seq, ())
    held = []
    while (item := line.take(9)) is not None:
        held.append(item)
    assert (taken, [item.seq for item in held]) == ([1, 2, 3], [4])
    for item in held:
        line.finish(item)
    rest = []
    while (item := line.take(9)) is not None:
        rest.append(item.seq)
        line.finish(item)
    assert rest == [5, 6, 7, 8]


async def test_a_line_whose_all_is_held_does_not_read_again() -> None:
    """The database is asked once for an empty queue, then commits say what is new."""
    backlog = Backlog()
    line = Line(Queue("lab"), backlog.read)
    assert line.take(1) is None
    line.add(1, ("a",))
    assert line.take(1) is not None
    assert line.take(2) is None
    assert backlog.reads == 1


async def test_one_timer_serves_all_later_items_and_the_earliest_first() -> None:
    """Items that are due later wake a waiter each, in order of their times."""
    now = lanes.codec.now()
    backlog = Backlog((1, ("a",), now + 40_000), (2, ("b",), now + 20_000))
    line = Line(Queue("lab"), backlog.read)
    got = []
    for fence in (1, 2):
        while (item := line.take(fence)) is None:
            await asyncio.wait_for(line.wait(), 10)
        got.append(item.seq)
    assert got == [2, 1]


async def test_a_cancelled_waiter_passes_its_turn_on() -> None:
    """Woken and cancelled in the same moment: the next one is woken."""
    line = Line(Queue("lab"), Backlog().read)
    line.take(1)
    first, second = (asyncio.ensure_future(line.wait()) for _ in range(2))
    await asyncio.sleep(0)
    line.add(1, ())
    first.cancel()
    await asyncio.wait_for(second, 10)
    assert first.cancelled()


async def test_a_large_backlog_keeps_its_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the whole journal, with windows of five."""
    monkeypatch.setattr(lanes, "_CHUNK", 5)
    monkeypatch.setattr(lanes, "_MOST_HELD", 7)
    async with store.opened() as journal:
        sent_ = [message(lanes=(f"p{n % 3}",)) for n in range(60)]
        for each in sent_:
            await journal.accept(each)
        order: dict[str, list[str]] = {}

        async def work() -> None:
            while (held := await lease_now(journal, LAB)) is not None:
                assert held.message is not None
                order.setdefault(held.lanes[0], []).append(held.message.id)
                await journal.forward(held, Forward())

        await asyncio.gather(*(work() for _ in range(4)))
        assert order == {f"p{n}": [each.id for each in sent_[n::3]] for n in range(3)}


# --- what was sent ----------------------------------------------------------------------------------------------------


async def versions(journal: Journal) -> dict[str, str]:
    """What counts as sent of forty patients."""
    objects = tuple(f"Patient/{n}" for n in range(40))
    known = await journal.known(Question(objects=objects, whole=objects), ("exchange/hub",))
    assert all(state.content == f"{state.object}@{state.version}".encode() for state in known.sent.values())
    return {thing: state.version for (_, thing), state in known.sent.items()}


async def test_states_move_to_the_index_and_are_found_on_the_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every moment of the move, after it and after a restart in the middle, the newest state that counts is known."""
    monkeypatch.setattr(sentstate, "_GENERATION", 10)
    expected: dict[str, str] = {}
    for round_ in range(4):
        async with store.opened() as journal:
            for step in range(25):
                thing, version = f"Patient/{step * 7 % 40}", f"{round_}.{step}"
                await forwarded(journal, delivery(sent=(sent(thing, version, f"{thing}@{version}".encode()),)))
                await settled(journal, DELIVERED)
                expected[thing] = version
                assert await versions(journal) == expected
    connection = sentstate.apsw.Connection(str(store.place))
    indexed = connection.execute("SELECT pack, (SELECT count(*) FROM sent_index) FROM sent_indexed").fetchall()
    connection.close()
    assert indexed[0][0] > 50
    assert indexed[0][1] > 20


async def test_the_state_before_is_found_in_the_index(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery parks after its state and the one before have moved: the one before shows again."""
    monkeypatch.setattr(sentstate, "_GENERATION", 2)
    async with store.opened() as journal:
        for version in ("1", "2"):
            states = tuple(sent(f"Patient/{n}", version, f"Patient/{n}@{version}".encode()) for n in range(2))
            await forwarded(journal, delivery(sent=states))
        await settled(journal, DELIVERED)
        await settled(journal, Park("x", "y"))
        await journal.accept(message())
        assert await versions(journal) == {"Patient/0": "1", "Patient/1": "1"}
        connection = sentstate.apsw.Connection(str(store.place))
        assert connection.execute("SELECT pack, older FROM sent_index").fetchall() == [(2, 1), (2, 1)]
        connection.close()


async def test_what_nothing_asks_for_any_more_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the same objects are sent, as many states stay as there are objects, twice; what is parked keeps its own."""
    monkeypatch.setattr(sentstate, "_GENERATION", 2)
    monkeypatch.setattr(sweeping, "STEP_PACKS", 3)
    monkeypatch.setattr("interop_engine.journal.sqlite.warm._MOST_BYTES", 0)

    async def passed(journal: Journal, version: str, outcome: Outcome = DELIVERED, rare: str = "Patient/9") -> str:
        states = [sent(f"Patient/{n}", version, f"Patient/{n}@{version}".encode()) for n in range(4)]
        await forwarded(journal, delivery(sent=(*states, sent(rare, version, f"{rare}@{version}".encode()))))
        return await settled(journal, outcome)

    async with store.opened() as journal:
        parked = await passed(journal, "0", Park("x", "y"))
        for round_ in range(6):
            for step in range(20):
                await passed(journal, f"{round_}.{step}", rare=f"Patient/{10 + round_}")
            before = await versions(journal)
            assert before["Patient/10"] == "0.19"
            while await journal.prune():
                pass
            await journal.prune()
            assert await versions(journal) == before
        await passed(journal, "7", Park("x", "y"))
        for _ in range(20):
            await journal.accept(message())  # what is to be moved has moved
        await journal.prune()
        assert (await versions(journal))["Patient/0"] == "5.19"
        with contextlib.closing(sentstate.apsw.Connection(str(store.place))) as connection:
            states = connection.execute(
                "SELECT count(*), max(id) FROM packs WHERE id < (SELECT pack FROM sent_indexed)"
            ).fetchall()
        assert states[0][0] < 20
        assert states[0][1] > 100
        assert await journal.retry(parked) is not None  # it is overtaken, which what it carries tells


# --- what changed -----------------------------------------------------------------------------------------------------


def test_a_stamp_older_than_memory_is_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was forgotten counts as changed; what was not asked about does not."""
    monkeypatch.setattr(transaction, "_REMEMBERED_CHANGES", 2)
    changes = Changes()
    stamp = changes.stamp(changes.moment, ["a"])
    changes.begin()
    changes.touch(["x"])
    changes.touch(["y"])
    assert changes.fresh(stamp)
    changes.touch(["z"])
    assert not changes.fresh(stamp)
    changes.committed()
    assert changes.fresh(changes.stamp(changes.moment, ["a", "x", "z"]))


def test_a_change_in_a_group_that_failed_only_costs_another_look() -> None:
    """A rolled back change may make a stamp out of date, never the other way."""
    changes = Changes()
    changes.begin()
    changes.touch(["a"])
    changes.begin()
    assert not changes.fresh(changes.stamp(changes.moment, ["a"]))
    changes.committed()
    assert changes.fresh(changes.stamp(changes.moment, ["a"]))


async def test_merges_are_known_however_many_there_are(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """From memory while they are few, from the table when they are more, and after a restart; a chain is followed to its end."""
    monkeypatch.setattr(transaction, "_MOST_MERGES", 2)
    question = Question(objects=("Patient/0",))
    for number in range(4):
        async with store.opened() as journal:
            await journal.accept(message(lanes=()))
            learned = Learned(merged={f"Patient/{number}": f"Patient/{number + 1}"})
            assert await journal.forward(await lease(journal, LAB), Forward(learned=learned))
            known = await journal.known(question, ("exchange/hub",))
            assert known.survivor("Patient/0") == f"Patient/{number + 1}"


def test_warm_values_are_bounded_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first; a value is given once."""
    monkeypatch.setattr("interop_engine.journal.sqlite.warm._MOST_BYTES", 10)
    warm: Warm[str] = Warm()
    for seq in range(4):
        warm.put(seq, 4, str(seq))
    assert [warm.take(seq) for seq in range(4)] == [None, None, "2", "3"]
    warm.put(9, 11, "too large")
    assert warm.take(9) is None


async def test_the_write_ahead_log_is_checkpointed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While writing it begins anew, and is cut to nothing when nothing comes."""
    monkeypatch.setattr(writer, "_CHECKPOINT_PAGES", 20)
    loop, idle, modes = asyncio.get_running_loop(), asyncio.Event(), []
    checkpoint = writer.Writer._checkpoint

    def note(self: writer.Writer, mode: int) -> None:
        checkpoint(self, mode)
        modes.append(mode)
        if mode == writer.apsw.SQLITE_CHECKPOINT_TRUNCATE:
            loop.call_soon_threadsafe(idle.set)

    monkeypatch.setattr(writer.Writer, "_checkpoint", note)
    async with store.opened() as journal:
        for _ in range(100):
            await journal.accept(message(lanes=()))
        assert modes.count(writer.apsw.SQLITE_CHECKPOINT_PASSIVE) > 5
        monkeypatch.setattr(writer, "_IDLE_SECONDS", 0.01)
        await journal.accept(message(lanes=()))
        await asyncio.wait_for(idle.wait(), 10)
        health = await journal.health()
        assert (health.wal, health.size > 40 * 4096) == (0, True)
        await journal.accept(message(lanes=()))
        assert (await lease(journal, LAB)).message is not None


# --- what may be removed ----------------------------------------------------------------------------------------------


async def test_what_may_be_removed_is_looked_for_step_by_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step looks at so many messages and no more, the next goes on behind them, and after the last it begins anew."""
    monkeypatch.setattr(pruning, "_LOOKED_AT", 4)
    async with store.opened() as journal:
        for _ in range(9):
            await forwarded(journal, delivery("away", lanes=()))
        await forwarded(journal, delivery(lanes=()))
        await settled(journal, DELIVERED)
        await forwarded(journal, delivery("away", lanes=()))
    assert isinstance(store.place, Path)
    connection = schema.connect_reader(store.place)
    finder = pruning.Finder()
    for channel in (None, "lab"):
        for _ in range(2):
            assert [finder.find(connection, None, channel, 50) for _ in range(3)] == [([], True), ([], True), ([10], False)]
    connection.close()


# --- searching --------------------------------------------------------------------------------------------------------


async def test_what_is_found_does_not_depend_on_how_much_waits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog is looked at whole, or looked for among the newest messages: each condition finds the same in the same order."""
    async with store.opened() as journal:
        for number in range(24):
            channel, state = ("lab", "orders")[number % 2], (MessageState.RECEIVED, MessageState.FILTERED)[number % 3 == 0]
            kind = ("ORU^R01", "ORM^O01")[number % 5 == 0]
            await journal.accept(message(channel=channel, state=state, message_type=kind, search=(("patient", f"{number % 4}"),)))
            if number % 4 == 1:
                await forwarded_of(journal, channel, parked=number % 8 == 1)
        asked = [
            Selection(channel, states, message_type=kind, search=search, limit=3)
            for channel in (None, "lab", "orders")
            for states in (*((each,) for each in STATES), ("received", "delivery-waiting"))
            for kind in (None, "ORM^O01")
            for search in ((), (("patient", "1"),))
        ]
        found = []
        for most in (0, 1_000):
            monkeypatch.setattr(reads, "_MANY", most)
            monkeypatch.setattr(reads, "_MANY_WITH_MORE", most)
            found.append([[row.id for row in await journal.search(each)] for each in asked])
    assert found[0] == found[1]
    assert sum(map(bool, found[0])) > len(asked) // 5


async def forwarded_of(journal: Journal, channel: str, *, parked: bool) -> None:
    """The oldest message of a channel gets a delivery, which waits or is parked."""
    held = await lease(journal, Queue(channel))
    await journal.forward(held, Forward((delivery(lanes=()),)))
    if parked:
        await settled(journal, Park("x", "y"), Queue(channel, "hub"))
