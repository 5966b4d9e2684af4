"""The queries behind ``search``: each is driven by the index that leaves least to look at.

SQLite keeps no statistics here, and would choose by the order of the conditions. So the condition that names few messages is
the only one left to an index: the others get a unary plus, which hides their columns from it. What an operator typed is a bound
value; states are words of our own, written out since a partial index is only used where its own condition stands in the query.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any

from interop_engine.journal import codec, texts
from interop_engine.journal.base import MessageState, Selection
from interop_engine.journal.sqlite import statements

_COMMON = frozenset({MessageState.RECEIVED, MessageState.TRANSFORMED})
_RECEIVED = "m.seq IN (SELECT seq FROM messages WHERE state = 'received'{})"
_OPEN = {"delivery-parked": "parked", "delivery-waiting": "waiting"}  # states of deliveries
_HAS_OPEN = {
    MessageState.RECEIVED: "+m.state = 'received'",
    "delivery-parked": "EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.seq AND d.state = 'parked')",
    "delivery-waiting": "EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.seq AND d.state = 'waiting')",
}

_ANY = Selection()

Query = tuple[str, list[Any]]


def queries(selection: Selection, place: tuple[Any, ...] | None, many: Container[str]) -> Iterator[Query]:
    """One query for each state that is asked for, newest first; any of their rows will do.

    ``place``: received_at and seq of the last row of the page before. ``many``: backlogs that are too long to be looked at whole.
    """
    if not selection.states:
        yield _query(selection, "", place, many)
    for state in dict.fromkeys(selection.states):
        if state in _OPEN or state in set(MessageState):
            yield _query(selection, state, place, many)


def is_plain(selection: Selection) -> bool:
    """Whether nothing but states is asked for, of a channel or all."""
    return Selection(selection.channel, selection.states) == replace(selection, limit=_ANY.limit, before=None)


def _query(selection: Selection, state: str, place: tuple[Any, ...] | None, many: Container[str]) -> Query:
    few = bool(selection.search) or selection.control_id is not None
    if state in _OPEN and not few:
        return _open(selection, _OPEN[state], place)
    found = _Conditions()
    for kind, value in selection.search:
        found.add("m.seq IN (SELECT message FROM search_keys WHERE kind = ? AND value = ?)", kind, value)
    if selection.control_id is not None:
        found.add(f"{_hidden(selection.search)}m.control_id = ?", selection.control_id)
    few = _add_state(found, state, selection.channel, few=few, many=state in many)
    if selection.channel is not None:
        found.add(f"{_hidden(few)}m.channel = ?", selection.channel)
        few = True
    if selection.message_type is not None:
        found.add(f"{_hidden(few)}m.message_type = ?", texts.name(selection.message_type))
    if selection.since is not None:
        found.add("m.received_at >= ?", codec.micros(selection.since))
    if selection.until is not None:
        found.add("m.received_at < ?", codec.micros(selection.until))
    if place is not None:
        found.add("(m.received_at, m.seq) < (?, ?)", *place)
    where = f" WHERE {' AND '.join(found.texts)}" if found.texts else ""
    query = f"{statements.ROWS}messages m{where} ORDER BY m.received_at DESC, m.seq DESC LIMIT ?"
    return query, [*found.values, selection.limit]


def _open(selection: Selection, state: str, place: tuple[Any, ...] | None) -> Query:
    """Messages with a delivery in ``state``, found by the deliveries, whose indexes have the order of receipt."""
    found = _Conditions()
    found.add(f"d.state IN ('waiting', 'parked') AND d.state = '{state}'")
    index = "deliveries_open"
    if selection.message_type is not None:
        index = "deliveries_open_type"
        found.add(f"{_hidden(selection.channel is not None)}d.message_type = ?", texts.name(selection.message_type))
    if selection.channel is not None:
        index = "deliveries_open_channel"
        found.add("d.channel = ?", selection.channel)
    if selection.since is not None:
        found.add("d.received_at >= ?", codec.micros(selection.since))
    if selection.until is not None:
        found.add("d.received_at < ?", codec.micros(selection.until))
    if place is not None:
        found.add("(d.received_at, d.message) < (?, ?)", *place)
    newest = statements.NEWEST_OPEN.format(index, " AND ".join(found.texts))
    return f"{statements.ROWS}({newest}) o CROSS JOIN messages m ON m.seq = o.message", [*found.values, selection.limit]


def _add_state(found: _Conditions, state: str, channel: str | None, *, few: bool, many: bool) -> bool:
    """Whether the conditions so far name few messages."""
    if not state:
        return few
    if state in _OPEN or (state == MessageState.RECEIVED and (few or many)):
        found.add(_HAS_OPEN[state])
        return few
    if state == MessageState.RECEIVED:
        of = () if channel is None else (channel,)
        found.add(_RECEIVED.format(" AND channel = ?" if of else ""), *of)
        return True
    found.add(f"{_hidden(few or state in _COMMON)}m.state = '{MessageState(state)}'")
    if state in _COMMON:
        return few
    if not few:
        found.add("m.state NOT IN ('received', 'transformed')")
    return True


def _hidden(hidden: object) -> str:
    return "+" if hidden else ""


class _Conditions:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.values: list[Any] = []

    def add(self, text: str, *values: object) -> None:
        self.texts.append(text)
        self.values.extend(texts.sound(each) if isinstance(each, str) else each for each in values)
