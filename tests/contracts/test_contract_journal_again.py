"""The journal's contract: what is sent again. Replays, retries of what was overtaken meanwhile, kept configurations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Park, Question, Retry
from interop_engine.journal.base import DeliveryState, Forward, Journal, MessageState, Queue
from interop_engine.journal.sqlite import sentstate
from tests.support.journals import (
    DELIVERED,
    HUB,
    LAB,
    Store,
    ahead,
    delivery,
    forwarded,
    lease,
    lease_now,
    message,
    sent,
    settled,
)

DISTRICT = Queue("lab", "district")


# --- a retry that comes late --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newer", ["delivered", "waiting"])
async def test_what_was_overtaken_is_made_again(journal: Journal, newer: str) -> None:
    """The parked delivery is given up with its reason; its message is received again for that destination alone."""
    old = delivery(sent=(sent("Patient/1", "1"), sent("Observation/1", "1")))
    first = await forwarded(journal, old)
    await settled(journal, Park("fhir-422", "no"))
    await forwarded(journal, delivery(sent=(sent("Patient/1", "2"),)))
    if newer == "delivered":
        await settled(journal, DELIVERED)
    again = await journal.retry(old.id)
    assert again is not None
    row, made = await journal.show(first), await journal.show(again)
    assert (row.state, row.deliveries[0].state, row.deliveries[0].code) == (
        MessageState.TRANSFORMED,
        DeliveryState.DISCARDED,
        "overtaken",
    )
    assert (made.replay_of, made.only, made.through) == (first, "hub", "")
    held = await lease(journal, LAB)
    assert held.message is not None
    assert (held.message.id, held.message.only) == (again, "hub")
    with pytest.raises(UnknownItem):
        await journal.retry(old.id)


@pytest.mark.parametrize("other", ["another object", "given up", "parked too", "older"])
async def test_what_was_not_overtaken_is_sent_as_it_is(journal: Journal, other: str) -> None:
    """The same id and bytes, where nothing newer of its objects counts as sent to its receiver."""
    if other == "older":
        await forwarded(journal, delivery(sent=(sent("Patient/1", "0"),)))
        await settled(journal, DELIVERED)
    old = delivery(sent=(sent("Patient/1", "1"),))
    await forwarded(journal, old)
    await settled(journal, Park("fhir-422", "no"))
    if other != "older":
        thing = "Patient/2" if other == "another object" else "Patient/1"
        beside = await forwarded(journal, delivery(sent=(sent(thing, "2"),)))
        if other == "given up":
            await journal.discard(beside, "mistake", waiting=True)
        else:
            await settled(journal, Park("fhir-422", "no") if other == "parked too" else DELIVERED)
    assert await journal.retry(old.id) is None
    held = await lease(journal, HUB)
    assert held.delivery is not None
    assert (held.delivery.id, held.delivery.body) == (old.id, old.body)


async def test_an_overtaken_delivery_is_known_after_a_restart(store: Store) -> None:
    """What a parked delivery carries is not forgotten, neither by newer states nor by a new process."""
    old = delivery(sent=(sent("Patient/1", "1"),))
    async with store.opened() as journal:
        await forwarded(journal, old)
        await settled(journal, Park("fhir-422", "no"))
        await forwarded(journal, delivery(sent=(sent("Patient/1", "2"),)))
        await settled(journal, DELIVERED)
    async with store.opened() as journal:
        assert await journal.retry(old.id) is not None


@pytest.mark.parametrize("since", [1, 2, 3, 5])
@pytest.mark.parametrize("generation", [1, 3, 1_000])
async def test_what_arrived_is_known_behind_all_that_did_not(
    store: Store, monkeypatch: pytest.MonkeyPatch, generation: int, since: int
) -> None:
    """However many later versions are parked: no older one passes it, and what is late is told by it."""
    monkeypatch.setattr(sentstate, "_GENERATION", generation)
    old = delivery(sent=(sent("Patient/1", "1"),))
    later = [delivery(sent=(sent("Patient/1", str(3 + n)),)) for n in range(since)]
    async with store.opened() as journal:
        for made in (old, delivery(sent=(sent("Patient/1", "2"),)), *later):
            await forwarded(journal, made)
            await settled(journal, Park("fhir-422", "no") if made in (old, *later) else DELIVERED)
            await forwarded(journal)  # what is to be moved moves
        for _ in range(3):
            await journal.prune()
    async with store.opened() as journal:
        assert await _version(journal) == "2"
        assert await journal.retry(later[0].id) is None
        assert await _version(journal) == "3"
        await settled(journal, Park("fhir-422", "no"))
        assert await journal.retry(old.id) is not None


async def _version(journal: Journal) -> str:
    """The version of a patient that counts as sent."""
    (state,) = (await journal.known(Question(objects=("Patient/1",)), ("exchange/hub",))).sent.values()
    return state.version


async def test_one_receiver_of_an_exchange_is_made_again(journal: Journal) -> None:
    """A destination of an exchange has many receivers: the replay is for the one that the delivery was for."""
    old = replace(delivery(sent=(sent("Patient/1", "1"),)), headers={"kind": "lab", "receiver": "24002"})
    await forwarded(journal, old)
    await settled(journal, Park("unrouted", "nobody"))
    await forwarded(journal, delivery(sent=(sent("Patient/1", "2"),)))
    again = await journal.retry(old.id)
    assert again is not None
    assert (await journal.show(again)).only == "hub/24002"


async def test_every_attempt_is_kept(journal: Journal) -> None:
    """With its time, its outcome and what the receiver said, also one that does not count; a wait that was no attempt is none."""
    stored = await forwarded(journal, delivery())
    for outcome in (
        Retry("503 Unavailable", "fhir-503"),
        Retry("open", "breaker", counts=False, sent=False),
        Retry("401 Unauthorized", "fhir-401", counts=False),
        Retry("503 Unavailable", "fhir-503"),
        Park("fhir-422", "422 No"),
    ):
        held = await lease(journal, HUB)
        await journal.settle(held, outcome, due_at=ahead(-1) if isinstance(outcome, Retry) else None)
    attempts = await journal.attempts(stored)
    assert [(each.number, each.outcome, each.code, each.why) for each in attempts] == [
        (1, "retry", "fhir-503", "503 Unavailable"),
        (2, "retry", "fhir-401", "401 Unauthorized"),
        (3, "retry", "fhir-503", "503 Unavailable"),
        (4, "parked", "fhir-422", "422 No"),
    ]
    assert {each.delivery for each in attempts} == {(await journal.show(stored)).deliveries[0].id}
    with pytest.raises(UnknownItem):
        await journal.attempts("x")


async def test_a_retry_begins_anew(journal: Journal) -> None:
    """An operator's retry of what is old and failed often: its age and its backoff count from now; the attempts are kept."""
    old = delivery()
    stored = await forwarded(journal, old)
    for outcome in (Retry("503"), Retry("503"), Park("gave-up", "too old")):
        held = await lease(journal, HUB)
        assert held.delivery is not None
        made = held.delivery.created_at
        await journal.settle(held, outcome, due_at=ahead(-1) if isinstance(outcome, Retry) else None)
    await journal.retry(old.id)
    again = await lease(journal, HUB)
    assert again.delivery is not None
    assert made is not None
    assert again.delivery.created_at is not None
    assert again.delivery.created_at > made
    assert again.delivery.attempts == 0
    await journal.settle(again, DELIVERED)
    assert [each.number for each in await journal.attempts(stored)] == [1, 2, 3, 4]


