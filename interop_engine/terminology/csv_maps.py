"""Concept maps from CSV: a header, and one row for each target.

::

    source_system,source_code,target_system,target_code,target_display,valid_from,valid_to

``source_system`` is a URI, the name a sender writes (CWE.3), or empty for any system. ``target_system`` is a URI or an alias
the caller knows. Dates are ISO days, inclusive, empty for no bound.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from sys import intern

from interop_engine.core.diagnostics import Mark, Mistake, near
from interop_engine.terminology.conceptmap import ConceptMap, Row, digest_of, filed

COLUMNS = ("source_system", "source_code", "target_system", "target_code", "target_display", "valid_from", "valid_to")
_NEEDED = ("source_code", "target_system", "target_code")
_SOURCE_SYSTEM, _SOURCE, _SYSTEM, _CODE, _DISPLAY, _FROM, _TO = range(len(COLUMNS))


def from_csv(text: str, file: str, name: str, aliases: Mapping[str, str]) -> tuple[ConceptMap, list[Mistake]]:
    """Read a map and say everything that is wrong with it (T001–T004, T008, T009); rows with a mistake are left out."""
    reader = _Reader(text.removeprefix("\ufeff"), file, aliases)
    reader.read()
    return ConceptMap(name, digest_of(text), filed(reader.rows)), reader.mistakes


class _Reader:
    def __init__(self, text: str, file: str, aliases: Mapping[str, str]) -> None:
        self.text, self.file, self.aliases = text, file, aliases
        self.rows: dict[tuple[str, str], list[Row]] = {}
        self.mistakes: list[Mistake] = []
        self.order: list[int] = []  # of each of COLUMNS, which cell has it; one past the last for those that are not there

    def read(self) -> None:
        lines = csv.reader(io.StringIO(self.text, newline=""))
        header = [column.strip() for column in next(lines, [])]
        for number, column in enumerate(header):
            if column not in COLUMNS:
                self._mistake(
                    "T001", f'unknown column "{column}"', 1, number, near(column, COLUMNS) or f"columns: {', '.join(COLUMNS)}"
                )
        if missing := [column for column in _NEEDED if column not in header]:
            self._mistake("T002", f"the header lacks {', '.join(missing)}", 1, 0, ",".join(COLUMNS))
            return
        width = len(header)
        self.order = [header.index(column) if column in header else width for column in COLUMNS]
        line = lines.line_num
        for cells in lines:
            begin, line = line + 1, lines.line_num
            if len(cells) > width:
                self._mistake(
                    "T009", f"the row has {len(cells)} cells, the header {width}", begin, width, "quote a cell with a comma"
                )
            elif any(cells):
                self._row([cell.strip() for cell in cells] + [""] * (width + 1 - len(cells)), begin)

    def _row(self, cells: list[str], line: int) -> None:
        order = self.order
        source, system, code = cells[order[_SOURCE]], cells[order[_SYSTEM]], cells[order[_CODE]]
        if not (source and system and code):
            empty = [name for name in _NEEDED if not cells[order[COLUMNS.index(name)]]]
            hint = "fill it in, or take the row out: a code without a row is unmapped"
            self._mistake("T003", f"the row has no {', '.join(empty)}", line, order[COLUMNS.index(empty[0])], hint)
            return
        system = self.aliases.get(system, system)
        if ":" not in system:
            message = f'the system "{system}" is no URI and no known alias'
            self._mistake("T004", message, line, order[_SYSTEM], near(system, self.aliases) or "a URI: urn:… or http://…")
            return
        since, until = cells[order[_FROM]], cells[order[_TO]]
        if (since or until) and not self._days(since, until, line):
            return
        written = cells[order[_SOURCE_SYSTEM]]
        key = (intern(self.aliases.get(written, written)), source)
        row = Row(intern(system), code, cells[order[_DISPLAY]], intern(since), intern(until))
        self.rows.setdefault(key, []).append(row)

    def _days(self, since: str, until: str, line: int) -> bool:
        for day, column in ((since, _FROM), (until, _TO)):
            if day and not _is_day(day):
                self._mistake("T008", f'"{day}" is no day', line, self.order[column], "as ISO 8601 writes it: 2026-01-31")
                return False
        if since and until and until < since:
            self._mistake("T008", "the row ends before it begins", line, self.order[_TO], "both days are inclusive")
            return False
        return True

    def _mistake(self, code: str, message: str, line: int, cell: int, hint: str = "") -> None:
        self.mistakes.append(Mistake(code, message, Mark(self.file, line, self._column(line, cell)), hint))

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.splitlines()

    def _column(self, line: int, cell: int) -> int:
        """Where a cell begins in its line, counted from 1."""
        text = self._lines[line - 1] if line <= len(self._lines) else ""
        quoted, commas = False, 0
        for place, letter in enumerate(text):
            if commas == cell:
                return place + 1
            quoted ^= letter == '"'
            commas += letter == "," and not quoted
        return len(text) + 1 if commas == cell else 1


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
