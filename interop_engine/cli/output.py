"""How the command line speaks: data on stdout, remarks on stderr, colours only on a terminal, never a traceback for a user.

What comes from messages and files is shown with its control characters escaped, so that nothing can steer a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sized
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime, tzinfo

    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from interop_engine.core.diagnostics import Finding, Mark, Mistake

_Item = TypeVar("_Item")
_SHOWN = 60  # characters of a value in short
_FEW = 10  # items that need no bar
_SOME_WORDS = 16  # columns of a table's cell that may be folded
_BETWEEN = 3  # columns from one cell to the next
_WIDE = 240  # columns in a pipe, where nothing limits them
_STYLES = {"error": "bold red", "warning": "yellow", "information": "cyan"}


def console(*, err: bool = False) -> Console:
    """The terminal, or the pipe in its place."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)


def plain(value: object) -> str:
    """Text for a terminal: empty for None, control characters escaped."""
    text = "" if value is None else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


@cache
def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def fail(message: str, hint: str = "") -> NoReturn:
    """Say on stderr what went wrong, and end with 1."""
    remark("error", message, hint)
    raise typer.Exit(1)


def described(error: Exception) -> str:
    """An error of ours or of the system in one line, with the file it is about."""
    if not isinstance(error, OSError):
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


def remark(severity: str, message: str, hint: str = "") -> None:
    """One line on stderr, with its help below."""
    from rich.text import Text

    line = Text(f"{severity}: ", style=_STYLES.get(severity, "")).append(plain(message), style="default")
    if hint:
        line.append(f"\n    help: {plain(hint)}", style="dim")
    console(err=True).print(line)


def show_mistakes(mistakes: Iterable[Mistake], root: Path) -> None:
    """Every mistake as ``file:line:col: CODE message``, with its help; files as seen from here."""
    from rich.text import Text

    screen = console(err=True)
    for mistake in mistakes:
        mark = mistake.mark
        line = Text(f"{seen_from_here(mark.file, root)}:{mark.line}:{mark.column}: ", style="bold")
        line.append(mistake.code, style=_STYLES[mistake.severity]).append(f" {plain(mistake.message)}", style="default")
        if mistake.help:
            line.append(f"\n    help: {plain(mistake.help)}", style="dim")
        screen.print(line)


def seen_from_here(file: str, root: Path) -> str:
    """A site's file as named from the current folder."""
    path = Path(file)
    if not path.is_absolute() and (root / path).exists():
        path = root / path
    return os.path.relpath(path)


def show_findings(findings: Iterable[Finding], where: str = "") -> None:
    """Every finding on stderr as ``OBX[3]-5: value-dropped …``, after the name of its file."""
    from rich.text import Text

    screen = console(err=True)
    for finding in findings:
        line = Text(f"{plain(where)}: " if where else "", style="bold")
        line.append(f"{finding.severity} ", style=_STYLES[finding.severity])
        screen.print(line.append(plain(finding), style="default"))


def json_text(value: Any) -> str:
    """Indented JSON of anything the engine keeps in dataclasses, dictionaries and lists."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def write_json(value: Any) -> None:
    """A value as JSON on stdout."""
    write(json_text(value))


def write_json_line(value: Any) -> None:
    """A value as one line of JSON on stdout."""
    import msgspec

    write(msgspec.json.Encoder(decimal_format="number").encode(value).decode())


def write(text: str) -> None:
    """Text on stdout, as it is, with a line end."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def write_coloured(word: str, style: str, rest: str) -> None:
    """A line on stdout that begins with a coloured word."""
    from rich.text import Text

    console().print(Text(word, style=style).append(f" {plain(rest)}", style="default"))


