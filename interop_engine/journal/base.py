"""The journal's contract: what is durable, in which states, and who may move them.

A message
---------

                 accept                    forward                       all deliveries settled
    (bytes) ──► RECEIVED ─────────────► TRANSFORMED ─────────────────► (done: nothing is due any more)
        │           │  └─ forward, none ─► FILTERED   said why: filter, stale, nothing changed
        │           └─ park ─────────────► PARKED ──► discard ──► DISCARDED
        │                                    └──────► replay ───► SUPERSEDED (by the new message that cites it)
        ├─ accept as rejected ───────────► REJECTED
        └─ accept as ignored ────────────► FILTERED

A TRANSFORMED message with a parked delivery that is replayed, or sent again, is SUPERSEDED too, and that delivery DISCARDED; for
one destination the message stays as it is, and only what is parked for that destination is DISCARDED.

A delivery
----------

    forward ──► WAITING ◄──── retry at ────┐
                   │                       │
                   └─ leased by its lane ──┴─ settle: Delivered ──► DELIVERED
                                           └─ settle: Park ───────► PARKED ──► retry ──► WAITING
                                                                       ├─────► retry, but overtaken ► DISCARDED, and its message
                                                                       │         is received again for its destination alone
                                                                       └─────► discard ► DISCARDED (WAITING too, if that is meant)

Work is leased by **lane**: of all items of a queue that share a lane, in order of arrival, only the first is ever handed
out, and the next only after it left the queue (or left RECEIVED/WAITING). An item with several lanes (a merge of two patients)
is handed out only when it is the first of each of them. A parked delivery does not hold its lanes, unless it was settled
with ``HELD``: then what shares one with it waits until a person retries or discards it. A lease that is never
settled ends with the process or its time, and the item is handed out again.

Everything a method promises is durable when it returns. The two adapters (SQLite, PostgreSQL) pass one contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from interop_engine.core.model import Act, Delivery, Known, Learned, Media, Outcome, Question, Receipt, Received, Report, Sent

HELD: Final = datetime(9999, 12, 1, tzinfo=UTC)  # when a parked delivery that holds its lanes is due: never by itself


class MessageState(StrEnum):
    """Where a message is; drawn in the module's docstring."""

    RECEIVED = "received"
    TRANSFORMED = "transformed"
    FILTERED = "filtered"
    PARKED = "parked"
    REJECTED = "rejected"
    DISCARDED = "discarded"
    SUPERSEDED = "superseded"


class DeliveryState(StrEnum):
    """Where a delivery is; drawn in the module's docstring."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    PARKED = "parked"
    DISCARDED = "discarded"


STATES: Final = (*map(str, MessageState), "delivery-parked", "delivery-waiting")  # what ``Selection.states`` may hold


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be committed. ``state`` is RECEIVED, or REJECTED or FILTERED with ``code`` and ``why``.

    ``duplicate_key`` (None: never a duplicate) is looked up inside the transaction, see ``Journal.accept``.
    ``known_for``: how far back it is looked for; None: as far as the journal's window.
    ``search``: (kind, value) pairs such as ("patient", "BN001"), ("order", "A17"), ("accession", "…"). ``size``: what is told of
    the content's bytes, where it is not their number (they are sealed).
    """

    id: str
    channel: str
    data: bytes
    media: Media
    received_at: datetime
    peer: str
    control_id: str
    message_type: str
    digest: str
    reply: bytes = b""
    lanes: tuple[str, ...] = ()
    duplicate_key: str | None = None
    known_for: timedelta | None = None
    state: MessageState = MessageState.RECEIVED
    code: str = ""
    why: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    search: tuple[tuple[str, str], ...] = ()
    config: str = ""
    replay_of: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What ``accept`` did: ``duplicate`` is True where ``id`` and ``reply`` are those of the message that came before."""

    id: str
    reply: bytes
    duplicate: bool = False
    other_content: bool = False  # the key was known with another digest: processed, and flagged


@dataclass(frozen=True, slots=True)
class Queue:
    """What is leased together: the messages of a channel (``destination`` None), or the deliveries of one destination."""

    channel: str
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """One item, handed to one worker. By ``fence`` a worker whose lease has ended is refused."""

    queue: Queue
    lanes: tuple[str, ...]
    fence: int
    message: Received | None = None
    delivery: Delivery | None = None


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery to be made: exact bytes. ``id`` is made by the caller, from ``core.model.new_id``.

    ``sent`` is what its receiver will have been sent by it; while this delivery is parked or discarded, ``known`` does not
    count it.
    """

    id: str
    destination: str
    lanes: tuple[str, ...]
    body: bytes
    media: Media
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: tuple[Sent, ...] = ()


