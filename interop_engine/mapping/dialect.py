"""What one sender does in its own way, put right before anything else reads the message."""

from __future__ import annotations

from dataclasses import dataclass

from interop_engine.hl7.message import Message
from interop_engine.mapping.language import DialectFile


@dataclass(frozen=True)
class Dialect:
    """A dialect, ready to run."""

    file: DialectFile

    @property
    def name(self) -> str:
        """The name a channel calls it by."""
        return self.file.name

    def apply(self, message: Message) -> Message:
        """The message put right; the same one where there is nothing to do."""
        return message
