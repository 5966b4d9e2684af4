"""How generated code reads a message: segments, fields, repetitions, components, and the ``""`` that deletes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from interop_engine.mapping.typed import VARIES, Condition, Node, Read
from interop_engine.mapping.writer import Module, Writer

Sink = Callable[[str, str], None]  # (element's name as source, value as source) → writes lines
DELETED = "'\"\"'"
_WHOLE = frozenset({"ST", "TX", "FT", VARIES})


class Reads(ABC):
    """Writes reads into one function."""

    def __init__(self, writer: Writer, module: Module) -> None:
        self.w = writer
        self.module = module
        self.visits = False  # in the key of a Patient: a visit's number is only for the time being
        self._number = ""  # the variable that counts repetitions, within them
        self.deleted = ""  # the variable that notes a "" (resources that are merged)
        self._noting = False  # within a function that may note something: the place is set

    @abstractmethod
    def node(self, node: Node, sink: Sink, seen: str = "") -> None:
        """Write a node; ``seen`` names a variable that turns true where its source has a value."""

    @abstractmethod
    def condition(self, condition: Condition) -> str:
        """Write a condition; gives the expression that holds its truth."""

    @contextmanager
    def values(self, read: Read, seen: str = "", *, text: bool = False) -> Iterator[tuple[str, str]]:
        """Within: (segment, value) variables of each value that is there; with ``text`` its text in place of the value."""
        w = self.w
        if not read.segment:
            with self._below(read, w.levels[read.level], text=text) as var:
                self.note_seen(seen)
                yield "", var
            return
        if text and self._is_plain(read):
            with w.segments(read) as segment, self._plain(read, segment) as var:
                self.note_seen(seen)
                yield segment, var
            return
        with (
            w.segments(read) as segment,
            self.tested(read.segment_test, segment),
            self._field(read, segment) as value,
            self._below(read, value, text=text) as var,
        ):
            self.note_seen(seen)
            yield segment, var

    def _is_plain(self, read: Read) -> bool:
        """Whether a read is of one whole field, so that most texts need no taking apart."""
        one = not read.repeats and read.repetition < 2 and read.repetition_test is None and read.segment_test is None
        return one and not read.component and not self.deleted

    def _is_whole(self, read: Read) -> bool:
        """Whether a read is of every repetition of a field of a segment, as they are."""
        tested = read.repetition_test is not None or read.segment_test is not None
        return bool(read.segment) and not (read.component or read.repetition or tested)

    @contextmanager
    def _plain(self, read: Read, segment: str) -> Iterator[str]:
        """The text of a whole field: itself where it is plain letters and digits, else as the message reads it."""
        w, var = self.w, self.w.name("t")
        with w.block(f"if {w.populated(segment, read.field)}:"):
            w.mark(segment, read.field)
            w.line(f"{var} = {w.raw(segment, read.field)}")
            read_it = "whole_text" if read.datatype in _WHOLE else "first_text"
            with w.block(f"if not ({var}.isalnum() and {var}.isascii()):"):
                w.line(f"{var} = {read_it}({segment}, {read.field})")
            with w.block(f"if {var}:"):
                yield var

    def note_seen(self, seen: str) -> None:
        """Write that a source has a value, for a ``??`` that asks."""
        if seen:
            self.w.line(f"{seen} = True")

    @contextmanager
    def tested(self, test: Condition | None, var: str) -> Iterator[None]:
        """Within: only what passes a test in brackets."""
        if test is None:
            yield
            return
        with self.w.level(var), self.w.maybe():
            held = self.condition(test)
        with self.w.block(f"if {held}:"), self.w.maybe():
            yield

    @contextmanager
    def _field(self, read: Read, segment: str) -> Iterator[str]:
        w, var = self.w, self.w.name("v")
        loop = (read.repeats or read.repetition > 1) and read.repetition != 1
        with w.block(f"if {w.populated(segment, read.field)}:"):
            w.mark(segment, read.field)
            repetitions = self._repetitions(read, segment, var, loop=loop)
            with repetitions:
                yield var

    @contextmanager
    def _repetitions(self, read: Read, segment: str, var: str, *, loop: bool) -> Iterator[None]:
        w = self.w
        if loop or read.repetition_test is not None:
            every, start = f"{segment}.repetitions({read.field})", ""
            if read.repetition:
                start = f", {read.repetition - 1}"
                every += f"[{read.repetition - 1}:{read.repetition}]"
            number, before = w.name("n"), self._number
            self._number = number
            with w.block(f"for {number}, {var} in enumerate({every}{start}):"):
                with w.block(f"if {var}.raw and {var}.raw != {DELETED}:"), self.tested(read.repetition_test, var):
                    yield
                self.note_deleted(f"elif {var}.raw:")
            if w.marking:  # the condition of a whole mapping has no context
                w.line("c.repetition = 0")
            self._number = before
            return
        w.line(f"{var} = {w.value(segment, read.field, only=not read.repeats)}")
        with w.block(f"if {var} is not None and {var}.raw != {DELETED}:"):
            yield
        self.note_deleted(f"elif {var} is not None:")

    def note_deleted(self, head: str) -> None:
        """Write that the sender deletes, for a resource that is merged."""
        if self.deleted:
            with self.w.block(head):
                self.w.line(f"{self.deleted} = True")

    @contextmanager
    def _below(self, read: Read, value: str, *, text: bool) -> Iterator[str]:
        """The component of a value, or its text."""
        w = self.w
        if text:
            var = w.name("t")
            w.line(f"{var} = {self._text_of(read, value)}")
            with w.block(f"if {var}:"):
                yield var
            return
        blocks = 0
        for number in (read.component, read.subcomponent):
            if number:
                var = w.name("v")
                w.line(f"{var} = {value}.component({number})")
                w.line(f"if {var} is not None:")
                w.indent(1)
                blocks, value = blocks + 1, var
        yield value
        if blocks:
            w.line("pass")
        w.indent(-blocks)

    def _text_of(self, read: Read, value: str) -> str:
        if read.subcomponent:
            return f"{value}.get({read.component}, {read.subcomponent})"
        if read.component:
            return f"{value}.get({read.component})"
        return f"{value}.whole" if read.datatype in _WHOLE else f"{value}.text"
