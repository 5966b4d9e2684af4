"""What happens, said once: an event is one log line and one metric. An ERROR means that a person must act.

An event never carries content of a message: ids, names, places, counts and codes only. Control ids come from outside
and are logged by the engine's own ids instead.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import structlog

from interop_engine.core.crowds import Crowds

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Event:
    """The base: ``sentence`` is the log line, ``level`` its level, ``name`` the metric's label and the line's key."""

    sentence: ClassVar[str] = ""
    level: ClassVar[str] = "info"

    @classmethod
    def name(cls) -> str:
        """``MessageParked`` → ``message_parked``."""
        return _words(cls.__name__)

    @property
    def crowd(self) -> str:
        """Of what a line a minute is logged, however often it happens; empty where each has its own."""
        return ""


@cache
def _words(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


_LOGGER = "interop_engine"
_crowds: Crowds[Event] = Crowds()
_sinks: list[Callable[[Event], None]] = []


def emit(event: Event) -> None:
    """Log the event and hand it to every sink (the metrics); of a crowd's see ``Crowds``, every sink is handed each."""
    for before, times in _crowds.over():
        _log(before, times=times)
    if not (crowd := event.crowd) or _crowds.tells((event.name(), crowd), event):
        _log(event)
    for sink in _sinks:
        sink(event)


def _log(event: Event, **more: int) -> None:
    if _logged(structlog.get_config()["wrapper_class"], event.level):  # most events are of a level that is not
        fields = {f.name: value for f in dataclasses.fields(event) if (value := getattr(event, f.name)) not in ("", None)}
        getattr(structlog.get_logger(_LOGGER), event.level)(event.sentence, event_type=event.name(), **fields, **more)


@cache
def _logged(wrapper_class: type, level: str) -> bool:
    """Whether the loggers of that class, which is the one configured, log anything at that level."""
    del wrapper_class  # what the answer is remembered by
    return bool(structlog.get_logger(_LOGGER).is_enabled_for(logging.getLevelNamesMapping()[level.upper()]))


def subscribe(sink: Callable[[Event], None]) -> Callable[[], None]:
    """Hand every later event to ``sink``; returns the function that ends it."""
    _sinks.append(sink)
    return lambda: _sinks.remove(sink)


# --- Runtime -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EngineStarted(Event):
    """The engine is up."""

    sentence: ClassVar[str] = "The engine has started."
    site: str
    channels: int


@dataclass(frozen=True, slots=True)
class ApiListens(Event):
    """The status API answers; ``place`` is its URL."""

    sentence: ClassVar[str] = "The status API listens."
    site: str
    place: str


@dataclass(frozen=True, slots=True)
class EngineStopped(Event):
    """The engine is down, everything settled or released."""

    sentence: ClassVar[str] = "The engine has stopped."
    site: str


@dataclass(frozen=True, slots=True)
class EngineNotStarted(Event):
    """The engine cannot start; ``why`` names files and addresses, never content."""

    sentence: ClassVar[str] = "The engine cannot start."
    level: ClassVar[str] = "error"
    site: str
    why: str


@dataclass(frozen=True, slots=True)
class SiteReloaded(Event):
    """The site was taken anew. ``config`` is its digest, as messages are stamped with it."""

    sentence: ClassVar[str] = "The site was reloaded."
    site: str
    config: str
    commit: str
    changed: str


@dataclass(frozen=True, slots=True)
class ReloadRolledBack(Event):
    """A site could not be taken; what was running before runs again."""

    sentence: ClassVar[str] = "The site was not reloaded: what ran before runs again."
    level: ClassVar[str] = "error"
    site: str
    why: str


# --- Messages ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageRejected(Event):
    """A message was journaled as rejected."""

    sentence: ClassVar[str] = "A message was rejected."
    level: ClassVar[str] = "warning"
    channel: str
    message: str
    code: str
    peer: str = ""


@dataclass(frozen=True, slots=True)
class SenderNotEntitled(Event):
    """A peer spoke for a facility (MSH-4) that its certificate, or what else it shows, does not stand for."""

    sentence: ClassVar[str] = "A message names a sending facility that its sender may not speak for."
    level: ClassVar[str] = "error"
    channel: str
    message: str
    peer: str
    certificate: str
    facility: str


@dataclass(frozen=True, slots=True)
class MessageParked(Event):
    """A message parked in transformation."""

    sentence: ClassVar[str] = "A message is parked and needs a person."
    level: ClassVar[str] = "error"
    channel: str
    message: str
    code: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class MessageForwarded(Event):
    """A message went through transformation."""

    sentence: ClassVar[str] = "A message was transformed."
    level: ClassVar[str] = "debug"
    channel: str
    message: str
    deliveries: int
    code: str = ""


@dataclass(frozen=True, slots=True)
class MessageAccepted(Event):
    """A message was committed and acknowledged."""

    sentence: ClassVar[str] = "A message was accepted."
    level: ClassVar[str] = "debug"
    channel: str
    message: str
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class IntakeRefused(Event):
    """A message could not be committed, so nothing was acknowledged."""

    sentence: ClassVar[str] = "A message could not be committed and was not acknowledged."
    level: ClassVar[str] = "error"
    channel: str
    why: str


