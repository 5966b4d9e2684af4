"""What a crowd does is told once a minute, and counted."""

from __future__ import annotations

from interop_engine.core.crowds import Crowds


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_is_told_at_once_and_the_others_once_a_minute() -> None:
    """With their number, and the last of them; each crowd by itself."""
    clock = Clock()
    crowds: Crowds[str] = Crowds(clock)
    assert [crowds.tells("a", f"a{n}") for n in range(4)] == [True, False, False, False]
    clock.now += 30
    assert crowds.tells("b", "b0")
    assert crowds.over() == []
    clock.now += 30
    assert crowds.over() == [("a3", 3)]
    assert not crowds.tells("a", "a4")  # a line was just logged
    clock.now += 60
    assert crowds.over() == [("a4", 1)]
    clock.now += 60
    assert crowds.over() == []
    assert crowds.tells("a", "a5")


def test_more_crowds_than_are_told_apart_are_one() -> None:
    """A scanner with a network of addresses grows neither the log nor the memory."""
    clock = Clock()
    crowds: Crowds[int] = Crowds(clock)
    assert sum(crowds.tells(str(n), n) for n in range(5_000)) == 1_001
    clock.now += 60
    assert crowds.over() == [(4_999, 3_999)]
