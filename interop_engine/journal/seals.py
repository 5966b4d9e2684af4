"""Which keys a journal is written with: of each its name and a fingerprint, kept in the journal to tell others at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from interop_engine.core.errors import JournalError

NAMES: Final = "(names)"
"""What the key for names is called: made of the file's first key, which stays the first until all is written anew."""


def new_seals(kept: Iterable[str], seals: Sequence[str], *, holds: bool) -> tuple[str, ...]:
    """What a journal that keeps ``kept`` must keep too before it is written with the keys of ``seals`` (none: in plain).

    ``holds``: whether it holds messages. Raises JournalError where these are not its keys.
    """
    there = set(kept)
    if there and not seals:
        raise JournalError("The journal is encrypted: engine.yaml must name its keys, journal: {encrypt: {keys: FILE}}.")
    if seals and holds and not there:
        raise JournalError(
            "The journal holds messages in plain: an encrypted one begins empty, or is made of it by `journal rekey`,"
            " before engine.yaml names its keys."
        )
    if lacking := sorted(there.difference(seals)):
        names = ", ".join(each.partition(" ")[0] for each in lacking)
        raise JournalError(
            f"These are not all the keys the journal was encrypted with; missing, or not as they were: {names}."
            f" ({NAMES} is the file's first key, which stays the first.)"
        )
    return tuple(each for each in (*seals[:1], *seals[-1:]) if each not in there)
