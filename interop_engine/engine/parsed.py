"""Messages as the ingress has read them, kept for the transformation that usually comes next: it need not parse them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interop_engine.hl7.message import Message

_MOST_BYTES = 4 << 20  # of messages as received; parsed they take several times as much


class Parsed:
    """Messages by their ids, the oldest forgotten first when their sizes sum to more than 4 MiB."""

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}
        self._bytes = 0

    def put(self, id_: str, message: Message) -> None:
        """Keep a message."""
        self._messages[id_] = message
        self._bytes += len(message.raw)
        while self._bytes > _MOST_BYTES:
            self.take(next(iter(self._messages)))

    def take(self, id_: str) -> Message | None:
        """The message, no longer kept; None where it was forgotten or never put."""
        if (message := self._messages.pop(id_, None)) is not None:
            self._bytes -= len(message.raw)
        return message
