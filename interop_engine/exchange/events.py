"""What happens on the exchange: one type is one log line and one metric. No credentials, no content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interop_engine.core.events import Event


@dataclass(frozen=True, slots=True)
class ExchangeConnected(Event):
    """A connection to the broker is up. ``purpose`` is ``publish`` or ``consume``."""

    sentence: ClassVar[str] = "Connected to the exchange."
    location: str
    purpose: str


@dataclass(frozen=True, slots=True)
class ExchangeLost(Event):
    """A connection to the broker is down, or was never up; the engine goes on trying."""

    sentence: ClassVar[str] = "The exchange cannot be reached; trying again."
    level: ClassVar[str] = "warning"
    location: str
    purpose: str
    why: str


@dataclass(frozen=True, slots=True)
class ExchangeAlarm(Event):
    """The broker is short of memory or disk, as it says, and reads no publisher until that is over."""

    sentence: ClassVar[str] = "The broker has an alarm and takes nothing."
    level: ClassVar[str] = "error"
    location: str
    why: str


@dataclass(frozen=True, slots=True)
class ExchangeAlarmEnded(Event):
    """The broker reads publishers again."""

    sentence: ClassVar[str] = "The broker's alarm is over."
    location: str


@dataclass(frozen=True, slots=True)
class TakeFailed(Event):
    """A receiving channel raised instead of answering; the parcel is kept and given again."""

    sentence: ClassVar[str] = "A channel failed to take a parcel; it will be given again."
    level: ClassVar[str] = "error"
    receiver: str
    delivery: str
    error: str  # the exception's type: its text may hold content


@dataclass(frozen=True, slots=True)
class ParcelFaulty(Event):
    """A parcel's carrier part is wrong: forged or malformed. It is journaled as rejected by the receiving channel."""

    sentence: ClassVar[str] = "A malformed parcel arrived; it goes to its channel as rejected."
    level: ClassVar[str] = "error"
    receiver: str
    fault: str