# --- replays ------------------------------------------------------------------------------------------------------------


async def test_a_replay_for_one_destination_leaves_the_others(journal: Journal) -> None:
    """The message keeps its state; what is parked for that destination is discarded, what is parked for another stays."""
    first = await forwarded(journal, delivery(), delivery("district"))
    await settled(journal, Park("x", "y"))
    await settled(journal, Park("x", "y"), DISTRICT)
    again = await journal.replay(first, config="c2", only="hub")
    row, made = await journal.show(first), await journal.show(again)
    states = {each.destination: each.state for each in row.deliveries}
    assert states == {"hub": DeliveryState.DISCARDED, "district": DeliveryState.PARKED}
    assert (row.state, made.only, made.config) == (MessageState.TRANSFORMED, "hub", "c2")


async def test_a_replay_can_go_through_the_configuration_of_then(journal: Journal) -> None:
    """It carries the digest that the message was received under, by which that configuration is kept, and its commit."""
    await journal.keep_config("c1", '{"engine.yaml": "site: A"}', "1a2b3c")
    new = message()
    await journal.accept(new)
    await journal.forward(await lease(journal, LAB), Forward((delivery(),)))
    again = await journal.replay(new.id, config="c2", then=True)
    held = await lease(journal, LAB)
    assert held.message is not None
    assert (held.message.id, held.message.through) == (again, "c1")
    assert await journal.config("c1") == '{"engine.yaml": "site: A"}'
    row = await journal.show(new.id)
    assert (row.config, row.commit) == ("c1", "1a2b3c")
    with pytest.raises(UnknownItem):
        await journal.config("c9")


