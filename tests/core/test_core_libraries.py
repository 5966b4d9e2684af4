"""What libraries, threads and Python itself say is an event without their words, and nothing beside the event log."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from interop_engine.core.events import Event, LibraryComplained, subscribe
from interop_engine.core.libraries import overheard

CONTENT = "Nguyễn Ánh"


class Careless:
    """Fails where nobody can catch it."""

    def __del__(self) -> None:
        raise KeyError(CONTENT)


def a_library() -> None:
    """As psycopg warns of a pipeline that broke: the server's words are among the arguments."""
    logging.getLogger("psycopg").warning("error ignored terminating %r: %s", "<AsyncPipeline>", ConnectionError(CONTENT))


def a_task() -> None:
    """Whose exception nobody retrieves."""

    async def fail() -> None:
        raise LookupError(CONTENT)

    async def forget() -> None:
        asyncio.create_task(fail(), name=CONTENT)  # noqa: RUF006 - that is the mistake
        await asyncio.sleep(0)

    asyncio.run(forget())


def a_thread() -> None:
    """That ends by an exception."""
    thread = threading.Thread(target=int, args=(CONTENT,))
    thread.start()
    thread.join()


def a_warning() -> None:
    """Of Python's own kind, as Python shows it where no filter holds it back."""
    warnings.showwarning(RuntimeWarning(CONTENT), RuntimeWarning, "/a/b/c.py", 7)


def an_object() -> None:
    """That fails while it is removed."""
    Careless()


@contextmanager
def noted() -> Iterator[list[Event]]:
    """The events meanwhile."""
    seen: list[Event] = []
    leave = subscribe(seen.append)
    try:
        with overheard():
            yield seen
    finally:
        leave()


@pytest.mark.parametrize(
    ("complain", "library", "code", "file"),
    [
        (a_library, "psycopg", "ConnectionError", "test_core_libraries.py"),
        (a_task, "asyncio", "LookupError", "test_core_libraries.py"),
        (a_thread, "thread", "ValueError", "threading.py"),
        (a_warning, "python", "RuntimeWarning", "c.py"),
        (an_object, "python", "KeyError", "test_core_libraries.py"),
    ],
)
def test_a_complaint_is_an_event_without_its_words(
    complain: Callable[[], None], library: str, code: str, file: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who complains, the kind of the error, and the file and line; stderr has nothing, and nothing has the content."""
    with noted() as seen:
        complain()
    assert [(each.library, each.code, each.place.split(":")[0]) for each in seen if isinstance(each, LibraryComplained)] == [
        (library, code, file)
    ]
    assert CONTENT not in repr(seen)
    out, err = capfd.readouterr()
    assert (CONTENT in out, err) == (False, "")


def test_what_a_library_tells_for_information_is_left_out() -> None:
    """Warnings and errors only: at INFO an HTTP client names each address it asks."""
    with noted() as seen:
        talkative = logging.Logger("http", logging.INFO)  # noqa: LOG001 - its level is no other test's
        talkative.parent = logging.getLogger()
        talkative.info("GET %s", CONTENT)
        talkative.warning("GET %s", CONTENT)
    assert [each.library for each in seen if isinstance(each, LibraryComplained)] == ["http"]


def test_afterwards_all_is_as_it_was() -> None:
    """The hooks of Python and the root logger are given back."""
    before = (warnings.showwarning, threading.excepthook, sys.unraisablehook, list(logging.getLogger().handlers))
    with overheard():
        assert warnings.showwarning is not before[0]
    assert (warnings.showwarning, threading.excepthook, sys.unraisablehook, list(logging.getLogger().handlers)) == before
