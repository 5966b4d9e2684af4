"""Every exception the engine raises of its own, drawn as a tree.

    InteropError
    ├── ConfigError            a site, channel or mapping that cannot be used; carries every mistake found
    ├── ParseError             bytes that are not an HL7 v2 message
    │   ├── FramingError       bytes that are not an MLLP frame
    │   └── CharsetError       bytes that are not in the declared character set; carries the offset
    ├── JournalError           the journal cannot do what was asked
    │   ├── JournalFull        no room on the disk: nothing was committed, nothing may be acknowledged
    │   ├── JournalBroken      an I/O error or a failed fsync: final until the process restarts
    │   │   └── RowBroken          one row is not as it was written: what needs it cannot be done, everything else can
    │   ├── ItemRefused        this one item cannot be written, however often it is tried; the others can
    │   └── UnknownItem        no message or delivery has that id
    │       └── NothingToDiscard   it has, but nothing of it is to be given up
    └── ExchangeError          the exchange cannot be reached or used

What a destination answers is never an exception: it is an ``Outcome`` (``core.model``). Exceptions of libraries are
translated where the library is called, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interop_engine.core.diagnostics import Mistake


CORRUPT: Final = "journal-corrupt"
"""The code of what parks because a row of the journal is not as it was written."""


class InteropError(Exception):
    """Something the engine knows how to say went wrong."""

    def __init__(self, message: str | None = None) -> None:
        """Take the class docstring's first line where no message is given."""
        super().__init__(message or (type(self).__doc__ or "").split("\n", 1)[0])


class ConfigError(InteropError):
    """The site cannot be used as it is written."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        """Carry all mistakes, not the first one."""
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)


class ParseError(InteropError):
    """The bytes are not an HL7 v2 message."""


class FramingError(ParseError):
    """The bytes are not an MLLP frame."""


class CharsetError(ParseError):
    """A byte is not valid in the declared character set."""

    def __init__(self, message: str, offset: int) -> None:
        """Name the byte: ``offset`` counts from 0 within the message."""
        super().__init__(message)
        self.offset = offset


class JournalError(InteropError):
    """The journal cannot do what was asked."""


class JournalFull(JournalError):  # noqa: N818 - a state of the disk, named as an operator says it
    """No room is left on the disk; nothing was committed."""


class JournalBroken(JournalError):  # noqa: N818 - as above
    """The journal's disk failed; only a restart recovers."""


class RowBroken(JournalBroken):
    """A row of the journal is not as it was written."""


class ItemRefused(JournalError):  # noqa: N818 - as above
    """The journal cannot hold this item."""


class UnknownItem(JournalError):  # noqa: N818 - as above
    """No message or delivery has that id."""


class NothingToDiscard(UnknownItem):
    """Nothing that is meant of the message is parked; what waits is given up only if that is asked for."""


class ExchangeError(InteropError):
    """The exchange cannot be reached or used."""
