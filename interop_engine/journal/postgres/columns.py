"""Values of many items as one parameter: an array in PostgreSQL's binary form, which neither side needs to parse.

The form is that of ``array_recv`` in the server's ``arrayfuncs.c``: dimensions, whether there are nulls, the elements' type; for
the one dimension its length and first index; then each element, its length first, -1 for a null.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from psycopg import AsyncConnection, pq
from psycopg.adapt import Dumper

_NULL: Final = b"\xff\xff\xff\xff"
_head = struct.Struct("!iiIii").pack
_head_of_none = struct.Struct("!iiI").pack
_length = struct.Struct("!i").pack
_number = struct.Struct("!iq").pack


class Column:
    """An array of one dimension, as it is sent."""

    __slots__ = ("data",)
    oid: ClassVar[int]  # of the array's type
    element: ClassVar[int]  # of its elements' type

    def __init__(self, values: Iterable[Any]) -> None:
        parts = [_NULL if value is None else self.part(value) for value in values]
        self.data = b"".join((_head(1, 1, self.element, len(parts), 1), *parts)) if parts else _head_of_none(0, 0, self.element)

    @staticmethod
    def part(value: Any) -> bytes:
        """One value that is not null."""
        raise NotImplementedError


class Texts(Column):
    """A ``text[]``."""

    oid, element = 1009, 25

    @staticmethod
    def part(value: str) -> bytes:
        """One text."""
        data = value.encode()
        return _length(len(data)) + data


class Numbers(Column):
    """A ``bigint[]``."""

    oid, element = 1016, 20

    @staticmethod
    def part(value: int) -> bytes:
        """One number."""
        return _number(8, value)


class Blobs(Column):
    """A ``bytea[]``."""

    oid, element = 1001, 17

    @staticmethod
    def part(value: bytes) -> bytes:
        """One run of bytes."""
        return _length(len(value)) + value


class Flags(Column):
    """A ``boolean[]``."""

    oid, element = 1000, 16

    @staticmethod
    def part(value: bool) -> bytes:
        """One flag."""
        return b"\0\0\0\1\1" if value else b"\0\0\0\1\0"


def literal(texts: Iterable[str]) -> str:
    """The text form of a ``text[]``, for an array of arrays that differ in length."""
    quoted = ['"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts]
    return "{" + ",".join(quoted) + "}"


class _Dumper(Dumper):
    format = pq.Format.BINARY

    def dump(self, obj: Column) -> bytes:
        return obj.data


class _TextsDumper(_Dumper):
    oid = Texts.oid


class _NumbersDumper(_Dumper):
    oid = Numbers.oid


class _BlobsDumper(_Dumper):
    oid = Blobs.oid


class _FlagsDumper(_Dumper):
    oid = Flags.oid


def register(connection: AsyncConnection[Any]) -> None:
    """Let a connection send these."""
    for kind, dumper in ((Texts, _TextsDumper), (Numbers, _NumbersDumper), (Blobs, _BlobsDumper), (Flags, _FlagsDumper)):
        connection.adapters.register_dumper(kind, dumper)
