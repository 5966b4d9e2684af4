"""Times, JSON and compression as the rows keep them. Times are microseconds since 1970 in UTC."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import zstandard

from interop_engine.core.errors import RowBroken

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SMALL = 256  # below it compression gains less than its frame costs
_MEDIUM = 4_096  # below it setting up the better compression costs more time than the compression itself
_strings = msgspec.json.Decoder(tuple[str, ...])
_mapping = msgspec.json.Decoder(dict[str, str])
_encode = msgspec.json.Encoder().encode


def micros(moment: datetime) -> int:
    """A moment as a number."""
    return (moment - _EPOCH) // _MICROSECOND


def window(asked: timedelta | None, usual: int) -> int:
    """A span as a number; ``usual`` where none is asked for."""
    return usual if asked is None else asked // _MICROSECOND


def moment(value: int) -> datetime:
    """A number as a moment."""
    return _EPOCH + timedelta(microseconds=value)


def optional_moment(value: int | None) -> datetime | None:
    """The same where there may be none."""
    return None if value is None else moment(value)


def now() -> int:
    """The present moment as a number."""
    return time.time_ns() // 1_000


def text(value: Any) -> str:
    """JSON text of lists, mappings and strings."""
    return _encode(value).decode()


def strings(value: str) -> tuple[str, ...]:
    """A JSON list of strings."""
    return _strings.decode(value) if value != "[]" else ()


def mapping(value: str) -> dict[str, str]:
    """A JSON object of strings."""
    return _mapping.decode(value) if value != "{}" else {}


def headers(value: Mapping[str, str]) -> str:
    """JSON text of headers."""
    return _encode(dict(value)).decode() if value else "{}"


def listing(value: Sequence[str]) -> str:
    """JSON text of strings."""
    return _encode(value).decode() if value else "[]"


class Packer:
    """Compresses; one for each thread."""

    def __init__(self) -> None:
        self._quick = zstandard.ZstdCompressor(level=-1, write_checksum=False)
        self._zstd = zstandard.ZstdCompressor(level=1, write_checksum=False)
        self._checked = zstandard.ZstdCompressor(level=1, write_checksum=True)

    def body(self, data: bytes) -> tuple[bytes, int, int, bytes]:
        """(digest, size, zipped, data) of a bodies row."""
        digest = hashlib.sha256(data).digest()
        if len(data) >= _SMALL:
            zipped = (self._quick if len(data) < _MEDIUM else self._zstd).compress(data)
            if len(zipped) < len(data):
                return digest, len(data), 1, zipped
        return digest, len(data), 0, data

    def pack(self, data: bytes) -> bytes:
        """Contents with a checksum of their own."""
        return self._checked.compress(data)


class Unpacker:
    """Decompresses and verifies; one for each thread. Raises RowBroken for what is not as it was written."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def body(self, digest: bytes, size: int, zipped: int, data: bytes) -> bytes:
        """The bytes of a bodies row, verified by their digest."""
        if zipped:
            data = self.pack(data, size)
        if hashlib.sha256(data).digest() != digest:
            raise RowBroken("A row of the journal is not as it was written: its digest differs.")
        return data

    def pack(self, data: bytes, size: int = 0) -> bytes:
        """Contents, verified by their checksum."""
        try:
            return self._zstd.decompress(data, max_output_size=size)
        except zstandard.ZstdError as error:
            raise RowBroken(f"A row of the journal is not as it was written: {error}") from None