async def test_a_replay_of_many_can_be_resumed(journal: Journal) -> None:
    """Asked for once, a second replay for the same destination gives the first one's id; another destination is another."""
    first = await forwarded(journal, delivery())
    again = await journal.replay(first, once=True)
    assert await journal.replay(first, once=True) == again
    assert await journal.replay(first, only="hub", once=True) != again
    assert await journal.replay(first) != again


async def test_a_replay_can_send_again_what_was_sent(journal: Journal) -> None:
    """It says so to whoever maps it; asked for once, a replay that only brought what was new does not stand for it."""
    first = await forwarded(journal, delivery())
    plain = await journal.replay(first, once=True)
    again = await journal.replay(first, resend=True, once=True)
    assert len({first, plain, again}) == 3
    assert await journal.replay(first, resend=True, once=True) == await journal.replay(first, once=True) == again
    resends = [(await lease(journal, LAB)).message.resend for _ in range(1)]  # type: ignore[union-attr]
    assert resends == [False]
    assert [(await journal.show(each)).resend for each in (plain, again)] == [False, True]
    assert (await journal.content(again)).resend


async def test_a_configuration_is_known_by_the_last_commit_it_was_taken_from(journal: Journal) -> None:
    """Edited and taken up, then committed and taken up: the commit that has it, not the one before; a clean one stays."""

    async def commit() -> str:
        return (await journal.show(new.id)).commit

    new = message(config="c1")
    await journal.accept(new)
    for taken, known in (
        ("", ""),
        ("aaa+edited", "aaa+edited"),
        ("bbb", "bbb"),
        ("ccc+edited", "bbb"),
        ("ddd", "ddd"),
        ("", "ddd"),
    ):
        await journal.keep_config("c1", "{}", taken)
        assert await commit() == known


async def test_a_replay_without_a_configuration_has_the_one_taken_up_last(journal: Journal) -> None:
    """Where no engine runs, nobody else can say which it is; before any was kept there is none."""
    first = await forwarded(journal, delivery())
    assert (await journal.show(await journal.replay(first))).config == ""
    for config in ("c1", "c2", "c1"):
        await journal.keep_config(config, "{}")
    again = await journal.replay(first)
    assert (await journal.show(again)).config == "c1"
    assert (await journal.content(await journal.replay(again, then=True))).through == "c1"


async def test_a_replay_for_one_destination_does_not_stand_for_a_resend(journal: Journal) -> None:
    """The sender's resend is a duplicate of the message that went everywhere."""
    first = message(duplicate_key="k")
    await journal.accept(first)
    await journal.forward(await lease(journal, LAB), Forward((delivery(),)))
    await settled(journal, DELIVERED)
    await journal.replay(first.id, only="hub")
    assert (await journal.accept(message(first.data.decode(), duplicate_key="k"))).id == first.id
    assert await lease_now(journal, LAB) is not None
