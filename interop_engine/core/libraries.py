"""What libraries, threads and Python itself would write to stderr by themselves: an event in its place, without their words.

Their words may be content (a database's DETAIL names values, asyncio shows what a task holds) and are no line of the event log.
What matters of them is an event of ours already; this says where to look when one is missing.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from interop_engine.core.events import LibraryComplained, emit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType


@contextmanager
def overheard() -> Iterator[None]:
    """Meanwhile nothing but events is logged."""
    with ExitStack() as before:
        _replace(before, warnings, "showwarning", _warned)
        _replace(before, threading, "excepthook", lambda each: _raised("thread", each.exc_type, each.exc_traceback))
        _replace(before, sys, "unraisablehook", lambda each: _raised("python", each.exc_type, each.exc_traceback))
        handler = _Handler(logging.WARNING)
        logging.getLogger().addHandler(handler)
        before.callback(logging.getLogger().removeHandler, handler)
        yield


def _replace(before: ExitStack, module: Any, name: str, hook: Any) -> None:
    before.callback(setattr, module, name, getattr(module, name))
    setattr(module, name, hook)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        said = f"{PurePath(record.pathname).name}:{record.lineno}"
        errors = [each for each in record.args or () if isinstance(each, BaseException)]
        error = record.exc_info[1] if record.exc_info else errors[0] if errors else None
        emit(LibraryComplained(record.name, type(error).__name__ if error else "", (error and place_of(error)) or said))


def _warned(_: Warning | str, category: type[Warning], filename: str, lineno: int, *__: Any) -> None:
    emit(LibraryComplained("python", category.__name__, f"{PurePath(filename).name}:{lineno}"))


def _raised(where: str, kind: type[BaseException], trace: TracebackType | None) -> None:
    emit(LibraryComplained(where, kind.__name__, _last(trace)))


def place_of(error: BaseException) -> str:
    """The file and line an error was raised in: never what about. Empty where it was not raised yet."""
    return _last(error.__traceback__)


def _last(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    return f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
