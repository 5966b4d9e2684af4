"""What the jobs of one group share: the cursor, the next row numbers, the counts, and what changed for ``Known``."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apsw
import msgspec

from interop_engine.core.model import Sent
from interop_engine.journal import codec
from interop_engine.journal.sqlite import schema, sentindex, statements
from interop_engine.journal.sqlite.sentstate import Key, Pack, Recent, pack

_REMEMBERED_CHANGES = 65_536
_MOST_MERGES = 50_000
_stamp = msgspec.json.Decoder(list[str | int])


class Changes:
    """Which objects and aliases changed in which group: whether a ``Known`` is still true costs no SQL.

    A stamp holds the number of the last group its reader could see, and the keys it asked for. Only this process writes, so
    memory knows every change since; what it forgot counts as changed.
    """

    def __init__(self) -> None:
        self._epoch = os.urandom(8).hex()
        self._group = 0
        self._committed = 0
        self._floor = 0
        self._last: dict[str, int] = {}
        self._order: deque[tuple[int, Sequence[str]]] = deque()
        self._remembered = 0

    @property
    def moment(self) -> int:
        """The number of the last committed group. Take it before reading."""
        return self._committed

    def stamp(self, moment: int, keys: list[str]) -> str:
        """The stamp of an answer about ``keys`` read after ``moment``."""
        return codec.text([self._epoch, moment, *keys])

    def begin(self) -> None:
        """A group begins."""
        self._group = self._committed + 1

    def committed(self) -> None:
        """The group is durable, and readers see it."""
        self._committed = self._group

    def touch(self, keys: Sequence[str]) -> None:
        """``keys`` change in this group."""
        self._last.update(dict.fromkeys(keys, self._group))
        self._order.append((self._group, keys))
        self._remembered += len(keys)
        while self._remembered > _REMEMBERED_CHANGES:
            group, forgotten = self._order.popleft()
            for key in forgotten:
                if self._last.get(key) == group:
                    del self._last[key]
            self._remembered -= len(forgotten)
            self._floor = max(self._floor, group)

    def touch_all(self) -> None:
        """Anything may have changed in this group."""
        self._floor = self._group

    def fresh(self, stamp: str) -> bool:
        """Whether nothing the stamp's reader asked for changed since. An empty stamp asked for nothing."""
        if not stamp:
            return True
        epoch, moment, *keys = _stamp.decode(stamp)
        if epoch != self._epoch or not isinstance(moment, int) or moment < self._floor:
            return False
        last = self._last
        return all(last.get(str(key), 0) <= moment for key in keys)


