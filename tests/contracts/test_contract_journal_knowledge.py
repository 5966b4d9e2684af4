"""The journal's contract: what earlier messages taught, what operators do, and what they see."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from interop_engine.core.errors import ItemRefused, UnknownItem
from interop_engine.core.model import Known, Park, Question, Retry
from interop_engine.journal.base import Forward, Journal, Lease, MessageState, Queue, QueueCount, Selection
from tests.support.journals import (
    DELIVERED,
    HUB,
    LAB,
    START,
    Store,
    ahead,
    delivery,
    forwarded,
    learned,
    lease,
    lease_now,
    message,
    sent,
    settled,
)

NAMES = ("exchange/hub",)


def versions(known: Known) -> dict[str, str]:
    """Object → version of what counts as sent."""
    return {thing: state.version for (_, thing), state in known.sent.items()}


# --- what is known ----------------------------------------------------------------------------------------------------


async def test_nothing_asked_nothing_known(journal: Journal) -> None:
    """An empty question has an empty answer, whose stamp never goes out of date."""
    assert await journal.known(Question(), NAMES) == Known()


async def test_what_was_sent_is_known_by_object_and_destination(journal: Journal) -> None:
    """The newest state; content only where it was asked for."""
    await forwarded(journal, delivery(sent=(sent("Patient/1", "1", b"one"), sent("Patient/2", "1", b"two"))))
    await forwarded(journal, delivery(sent=(sent("Patient/1", "2", b"newer"),)))
    known = await journal.known(Question(objects=("Patient/1", "Patient/2", "Patient/3"), whole=("Patient/1",)), NAMES)
    assert versions(known) == {"Patient/1": "2", "Patient/2": "1"}
    assert known.sent["exchange/hub", "Patient/1"].content == b"newer"
    assert known.sent["exchange/hub", "Patient/2"].content is None
    assert (await journal.known(Question(objects=("Patient/1",)), ("exchange/other",))).sent == {}


async def test_aliases_lead_to_their_objects_and_merges_to_survivors(journal: Journal) -> None:
    """The answer follows both by itself, every step of a chain, and gives what it finds whole."""
    states = (sent("ServiceRequest/9", "9", b"order"), sent("Patient/3", "3", b"survivor"))
    taught = learned({"placer|A17": "ServiceRequest/9"}, {"Patient/1": "Patient/2", "Patient/2": "Patient/3"})
    await forwarded(journal, delivery(sent=states), learned=taught)
    known = await journal.known(Question(aliases=("placer|A17", "filler|F1"), objects=("Patient/1",)), NAMES)
    assert known.aliases == {"placer|A17": "ServiceRequest/9"}
    assert known.merged == {"Patient/1": "Patient/2", "Patient/2": "Patient/3"}
    assert known.survivor("Patient/1") == "Patient/3"
    assert {state.content for state in known.sent.values()} == {b"order", b"survivor"}


async def test_an_alias_comes_with_those_that_go_on_from_it(journal: Journal) -> None:
    """After a tab, each leading to its own object, whole; what only begins like it is another number."""
    taught = {
        "placer|A1": "ServiceRequest/1",
        "placer|A1\tGLU": "ServiceRequest/1",
        "placer|A1\tlab|Kali, máu": "ServiceRequest/2",
        "placer|A17": "ServiceRequest/3",
        "placer|A17\tGLU": "ServiceRequest/3",
    }
    await forwarded(journal, delivery(sent=(sent("ServiceRequest/2", "2", b"second"),)), learned=learned(taught))
    known = await journal.known(Question(aliases=("placer|A1",)), NAMES)
    assert known.aliases == {alias: thing for alias, thing in taught.items() if "A17" not in alias}
    assert [state.content for state in known.sent.values()] == [b"second"]


async def test_another_thing_under_a_number_outdates_what_was_known_of_it(journal: Journal) -> None:
    """Who asked for the number must ask again: it reaches one more."""
    await forwarded(journal, learned=learned({"placer|A1": "ServiceRequest/1", "placer|A1\tGLU": "ServiceRequest/1"}))
    held = await _received(journal)
    known = await journal.known(Question(aliases=("placer|A1",)), NAMES)
    await forwarded(journal, learned=learned({"placer|A1\tK": "ServiceRequest/2"}))
    assert not await journal.forward(held, Forward((delivery(),), stamp=known.stamp))


async def test_merges_in_a_circle_end(journal: Journal) -> None:
    """A mistaken merge back is answered, not followed for ever."""
    await forwarded(journal, learned=learned(merged={"Patient/1": "Patient/2", "Patient/2": "Patient/1"}))
    known = await journal.known(Question(objects=("Patient/1",)), NAMES)
    assert known.merged == {"Patient/1": "Patient/2", "Patient/2": "Patient/1"}


@pytest.mark.parametrize("end", ["park", "discard"])
async def test_a_delivery_that_did_not_arrive_does_not_count(journal: Journal, end: str) -> None:
    """Parked or discarded: the state before it shows again; tried again it counts again."""
    question = Question(objects=("Patient/1",), whole=("Patient/1",))
    await forwarded(journal, delivery(sent=(sent(version="1", content=b"one"),)))
    await settled(journal, DELIVERED)
    second = await forwarded(journal, delivery(sent=(sent(version="2", content=b"two"),)))
    if end == "discard":
        await journal.discard(second, "mistake", waiting=True)
    else:
        parked = await settled(journal, Park("fhir-422", "no"))
    known = await journal.known(question, NAMES)
    assert [(state.version, state.content) for state in known.sent.values()] == [("1", b"one")]
    if end == "park":
        await journal.retry(parked)
        assert versions(await journal.known(question, NAMES)) == {"Patient/1": "2"}


async def test_one_object_in_two_deliveries_counts_while_one_arrives(journal: Journal) -> None:
    """A bundle in pieces may carry an object twice: the newer piece counts, and without it the older."""
    pieces = (delivery(lanes=(), sent=(sent(version="1"),)), delivery(lanes=(), sent=(sent(version="2"),)))
    stored = await forwarded(journal, *pieces)
    question = Question(objects=("Patient/1",))
    assert versions(await journal.known(question, NAMES)) == {"Patient/1": "2"}
    await settled(journal, DELIVERED)
    await journal.discard(stored, "the second piece only", waiting=True)
    assert versions(await journal.known(question, NAMES)) == {"Patient/1": "1"}


async def test_each_delivery_of_a_message_keeps_its_own_content(journal: Journal) -> None:
    """One object in two versions, of one message to one receiver: what counts is known with the bytes that it was sent with."""
    pieces = [(version, delivery(lanes=(), sent=(sent(version=version, content=version.encode()),))) for version in "12"]
    stored = await forwarded(journal, *(piece for _, piece in pieces))
    question = Question(whole=("Patient/1",))
    counts = [[(state.version, state.content) for state in (await journal.known(question, NAMES)).sent.values()]]
    await settled(journal, DELIVERED)
    await journal.discard(stored, "the second piece only", waiting=True)
    counts.append([(state.version, state.content) for state in (await journal.known(question, NAMES)).sent.values()])
    assert counts == [[("2", b"2")], [("1", b"1")]]


async def test_everything_known_outlives_a_restart(store: Store) -> None:
    """States, aliases and merges are primary data."""
    question = Question(("placer|A17",), ("Patient/1", "Patient/2"), ("Patient/1",))
    async with store.opened() as journal:
        taught = learned({"placer|A17": "ServiceRequest/9"}, {"Patient/2": "Patient/1"})
        await forwarded(journal, delivery(sent=(sent(content=b"kept"),)), learned=taught)
        before = await journal.known(question, NAMES)
    async with store.opened() as journal:
        after = await journal.known(question, NAMES)
        assert (after.sent, after.aliases, after.merged) == (before.sent, before.aliases, before.merged)
        assert after.sent["exchange/hub", "Patient/1"].content == b"kept"
        held = await _received(journal)
        assert not await journal.forward(held, Forward(stamp=before.stamp)), "a stamp of another process is out of date"


async def _received(journal: Journal) -> Lease:
    await journal.accept(message(lanes=()))
    return await lease(journal, LAB)


@pytest.mark.parametrize("change", ["sent", "alias", "merge", "park", "retry", "discard"])
async def test_a_forward_with_an_outdated_known_does_nothing(journal: Journal, change: str) -> None:
    """False, nothing written, the lease still held; asked again it goes through."""
    question = Question(("placer|A17",), ("Patient/1",))
    first = await forwarded(journal, delivery(sent=(sent(),)))
    if change == "retry":
        parked = await settled(journal, Park("x", "y"))
    held = await _received(journal)
    known = await journal.known(question, NAMES)
    match change:
        case "sent":
            await forwarded(journal, delivery(sent=(sent(version="2"),)))
        case "alias":
            await forwarded(journal, learned=learned({"placer|A17": "ServiceRequest/1"}))
        case "merge":
            await forwarded(journal, learned=learned(merged={"Patient/1": "Patient/2"}))
        case "park":
            await settled(journal, Park("x", "y"))
        case "retry":
            await journal.retry(parked)
        case _:
            await journal.discard(first, "no", waiting=True)
    assert not await journal.forward(held, Forward((delivery(),), stamp=known.stamp))
    assert held.message is not None
    assert (await journal.show(held.message.id)).state == MessageState.RECEIVED
    known = await journal.known(question, NAMES)
    assert await journal.forward(held, Forward((delivery(),), stamp=known.stamp))


async def test_what_others_learn_does_not_outdate_an_answer(journal: Journal) -> None:
    """Only what was asked about matters, or busy sites would never forward."""
    held = await _received(journal)
    known = await journal.known(Question(("placer|A17",), ("Patient/1",)), NAMES)
    await forwarded(journal, delivery(sent=(sent("Patient/2"),)), learned=learned({"placer|A18": "ServiceRequest/2"}))
    assert await journal.forward(held, Forward((delivery(),), stamp=known.stamp))


async def test_of_two_that_ask_at_once_the_second_is_asked_to_look_again(journal: Journal) -> None:
    """Two messages of different lanes that touch one object, forwarded in one commit: one wins."""
    leases = [await _received(journal) for _ in range(2)]
    known = [await journal.known(Question(objects=("Patient/1",)), NAMES) for _ in leases]
    made = [Forward((delivery(sent=(sent(),)),), stamp=each.stamp) for each in known]
    done = await asyncio.gather(*(journal.forward(held, each) for held, each in zip(leases, made, strict=True)))
    assert done == [True, False]


@pytest.mark.parametrize("second", ["forward", "park"])
async def test_one_lease_ends_once(journal: Journal, second: str) -> None:
    """Two that end it at once, in one commit: the second is told that the lease has ended, and writes nothing."""
    held = await _received(journal)
    assert held.message is not None
    again = journal.forward(held, Forward((delivery(),))) if second == "forward" else journal.park(held, "x", "y")
    done = await asyncio.gather(journal.forward(held, Forward((delivery(),))), again, return_exceptions=True)
    assert [done[0], type(done[1])] == [True, UnknownItem]
    row = await journal.show(held.message.id)
    assert (row.state, len(row.deliveries)) == (MessageState.TRANSFORMED, 1)
    assert await journal.totals() == {"lab": {"transformed": 1}}


async def test_what_can_never_be_written_is_refused_by_itself(journal: Journal) -> None:
    """Its caller can tell it from a journal that is away, what is written beside it is written, and it is leased still."""
    held, other = [await _received(journal) for _ in range(2)]
    impossible = Forward((delivery(sent=(sent()._replace(rank=1 << 70),)),))
    answers = await asyncio.gather(
        journal.forward(held, impossible), journal.forward(other, Forward((delivery(),))), return_exceptions=True
    )
    assert [type(answers[0]), answers[1]] == [ItemRefused, True]
    assert (await journal.health()).problem == ""
    await journal.park(held, "x", "y")


# --- operators --------------------------------------------------------------------------------------------------------


async def test_a_message_without_deliveries_is_filtered_and_says_why(journal: Journal) -> None:
    """Code, reason, findings and search keys of the transformation are kept."""
    stored = await forwarded(journal, code="stale", why="older", findings=("OBX[1]-5: dropped",), search=(("order", "A1"),))
    row = await journal.show(stored)
    assert (row.state, row.code, row.why, row.findings) == (MessageState.FILTERED, "stale", "older", ("OBX[1]-5: dropped",))
    assert row.search == (("order", "A1"),)


async def test_a_replay_is_a_new_message_that_cites_the_old(journal: Journal) -> None:
    """Same bytes, lanes and keys; a parked one becomes SUPERSEDED; the replay stands for the next resend."""
    first = message(duplicate_key="k", search=(("patient", "BN1"),))
    await journal.accept(first)
    await journal.park(await lease(journal, LAB), "204", "order unknown", ("ORC-2",))
    again = await journal.replay(first.id, config="c2")
    held = await lease(journal, LAB)
    assert held.message is not None
    assert (held.message.id, held.message.data, held.message.replay_of, held.lanes) == (again, first.data, first.id, first.lanes)
    old, new = await journal.show(first.id), await journal.show(again)
    assert (old.state, old.findings, new.state, new.search) == (
        MessageState.SUPERSEDED,
        ("ORC-2",),
        MessageState.RECEIVED,
        (("patient", "BN1"),),
    )
    await journal.forward(held, Forward((delivery(),)))
    assert (await journal.accept(message(first.data.decode(), duplicate_key="k"))).id == again


async def test_a_retried_delivery_takes_its_old_place(journal: Journal) -> None:
    """Un-parked, it is before what came later in its lane, but not beside what is under way."""
    first = await forwarded(journal, delivery())
    parked = await settled(journal, Park("x", "y"))
    for _ in range(2):
        await forwarded(journal, delivery())
    under_way = await lease(journal, HUB)
    await journal.retry(parked)
    assert await lease_now(journal, HUB) is None
    await journal.settle(under_way, DELIVERED)
    following = await lease(journal, HUB)
    assert following.delivery is not None
    assert following.delivery.message_id == first


async def test_retry_makes_a_waiting_delivery_due_now(journal: Journal) -> None:
    """An operator need not wait for the backoff."""
    new = delivery()
    await forwarded(journal, new)
    await journal.settle(await lease(journal, HUB), Retry("503"), due_at=ahead(3600))
    await journal.retry(new.id)
    assert await lease_now(journal, HUB) is not None


async def test_unknown_ids_are_said_to_be_unknown(journal: Journal) -> None:
    """Every method that is given an id."""
    for asking in (
        journal.show("x"),
        journal.content("x"),
        journal.body("x"),
        journal.replay("x"),
        journal.retry("x"),
        journal.discard("x", "y"),
        journal.search(Selection(before="x")),
    ):
        with pytest.raises(UnknownItem):
            await asking
    done = delivery()
    await forwarded(journal, done)
    await settled(journal, DELIVERED)
    with pytest.raises(UnknownItem):
        await journal.retry(done.id)


# --- what an operator sees --------------------------------------------------------------------------------------------


async def test_search_selects_by_everything(journal: Journal) -> None:
    """Each condition alone and several together."""
    minute = timedelta(minutes=1)
    one = message(control_id="C1", search=(("patient", "BN1"), ("order", "A1")), lanes=())
    two = message(control_id="C2", search=(("patient", "BN1"),), received_at=START + minute, lanes=())
    three = message(channel="orders", message_type="ORM^O01", received_at=START + 2 * minute, lanes=())
    four = message(state=MessageState.REJECTED, received_at=START + 3 * minute)
    for each in (one, two, three, four):
        await journal.accept(each)
    await journal.forward(await lease(journal, LAB), Forward((delivery(),)))
    await settled(journal, Park("x", "y"))
    expected = {
        Selection(): [four, three, two, one],
        Selection(channel="lab"): [four, two, one],
        Selection(states=("received",)): [three, two],
        Selection(states=("rejected", "transformed")): [four, one],
        Selection(states=("delivery-parked",)): [one],
        Selection(states=("delivery-parked", "rejected")): [four, one],
        Selection(states=("delivery-waiting",)): [],
        Selection(states=("nonsense",)): [],
        Selection(since=START + minute, until=START + 3 * minute): [three, two],
        Selection(control_id="C2"): [two],
        Selection(message_type="ORM^O01"): [three],
        Selection(search=(("patient", "BN1"),)): [two, one],
        Selection(search=(("patient", "BN1"), ("order", "A1"))): [one],
        Selection(search=(("patient", "' OR 1=1 --"),)): [],
        Selection(channel="lab", since=START + minute, states=("received",)): [two],
    }
    got = {selection: [row.id for row in await journal.search(selection)] for selection in expected}
    assert got == {selection: [each.id for each in messages] for selection, messages in expected.items()}


async def test_pages_follow_each_other_without_gap_or_overlap(journal: Journal) -> None:
    """Keyset pages stay right while messages arrive, also where many have the same time."""
    ids = [(await journal.accept(message(lanes=()))).id for _ in range(25)]
    got: list[str] = []
    while rows := await journal.search(Selection(limit=10, before=got[-1] if got else None)):
        got += [row.id for row in rows]
        await journal.accept(message(lanes=()))
    assert got == ids[::-1]


async def test_counts_say_what_waits_and_what_is_parked(store: Store) -> None:
    """By queue, with the age of the oldest; totals by state; both the same after a restart."""
    counts = [
        QueueCount(LAB, 1, 1, START + timedelta(seconds=5)),
        QueueCount(Queue("lab", "district"), 1, 0, START),
        QueueCount(HUB, 0, 1, None),
    ]
    async with store.opened() as journal:
        await forwarded(journal, delivery(), delivery("district"))
        await settled(journal, Park("x", "y"))
        await journal.accept(message(lanes=()))
        await journal.park(await lease(journal, LAB), "x", "y")
        await journal.accept(message(lanes=(), received_at=START + timedelta(seconds=5)))
        assert await journal.counts() == counts
    async with store.opened() as journal:
        assert await journal.counts() == counts
        assert await journal.totals() == {"lab": {"received": 1, "parked": 1, "transformed": 1}}
        assert await journal.last_received() == {"lab": START + timedelta(seconds=5)}


async def test_the_ledger_counts_what_nobody_read(journal: Journal) -> None:
    """By channel and path."""
    await forwarded(journal, ledger=("ZPI-3", "OBX-8"))
    await forwarded(journal, ledger=("ZPI-3",))
    assert await journal.unread() == {("lab", "ZPI-3"): 2, ("lab", "OBX-8"): 1}


async def test_health_names_the_adapter_and_its_size(store: Store) -> None:
    """And has no problem to tell while it can commit."""
    async with store.opened() as journal:
        await journal.keep_config("c1", "channels: {}")
        await journal.keep_config("c1", "channels: {}")
        health = await journal.health()
        assert (health.adapter, health.problem) == (store.adapter, "")
        assert health.size + health.wal > 0
