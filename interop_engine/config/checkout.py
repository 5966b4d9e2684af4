"""Which commit a site's folder was checked out from, read from ``.git`` itself: git need not be installed where a site runs."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

EDITED: Final = "+edited"
"""Behind a commit: the files in use are not those of it."""

_ENTRY = 40  # bytes of an index entry's times, mode and size, before the object's name
_LONG_FLAG = 0x4000


class _Checkout(NamedTuple):
    top: Path  # the folder that git's paths count from
    git: Path
    commit: str


def commit_of(folder: Path, files: Iterable[str] = ()) -> str:
    """The commit checked out in a folder; empty where it is in no repository.

    With ``EDITED`` behind it where one of ``files`` (paths from the folder) is not as git's index has it, or the index has a YAML
    file of the folder that is gone. What was staged and not committed yet counts as committed: this is the index's word.
    """
    try:
        found = _checkout(folder.resolve())
    except (OSError, UnicodeDecodeError):
        return ""
    if found is None or not found.commit:
        return ""
    try:
        edited = _edited(found, folder.resolve(), set(files))
    except (OSError, ValueError, struct.error, IndexError):
        edited = False  # there is no index, or one of a kind that is not known here
    return found.commit + EDITED if edited else found.commit


def _checkout(folder: Path) -> _Checkout | None:
    top = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
    if top is None:
        return None
    git = top / ".git"
    if git.is_file():  # a worktree or submodule: "gitdir: PLACE"
        git = (top / git.read_text().partition(":")[2].strip()).resolve()
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return _Checkout(top, git, head)
    common = git / "commondir"
    branch = _branch((git / common.read_text().strip()) if common.exists() else git, head.removeprefix("ref: "))
    return _Checkout(top, git, branch)


def _branch(git: Path, name: str) -> str:
    if (loose := git / name).is_file():
        return loose.read_text().strip()
    packed = git / "packed-refs"
    lines = packed.read_text().splitlines() if packed.exists() else []
    return next((line.partition(" ")[0] for line in lines if line.endswith(f" {name}")), "")


def _edited(checkout: _Checkout, folder: Path, files: set[str]) -> bool:
    long = len(checkout.commit) == hashlib.sha256().digest_size * 2
    index = dict(_index((checkout.git / "index").read_bytes(), 32 if long else 20))
    inside = folder.relative_to(checkout.top).as_posix()
    before = "" if inside == "." else f"{inside}/"
    for name in files:
        data = (folder / name).read_bytes()
        blob = b"blob %d\0%b" % (len(data), data)
        made = hashlib.sha256(blob) if long else hashlib.sha1(blob, usedforsecurity=False)
        if index.get(before + name) != made.digest():
            return True
    tracked = (name for name in index if name.startswith(before) and name.endswith((".yaml", ".yml")))
    return any(not (checkout.top / name).exists() for name in tracked)


def _index(data: bytes, digest: int) -> Iterator[tuple[str, bytes]]:
    """Paths and the names of their contents (gitformat-index, versions 2 to 4)."""
    magic, version, count = struct.unpack_from(">4sII", data)
    if magic != b"DIRC" or version not in (2, 3, 4):
        raise ValueError(version)
    at, path = 12, b""
    for _ in range(count):
        start = at
        name = data[at + _ENTRY : at + _ENTRY + digest]
        at += _ENTRY + digest
        (flags,) = struct.unpack_from(">H", data, at)
        at += 4 if flags & _LONG_FLAG else 2
        if version == 4:  # what of the path before is cut off, and what stands instead
            cut, at = _number(data, at)
            end = data.index(b"\0", at)
            path, at = path[: len(path) - cut] + data[at:end], end + 1
        else:
            end = data.index(b"\0", at)
            path, at = data[at:end], start + (end - start) // 8 * 8 + 8
        yield path.decode(), name


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        value = ((value + 1) << 7) | (data[at] & 0x7F)
    return value, at + 1
