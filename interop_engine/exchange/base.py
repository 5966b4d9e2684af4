"""The exchange's contract: a topic exchange that joins nodes, where publishing ends in a confirm or a reason.

Routing key ``{kind}.{sender}.{receiver}.{bucket}``; ``bucket`` is one of 64, by hash of the sending facility, so that all that a
facility sends to a receiver keeps its order. A receiver has queues of its own, and one apart for receipts; a parcel nobody
receives comes back and parks at its sender. One publish is in flight a lane; the caller sees to that.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from interop_engine.core.model import Media, Outcome

BUCKETS: Final = 64
RECEIPT: Final = "receipt"
"""The kind under which nodes tell each other what became of parcels; no channel sends or receives it."""

Carried = Media | Literal["receipt"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What travels. ``delivery_id`` is the idempotency key; facility names and kinds are routing words (no dots)."""

    delivery_id: str
    sender: str
    receiver: str
    kind: str
    body: bytes
    media: Carried  # receipt: of kind ``receipt``, and of no other
    headers: Mapping[str, str] = field(default_factory=dict)  # lane, control-digest, event, digest, mapping, config

    @property
    def routing_key(self) -> str:
        """``lab.24001.hub.17``."""
        return f"{self.kind}.{self.sender}.{self.receiver}.{bucket(self.sender)}"


@functools.lru_cache(maxsize=4096)
def bucket(facility: str) -> int:
    """The bucket of a sending facility, the same on every node and for ever."""
    return int.from_bytes(hashlib.sha256(facility.encode()).digest()[:4], "big") % BUCKETS


@dataclass(frozen=True, slots=True)
class ExchangeHealth:
    """How the exchange is. ``problem`` is empty while it can be used.

    ``waiting``: in words, what was sent to a channel here that is stopped, and what is behind it.
    """

    adapter: str
    location: str  # without credentials
    problem: str = ""
    subscriptions: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


# True: the receiver's journal has committed it (ack). False: not now (give it again later, in order).
Take = Callable[[Parcel], Awaitable[bool]]


class Subscription(Protocol):
    """A running subscription."""

    async def close(self) -> None:
        """Stop taking; what was taken and not acked is given again later. Twice is harmless."""


class Exchange(Protocol):
    """The contract. ``open`` succeeds while the broker is down, and the exchange connects by itself later."""

    async def open(self) -> None:
        """Start; never waits for a broker longer than a moment."""

    async def begin(self) -> None:
        """Give what comes to those who have subscribed, once all have; never waits for a broker longer than a moment.

        What none of them takes is refused, and not kept for one who is late. Before it, an embedded publish ends in Retry.
        """

    def share(self, place: int, workers: int) -> None:
        """Of so many workers that receive the same, this is the one of that place, from 0: each is to have a part of it.

        It may be told anew at any time, and each worker something else for a moment: order is kept, and nothing is left unread.
        """

    async def close(self) -> None:
        """Stop; twice is harmless."""

    async def publish(self, parcel: Parcel) -> Outcome:
        """Delivered after the confirm; Park("unrouted") where nobody subscribes; Park("too-large"); Retry otherwise."""

    async def subscribe(self, receiver: str, kinds: Sequence[str], take: Take) -> Subscription:
        """Give every parcel for ``receiver`` of these kinds to ``take``, once begun; ack after True.

        Those of one bucket one at a time and in order; several buckets at once. Receipts are subscribed to alone.
        """

    def health(self) -> ExchangeHealth:
        """How the exchange is."""