def count(number: int, noun: str) -> str:
    """``no errors``, ``1 error``, ``2 errors``."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def tracked(items: Iterable[_Item], what: str, total: int | None = None) -> Iterable[_Item]:
    """The items, with a bar on a terminal (a count where ``total`` cannot be told); nothing for a few, or in a pipe."""
    screen = console(err=True)
    known = len(items) if total is None and isinstance(items, Sized) else total
    if not screen.is_terminal or (known is not None and known < _FEW):
        return items
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return _bar(items, what, known, Progress(*columns, console=screen, transient=True))


def _bar(items: Iterable[_Item], what: str, total: int | None, progress: Progress) -> Iterator[_Item]:
    with progress:
        yield from progress.track(items, total=total, description=what)


def has_room(columns: int) -> bool:
    """Whether stdout is so many columns wide; a pipe is."""
    return console().width >= columns


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
    seldom: Sequence[str] = (),
) -> None:
    """A table on stdout; the columns named in ``right`` hold numbers.

    ``whole``: columns whose values are never folded, to be read at a glance and copied; notes below them are. ``seldom``:
    columns that are left out, the first of them first, where the others would not have their room on the terminal.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen = console()
    texts = [[cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row] for row in rows]
    least = [_least(name, [row[place] for row in texts], kept=name in whole) for place, name in enumerate(columns)]
    shown = _shown(columns, least, seldom, screen.width)
    grid = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_header=any(columns),
    )
    for place in shown:
        name, noted_ = columns[place], any("\n" in row[place].plain for row in texts)
        justify: Any = "right" if name in right else "left"
        kept = least[place] if name in whole else None
        grid.add_column(name, justify=justify, overflow="fold", no_wrap=name in whole and not noted_, min_width=kept)
    for row in texts:
        grid.add_row(*(row[place] for place in shown))
    screen.print(grid)


def _least(name: str, cells: Sequence[Text], *, kept: bool) -> int:
    """How narrow a column may get: as its widest value, notes aside, or some words of it."""
    from rich.cells import cell_len

    widest = max(cell_len(line) for line in (name, *(cell.plain.partition("\n")[0] for cell in cells)))
    return widest if kept else min(widest, _SOME_WORDS)


def _shown(columns: Sequence[str], least: Sequence[int], seldom: Sequence[str], width: int) -> list[int]:
    """The places of the columns for which there is room."""
    shown = list(range(len(columns)))
    for name in seldom:
        if sum(least[place] + _BETWEEN for place in shown) <= width:
            break
        shown.remove(columns.index(name))
    return shown


def coloured(text: object, style: str) -> Any:
    """A table's cell in a colour; the colour is gone where there is no terminal."""
    from rich.text import Text

    return Text(plain(text), style=style)


def noted(value: object, notes: Iterable[str]) -> Any:
    """A table's cell with notes on lines of their own below its value."""
    from rich.text import Text

    cell = Text(plain(value))
    for note in notes:
        cell.append(f"\n{plain(note)}", style="dim")
    return cell


def brief(value: Any) -> str:
    """A value on a line, for people: the texts in it, without URIs of systems."""
    return shortened(" · ".join(_texts(value)))


def shortened(text: str) -> str:
    """A text's beginning, where it is long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, one in value.items() if key not in ("system", "url", "extension") for text in _texts(one)]
    if isinstance(value, list | tuple):
        return [text for one in value for text in _texts(one)]
    return ["(cleared)" if value is None else str(value).lower() if isinstance(value, bool) else str(value)]


def place(mark: Mark, file: str) -> str:
    """A place as ``line:column``, with its file where that is another than ``file``, which the reader knows."""
    return f"{mark.line}:{mark.column}" if mark.file == file else str(mark)


def local(moment: datetime | None, zone: tzinfo | None) -> str:
    """A time to the second as a wall clock in the zone shows it (None: this machine's), with its offset."""
    return moment.astimezone(zone).isoformat(sep=" ", timespec="seconds") if moment else ""


def clock(moment: datetime | None, zone: tzinfo | None) -> str:
    """The same without its offset, which ``offset`` says once for a whole column."""
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def offset(zone: tzinfo | None, now: datetime) -> str:
    """How far the zone's clocks are from UTC now: ``+07:00``."""
    return now.astimezone(zone).isoformat()[-6:]


def span(seconds: float | None) -> str:
    """``3.2 s``, ``4 min``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
