"""Two kinds of remark, both values: a ``Mistake`` in a file, a ``Finding`` in a message."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Severity = Literal["error", "warning", "information"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file: line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def along(self, columns: int) -> Mark:
        """The place so many columns further right."""
        return Mark(self.file, self.line, self.column + columns)


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong in a file an engineer wrote. ``code`` is from ``core.codes`` and never reused."""

    code: str
    message: str
    mark: Mark
    help: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        text = f"{self.mark}: {self.code} {self.message}"
        return f"{text}\n    help: {self.help}" if self.help else text


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to say about a message, by place and never by content (it may be logged).

    ``path`` is written as integrators write it: ``OBX[3]-5[2].1`` is the third OBX segment's field 5, second
    repetition, first component. ``code`` is a word such as ``value-dropped``; ``hl7_code`` is the condition of HL7
    table 0357 it would have had in an ERR segment, where it has one.
    """

    code: str
    message: str
    path: str = ""
    severity: Severity = "warning"
    hl7_code: str = ""

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{place}{self.code} {self.message}"


def near(name: str, names: Iterable[str]) -> str:
    """Help text that proposes the nearest of ``names``, or an empty string where none is near."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f'did you mean "{found[0]}"?' if found else ""


def near_or_known(name: str, names: Iterable[str]) -> str:
    """What was meant perhaps, else all there is to choose from; empty where there is nothing."""
    known = sorted(names)
    return near(name, known) or (f"known: {', '.join(known)}" if known else "")
