"""How single values are sealed: content so that equal ones differ (AES-256-GCM), names so that they stay equal (AES-256-SIV).

Names are what is looked up, compared or waited in line for: lanes, search keys, numbers, aliases, objects. Sealed by AES-SIV
(RFC 5297) they can be compared as they are, and read again with the key; who has only the disk learns which are equal.
Every value is bound to what it is and whose it is, so that one cannot stand in another's place.
"""

from __future__ import annotations

import binascii
import os
import re
import zlib
from functools import lru_cache

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from interop_engine.core.errors import RowBroken
from interop_engine.journal import texts
from interop_engine.journal.keys import Keys

_PLAIN, _ZIPPED = 0, 1
_NONCE = 12
_DIGEST = re.compile(r"[0-9a-f]{64}")
_AS_TEXT, _AS_NUMBER, _PACKED = b"\0", b"\1", b"\2"
_HUGE = 1_000  # bytes; sealed it is less than ``texts.LONGEST``
_SMALL = 256  # below it compression gains less than its frame costs
_TEXT = "sealed:"  # before a text that is sealed: the journal writes some of its own, which are not
SEALED_TEXT = re.compile(f"{_TEXT}[^ )]*")
_REMEMBERED = 16_384
_BROKEN = "A row of the journal is not as it was written: it does not open with its key."


class Sealing:
    """Seals and opens with the keys of a journal. Opening raises RowBroken for what is not as it was sealed."""

    def __init__(self, keys: Keys) -> None:
        self._siv = AESSIV(keys.names)
        self._ciphers = {id_.encode(): AESGCM(key) for id_, key in keys.contents.items()}
        self._newest = list(self._ciphers)[-1]
        self._zip = zstandard.ZstdCompressor(level=1)
        self._unzip = zstandard.ZstdDecompressor()
        self._name = lru_cache(_REMEMBERED)(self._make_name)
        self._unname = lru_cache(_REMEMBERED)(self._read_name)

    # --- content ------------------------------------------------------------------------------------------------------

    def content(self, data: bytes, *bound: str) -> bytes:
        """Bytes, sealed with the newest key and bound to what ``bound`` says. Nothing stays nothing."""
        if not data:
            return b""
        form = _PLAIN
        if len(data) >= _SMALL and len(zipped := self._zip.compress(data)) < len(data):
            form, data = _ZIPPED, zipped
        head = bytes((form, len(self._newest))) + self._newest
        nonce = os.urandom(_NONCE)
        return head + nonce + self._ciphers[self._newest].encrypt(nonce, data, head + _joined(bound))

    def open_content(self, sealed: bytes, *bound: str) -> bytes:
        """The bytes that ``content`` sealed."""
        if not sealed:
            return b""
        try:
            end = 2 + sealed[1]
            data = self._ciphers[sealed[2:end]].decrypt(
                sealed[end : end + _NONCE], sealed[end + _NONCE :], sealed[:end] + _joined(bound)
            )
            return self._unzip.decompress(data) if sealed[0] == _ZIPPED else data
        except (InvalidTag, KeyError, IndexError, ValueError, zstandard.ZstdError):
            raise RowBroken(_BROKEN) from None

    def text(self, text: str, *bound: str) -> str:
        """The same for a text."""
        if not text:
            return ""
        sealed = self.content(text.encode("utf-8", "surrogatepass"), *bound)
        return _TEXT + binascii.b2a_base64(sealed, newline=False).decode()

    def open_text(self, sealed: str, *bound: str) -> str:
        """The text that ``text`` sealed; one of the journal's own as it is."""
        if not is_sealed(sealed):
            return sealed
        try:
            data = binascii.a2b_base64(sealed[len(_TEXT) :], strict_mode=True)
        except binascii.Error:
            raise RowBroken(_BROKEN) from None
        return self.open_content(data, *bound).decode("utf-8", "surrogatepass")

    # --- names --------------------------------------------------------------------------------------------------------

    def name(self, kind: str, name: str) -> str:
        """A name, sealed: equal names of one kind are equal. A part after a tab is sealed for itself, as it is looked up by."""
        return self._name(kind, name)

    def open_name(self, kind: str, sealed: str) -> str:
        """The name that ``name`` sealed; of one that is huge its beginning and its digest."""
        return self._unname(kind, sealed)

    def kept(self, kind: str, name: str) -> str:
        """What a name will be when it is opened."""
        return name if len(name) * 4 <= _HUGE else self.open_name(kind, self.name(kind, name))

    def _make_name(self, kind: str, name: str) -> str:
        return "\t".join(self._seal_part(kind, part) for part in name.split("\t"))

    def _seal_part(self, kind: str, part: str) -> str:
        if not part:
            return ""
        sealed = self._siv.encrypt(_short(part), [kind.encode()])
        return binascii.b2a_base64(sealed, newline=False).decode()

    def _read_name(self, kind: str, sealed: str) -> str:
        return "\t".join(self._open_part(kind, part) for part in sealed.split("\t"))

    def _open_part(self, kind: str, part: str) -> str:
        if not part:
            return ""
        try:
            return _long(self._siv.decrypt(binascii.a2b_base64(part, strict_mode=True), [kind.encode()]))
        except (InvalidTag, ValueError):
            raise RowBroken(_BROKEN) from None


def is_sealed(text: str) -> bool:
    """Whether ``Sealing.text`` made it."""
    return text.startswith(_TEXT)


def _short(name: str) -> bytes:
    """A name in little room: a digest, the most frequent, as the number it is.

    A huge one is packed, and one that is huge even so is its beginning and its digest, for an index of PostgreSQL.
    """
    if _DIGEST.fullmatch(name):
        return _AS_NUMBER + bytes.fromhex(name)
    data = name.encode("utf-8", "surrogatepass")
    if len(data) <= _HUGE:
        return _AS_TEXT + data
    packed = zlib.compress(data, 9)
    return _PACKED + packed if len(packed) <= _HUGE else _AS_TEXT + texts.shortened(name).encode()


def _long(data: bytes) -> str:
    form, data = data[:1], data[1:]
    if form == _AS_NUMBER:
        return data.hex()
    return (zlib.decompress(data) if form == _PACKED else data).decode("utf-8", "surrogatepass")


def _joined(bound: tuple[str, ...]) -> bytes:
    """Unambiguous: no two different lists are joined to one."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (each.encode("utf-8", "surrogatepass") for each in bound))
