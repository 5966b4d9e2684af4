"""What each destination was last sent of each object.

A forward brings some twenty states; as rows of a table, keyed by ids that are random by nature, each would dirty a page of its
own. So the states of one message are one row, a *pack*, written in order of arrival. Which pack has the newest state of an object
is known by memory for the newest packs (``Recent``) and by a narrow table for the older ones (``sent_index``). When memory holds
``_GENERATION`` entries they move to the table, in order of their keys and a slice a group, so that neighbours share pages and
nobody waits. After a restart the packs that the table does not cover are read again.

A state counts while its delivery is neither parked nor discarded; else the one before it does. The table remembers two
versions, and another (``sent_before``, see the module ``sentindex``) those before, while neither of the two is known to have
arrived. What neither remembers is removed from the packs by the module ``sweeping``.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import apsw
import msgspec

from interop_engine.core.model import Sent
from interop_engine.journal import codec
from interop_engine.journal.sqlite import schema, statements
from interop_engine.journal.sqlite.warm import Warm

_GENERATION = 65_536
_SLICE_BITS = 6  # of the key's number: a generation moves in 64 slices, each of some thousand rows
_SLICES = 1 << _SLICE_BITS
_STATE_BYTES = 700  # of a state in memory, without its content

Key = tuple[str, str]  # destination, object
# destination, object, delivery, digest, version, rank, start and length of the content
State = tuple[str, str, int, str, str, int, int, int]

Chain = tuple[int, tuple[int, ...]]  # the number of a key, the packs with its states, oldest first

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[State]).decode


def key_number(key: Key) -> int:
    """The key of ``sent_index``. Two objects with one number would only seem unknown to each other."""
    data = f"{key[0]}\x1f{key[1]}".encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)


@dataclass(frozen=True, slots=True)
class Pack:
    """The states that one message brought. ``data``: the states encoded, and from ``start`` on their contents."""

    states: dict[Key, list[State]]  # those of one object in order of their deliveries
    data: bytes
    start: int

    def deliveries(self) -> set[int]:
        """Those that brought a state of it."""
        return {state[2] for states in self.states.values() for state in states}

    def sent(self, state: State, *, whole: bool) -> Sent:
        """A state as the contract gives it."""
        destination, thing, _, digest, version, rank, start, length = state
        content = self.data[self.start + start : self.start + start + length] if whole else b""
        return Sent(destination, thing, digest, version, rank, content or None)


def pack(carried: Iterable[tuple[int, Sequence[Sent]]]) -> Pack:
    """The pack of (delivery, what it brings). Equal contents are kept once."""
    return _packed((delivery, each) for delivery, brought in carried for each in brought)


def part(made: Pack, keeps: Callable[[State], bool]) -> Pack:
    """A pack with some of the states of another."""
    states = [state for of_key in made.states.values() for state in of_key]
    return _packed((state[2], made.sent(state, whole=True)) for state in states if keeps(state))


def _packed(brought: Iterable[tuple[int, Sent]]) -> Pack:
    places: dict[bytes, int] = {}
    size = 0
    states: list[State] = []
    for delivery, each in brought:
        content = each.content or b""
        if (start := places.get(content)) is None:
            start = places[content] = size
            size += len(content)
        states.append((each.destination, each.object, delivery, each.digest, each.version, each.rank, start, len(content)))
    encoded = _encode(states)
    return Pack(_by_key(states), b"".join((encoded, *places)), len(encoded))


def carried(data: bytes, start: int) -> list[tuple[int, list[Sent]]]:
    """What ``pack`` made a pack of, from what is written of it."""
    whole = Pack({}, data, start)
    of_each = itertools.groupby(_decode(data[:start]), lambda state: state[2])
    return [(delivery, [whole.sent(state, whole=True) for state in states]) for delivery, states in of_each]


def unpack(data: bytes, start: int) -> Pack:
    """The pack of a row, uncompressed."""
    return Pack(_by_key(_decode(data[:start])), data, start)


def _by_key(states: Iterable[State]) -> dict[Key, list[State]]:
    found: dict[Key, list[State]] = {}
    for state in states:
        found.setdefault(state[:2], []).append(state)
    return found


class Recent:
    """The packs of each key that the table does not cover, oldest first. Written by the writer, read by anyone.

    A reader looks here before it looks into the table, and at the new generation before the old: so it misses nothing that
    moves meanwhile. The newest packs are kept whole, and so is which of the deliveries made since the start are out of force.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.packed: Warm[Pack] = Warm()
        self._out_of_force: set[int] = set()
        self._first_delivery = int(schema.rows(connection, statements.LAST_DELIVERY)[0][0]) + 1
        self.indexed = bool(schema.rows(connection, statements.IS_INDEXED)[0][0])  # whether the table holds what memory does not
        self._new: dict[Key, tuple[int, ...]] = {}
        self._old: dict[Key, tuple[int, ...]] = {}
        self._slices = _no_slices()  # the keys of the new generation, with their numbers
        self._deliveries: dict[int, set[int]] = {}  # of each pack in the two generations
        self._moving: list[list[tuple[int, Key]]] = []  # of the old one what the table does not have yet
        self._last = 0  # the newest pack of the old generation
        self._newest = 0
        unpacker = codec.Unpacker()
        for number, states, size, data in schema.rows(connection, statements.PACKS_TO_INDEX):
            self.add(number, unpack(unpacker.pack(data, size), states))

    def add(self, number: int, made: Pack) -> None:
        """A pack is durable."""
        new = self._new
        for key in made.states:
            if key in new:
                new[key] = (*new[key], number)
                continue
            new[key] = (number,)
            place = key_number(key)
            self._slices[(place >> (64 - _SLICE_BITS)) + _SLICES // 2].append((place, key))
        self._newest = number
        self._deliveries[number] = made.deliveries()
        self.packed.put(number, len(made.data) + _STATE_BYTES * len(made.states), made)

    def put_in_force(self, delivery: int, *, counts: bool) -> None:
        """It is durable that what a delivery carried counts as sent again, or does not any more."""
        if counts:
            self._out_of_force.discard(delivery)
        elif delivery >= self._first_delivery:
            self._out_of_force.add(delivery)

    def void(self, deliveries: set[int]) -> tuple[set[int], list[int]]:
        """(those of the deliveries that are parked or discarded, those of which memory cannot tell)."""
        return deliveries & self._out_of_force, [number for number in deliveries if number < self._first_delivery]

    def packs(self, key: Key) -> tuple[int, ...]:
        """The packs with a state of ``key``, oldest first."""
        new = self._new.get(key, ())
        old = self._old.get(key, ())
        return (*old, *new) if old is not new else new

    def deliveries(self, number: int) -> set[int]:
        """The deliveries of a pack that is to be moved."""
        return self._deliveries[number]

    def slice(self) -> list[Chain]:
        """What is to be written into ``sent_index`` next, if it is time to; the same again until it is durable."""
        if not self._moving and len(self._new) >= _GENERATION:
            self._moving = [keys for keys in self._slices if keys]
            self._old, self._new = self._new, {}
            self._slices = _no_slices()
            self._last = self._newest
        if not self._moving:
            return []
        return [(place, self._old[key]) for place, key in sorted(self._moving[0])]

    def covered(self) -> int:
        """The pack that the table covers once this slice is written; 0 where it is not the last one."""
        return self._last if len(self._moving) == 1 else 0

    def moved(self) -> None:
        """The slice is durable."""
        del self._moving[0]
        if not self._moving:
            self._old = {}
            self._deliveries = {number: made for number, made in self._deliveries.items() if number > self._last}
            self.indexed = True


def _no_slices() -> list[list[tuple[int, Key]]]:
    return [[] for _ in range(_SLICES)]


class SentReader:
    """Finds states, on a reading connection."""

    def __init__(self, connection: apsw.Connection, unpacker: codec.Unpacker, recent: Recent) -> None:
        self._connection = connection
        self._unpacker = unpacker
        self._recent = recent

    def find(self, keys: Sequence[Key], whole: set[str]) -> dict[Key, Sent]:
        """What counts as sent of each key; with its content for the objects in ``whole``."""
        return {key: made.sent(state, whole=key[1] in whole) for key, (made, state) in self._find(keys).items()}

    def keys(self, number: int, delivery: int) -> list[Key]:
        """What a delivery brings, by the pack it stands in."""
        return [
            key
            for made in self._load({number}).values()
            for key, states in made.states.items()
            if any(state[2] == delivery for state in states)
        ]

    def newest_deliveries(self, keys: Sequence[Key]) -> list[int]:
        """Of the keys that count as sent, the deliveries that brought them last."""
        return [state[2] for _, state in self._find(keys).values()]

    def _find(self, keys: Sequence[Key]) -> dict[Key, tuple[Pack, State]]:
        packs = self._recent.packs
        recent = {key: found for key in keys if (found := packs(key))}
        states = self._newest(recent) if recent else {}
        if self._recent.indexed and (older := [key for key in keys if key not in states]):
            chains = self._indexed(older)
            states.update(self._newest(chains))
            if behind := [key for key in chains if key not in states]:
                states.update(self._newest(self._before(behind)))
        return states

    def _indexed(self, keys: Sequence[Key]) -> dict[Key, tuple[int, ...]]:
        numbers = {key_number(key): key for key in keys}
        rows = schema.rows(self._connection, statements.INDEXED, (codec.text(list(numbers)),))
        return {numbers[number]: (older, newest) if older else (newest,) for number, newest, older in rows}

    def _before(self, keys: Sequence[Key]) -> dict[Key, tuple[int, ...]]:
        numbers = {key_number(key): key for key in keys}
        rows = schema.rows(self._connection, statements.BEFORE, (codec.text(list(numbers)),))
        return {numbers[number]: tuple(row[1] for row in of) for number, of in itertools.groupby(rows, lambda row: row[0])}

    def _newest(self, chains: dict[Key, tuple[int, ...]]) -> dict[Key, tuple[Pack, State]]:
        """Of each chain of packs the newest state that counts."""
        found: dict[Key, tuple[Pack, State]] = {}
        while chains:
            loaded = self._load({chain[-1] for chain in chains.values()})
            held = [
                (key, made, state)
                for key, chain in chains.items()
                if (made := loaded.get(chain[-1])) is not None
                for state in made.states.get(key, ())
            ]
            void = self._void({state[2] for _, _, state in held})
            for key, made, state in held:
                if state[2] not in void:
                    found[key] = made, state
            chains = {key: chain[:-1] for key, chain in chains.items() if key not in found and len(chain) > 1}
        return found

    def _load(self, numbers: set[int]) -> dict[int, Pack]:
        warm = self._recent.packed
        loaded = {number: made for number in numbers if (made := warm.get(number)) is not None}
        if cold := [number for number in numbers if number not in loaded]:
            for number, start, size, data in schema.rows(self._connection, statements.PACKS, (codec.text(cold),)):
                loaded[number] = unpack(self._unpacker.pack(data, size), start)
        return loaded

    def _void(self, deliveries: set[int]) -> set[int]:
        void, older = self._recent.void(deliveries)
        if older:
            void.update(row[0] for row in schema.rows(self._connection, statements.VOID, (codec.text(older),)))
        return void
