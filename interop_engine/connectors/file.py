"""Folders: a source that takes HL7 v2 files from one, a destination that writes deliveries into one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import re
import shutil
import signal
import stat
import time
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from pydantic import Field

from interop_engine.connectors import events
from interop_engine.connectors.base import ConnectorHealth, SendingHl7, Surroundings
from interop_engine.connectors.breaker import BreakerOptions
from interop_engine.connectors.gate import Gate
from interop_engine.connectors.options import Options
from interop_engine.core.events import emit
from interop_engine.core.model import Accept, Accepted, Answer, Arrival, Delivered, Delivery, Outcome, Refused, Retry
from interop_engine.core.units import Duration, Size
from interop_engine.hl7.batch import messages_of

_UNFINISHED = (".tmp", ".part", ".filepart", ".crdownload")  # names that writers give to what they still write
_HEAD = 65_536  # bytes of a file too large that are kept
_SUFFIX = {"hl7v2": ".hl7", "fhir": ".json"}
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")

_Look = tuple[int, int, int]  # inode, size, time of change


class FileSourceOptions(Options):
    """Take HL7 v2 files (a message each, or a batch of at most 100,000) from a folder."""

    folder: str = Field(description="Where files arrive.", examples=["var/in"])
    pattern: str = Field("*.hl7", description="Which files are taken, in any case of letters.", examples=["*.hl7"])
    done: str = Field("done", description="Where files go that were accepted, from the folder.", examples=["done"])
    failed: str = Field("failed", description="Where files go of which a message was rejected.", examples=["failed"])
    every: Duration = Field(2.0, gt=0, description="How often the folder is looked at.", examples=["2s"])
    settle: Duration = Field(
        2.0,
        gt=0,
        description="How long a file must be unchanged before it is taken: longer where a slow writer is on another machine. On"
        " this one, a file that somebody has open for writing always waits.",
        examples=["30s"],
    )
    max_file: Size = Field(16_000_000, gt=0, description="The largest file.", examples=["16MB"])


class FileSource:
    """Takes a file once it has been unchanged for a while and nobody has it open for writing.

    A file that was handed over and cannot be moved is not handed over again: only the move is tried, at each look.
    """

    def __init__(self, options: FileSourceOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._channel = surroundings.channel
        self._folder = Path(surroundings.root, options.folder)
        self._seen: dict[Path, tuple[_Look, float]] = {}  # as it was found, and since when
        self._taken: dict[Path, tuple[_Look, str]] = {}  # as it was handed over, and the folder it is to go to
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    async def start(self, accept: Accept) -> None:
        """Make the folders and begin to look. Raises OSError where they cannot be made."""
        for folder in (self._folder, self._folder / self._options.done, self._folder / self._options.failed):
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        self._stopping.clear()
        self._task = asyncio.create_task(self._run(accept))

    async def stop(self) -> None:
        """Stop after the message that is under way. Twice is harmless."""
        self._stopping.set()
        task, self._task = self._task, None
        if task is not None:
            await task

    def health(self) -> ConnectorHealth:
        """The folder, and what is wrong with it."""
        return ConnectorHealth(place=str(self._folder), problem=self._problem, details={"pattern": self._options.pattern})

    async def _run(self, accept: Accept) -> None:
        while not self._stopping.is_set():
            try:
                await self._look(accept)
                self._problem = ""
            except OSError as error:
                self._trouble(error.strerror or type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.every):
                    await self._stopping.wait()

    def _trouble(self, why: str) -> None:
        if why != self._problem:  # said once, not at every look
            emit(events.FolderUnreadable(self._channel, str(self._folder), why))
        self._problem = why

    async def _look(self, accept: Accept) -> None:
        """One look at the folder: take what has not changed for long enough, oldest first.

        A file that cannot be read or moved does not keep the others waiting; raises its OSError in the end.
        """
        found = await asyncio.to_thread(_files, self._folder, self._options.pattern)
        now = time.monotonic()
        seen = {path: self._seen.get(path, (None, now)) for path in found}
        self._seen = {path: (look, seen[path][1] if seen[path][0] == look else now) for path, look in found.items()}
        self._taken = {path: taken for path, taken in self._taken.items() if found.get(path) == taken[0]}
        ready = [path for path, (_, since) in self._seen.items() if since < now and now - since >= self._options.settle]
        trouble: OSError | None = None
        for path in ready:
            try:
                if self._stopping.is_set() or not await self._take(path, accept):
                    return
            except OSError as error:
                trouble = error
        if trouble is not None:
            raise trouble

    async def _take(self, path: Path, accept: Accept) -> bool:
        """Hand over one file and move it; False where nothing can be committed and all stays as it is."""
        look = self._seen[path][0]
        if path not in self._taken:
            read = await asyncio.to_thread(_read, path, self._options.max_file)
            if read is None:
                return True
            folder = await self._hand_over(path.name, *read, accept)
            if not folder:
                return False
            self._taken[path] = (look, folder)
        _, folder = self._taken[path]
        try:
            await asyncio.to_thread(_move, path, self._folder / folder)
        except OSError as error:
            raise OSError(error.errno, f"files cannot be moved to {folder}: {error.strerror}") from None
        self._seen.pop(path, None)
        self._taken.pop(path, None)
        return True

    async def _hand_over(self, name: str, data: bytes, fault: str, accept: Accept) -> str:
        """Hand over the messages of a file; where it is to go then, nothing where one cannot be committed now."""
        answers: list[Answer] = []
        messages, fault = messages_of(data, fault)
        for message in messages:
            answer = await accept(Arrival(message, "hl7v2", datetime.now(UTC), name, fault=fault, private=True))
            if not isinstance(answer, Accepted | Refused):
                return ""  # what was committed of it is known as a duplicate the next time
            answers.append(answer)
        return self._options.failed if any(isinstance(answer, Refused) for answer in answers) else self._options.done


class FileDestinationOptions(SendingHl7):
    """Write each delivery into a folder, one file each."""

    folder: str = Field(description="Where files are written.", examples=["var/out"])


class FileDestination:
    """A file is complete as soon as its name is there; a resend writes the same bytes under the same name."""

    def __init__(self, options: FileDestinationOptions, surroundings: Surroundings) -> None:
        self._folder = Path(surroundings.root, options.folder)
        self._problem = ""
        self._breaker = BreakerOptions().breaker()
        self.gate = Gate(self._breaker, surroundings.channel, surroundings.name)

    async def open(self) -> None:
        """Nothing to do: a delivery makes the folder."""

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Write a temporary file, flush it to the disk, rename it."""
        return await self.gate.attempt(partial(self._written, delivery))

    async def _written(self, delivery: Delivery) -> Outcome:
        path = self._folder / (_UNSAFE.sub("_", delivery.id) + _SUFFIX[delivery.media])
        try:
            await asyncio.to_thread(_write, path, delivery.body)
        except OSError as error:
            self._problem = error.strerror or type(error).__name__
            self._breaker.failure(self._problem)
            return Retry(f"the file cannot be written: {self._problem}", "file")
        self._problem = ""
        self._breaker.success()
        return Delivered(path.name)

    async def close(self) -> None:
        """Nothing to do."""

    def health(self) -> ConnectorHealth:
        """The folder, and why the last write failed, if it did."""
        return ConnectorHealth(place=str(self._folder), problem=self._problem)


