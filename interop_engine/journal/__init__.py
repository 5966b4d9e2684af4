"""The durable journal: its contract and its adapters."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from interop_engine.core.errors import JournalError
from interop_engine.journal.base import Journal
from interop_engine.journal.sqlite import SqliteJournal

__all__ = ["open_journal"]


def open_journal(
    url_or_path: str | Path,
    *,
    readonly: bool = False,
    reserve: int = 64 << 20,
    window: timedelta = timedelta(days=30),
    lease_time: timedelta = timedelta(minutes=30),
) -> Journal:
    """A journal at a path or a ``sqlite:///path`` URL, not yet opened (``await journal.open()``).

    ``reserve``: bytes of the disk to leave free when accepting. ``window``: how long a resend is known again.
    ``lease_time``: when a lease nobody settled ends; longer than the longest timeout of a destination. ``readonly``: beside a
    running engine, for listings and content. Raises JournalError for a kind of URL there is no adapter for.
    """
    text = str(url_or_path)
    scheme, separator, _ = text.partition("://")
    if separator and scheme != "sqlite":
        raise JournalError(f'There is no journal for "{scheme}://"; give a path or sqlite:///path.')
    path = Path(unquote(urlsplit(text).path)) if separator else Path(text)
    return SqliteJournal(path, readonly=readonly, reserve=reserve, window=window, lease_time=lease_time)
