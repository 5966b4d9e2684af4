"""The values that cross the borders between rooms. All are frozen; times are aware and in UTC."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

Media = Literal["hl7v2", "fhir"]
Write = Literal["replace", "merge", "if-new", "add"]  # add: to lists of what is there already, else nothing


class _Ids:
    """The last id of this process, as a number."""

    last = 0


def new_id() -> str:
    """A UUIDv7 (RFC 9562): unique, and sorted by the time it was made; those of one process in the order they were made in.

    Of one millisecond, and while the clock is put back, each is the one before it and a random step (section 6.2, method 2).
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x7 << 61) | 0x4 << 61  # the variant, and a bit that leaves room for the steps
    if value <= _Ids.last:
        value = _Ids.last + 1 + int.from_bytes(os.urandom(4), "big")
    _Ids.last = value
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def made_at(id_: str) -> datetime:
    """When ``new_id`` made an id."""
    return datetime.fromtimestamp((uuid.UUID(id_).int >> 80) / 1000, UTC)


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal: names content in the journal, on the exchange and in Provenance."""
    return hashlib.sha256(data).hexdigest()


# --- What a source hands over, and what it is told -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrival:
    """Bytes as a source received them. ``headers`` hold what the carrier said (exchange: sender, kind, lane…)."""

    data: bytes
    media: Media
    received_at: datetime
    peer: str
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""  # a fault of the carrier (framing) that makes the bytes a message to be journaled as rejected
    facilities: tuple[str, ...] | None = None  # the sending facilities (MSH-4) its sender may speak for; None: any
    certificate: str = ""  # the names in its sender's certificate
    private: bool = False  # ``peer`` is a name that people gave, a file's: it may be a patient's, and no log line shows it


@dataclass(frozen=True, slots=True)
class Accepted:
    """Committed. ``reply`` is the acknowledgement to send as it is (empty where the carrier has none).

    ``later`` waits for what enhanced mode says later on the same connection: the application acknowledgement, empty where
    there is none. A carrier that cannot send it need not call.
    """

    id: str
    reply: bytes = b""
    duplicate: bool = False
    later: Callable[[], Awaitable[bytes]] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Committed as rejected, never delivered. ``code`` is of HL7 table 0357."""

    id: str
    code: str
    why: str
    reply: bytes = b""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Not committed, or not as far as its sender waits for: the source stays silent and the sender tries again.

    MLLP closes, AMQP does not ack, HTTP says 503.
    """

    why: str


Answer = Accepted | Refused | Unavailable
Accept = Callable[[Arrival], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Received:
    """A message as the journal holds it.

    Of a replay: ``only`` names the one destination it is for (``hub``, or ``hub/24002`` for one receiver of an exchange), and
    ``through`` the configuration that is to map it; both are empty where it is for all, and through the one of now. ``resend``:
    what its receivers have been sent already is sent again, as to one that was restored from a backup.
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
    lanes: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    replay_of: str | None = None
    only: str = ""
    through: str = ""
    resend: bool = False


# --- What a destination is given, and what it answers ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """Exact bytes for one destination. ``id`` is the idempotency key: a resend carries the same id and bytes.

    ``headers``: for an exchange ``receiver``, ``kind``, ``sender``; everywhere ``control-digest``, ``event``,
    ``mapping``, ``config``.
    """

    id: str
    message_id: str
    channel: str
    destination: str
    lanes: tuple[str, ...]
    body: bytes
    media: Media
    headers: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 0
    created_at: datetime | None = None  # or when an operator last had it tried again


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has taken it."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now. ``after`` is the seconds that the receiver asked for, or that others go first; else only the backoff applies.

    ``counts`` is False where it is no failure of this delivery (our credentials are refused): age and backoff do not grow by it.
    ``sent`` is False where the receiver was not even asked (a broker that is down): such a wait is no attempt. ``nth``: how often
    this was answered so far, where the backoff is to go by that and not by all attempts.
    """

    why: str
    code: str = "retry"
    after: float | None = None
    counts: bool = True
    nth: int = 0
    sent: bool = True


@dataclass(frozen=True, slots=True)
class Park:
    """Never by itself: a person must look. ``code`` is a word such as ``fhir-422`` or an HL7 table 0357 condition."""

    code: str
    why: str


Outcome = Delivered | Retry | Park


# --- What a receiver on the exchange says became of it ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """How one of the receiver's own deliveries is. ``detail``: what it was answered (``AA``, ``200``); no patient data."""

    destination: str
    state: str
    code: str = ""
    detail: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery at its receiver. No patient data is in it, and it is never receipted itself.

    ``delivery`` is its sender's id of it; ``channel`` and ``message`` are those of the receiver. ``state``: accepted, delivered,
    parked, filtered, rejected or discarded. Of two receipts of one channel the one with the higher ``number`` holds.
    """

    delivery: str
    channel: str
    message: str
    state: str
    taken_at: datetime
    number: int
    code: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Act:
    """What was done with a message: parked, superseded, other-content; by an operator discarded, replayed, retried.

    ``detail``: the code, the reason that an operator gave, or the id of the message that came of it and what that is for.
    """

    at: datetime
    what: str
    detail: str = ""
    delivery: str = ""  # the one it was done with, where it was one


@dataclass(frozen=True, slots=True)
class Report:
    """A receipt that is to be sent: to whom, and under which name what it is about was received."""

    to: str
    by: str
    receipt: Receipt


# --- What earlier messages taught -------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """What a destination was last sent of one object.

    ``object`` is ``Type/id``. ``destination`` names whose state it is: a receiver's on the exchange (``exchange/hub``), else
    ``channel/destination``; it need not be a delivery's ``destination``.

    ``version`` is the clinical time that orders versions (ISO 8601 in UTC, empty where unknown), ``rank`` that of the
    status (semantics.md, result question 6). ``content`` is the FHIR JSON as sent, present where it was asked for.
    """

    destination: str
    object: str
    digest: str
    version: str = ""
    rank: int = 0
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What a message needs to know before it can be mapped.

    ``aliases``: names such as ``ServiceRequest|placer|24001|A17``. ``objects``: ``Type/id``; ``whole``: those of them
    whose last content is needed too. The answer follows aliases to their objects and merges to their survivors by itself,
    and gives the state of what it finds there, whole. With an alias it gives those that go on from it after a tab: of
    several things under one number, each with what tells it apart.
    """

    aliases: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """The journal's answer. ``stamp`` lets ``forward`` check that it is still true.

    ``merged``: retired object → the object it was merged into (one step; follow with ``survivor``).
    """

    stamp: str = ""
    sent: Mapping[tuple[str, str], Sent] = field(default_factory=dict)  # (destination, object)
    aliases: Mapping[str, str] = field(default_factory=dict)
    merged: Mapping[str, str] = field(default_factory=dict)

    def survivor(self, thing: str) -> str:
        """The object that ``thing`` was finally merged into, or itself."""
        seen = {thing}
        while (into := self.merged.get(thing)) is not None and into not in seen:
            seen.add(into)
            thing = into
        return thing


@dataclass(frozen=True, slots=True)
class Learned:
    """What one message teaches, kept in the transaction that forwards it. What was sent stands with each delivery."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    merged: Mapping[str, str] = field(default_factory=dict)


NOTHING_KNOWN = Known()

# A FHIR resource as the engine carries it: JSON types, with decimal.Decimal for numbers so that digits are kept.
Resource = dict[str, Any]