def _files(folder: Path, pattern: str) -> dict[Path, _Look]:
    """Regular files of the folder by age, links and what is still being written left out."""
    found: list[tuple[int, str, Path, _Look]] = []
    for path in folder.iterdir():
        name = path.name.lower()
        if name.startswith(".") or name.endswith(_UNFINISHED) or not fnmatchcase(name, pattern.lower()):
            continue
        with contextlib.suppress(FileNotFoundError):  # taken away since
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                look = (status.st_ino, status.st_size, status.st_mtime_ns)
                found.append((status.st_mtime_ns, path.name, path, look))
    return {path: look for _, _, path, look in sorted(found)}


def _read(path: Path, limit: int) -> tuple[bytes, str] | None:
    """The file's bytes; how it begins, and a fault, where it is too large. None while somebody has it open for writing."""
    with path.open("rb") as file:
        if _is_written(file.fileno()):
            return None
        data = file.read(limit + 1)
    if len(data) > limit:
        return data[:_HEAD], f"The file is larger than {limit} bytes; this is how it began."
    return data, ""


def _is_written(handle: int) -> bool:
    """Whether anybody on this machine has the file open for writing: the kernel then lends no read lease on it (fcntl(2)).

    The lease is given back at once. Who opens the file in between waits for that, and the signal that tells us is an ignored one.
    Where no lease is to be had at all (a network's file system, another's file), nothing is known.
    """
    try:
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _move(path: Path, folder: Path) -> None:
    """Into the folder, under a name that is still free there (one process moves files of a folder)."""
    target = folder / path.name
    if target.exists():
        target = folder / f"{path.stem}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}{path.suffix}"
    try:
        path.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = target.with_name(f".{target.name}.part")  # on another file system: whole and durable before the first one goes
        shutil.copy2(path, part)
        _make_durable(part)
        part.rename(target)
        _make_durable(folder)
        path.unlink()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _make_durable(path.parent)


def _make_durable(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
