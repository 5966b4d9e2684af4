"""A broker that goes on refusing what is for a queue is connected to anew: a new channel looks for its leader."""

from __future__ import annotations

from interop_engine.exchange.rabbitmq.nacks import Nacks


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pauses(nacks: Nacks, clock: Clock, seconds: int) -> list[float]:
    """How long each connection lasted that was given up, one parcel being refused each eighth of a second for so long."""
    began, given_up, lasted = clock.now, clock.now, []
    while clock.now < began + seconds:
        if nacks.refused("lab.24001.hub.7"):
            lasted.append(clock.now - given_up)
            given_up = clock.now
            nacks.connected()
            nacks.refused("lab.24001.hub.7")
        clock.now += 1 / 8
    return lasted


def test_a_moment_of_nacks_costs_no_connection() -> None:
    """While a queue chooses another leader it refuses: for less than a second, most often."""
    clock = Clock()
    assert pauses(Nacks(clock), clock, 1) == []


def test_nacks_alone_cost_a_connection_each_time_later() -> None:
    """After a second, then two, then four, since a full queue goes on refusing; the patience ends at a minute."""
    clock = Clock()
    assert pauses(Nacks(clock), clock, 300) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_confirm_of_the_same_key_begins_anew() -> None:
    """A parcel that went through between two refusals says that the queue has a leader that the channel knows."""
    clock = Clock()
    nacks = Nacks(clock)
    assert not nacks.refused("lab.24001.hub.7")
    clock.now += 0.9
    nacks.taken("lab.24001.hub.7")
    assert not nacks.refused("lab.24001.hub.7")
    clock.now += 0.9
    assert not nacks.refused("lab.24001.hub.7")


def test_a_confirm_of_a_neighbour_says_nothing() -> None:
    """Each queue has a leader of its own."""
    clock = Clock()
    nacks = Nacks(clock)
    assert not nacks.refused("lab.24001.hub.7")
    clock.now += 1.0
    nacks.taken("lab.24001.clinic.7")
    assert nacks.refused("lab.24001.hub.7")


def test_where_it_helped_the_next_time_is_as_soon() -> None:
    """The patience grows only while connecting anew changes nothing."""
    clock = Clock()
    nacks = Nacks(clock)
    assert pauses(nacks, clock, 4) == [1, 2]
    nacks.taken("lab.24001.hub.7")
    nacks.connected()
    assert pauses(nacks, clock, 2) == [1]
