"""What happens at the connections to other systems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interop_engine.core.events import Event


@dataclass(frozen=True, slots=True)
class PeerEvent(Event):
    """What a peer can make happen as often as it connects: a line a minute is logged of each address. ``peer``: with its port."""

    channel: str
    peer: str

    @property
    def crowd(self) -> str:
        """The channel and the address."""
        return f"{self.channel} {self.peer.rpartition(':')[0]}"


@dataclass(frozen=True, slots=True)
class PeerTurnedAway(PeerEvent):
    """A connection was closed unread."""

    sentence: ClassVar[str] = "A connection was closed unread."
    level: ClassVar[str] = "warning"
    why: str


@dataclass(frozen=True, slots=True)
class ConnectionDropped(PeerEvent):
    """A connection was closed by us because of how its peer behaved, or because nothing could be committed."""

    sentence: ClassVar[str] = "A connection was closed without an answer."
    level: ClassVar[str] = "warning"
    why: str


@dataclass(frozen=True, slots=True)
class JunkSkipped(PeerEvent):
    """A peer sent bytes outside any frame."""

    sentence: ClassVar[str] = "Bytes outside any frame were skipped."
    level: ClassVar[str] = "warning"
    count: int


@dataclass(frozen=True, slots=True)
class FrameCut(PeerEvent):
    """A peer ended its connection inside a frame, of which ``count`` bytes had come."""

    sentence: ClassVar[str] = "A connection ended in the middle of a frame; nothing of it was taken."
    level: ClassVar[str] = "warning"
    count: int


@dataclass(frozen=True, slots=True)
class RequestRefused(PeerEvent):
    """An HTTP request was answered with an error. ``channel`` is empty where it was for the engine's own pages."""

    sentence: ClassVar[str] = "An HTTP request was refused; nothing of it was taken."
    level: ClassVar[str] = "warning"
    status: int
    why: str


@dataclass(frozen=True, slots=True)
class RequestFailed(Event):
    """An HTTP request could not be answered, by a mistake of ours. ``error`` names its kind."""

    sentence: ClassVar[str] = "An HTTP request could not be answered: the engine has made a mistake."
    level: ClassVar[str] = "error"
    error: str


@dataclass(frozen=True, slots=True)
class FolderUnreadable(Event):
    """A file source cannot read or move what is in its folder."""

    sentence: ClassVar[str] = "A folder of incoming files cannot be used."
    level: ClassVar[str] = "error"
    channel: str
    folder: str
    why: str


@dataclass(frozen=True, slots=True)
class SourceUnreadable(Event):
    """A server that messages are read from does not give them."""

    sentence: ClassVar[str] = "A server that messages are read from cannot be read; it is tried again."
    level: ClassVar[str] = "warning"
    channel: str
    url: str
    why: str


@dataclass(frozen=True, slots=True)
class CertificateTaken(Event):
    """A file of TLS has changed and was read. ``connector``: the destination, or "source"."""

    sentence: ClassVar[str] = "A renewed certificate is in use for new connections."
    channel: str
    connector: str


@dataclass(frozen=True, slots=True)
class CertificateNotTaken(Event):
    """A file of TLS has changed and cannot be used. ``connector``: the destination, or "source"."""

    sentence: ClassVar[str] = "A renewed certificate cannot be used; the one before it stays in use until the next start."
    level: ClassVar[str] = "error"
    channel: str
    connector: str
    why: str


@dataclass(frozen=True, slots=True)
class DestinationDown(Event):
    """A receiver does not answer, or says that it cannot work at present."""

    sentence: ClassVar[str] = "A receiver takes nothing at present; deliveries wait for it."
    level: ClassVar[str] = "warning"
    channel: str
    destination: str


@dataclass(frozen=True, slots=True)
class DestinationBarred(Event):
    """A receiver refuses us as a whole: a token, a right, or an address is wrong."""

    sentence: ClassVar[str] = "A receiver refuses us; deliveries wait until a person acts."
    level: ClassVar[str] = "error"
    channel: str
    destination: str
    code: str


@dataclass(frozen=True, slots=True)
class DestinationUp(Event):
    """A receiver answers again."""

    sentence: ClassVar[str] = "A receiver takes deliveries again."
    channel: str
    destination: str
