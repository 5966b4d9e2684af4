"""The tree of an expression or condition, as parsed: texts and columns, no meaning yet (``expression`` has the grammar)."""

from __future__ import annotations

from dataclasses import dataclass


class SyntaxProblem(Exception):  # noqa: N818 - caught in this room and turned into a Mistake
    """The text is not an expression; ``column`` counts from 0 within the text."""

    def __init__(self, message: str, column: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.hint = hint


@dataclass(frozen=True, slots=True)
class FieldPath:
    """``PID-3[2].4.1``; ``segment`` is empty where relative, ``field`` None where it names the segment itself."""

    segment: str
    segment_choice: int | Condition | None
    field: int | str | None
    field_choice: int | Condition | None
    component: int | None
    subcomponent: int | None
    column: int

    def __str__(self) -> str:
        parts = [self.segment]
        if self.segment_choice is not None:
            parts.append(f"[{self.segment_choice if isinstance(self.segment_choice, int) else '…'}]")
        if self.field is not None:
            parts.append(f"-{self.field}")
        if self.field_choice is not None:
            parts.append(f"[{self.field_choice if isinstance(self.field_choice, int) else '…'}]")
        parts += [f".{n}" for n in (self.component, self.subcomponent) if n is not None]
        return "".join(parts) or "."


@dataclass(frozen=True, slots=True)
class Text:
    """A text in quotes, or a number as written."""

    value: str
    column: int


@dataclass(frozen=True, slots=True)
class Word:
    """A bare name as an argument: a table, a concept map, a unit."""

    value: str
    column: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A scalar that began with ``=``: everything after it, read by the element's type."""

    value: str
    column: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function, with the arguments in its parentheses."""

    name: str
    arguments: tuple[Expression, ...]
    column: int


@dataclass(frozen=True, slots=True)
class Pipe:
    """``source | call``."""

    source: Expression
    call: Call
    column: int


@dataclass(frozen=True, slots=True)
class Coalesce:
    """``a ?? b``: the first that has a value."""

    options: tuple[Expression, ...]
    column: int


@dataclass(frozen=True, slots=True)
class Reference:
    """``-> name``: the instances of that resource in scope; ``-> name(a, b)``: the one whose key has these values."""

    name: str
    column: int
    key: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """``left operator right``; with ``in``, ``right`` holds several texts."""

    operator: str
    left: Expression
    right: tuple[Expression, ...]
    column: int


@dataclass(frozen=True, slots=True)
class Test:
    """``exists deleted matches any all`` with what stands in the parentheses."""

    name: str
    subject: Expression | Condition
    pattern: str
    column: int


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    operand: Condition
    column: int


@dataclass(frozen=True, slots=True)
class Junction:
    """``and`` or ``or`` over two conditions or more."""

    operator: str
    operands: tuple[Condition, ...]
    column: int


Expression = FieldPath | Text | Word | Literal | Call | Pipe | Coalesce | Reference
Condition = Comparison | Test | Not | Junction