class Merges:
    """Every merge there was, as long as they are few: most objects were never merged, and that is known without SQL."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._all: dict[str, str] | None = {}
        self.add(dict(schema.rows(connection, statements.ALL_MERGES, (_MOST_MERGES + 1,))))

    def add(self, merged: Mapping[str, str]) -> None:
        """These merges are durable."""
        if self._all is not None:
            self._all.update(merged)
            if len(self._all) > _MOST_MERGES:
                self._all = None

    def of(self, things: Sequence[str]) -> dict[str, str] | None:
        """Of these objects those that were merged, and into what; None where the table must be asked."""
        known = self._all
        if known is None:
            return None
        return {thing: known[thing] for thing in things if thing in known}


@dataclass(slots=True)
class Numbers:
    """The last row numbers given."""

    body: int
    message: int
    delivery: int
    pack: int


@dataclass(slots=True)
class Mark:
    """What a failed job must be taken back to."""

    numbers: Numbers
    messages: dict[tuple[str, str], int]
    deliveries: dict[tuple[str, str, str], int]
    unread: dict[tuple[str, str], int]
    received: dict[str, int]
    stored: dict[str, int]
    sent: int
    force: int
    merged: int


class Transaction:
    """Handed to every job of a group. Its methods write through ``execute``; counts are written once a group."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self._cursor = cursor = connection.cursor()
        self.execute = cursor.execute
        self.executemany = cursor.executemany
        self.changed_rows = connection.changes  # of the last statement
        self.changes = Changes()
        self.recent = Recent(connection)
        self.merges = Merges(connection)
        self.packer = codec.Packer()
        self.at = 0  # the group's time, microseconds
        self._durable = Numbers(
            *(
                schema.rows(cursor, query)[0][0]
                for query in (
                    statements.LAST_BODY,
                    statements.LAST_MESSAGE,
                    statements.LAST_DELIVERY,
                    statements.LAST_PACK,
                )
            )
        )
        self.begin()

    def begin(self) -> None:
        """A group begins, or begins again after it was rolled back."""
        self.numbers = replace(self._durable)
        self._messages: dict[tuple[str, str], int] = {}
        self._deliveries: dict[tuple[str, str, str], int] = {}
        self._unread: dict[tuple[str, str], int] = {}
        self._received: dict[str, int] = {}
        self._stored: dict[str, int] = {}
        self._sent: list[tuple[int, Pack]] = []
        self._force: list[tuple[int, bool]] = []
        self._merged: list[Mapping[str, str]] = []
        self._indexed = False
        self.at = codec.now()
        self.changes.begin()

    def committed(self) -> None:
        """The group is durable."""
        self._durable = self.numbers
        for number, made in self._sent:
            self.recent.add(number, made)
        for delivery, counts in self._force:
            self.recent.put_in_force(delivery, counts=counts)
        for merged in self._merged:
            self.merges.add(merged)
        if self._indexed:
            self.recent.moved()
        self.changes.committed()

    def mark(self) -> Mark:
        """Where the group stands before a job."""
        return Mark(
            replace(self.numbers),
            dict(self._messages),
            dict(self._deliveries),
            dict(self._unread),
            dict(self._received),
            dict(self._stored),
            len(self._sent),
            len(self._force),
            len(self._merged),
        )

    def back_to(self, mark: Mark) -> None:
        """Forget what a failed job counted."""
        self.numbers = mark.numbers
        self._messages, self._deliveries = mark.messages, mark.deliveries
        self._unread, self._received, self._stored = mark.unread, mark.received, mark.stored
        del self._sent[mark.sent :]
        del self._force[mark.force :]
        del self._merged[mark.merged :]

    def count_message(self, channel: str, state: str, n: int = 1) -> None:
        """``n`` more (or fewer) messages of the channel are in the state."""
        key = (channel, state)
        self._messages[key] = self._messages.get(key, 0) + n

    def count_delivery(self, channel: str, destination: str, state: str, n: int = 1) -> None:
        """``n`` more (or fewer) deliveries of the queue are in the state."""
        key = (channel, destination, state)
        self._deliveries[key] = self._deliveries.get(key, 0) + n

    def count_unread(self, channel: str, path: str) -> None:
        """A populated path was read by nobody."""
        key = (channel, path)
        self._unread[key] = self._unread.get(key, 0) + 1

    def count_stored(self, channel: str, size: int) -> None:
        """So many bytes more (or fewer) are kept of the channel's messages and deliveries."""
        self._stored[channel] = self._stored.get(channel, 0) + size

    def note_received(self, channel: str, at: int) -> None:
        """The channel received a message."""
        if at > self._received.get(channel, -1):
            self._received[channel] = at

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return schema.rows(self._cursor, query, values)

    def event(self, what: str, message: int, delivery: int | None = None, detail: str = "") -> None:
        """Write an event."""
        self.execute(statements.ADD_EVENT, (self.at, what, message, delivery, detail))

    def keep_sent(self, carried: Sequence[tuple[int, Sequence[Sent]]]) -> None:
        """Write what deliveries bring: (delivery's seq, states)."""
        made = pack(carried)
        self.numbers.pack += 1
        number = self.numbers.pack
        self.execute(statements.ADD_PACK, (number, made.start, len(made.data), self.packer.pack(made.data)))
        self._sent.append((number, made))
        self.changes.touch([thing for _, thing in made.states])

    def brings(self, keys: Iterable[Key]) -> bool:
        """Whether this group itself brings a state of one of these keys."""
        wanted = set(keys)
        return any(not wanted.isdisjoint(made.states) for _, made in self._sent)

    def keep_merged(self, merged: Mapping[str, str], message: int) -> None:
        """Write which objects were merged into which."""
        self.executemany(statements.ADD_MERGE, [(retired, into, message) for retired, into in merged.items()])
        self._merged.append(merged)
        self.changes.touch(tuple(merged))

    def put_in_force(self, delivery: int, *, counts: bool) -> None:
        """What a delivery carried counts as sent again, or does not any more."""
        self._force.append((delivery, counts))
        self.changes.touch_all()

    def flush(self) -> None:
        """Write the counts, before the commit."""
        for query, counts in (
            (statements.COUNT_MESSAGES, self._messages),
            (statements.COUNT_DELIVERIES, self._deliveries),
            (statements.COUNT_UNREAD, self._unread),
        ):
            if rows := [(*key, n) for key, n in counts.items() if n]:
                self.executemany(query, rows)
        if self._stored:
            self.executemany(statements.COUNT_STORED, list(self._stored.items()))
        if self._received:
            self.executemany(statements.NOTE_RECEIVED, list(self._received.items()))
        if moving := self.recent.slice():
            self._indexed = True
            sentindex.index(self, moving)
            if covered := self.recent.covered():
                self.execute(statements.SET_INDEXED, (covered,))
