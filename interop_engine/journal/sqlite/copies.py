"""Copies of a journal's file, made and brought back, and the check of its structure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import apsw

from interop_engine.core.errors import JournalError
from interop_engine.journal.checking import Progress
from interop_engine.journal.sqlite import schema

_STEP_PAGES = 2_048  # copied at once: 8 MiB


def back_up(source: Path, target: Path, progress: Progress = lambda _done, _of: None) -> None:
    """Copy a journal, beside the engine that writes it: all of one moment. Raises JournalError where ``target`` is there already.

    The copy stands under its name only once it is whole and durable.
    """
    if target.exists():
        raise JournalError(f"{target} is there already.")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    reader, writer = schema.connect_reader(source), apsw.Connection(str(part))
    try:
        reader.execute("BEGIN")
        schema.rows(reader, "SELECT count(*) FROM sqlite_schema")  # from here on it is this moment that is read
        with writer.backup("main", reader, "main") as copying:
            while not copying.done:
                copying.step(_STEP_PAGES)
                progress(copying.page_count - copying.remaining, copying.page_count)
        writer.pragma("journal_mode", "DELETE")  # one file; the engine that opens it goes back to WAL
        schema.check_integrity(writer)
    finally:
        reader.close()
        writer.close()
    make_durable(part)
    part.rename(target)
    make_durable(target.parent)


def restore(backup: Path, place: Path, *, force: bool = False, seals: Sequence[str] = ()) -> Path | None:
    """Put a copy where a journal stands; returns where the one before it was put, which is only done with ``force``.

    Raises JournalError where another process has the journal open, the copy is none or is not opened by the keys of ``seals``, or
    the journal holds messages. Nothing was moved then.
    """
    _check_copy(backup, seals)
    place.parent.mkdir(parents=True, exist_ok=True)
    guard = schema.Guard(place)
    guard.take()
    try:
        if place.exists():
            _prepare_to_go(place, force=force)
        part = place.with_name(place.name + ".part")
        with backup.open("rb") as source, part.open("wb") as target:
            os.fchmod(target.fileno(), 0o600)
            while data := source.read(1 << 20):
                target.write(data)
        make_durable(part)
        return swap(part, place)
    finally:
        guard.give_back()


def structure(path: Path) -> list[str]:
    """What is wrong with the structure of a journal's file. Nothing where all is well; contents are another matter."""
    connection = schema.connect_reader(path)
    try:
        return [f"file: {found}" for (found,) in connection.execute("PRAGMA integrity_check") if found != "ok"]
    except apsw.Error as error:
        return [f"file: {error}"]
    finally:
        connection.close()


def _check_copy(backup: Path, seals: Sequence[str]) -> None:
    connection = apsw.Connection(str(backup), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        version = int(connection.pragma("user_version"))
        if not 0 < version <= len(schema.MIGRATIONS):
            raise JournalError(f"{backup} is no journal that this engine can read.")
        schema.check_integrity(connection)
        schema.new_seals(connection, seals)
    except apsw.Error as error:
        raise JournalError(f"{backup} is no journal: {error}") from None
    finally:
        connection.close()


def _prepare_to_go(place: Path, *, force: bool) -> None:
    """Bring what its log holds into a journal's file, for another to take its place in one step. A damaged one stays as it is."""
    try:
        holds = _holds_messages(place)
    except apsw.Error:
        if place.stat().st_size and not force:  # whatever it is, it is something
            raise JournalError(f"{place} cannot be read; --force puts it aside.") from None
        return
    if holds and not force:
        raise JournalError(f"{place} holds messages already; --force puts it aside.")
    connection = apsw.Connection(str(place))
    try:
        if not leave_log(connection):
            raise JournalError(f"{place} is being read by another process: end that first.")
    except apsw.Error:
        return
    finally:
        connection.close()


def _holds_messages(path: Path) -> bool:
    connection = apsw.Connection(
        str(path), flags=apsw.SQLITE_OPEN_READONLY
    )  # one that writes may remove the log of what is damaged
    try:
        return bool(schema.rows(connection, "SELECT EXISTS (SELECT 1 FROM messages)")[0][0])
    finally:
        connection.close()


def leave_log(connection: apsw.Connection) -> bool:
    """Bring all that the write-ahead log holds into the file, and do without; False where another process has it open."""
    try:
        return bool(connection.pragma("journal_mode", "DELETE") == "delete")
    except apsw.BusyError:
        return False


def swap(part: Path, place: Path) -> Path | None:
    """Give a whole journal the name of another, if there is one; returns what that is called now.

    At each moment one of the two has the name, since an engine would make a new one. A log, which only a damaged journal has
    here still, goes along first: beside the other it would be taken for that one's own.
    """
    aside = None
    if place.exists():
        aside = free_name(place)
        if not aside.exists():
            os.link(place, aside)
        for suffix in ("-wal", "-shm"):
            if (log := place.with_name(place.name + suffix)).exists():
                log.rename(aside.with_name(aside.name + suffix))
    part.replace(place)
    make_durable(place.parent)
    return aside


def free_name(place: Path) -> Path:
    """What a journal will be called when another one takes its place; that it is called so already is no hindrance."""
    number = 1
    while (free := place.with_name(f"{place.name}.before-{number}")).exists() and not free.samefile(place):
        number += 1
    return free


def make_durable(path: Path) -> None:
    """Wait until a file, or which names a folder holds, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
