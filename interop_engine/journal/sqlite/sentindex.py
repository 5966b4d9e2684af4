"""Writes ``sent_index``, and ``sent_before``: of an object the versions before the two newest, as long as they may be asked for.

They are while neither of the two is known to have arrived, since those may be parked or discarded; back to one that has
arrived, which counts for good.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from interop_engine.core.errors import JournalBroken
from interop_engine.journal import codec
from interop_engine.journal.sqlite import statements
from interop_engine.journal.sqlite.sentstate import Chain, unpack

if TYPE_CHECKING:
    from interop_engine.journal.sqlite.transaction import Transaction

_INDEXED = 2  # packs of a key that ``sent_index`` leads to


def index(tx: Transaction, chains: Sequence[Chain]) -> None:
    """Write where the newest states of these keys are."""
    there = {key: (newest, older) for key, newest, older in tx.rows(statements.INDEXED, codec.text([key for key, _ in chains]))}
    newest = [(key, packs[-1], packs[-2] if len(packs) > 1 else None) for key, packs in chains]
    tx.executemany(statements.INDEX_SENT, newest)
    _keep_before(tx, [(key, packs, there.get(key, ())) for key, packs in chains if key in there or len(packs) > _INDEXED])


def _keep_before(tx: Transaction, chains: Sequence[tuple[int, tuple[int, ...], tuple[int | None, ...]]]) -> None:
    """Keep of these keys what ``sent_index`` (which had the packs that are given last) does not lead to any more."""
    arrived = arrived_of(tx, {number: tx.recent.deliveries(number) for _, packs, _ in chains for number in packs})
    for key, packs, there in chains:
        first = max(arrived.intersection(packs), default=0)
        before = sorted({*packs, *filter(None, there)})[:-_INDEXED]
        tx.executemany(statements.KEEP_BEFORE, [(key, number) for number in before if number >= first])
        if first and there:
            tx.execute(statements.DROP_BEFORE, (key, first))


def leads(tx: Transaction, keys: Sequence[int]) -> Mapping[int, set[int]]:
    """The packs that the tables lead to, by key. What ``sent_before`` need not tell any more is dropped from it."""
    asked = codec.text(list(keys))
    found = {key: {newest, older or newest} for key, newest, older in tx.rows(statements.INDEXED, asked)}
    before: dict[int, set[int]] = {}
    for key, number in tx.rows(statements.BEFORE, asked):
        before.setdefault(key, set()).add(number)
    arrived = arrived_of(tx, _deliveries(tx, {number for key, packs in before.items() for number in packs | found[key]}))
    for key, packs in before.items():
        first = max(arrived & (packs | found[key]), default=0)
        tx.execute(statements.DROP_BEFORE, (key, first))
        found[key] |= {number for number in packs if number >= first}
    return found


def arrived_of(tx: Transaction, packs: Mapping[int, set[int]]) -> set[int]:
    """Those of the packs, given with their deliveries, of which all have arrived."""
    missing = {row[0] for row in tx.rows(statements.NOT_ARRIVED, codec.text(list(set().union(*packs.values()))))}
    return {number for number, deliveries in packs.items() if deliveries.isdisjoint(missing)}


def _deliveries(tx: Transaction, packs: set[int]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    unpacker = codec.Unpacker()
    for number, start, size, data in tx.rows(statements.PACKS, codec.text(list(packs))):
        with contextlib.suppress(JournalBroken):  # whoever asks for it says so
            found[number] = unpack(unpacker.pack(data, size), start).deliveries()
    return found
