"""The keys of an encrypted journal: the file they stand in, and which of them a journal was written with.

The file has a key a line: its id, a blank, and 32 random bytes in Base64; ``#`` begins a comment. Content is written with the
last of them and read with any. Names are written with the first, always, so that what was found under a name still is; only
writing all anew changes that (``sqlite.rekeying``).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from interop_engine.core.errors import JournalError
from interop_engine.journal.seals import NAMES

_BYTES = 32
_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")


@dataclass(frozen=True, slots=True)
class Keys:
    """What a key file holds, as the keys that are used: ``names`` for AES-SIV, ``contents`` by id for AES-GCM, newest last."""

    names: bytes
    contents: dict[str, bytes]

    def seals(self) -> tuple[str, ...]:
        """What a journal keeps to tell whether it is opened with its keys: of each its name and a fingerprint, newest last."""
        each = {NAMES: self.names, **self.contents}
        return tuple(f"{name} {hmac.digest(key, b'fingerprint', 'sha256').hex()[:16]}" for name, key in each.items())


def read_keys(path: Path) -> Keys:
    """The keys of a file. Raises JournalError for one that others may read, or that is not as it must be; never shows a key."""
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise JournalError(
            f"The journal's keys cannot be read: {path}: {getattr(error, 'strerror', None) or 'no ASCII'}."
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise JournalError(f"The journal's keys may be read by others: chmod 600 {path}")
    found: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        key = _key(words)
        if key is None or words[0] in found:
            raise JournalError(f"{path}:{number}: a key is an id of its own, a blank and 32 bytes in Base64.")
        found[words[0]] = key
    if not found:
        raise JournalError(f"{path} has no key: write an id and what `openssl rand -base64 32` says.")
    first = next(iter(found.values()))
    return Keys(_derived(first, "names", 64), {id_: _derived(key, "contents", 32) for id_, key in found.items()})


def _key(words: Sequence[str]) -> bytes | None:
    try:
        key = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error):
        return None
    return key if len(words) == 2 and len(key) == _BYTES and _ID.fullmatch(words[0]) else None


def _derived(key: bytes, use: str, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=f"interop-engine journal {use}".encode()).derive(key)
