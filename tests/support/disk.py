"""Disks that lose power, kill, fill up or fail, under SQLite: file systems of SQLite's own (apsw VFS), over the machine's.

``RecordingDisk`` keeps every write and every sync, so that the state of the disk after a power loss at any moment can be made
again and again: what was synced is there; of the rest, any part of any write may be.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import apsw

SECTOR = 512
BASE = apsw.vfs_names()[0]
Write = Callable[[bytes, int], None]
What = Literal["write", "truncate", "sync", "delete", "mark"]


@dataclass(frozen=True, slots=True)
class Step:
    """One call. A ``mark`` is a note of the test's own: what it had been told by then."""

    what: What
    file: str
    offset: int = 0
    data: bytes = b""


class Disk(apsw.VFS):
    """The machine's own disk; every call that changes it goes through ``before`` and ``after``.

    It is under every database opened in its block. ``lazy``: nothing waits for the real disk, where a test loses no real power.
    """

    def __init__(self, *, lazy: bool = False) -> None:
        self.lazy = lazy
        super().__init__("watched", BASE, makedefault=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def before(self, step: Step, write: Write | None) -> None:
        """A call is about to be made."""

    def after(self, step: Step) -> None:
        """It was made."""

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        """A file of this disk; what SQLite keeps for itself meanwhile is not watched."""
        if name is None or not flags[0] & (apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL):
            return apsw.VFSFile(BASE, name, flags)
        return _Watched(self, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802 - apsw's name
        """Remove a file."""
        step = Step("delete", Path(name).name)
        self.before(step, None)
        super().xDelete(name, syncdir)
        self.after(step)


class _Watched(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: Any) -> None:
        super().__init__(BASE, name, flags)
        self._disk = disk
        self._name = Path(name if isinstance(name, str) else name.filename()).name

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        step = Step("write", self._name, offset, bytes(data))
        self._disk.before(step, super().xWrite)
        super().xWrite(data, offset)
        self._disk.after(step)

    def xTruncate(self, size: int) -> None:  # noqa: N802 - apsw's name
        step = Step("truncate", self._name, size)
        self._disk.before(step, None)
        super().xTruncate(size)
        self._disk.after(step)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        step = Step("sync", self._name)
        self._disk.before(step, None)
        if not self._disk.lazy:
            super().xSync(flags)
        self._disk.after(step)


# --- Power ---------------------------------------------------------------------------------------------------------------


class RecordingDisk(Disk):
    """Keeps every step. ``mark`` puts a note among them."""

    def __init__(self) -> None:
        super().__init__(lazy=True)
        self.steps: list[Step] = []

    def after(self, step: Step) -> None:
        """Keep it; a sync counts from when it returned."""
        self.steps.append(step)

    def mark(self, note: str) -> None:
        """What the test was told just now."""
        self.steps.append(Step("mark", note))


def lose_power(steps: Sequence[Step], seed: int, folder: Path) -> list[str]:
    """Write into ``folder`` what a disk may hold after a power loss at a random moment; returns the marks made before it."""
    chance = random.Random(seed)
    survives = chance.choice((0.0, 0.5, 0.9))
    past = steps[: chance.randrange(1, len(steps) + 1)]
    folder.mkdir(parents=True)
    for name in sorted({step.file for step in past if step.what != "mark"}):
        own = [step for step in past if step.file == name and step.what != "mark"]
        synced = max((place for place, step in enumerate(own) if step.what == "sync"), default=-1)
        image = _File()
        for step in own[: synced + 1]:
            image.do(step)
        for step in own[synced + 1 :]:
            if chance.random() < survives:
                image.do(step, chance)
        if image.there:
            (folder / name).write_bytes(image.content)
    return [step.file for step in past if step.what == "mark"]


@dataclass
class _File:
    content: bytearray = field(default_factory=bytearray)
    there: bool = False

    def do(self, step: Step, chance: random.Random | None = None) -> None:
        """Apply a step; with ``chance``, of a write only some of its sectors."""
        if step.what == "write":
            self.there = True
            for start in range(0, len(step.data), SECTOR):
                if chance is None or chance.random() < 0.7:
                    self._put(step.offset + start, step.data[start : start + SECTOR])
        elif step.what == "truncate":
            del self.content[step.offset :]
            self.content.extend(bytes(step.offset - len(self.content)))
        elif step.what == "delete":
            self.content.clear()
            self.there = False

    def _put(self, offset: int, data: bytes) -> None:
        if offset > len(self.content):
            self.content.extend(bytes(offset - len(self.content)))
        self.content[offset : offset + len(data)] = data


# --- Death and failure -----------------------------------------------------------------------------------------------------


class DeadlyDisk(Disk):
    """Kills its process at the n-th call, before it, or with half of what is written done."""

    def __init__(self, at: int, *, half: bool) -> None:
        super().__init__(lazy=True)
        self._left, self._half = at, half

    def before(self, step: Step, write: Write | None) -> None:
        """Count down."""
        self._left -= 1
        if self._left >= 0:
            return
        if self._half and write is not None:
            write(step.data[: len(step.data) // 2], step.offset)
        os.kill(os.getpid(), signal.SIGKILL)


class FailingDisk(Disk):
    """From the n-th call of a kind on, after ``arm``: writes find no room, or a sync fails once and then seems well."""

    def __init__(self, kind: Literal["full", "sync"]) -> None:
        super().__init__()
        self._kind = kind
        self._left = -1
        self.failed = 0

    def arm(self, at: int) -> None:
        """Fail at the n-th call from here."""
        self._left = at

    def before(self, step: Step, write: Write | None) -> None:
        """Fail, if it is time."""
        if self._left < 0 or step.what != ("write" if self._kind == "full" else "sync"):
            return
        if self._left > 0:
            self._left -= 1
            return
        self.failed += 1
        if self._kind == "full":
            raise apsw.FullError("no room on the disk")
        self._left = -1
        raise apsw.IOError("the disk said no")
