"""What is written in one group: one call for all of a kind, and each caller has his own answer as if he had been alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Question
from interop_engine.journal.base import DeliveryState, Forward, Journal, Queue
from interop_engine.journal.postgres import schema
from interop_engine.journal.postgres.columns import Blobs, Flags, Numbers, Texts, literal
from tests.support.journals import DELIVERED, HUB, LAB, delivery, forwarded, learned, lease, lease_now, message, node, sent
from tests.support.postgres import fresh_journal

pytestmark = pytest.mark.postgres
DISTRICT = Queue("lab", "district")


@pytest.fixture
async def journal(postgres: str) -> AsyncIterator[Journal]:
    """One node on an empty journal. What is queued at once is one group."""
    async with node(fresh_journal(postgres)) as one:
        yield one


async def test_columns_arrive_as_they_are_sent(postgres: str) -> None:
    """Nulls, nothing at all, every kind of text, and an array of arrays that differ in length."""
    texts = ["", "a\tb", 'quo"te \\ {brace}', "NULL", "Nguyễn 💉", None]
    numbers = [0, -1, 2**63 - 1, None]
    blobs = [b"", b"\0\xff\\", None]
    connection = await schema.connect(postgres)
    async with connection:
        cursor = await connection.execute(
            "SELECT %s, %s, %s, %s, %s, %s::text[]",
            (
                Texts(texts),
                Numbers(numbers),
                Blobs(blobs),
                Flags([True, False]),
                Texts([]),
                literal([t for t in texts if t is not None]),
            ),
        )
        assert await cursor.fetchall() == [(texts, numbers, blobs, [True, False], [], texts[:-1])]


async def test_arrivals_keep_their_order_in_a_lane(journal: Journal) -> None:
    """Of messages that share one, the first of the group is handed out first, and only that."""
    ids = [stored.id for stored in await asyncio.gather(*(journal.accept(message()) for _ in range(5)))]
    for expected in ids:
        held = await lease(journal, LAB)
        assert held.message is not None
        assert held.message.id == expected
        assert await lease_now(journal, LAB) is None
        await journal.forward(held, Forward())


async def test_a_message_that_comes_twice_in_a_group_is_one(journal: Journal) -> None:
    """And the next one, which comes once, is not taken for it."""
    stored = await asyncio.gather(*(journal.accept(message(key, duplicate_key=f"K{key}")) for key in ("1", "1", "2")))
    assert [each.duplicate for each in stored] == [False, True, False]
    assert stored[1].id == stored[0].id


async def test_one_that_came_before_is_known_among_others(journal: Journal) -> None:
    """As the same, or with another content, of which it is said so."""
    before = await journal.accept(message("0", duplicate_key="K0"))
    given = [message("2", duplicate_key="K2"), message("0", duplicate_key="K0"), message("other", duplicate_key="K0")]
    stored = await asyncio.gather(*map(journal.accept, given))
    assert [(each.duplicate, each.other_content) for each in stored] == [(False, False), (True, False), (False, True)]
    assert stored[1].id == before.id


async def test_each_of_a_group_is_told_whether_its_lease_had_ended(journal: Journal) -> None:
    """The same delivery settled twice, beside one that is settled once, of another queue: two are, and one is refused."""
    made = await forwarded(journal, delivery(), delivery(destination="district"))
    first, other = await lease(journal, HUB), await lease(journal, DISTRICT)
    ends = await asyncio.gather(*(journal.settle(each, DELIVERED) for each in (first, other, first)), return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), type(None), UnknownItem]
    assert [each.state for each in (await journal.show(made)).deliveries] == [DeliveryState.DELIVERED, DeliveryState.DELIVERED]
    assert [attempt.number for attempt in await journal.attempts(made)] == [1, 1]


@pytest.mark.parametrize("question", [Question(objects=("Patient/1",)), Question(aliases=("A1",))], ids=["object", "alias"])
async def test_what_one_of_a_group_brings_outdates_the_next(journal: Journal, question: Question) -> None:
    """Two messages ask the same, and the first changes the answer: the second is to ask again."""
    await asyncio.gather(*(journal.accept(message(lanes=(lane,))) for lane in ("one", "two")))
    held = [await lease(journal, LAB) for _ in range(2)]
    stamp = (await journal.known(question, ("exchange/hub",))).stamp
    made = [Forward((delivery(lanes=each.lanes, sent=(sent(),)),), learned({"A1": "Order/1"}), stamp) for each in held]
    assert await asyncio.gather(*map(journal.forward, held, made)) == [True, False]
    assert await journal.forward(held[1], Forward())
