"""What a journal holds, from one set of keys to another, or from plain: row by row, fed and given as the contract's values.

What is sealed, and what it is bound to, says ``records`` alone: each row is opened by the old end and sealed by the new one, as
if it were written now. An adapter copies its tables (its module ``rekeying``); no SQL is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from interop_engine.core.errors import JournalBroken
from interop_engine.core.model import Delivery, Sent
from interop_engine.journal import codec
from interop_engine.journal.base import DeliveryState, Forward, NewDelivery, NewMessage
from interop_engine.journal.keys import Keys
from interop_engine.journal.records import Records

NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "duplicates": {"key": "duplicate", "digest": "digest"},
    "aliases": {"alias": "alias", "object": "thing"},
    "merged": {"retired": "thing", "survivor": "thing"},
    "ledger": {"path": "ledger"},
}
"""Tables that hold names: of each such column the kind of its names. Those of search keys are ``search_kind``."""

_DISCARDED = "discarded"
_GONE = ""  # what the reason of a message that was pruned is bound to: nobody knows its id any more


def search_kind(kind: str) -> str:
    """The kind of names that messages are searched by as ``kind``."""
    return f"search {kind}"


class _Opening(Protocol):
    """An old end: ``Records``, or one that takes all as it stands."""

    def kept(self, kept: NewMessage) -> tuple[NewMessage, str]:
        """A message, and the id it was first received under."""
        ...

    def delivery(self, got: Delivery) -> Delivery:
        """A delivery."""
        ...

    def open_states(self, sent: Sequence[Sent]) -> list[Sent]:
        """What was sent."""
        ...

    def open_name(self, kind: str, sealed: str) -> str:
        """A name."""
        ...

    def open_text(self, text: str, *bound: str) -> str:
        """A text."""
        ...


class _Plain:
    """The old end of a journal in plain."""

    def kept(self, kept: NewMessage) -> tuple[NewMessage, str]:
        return kept, ""

    def delivery(self, got: Delivery) -> Delivery:
        return got

    def open_states(self, sent: Sequence[Sent]) -> list[Sent]:
        return list(sent)

    def open_name(self, kind: str, sealed: str) -> str:  # noqa: ARG002 - it is the same in every kind
        return sealed

    def open_text(self, text: str, *bound: str) -> str:  # noqa: ARG002 - it is bound to nothing
        return text


class Resealing:
    """Opens with a journal's keys (None: it is in plain) and seals with others. Raises JournalBroken for what does not open."""

    def __init__(self, old: Keys | None, new: Keys) -> None:
        self._old: _Opening = _Plain() if old is None else Records(old)
        self._new = Records(new)

    def message(self, kept: NewMessage, first: str) -> NewMessage:
        """A message's row with its content; ``first``: the id it was received under, as far as the rows can tell."""
        opened, known = self._old.kept(kept)
        return self._new.message(opened, known or first)

    def deliveries(self, kept: Sequence[Delivery], message: str) -> tuple[NewDelivery, ...]:
        """The rows of what a message made, with their bodies: equal ones stay equal."""
        opened = [self._old.delivery(each) for each in kept]
        made = tuple(NewDelivery(d.id, d.destination, d.lanes, d.body, d.media, d.headers) for d in opened)
        return self._new.forward(Forward(made), message).deliveries

    def message_row(self, row: Mapping[str, Any], lanes: Sequence[str], data: bytes, first: str) -> tuple[NewMessage, str]:
        """A message by the columns that all adapters have, and what was found in it as JSON."""
        kept = NewMessage(
            id=row["id"],
            channel=row["channel"],
            data=data,
            media=row["media"],
            received_at=codec.moment(row["received_at"]),
            peer=row["peer"],
            control_id=row["control_id"],
            message_type=row["message_type"],
            digest=row["digest"],
            reply=row["reply"],
            lanes=tuple(lanes),
            duplicate_key=row["duplicate_key"],
            why=row["why"],
            headers=codec.mapping(row["headers"]),
            replay_of=row["replay_of"],
        )
        return self.message(kept, first), codec.listing(self.findings(codec.strings(row["findings"]), row["id"]))

    def why(self, text: str, message: str) -> str:
        """A reason that stands with a message, or with what became of it."""
        return self._new.why(self._old.open_text(text, "why", message), message)

    def findings(self, findings: Sequence[str], message: str) -> tuple[str, ...]:
        """What was found in a message."""
        return self._new.findings([self._old.open_text(each, "finding", message) for each in findings], message)

    def ended(self, how: str, why: str, message: str) -> str:
        """How an attempt or a delivery ended, in words: of a success they stand open."""
        return why if how == DeliveryState.DELIVERED else self.why(why, message)

    def event(self, what: str, detail: str, message: str | None) -> str:
        """What stands with an event. The reason for discarding a message that was pruned since is lost with its id, if sealed."""
        if what != _DISCARDED:
            return detail
        try:
            return self.why(detail, message or _GONE)
        except JournalBroken:
            if message is not None:
                raise
            return ""

    def name(self, kind: str, name: str) -> str:
        """A name of a kind, see ``Records.name``."""
        return self._new.name(kind, self._old.open_name(kind, name))

    def states(self, carried: Sequence[tuple[int, Sequence[Sent]]]) -> list[tuple[int, list[Sent]]]:
        """What the deliveries of one message brought."""
        sealed = iter(self._new.states(self._old.open_states([each for _, sent in carried for each in sent])))
        return [(delivery, [next(sealed) for _ in sent]) for delivery, sent in carried]