@dataclass(frozen=True, slots=True)
class Forward:
    """The result of a transformation, made with the ``Known`` of ``stamp``; with no deliveries FILTERED: ``code``, ``why``.

    ``ledger``: populated paths nobody read, and codes without a target.
    """

    deliveries: tuple[NewDelivery, ...] = ()
    learned: Learned = field(default_factory=Learned)
    stamp: str = ""
    code: str = ""
    why: str = ""
    findings: tuple[str, ...] = ()
    ledger: tuple[str, ...] = ()
    search: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """What to list; all given conditions must hold. ``patient`` etc. go through ``search``."""

    channel: str | None = None
    states: tuple[str, ...] = ()  # of ``STATES``
    since: datetime | None = None
    until: datetime | None = None
    control_id: str | None = None
    message_type: str | None = None
    search: tuple[tuple[str, str], ...] = ()
    limit: int = 50
    before: str | None = None  # the last id of the page before (newest first)


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as an operator sees it."""

    id: str
    destination: str
    state: DeliveryState
    attempts: int
    code: str = ""
    why: str = ""
    due_at: datetime | None = None
    settled_at: datetime | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    size: int = 0
    holds: bool = False  # it is parked, and what shares a lane with it waits for it
    behind: str = ""  # the message whose parked delivery it waits for
    receipts: tuple[Receipt, ...] = ()  # of one on the exchange, what its receiver said; only ``show`` tells


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to deliver, and how it ended ``at``: delivered, retry or parked, in the receiver's words. ``took``: seconds."""

    delivery: str
    number: int
    at: datetime
    outcome: str
    code: str
    why: str
    took: float = 0.0


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as an operator sees it, without its content."""

    id: str
    channel: str
    state: MessageState
    received_at: datetime
    control_id: str
    message_type: str
    peer: str
    size: int
    code: str = ""
    why: str = ""
    replay_of: str | None = None
    arrivals: int = 1  # 1 + duplicates answered with the same reply
    config: str = ""  # digest of the site's configuration it was received under
    commit: str = ""  # the commit checked out when that configuration was first run, where its folder has one
    only: str = ""  # of a replay: the one destination it is for
    through: str = ""  # of a replay: digest of the configuration that maps it, where that is not the one of now
    resend: bool = False  # of a replay: what its receivers have is sent again too
    deliveries: tuple[DeliveryRow, ...] = ()
    findings: tuple[str, ...] = ()
    search: tuple[tuple[str, str], ...] = ()
    history: tuple[Act, ...] = ()  # what was done with it, oldest first; only ``show`` tells


@dataclass(frozen=True, slots=True)
class QueueCount:
    """What waits and is parked in one queue, ``holding`` of it with its lanes. ``oldest``: received_at of what waits longest."""

    queue: Queue
    waiting: int
    parked: int
    oldest: datetime | None = None
    holding: int = 0


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """How the journal is. ``problem`` is empty while it can commit. ``used``: of ``size``, what is not free to be used again."""

    adapter: str
    location: str
    size: int
    wal: int = 0
    problem: str = ""
    used: int = 0


class Journal(Protocol):
    """The contract. Methods raise JournalFull or JournalBroken where nothing was committed, ItemRefused, and UnknownItem.

    A lease that has ended (settled, released, its time over) is an UnknownItem to forward, park and settle.
    """

    async def open(self) -> None:
        """Create or migrate, check integrity, and recover: every lease of an earlier process has ended."""

    async def close(self) -> None:
        """Finish what is queued and close. Twice is harmless."""

    async def accept(self, message: NewMessage) -> Stored:
        """Commit a message, or find that it is a duplicate, in one transaction.

        Known key and equal digest, the first accepted and neither parked (itself or a delivery of it) nor discarded: note
        the arrival, return its id and reply. The first rejected, parked or discarded: commit; the new one supersedes it.
        Known key and another digest: commit, ``other_content``. A cancelled caller leaves nothing half done.
        """

    async def lease(self, queue: Queue, owner: str) -> Lease:
        """Wait until an item of the queue is due and free, and take it. Cancel to stop waiting."""

    def holds(self, lease: Lease) -> bool:
        """Whether nobody else can have the item: to be asked before it is sent, since a node may have been paused, or cut off."""

    async def release(self, lease: Lease) -> None:
        """Give an item back unsettled (shutdown); it is due again at once."""

    async def known(self, question: Question, destinations: Sequence[str]) -> Known:
        """Answer a question, see ``core.model.Question``; ``destinations`` are those of ``Sent.destination``.

        The state that a parked or discarded delivery would have brought does not count as sent.
        """

    async def forward(self, lease: Lease, forward: Forward) -> bool:
        """Deliveries, what was learned and the new state, in one transaction. False: ``Known`` changed, nothing was done."""

    async def park(self, lease: Lease, code: str, why: str, findings: Sequence[str] = ()) -> None:
        """Park the message of a lease."""

    async def settle(self, lease: Lease, outcome: Outcome, *, due_at: datetime | None = None, took: float = 0.0) -> None:
        """Settle the delivery of a lease; the attempt, which took so many seconds, is kept, unless it was none (``Retry.sent``).

        A Retry needs ``due_at``. A Park may have it, as ``HELD``: the delivery goes on holding its lanes.
        """

    async def search(self, selection: Selection) -> list[MessageRow]:
        """List messages, newest first."""

    async def show(self, message_id: str) -> MessageRow:
        """One message with its deliveries, by its id or that of a delivery."""

    async def attempts(self, message_id: str) -> list[Attempt]:
        """Every attempt to deliver what a message made, oldest first."""

    async def content(self, message_id: str) -> Received:
        """The message's bytes as received."""

    async def body(self, delivery_id: str) -> Delivery:
        """The exact bytes of a delivery."""

    async def replay(
        self, message_id: str, *, config: str = "", only: str = "", then: bool = False, resend: bool = False, once: bool = False
    ) -> str:
        """Receive a message again, as a new one that cites the old: returns its id. A parked one becomes SUPERSEDED.

        ``config``: digest of the configuration of now; without it, that kept last. ``only``, ``resend``: see ``Received``.
        ``then``: through the configuration it was received under. ``once``: where there is such a replay, its id and no more.
        """

    async def retry(self, delivery_id: str) -> str | None:
        """Make a parked or waiting delivery due now: the same id, the same bytes; its age and its backoff begin anew.

        A parked one is *overtaken* where a later delivery, neither parked nor discarded, brought its receiver one of the objects
        it carries: sent as it is it would put old over new. It is discarded, with the code ``overtaken``, and its message is
        received again for its destination alone; returns that new message's id, else None. One that holds its lanes is never.
        """

    async def discard(self, message_id: str, why: str, *, to: str = "", code: str = "", waiting: bool = False) -> None:
        """Give up what is parked of a message (``waiting``: or waits; ``to``, ``code``: only that), else NothingToDiscard."""

    async def counts(self) -> list[QueueCount]:
        """What waits and what is parked, by queue."""

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        """Messages by channel and state."""

    async def stored(self) -> Mapping[str, int]:
        """Bytes of what each channel's messages and deliveries hold, as they are kept: compressed, without rows and indexes."""

    async def last_received(self) -> Mapping[str, datetime]:
        """When each channel last received a message."""

    async def unread(self) -> Mapping[tuple[str, str], int]:
        """The loss ledger: (channel, path) → how often it was populated and read by nobody; codes without a target too."""

    async def keep_config(self, config: str, text: str, commit: str = "") -> None:
        """Keep a configuration snapshot by its digest, once, with the commit it was checked out from."""

    async def config(self, config: str) -> str:
        """A configuration snapshot by its digest."""

    async def reports(self, after: int = 0, limit: int = 200) -> list[Report]:
        """What senders on the exchange are to be told of their messages' changes, by ``Receipt.number`` beyond ``after``.

        A message that was received again is told of by the one that replaced it. One at a time of several nodes is told.
        """

    async def reported(self, numbers: Sequence[int]) -> None:
        """These were sent; what changed since they were read is still to be."""

    async def keep_receipts(self, by: str, receipts: Sequence[Receipt]) -> None:
        """Keep what a receiver says with its deliveries; what it says of others' is dropped, and so is what is older."""

    async def overdue(self, before: datetime) -> Mapping[Queue, int]:
        """Of deliveries that receivers on the exchange took before: how many have no receipt but that they were accepted."""

    async def prune(self, *, before: datetime | None = None, channel: str | None = None, most: int = 50) -> int:
        """Remove at most ``most`` of the oldest messages that are done, with their content; returns how many.

        ``before``: only those received before it. Never what is due or parked, nor what later messages are judged by: aliases,
        merges, what receivers were last sent, configurations, what operators did; nor the newest message and delivery.
        """

    async def shrink(self, limit: int = 0) -> bool:
        """Give a little free space back to the disk, down to ``limit`` bytes; True where there is more. A database does not."""

    async def workers(self) -> tuple[int, int]:
        """This node's place, from 0, among the nodes that work on the journal now, and how many these are."""

    async def health(self) -> JournalHealth:
        """How the journal is."""