@dataclass(frozen=True, slots=True)
class ClockApart(Event):
    """This machine's clock differs from that of the journal's database, ``seconds`` ahead of it (or behind: below zero)."""

    sentence: ClassVar[str] = "This machine's clock differs from the database's: received times of the nodes do not compare."
    level: ClassVar[str] = "warning"
    seconds: float


@dataclass(frozen=True, slots=True)
class ReplicaBehind(Event):
    """The journal's database has standbys, and commits wait for none of them."""

    sentence: ClassVar[str] = (
        "The journal's database does not wait for its standbys: a failover loses acknowledged messages. Set"
        " synchronous_standby_names."
    )
    level: ClassVar[str] = "warning"


@dataclass(frozen=True, slots=True)
class JournalFailed(Event):
    """The journal's disk failed."""

    sentence: ClassVar[str] = "The journal has failed; the engine stops and recovers by a restart."
    level: ClassVar[str] = "error"
    why: str


@dataclass(frozen=True, slots=True)
class JournalPruned(Event):
    """Old messages were removed. ``why``: age or size."""

    sentence: ClassVar[str] = "Old messages were removed from the journal."
    why: str
    messages: int


@dataclass(frozen=True, slots=True)
class JournalOverLimit(Event):
    """What must be kept is larger than the journal may be."""

    sentence: ClassVar[str] = "The journal is larger than it may be: what is left is due, parked or needed, and stays."
    level: ClassVar[str] = "error"
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class TransformProcessDied(Event):
    """A process that maps messages died."""

    sentence: ClassVar[str] = "A process that maps messages has died; the engine does its work until the next start."
    level: ClassVar[str] = "error"
    process: str


@dataclass(frozen=True, slots=True)
class WorkerFailed(Event):
    """A worker of a channel (``destination`` empty: one that transforms) met what it should not; it goes on."""

    sentence: ClassVar[str] = "A worker failed at an item, or could not get one; it tries again every second."
    level: ClassVar[str] = "error"
    channel: str
    destination: str
    why: str


@dataclass(frozen=True, slots=True)
class LibraryComplained(Event):
    """A library, a thread or Python itself said something that is no event of ours. ``code``: the exception's type, if any.

    ``place``: the file and line it was raised or said at, never what it says, which may hold content.
    """

    sentence: ClassVar[str] = "A library, a thread or Python itself complains."
    level: ClassVar[str] = "warning"
    library: str
    code: str
    place: str


@dataclass(frozen=True, slots=True)
class ItemNotKept(Event):
    """The journal refuses what came of a message (``destination`` empty) or delivery, in whatever words."""

    sentence: ClassVar[str] = "The journal cannot hold what came of an item; it is done again when its lease ends."
    level: ClassVar[str] = "error"
    channel: str
    destination: str
    item: str


@dataclass(frozen=True, slots=True)
class ChannelStateChanged(Event):
    """A channel started or stopped."""

    sentence: ClassVar[str] = "A channel changed its state."
    channel: str
    state: str


@dataclass(frozen=True, slots=True)
class ChannelFailed(Event):
    """A channel's source cannot start; ``why`` names files and addresses, never content."""

    sentence: ClassVar[str] = "A channel cannot take messages in."
    level: ClassVar[str] = "error"
    channel: str
    why: str


@dataclass(frozen=True, slots=True)
class DestinationStateChanged(Event):
    """An operator stopped the deliveries to a destination, or let them go."""

    sentence: ClassVar[str] = "An operator stopped or started the deliveries to a destination."
    channel: str
    destination: str
    state: str


@dataclass(frozen=True, slots=True)
class DeliveryDone(Event):
    """A delivery was taken by its receiver."""

    sentence: ClassVar[str] = "A delivery was taken."
    level: ClassVar[str] = "debug"
    channel: str
    destination: str
    delivery: str
    attempt: int


@dataclass(frozen=True, slots=True)
class DeliveryRetried(Event):
    """A delivery will be tried again."""

    sentence: ClassVar[str] = "A delivery will be tried again."
    level: ClassVar[str] = "warning"
    channel: str
    destination: str
    delivery: str
    code: str
    attempt: int
    after: float


@dataclass(frozen=True, slots=True)
class ConnectorFailed(Event):
    """A connector raised what it should have said. ``code``: the exception's type; ``place``: the module and line it came by."""

    sentence: ClassVar[str] = "A connector failed: a fault of the engine; the delivery will be tried again."
    level: ClassVar[str] = "error"
    channel: str
    destination: str
    delivery: str
    code: str
    place: str


@dataclass(frozen=True, slots=True)
class DeliverySentAhead(Event):
    """A delivery was sent ahead to a receiver that is left alone, in vain."""

    sentence: ClassVar[str] = "A delivery was sent ahead in vain; its receiver takes nothing yet."
    level: ClassVar[str] = "debug"
    channel: str
    destination: str
    delivery: str
    code: str


@dataclass(frozen=True, slots=True)
class DeliveryParked(Event):
    """A delivery parked."""

    sentence: ClassVar[str] = "A delivery is parked and needs a person."
    level: ClassVar[str] = "error"
    channel: str
    destination: str
    delivery: str
    code: str
