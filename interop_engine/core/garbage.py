"""Python's cyclic garbage collection, as a process that maps messages wants it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_EVERY = 20_000  # objects that were made and not freed: those of some forty messages, which leave none in cycles


def collect_seldom(*, forked: bool = False) -> None:
    """Collect seldom, and leave out what stays for ever: mappings and definitions are most of the objects there are.

    With Python's own setting one collection comes with every message, and a tenth of the time goes into them. Called again,
    it lets go what a replaced site has left. A forked process does not collect first: that would copy what it shares.
    """
    if not forked:
        gc.unfreeze()
        gc.collect()
    gc.freeze()
    gc.set_threshold(_EVERY, 10, 10)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No collection meanwhile: each would go through the million objects of a large message, and nobody else could run."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
