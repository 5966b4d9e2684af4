"""Removes from the packs what nothing can ask for any more, a few packs at a time, round after round.

Who asks what a receiver was last sent comes to a pack by ``sent_index`` and ``sent_before``, and who tries a delivery again by
the delivery. A state that none of these leads to was replaced, and no answer changes when it goes. Where each step looks at some
packs for each message that is removed, as many as come meanwhile, what waits to be found never exceeds a part of what must stay.
"""

from __future__ import annotations

from collections.abc import Mapping

from interop_engine.core.errors import JournalBroken
from interop_engine.journal import codec
from interop_engine.journal.sqlite import sentindex, statements
from interop_engine.journal.sqlite.sentstate import Key, Pack, State, key_number, part, unpack
from interop_engine.journal.sqlite.transaction import Transaction

PACKS_A_MESSAGE = 4  # looked at for each message that is removed: what can go is then at most a third of what must stay
STEP_PACKS = 20  # looked at once: a few milliseconds


def sweep(tx: Transaction) -> bool:
    """Look at the next packs; False where that ended a round, and the next step begins at the oldest again."""
    unpacker = codec.Unpacker()
    looked_at = tx.rows(statements.PACKS_TO_SWEEP, STEP_PACKS)
    packs: dict[int, Pack] = {}
    for number, start, size, data in looked_at:
        try:
            packs[number] = unpack(unpacker.pack(data, size), start)
        except JournalBroken:
            continue  # whoever asks for it says so
    leads = sentindex.leads(tx, list({key_number(key) for made in packs.values() for key in made.states}))
    still_open = _open(tx, packs)
    for number, made in packs.items():
        _reduce(tx, number, made, {key for key in made.states if number in leads.get(key_number(key), ())}, still_open)
    more = len(looked_at) == STEP_PACKS
    if looked_at:
        tx.execute(statements.SET_SWEPT, (looked_at[-1][0] if more else 0,))
    return more


def _open(tx: Transaction, packs: Mapping[int, Pack]) -> set[int]:
    """The deliveries of these packs that wait or are parked: a retry asks what they bring."""
    deliveries = {delivery for made in packs.values() for delivery in made.deliveries()}
    return {row[0] for row in tx.rows(statements.OPEN_OF, codec.text(list(deliveries)))}


def _reduce(tx: Transaction, number: int, made: Pack, keys: set[Key], still_open: set[int]) -> None:
    """Keep of a pack what is asked for, where that is half of it or less."""

    def keeps(state: State) -> bool:
        return state[:2] in keys or state[2] in still_open

    if all(keeps(state) for states in made.states.values() for state in states):
        return
    kept = part(made, keeps)
    if not kept.states:
        tx.execute(statements.DROP_PACK, (number,))
    elif 2 * len(kept.data) <= len(made.data):
        tx.execute(statements.CHANGE_PACK, (kept.start, len(kept.data), tx.packer.pack(kept.data), number))
    else:
        return
    tx.execute(statements.COUNT_AGAIN, (codec.text(list(made.deliveries() - kept.deliveries())),))
