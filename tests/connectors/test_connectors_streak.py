"""Whether a receiver is down, or fails at one message alone: people are told of the one, and shown the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from interop_engine.connectors.streak import Streak
from interop_engine.core.model import Delivered, Retry
from tests.support.mllp import Peer, message
from tests.support.mllp_receiver import ack, delivery, serving


def test_a_streak_says_since_when() -> None:
    """It begins with its first failure, and says what the last one was."""
    now = datetime(2026, 11, 30, 13, 5, tzinfo=UTC)
    streak = Streak(lambda: now)
    assert str(streak) == ""
    for why in ("500", "503", "504"):
        streak.failed(why, None)
        now += timedelta(minutes=1)
    assert str(streak) == "504 (3 in a row, since 2026-11-30 13:05 UTC)"
    streak.ended()
    assert str(streak) == ""
    streak.failed("500", None)
    assert str(streak) == "500 (1 in a row, since 2026-11-30 13:08 UTC)"


def test_one_delivery_alone_is_not_the_receivers_problem() -> None:
    """Unless its gate is closed; a failure that is no message's, or another message's, makes it one."""
    streak = Streak()
    for _ in range(2):
        streak.failed("500", "d1")
    assert streak.problem("") == ""
    assert streak.details("")["alone"].startswith("500 (2 in a row")
    assert streak.problem("closed").startswith("500 (2 in a row")
    assert streak.details("closed") == {}
    for other in ("d2", None):
        streak.ended()
        assert (streak.problem(""), streak.problem("closed"), streak.details("")) == ("", "closed", {})
        streak.failed("500", "d1")
        streak.failed("500", other)
        streak.failed("500", "d1")
        assert streak.problem("").startswith("500 (3 in a row")


async def test_one_message_that_an_mllp_receiver_fails_at() -> None:
    """It closes on one and answers others: nobody is paged for that. Of a second one it is said, until it takes one."""

    async def serve(peer: Peer, _: int) -> None:
        while data := await peer.answer():
            if b"|A" in data:
                return
            await peer.send(ack(data))

    async with serving(serve) as destination:
        assert await destination.deliver(delivery(message("B1"), id_="b1")) == Delivered("AA")
        for _ in range(3):
            assert isinstance(await destination.deliver(delivery(message("A1"), id_="a1")), Retry)
        assert destination.health().problem == ""
        assert "(3 in a row, since 2" in destination.health().details["alone"]
        assert isinstance(await destination.deliver(delivery(message("A2"), id_="a2")), Retry)
        assert "(4 in a row, since 2" in destination.health().problem
        assert destination.health().details == {}
        assert await destination.deliver(delivery(message("B2"), id_="b2")) == Delivered("AA")
        assert destination.health().problem == ""
