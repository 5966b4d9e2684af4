"""What the engine says happened, as events, while something is done to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from interop_engine.core import events
from interop_engine.core.events import Event


@contextlib.contextmanager
def hearing(*kinds: type[Event]) -> Iterator[list[Event]]:
    """The events of these types, in order, as they come."""
    heard: list[Event] = []
    end = events.subscribe(lambda event: heard.append(event) if isinstance(event, kinds) else None)
    try:
        yield heard
    finally:
        end()
