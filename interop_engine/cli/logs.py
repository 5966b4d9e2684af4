"""The event log on stderr: what ``run`` says, and a verb that opens a journal by itself."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Level(StrEnum):
    """The least that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@contextmanager
def events_only(level: Level) -> Iterator[None]:
    """Meanwhile events are logged, and nothing else is: lines for people on a terminal, JSON for machines elsewhere.

    One line an event, control characters escaped. What libraries say by themselves becomes an event.
    """
    import structlog

    from interop_engine.core.libraries import overheard

    people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not people),
            structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    try:
        with overheard():
            yield
    finally:
        structlog.reset_defaults()
