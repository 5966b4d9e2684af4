"""The durable journal: its contract and its adapters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from interop_engine.core.errors import JournalError
from interop_engine.core.retry import LONGEST_DELIVERY
from interop_engine.journal.base import Journal

__all__ = ["location", "open_journal"]

_POSTGRES = ("postgresql://", "postgres://")


def location(url_or_path: str | Path) -> str:
    """What ``JournalHealth.location`` says of it, from wherever it is asked: by it two processes know that it is one journal."""
    place = str(url_or_path)
    if place.startswith(_POSTGRES):
        from interop_engine.journal.postgres import schema  # noqa: PLC0415 - an extra that few nodes need

        return schema.place(place)
    return str(_path(place).resolve())


def open_journal(
    url_or_path: str | Path,
    *,
    readonly: bool = False,
    reserve: int = 64 << 20,
    window: timedelta = timedelta(days=30),
    lease_time: timedelta | None = None,
    keys: Path | None = None,
) -> Journal:
    """A journal at a path, a ``sqlite:///path`` or a ``postgresql://`` URL, not yet opened (``await journal.open()``).

    ``reserve``: bytes of the disk to leave free when accepting (SQLite; PostgreSQL's disk is its own). ``window``: how long a
    resend is known again. ``lease_time``: when a lease nobody settled ends; longer than ``LONGEST_DELIVERY``, by default
    30 minutes. A node that shares its journal and dies is missed within ten seconds, whatever this is.
    ``readonly``: beside a running engine, for listings and content. ``keys``: the file of keys that it is encrypted with.
    Raises JournalError for a kind of URL there is no adapter for, and for a key file that cannot be used.
    """
    lease_time = lease_time or timedelta(seconds=LONGEST_DELIVERY) + timedelta(minutes=5)
    if keys is None:
        return _adapter(str(url_or_path), (), reserve, readonly=readonly, window=window, lease_time=lease_time)
    from interop_engine.journal.keys import read_keys  # noqa: PLC0415 - a library that only encrypted journals need
    from interop_engine.journal.sealed import SealedJournal  # noqa: PLC0415 - the same

    found = read_keys(keys)
    journal = _adapter(str(url_or_path), found.seals(), reserve, readonly=readonly, window=window, lease_time=lease_time)
    return SealedJournal(journal, found)


def _adapter(
    place: str, seals: Sequence[str], reserve: int, *, readonly: bool, window: timedelta, lease_time: timedelta
) -> Journal:
    scheme, separator, _ = place.partition("://")
    if place.startswith(_POSTGRES):
        try:
            from interop_engine.journal.postgres import PostgresJournal  # noqa: PLC0415 - an extra that few nodes need
        except ImportError as error:
            raise JournalError(f"A PostgreSQL journal needs interop-engine[postgres]: {error}") from None
        return PostgresJournal(place, readonly=readonly, window=window, lease_time=lease_time, seals=seals)
    if separator and scheme != "sqlite":
        raise JournalError(f'There is no journal for "{scheme}://"; give a path, sqlite:///path or a postgresql:// URL.')
    from interop_engine.journal.sqlite import SqliteJournal  # noqa: PLC0415 - what asks a running engine opens none

    return SqliteJournal(_path(place), readonly=readonly, reserve=reserve, window=window, lease_time=lease_time, seals=seals)


def _path(place: str) -> Path:
    return Path(unquote(urlsplit(place).path)) if "://" in place else Path(place)
