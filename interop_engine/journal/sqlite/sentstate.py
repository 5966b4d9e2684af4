"""What each destination was last sent of each object.

A forward brings some twenty states; as rows of a table, keyed by ids that are random by nature, each would dirty a page of its
own. So the states of one message are one row, a *pack*, written in order of arrival. Which pack has the newest state of an object
is known by memory for the newest packs (``Recent``) and by a narrow table for the older ones (``sent_index``). When memory holds
``_GENERATION`` entries they move to the table, sorted by key and a slice a group, so that neighbours share pages and nobody
waits. After a restart the packs that the table does not cover are read again.

A state counts while its delivery is neither parked nor discarded; else the one before it does. The table remembers two
versions: with both out of force nothing is known of the object, and it is sent in full again, which is safe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import apsw
import msgspec

from interop_engine.core.model import Sent
from interop_engine.journal import codec
from interop_engine.journal.sqlite import schema, statements

_GENERATION = 65_536
_SLICE = 1_024

Key = tuple[str, str]  # destination, object
# destination, object, delivery, digest, version, rank, start and length of the content
State = tuple[str, str, int, str, str, int, int, int]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[State]).decode


def key_number(key: Key) -> int:
    """The key of ``sent_index``. Two objects with one number would only seem unknown to each other."""
    data = f"{key[0]}\x1f{key[1]}".encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)


def pack(carried: Iterable[tuple[int, Sequence[Sent]]]) -> tuple[list[Key], int, bytes]:
    """(keys, size of the encoded states, states and contents) of (delivery, what it brings). Equal contents are kept once."""
    places: dict[bytes, int] = {}
    size = 0
    keys: list[Key] = []
    states: list[State] = []
    for delivery, brought in carried:
        for each in brought:
            content = each.content or b""
            if (start := places.get(content)) is None:
                start = places[content] = size
                size += len(content)
            key = (each.destination, each.object)
            keys.append(key)
            states.append((*key, delivery, each.digest, each.version, each.rank, start, len(content)))
    encoded = _encode(states)
    return keys, len(encoded), b"".join((encoded, *places))


class Recent:
    """The packs of each key that the table does not cover, oldest first. Written by the writer, read by anyone.

    A reader looks here before it looks into the table, and at the new generation before the old: so it misses nothing that
    moves meanwhile.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._new: dict[Key, tuple[int, ...]] = {}
        self._old: dict[Key, tuple[int, ...]] = {}
        self._last = 0  # the newest pack of the old generation
        self._moving: list[tuple[int, int, int | None]] = []
        self._moved = 0
        self._newest = 0
        unpacker = codec.Unpacker()
        for number, states, size, data in schema.rows(connection, statements.PACKS_TO_INDEX):
            self.add([state[:2] for state in _decode(unpacker.pack(data, size)[:states])], number)

    def add(self, keys: Iterable[Key], number: int) -> None:
        """A pack with states of ``keys`` is durable."""
        new = self._new
        for key in keys:
            new[key] = (*new[key], number) if key in new else (number,)
        self._newest = number

    def packs(self, key: Key) -> tuple[int, ...]:
        """The packs with a state of ``key``, oldest first."""
        new = self._new.get(key, ())
        old = self._old.get(key, ())
        return (*old, *new) if old is not new else new

    def slice(self) -> list[tuple[int, int, int | None]]:
        """The next rows of ``sent_index`` to write, if it is time to."""
        if not self._moving and len(self._new) >= _GENERATION:
            self._old = self._new
            self._new = {}
            self._last = self._newest
            self._moving = sorted(
                (key_number(key), packs[-1], packs[-2] if len(packs) > 1 else None) for key, packs in self._old.items()
            )
            self._moved = 0
        return self._moving[self._moved : self._moved + _SLICE]

    def covered(self, rows: int) -> int:
        """The pack that the table covers once so many more rows are written; 0 where it is not the last slice."""
        return self._last if rows and self._moved + rows >= len(self._moving) else 0

    def moved(self, rows: int) -> None:
        """So many rows are durable."""
        self._moved += rows
        if self._moving and self._moved >= len(self._moving):
            self._old = {}
            self._moving = []


class SentReader:
    """Finds states, on a reading connection."""

    def __init__(self, connection: apsw.Connection, unpacker: codec.Unpacker, recent: Recent) -> None:
        self._connection = connection
        self._unpacker = unpacker
        self._recent = recent

    def find(self, keys: Sequence[Key], whole: set[str]) -> dict[Key, Sent]:
        """What counts as sent of each key; with its content for the objects in ``whole``."""
        packs = self._recent.packs
        recent = {key: found for key in keys if (found := packs(key))}
        states = self._newest(recent, whole) if recent else {}
        if older := [key for key in keys if key not in states]:
            states.update(self._newest(self._indexed(older), whole))
        return states

    def _indexed(self, keys: Sequence[Key]) -> dict[Key, tuple[int, ...]]:
        numbers = {key_number(key): key for key in keys}
        rows = schema.rows(self._connection, statements.INDEXED, (codec.text(list(numbers)),))
        return {numbers[number]: (older, newest) if older else (newest,) for number, newest, older in rows}

    def _newest(self, chains: dict[Key, tuple[int, ...]], whole: set[str]) -> dict[Key, Sent]:
        """Of each chain of packs the newest state that counts."""
        found: dict[Key, Sent] = {}
        while chains:
            loaded = self._load({chain[-1] for chain in chains.values()})
            held = [(key, each) for key, chain in chains.items() for each in loaded.get((chain[-1], *key), ())]
            void = self._void({state[2] for _, (state, _) in held})
            for key, (state, contents) in held:
                if state[2] not in void:
                    found[key] = _sent(state, contents if key[1] in whole else b"")
            chains = {key: chain[:-1] for key, chain in chains.items() if key not in found and len(chain) > 1}
        return found

    def _load(self, numbers: set[int]) -> dict[tuple[int, str, str], list[tuple[State, bytes]]]:
        """The states in packs, those of one object in order of their deliveries."""
        loaded: dict[tuple[int, str, str], list[tuple[State, bytes]]] = {}
        for number, size, whole_size, data in schema.rows(self._connection, statements.PACKS, (codec.text(list(numbers)),)):
            content = self._unpacker.pack(data, whole_size)
            contents = content[size:]
            for state in _decode(content[:size]):
                loaded.setdefault((number, state[0], state[1]), []).append((state, contents))
        return loaded

    def _void(self, deliveries: set[int]) -> set[int]:
        if not deliveries:
            return set()
        return {row[0] for row in schema.rows(self._connection, statements.VOID, (codec.text(list(deliveries)),))}


def _sent(state: State, contents: bytes) -> Sent:
    destination, thing, _, digest, version, rank, start, length = state
    return Sent(destination, thing, digest, version, rank, contents[start : start + length] or None)
