"""YAML as engineers write it, read without its traps: every scalar is text, and every place is known.

Duplicate keys, tags, anchors and aliases are mistakes (no ``N`` that turns false, no ``02401`` that loses its zero, no
alias bomb). A null (``key:`` with nothing, ``null`` or ``~`` unquoted) is kept as None, since ``extends`` uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from interop_engine.core.diagnostics import Mark, Mistake

Path = tuple[str | int, ...]
_MAX_DEPTH = 64
_NULLS = frozenset({"", "~", "null"})


@dataclass
class Document:
    """A YAML file as plain ``dict``, ``list``, ``str`` and None in ``data``, with the place of everything in it."""

    file: str
    data: Any = None
    mistakes: list[Mistake] = field(default_factory=list)
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Where the value at ``path`` stands (or its key); of the nearest ancestor where there is no such value."""
        places = self.keys if key else self.values
        for length in range(len(path), -1, -1):
            if (found := places.get(path[:length]) or self.values.get(path[:length])) is not None:
                return found
        return Mark(self.file, 1, 1)


_HELP = {  # part of a problem as libyaml words it → what to do
    "',' or ']'": 'within [ ] an expression with a comma, quotes or brackets goes in "double quotes", or on its own - line',
    "',' or '}'": 'within { } a value with a comma, quotes or brackets goes in "double quotes", or on a line of its own',
    "mapping values are not allowed": 'a value with a colon and a space in it goes in "double quotes"; else look at the indent',
    "cannot start any token": "indent with spaces, not with tabs; a value that begins with @, ` or % goes in quotes",
    "tab character": "indent with spaces, not with tabs",
    "expected ':'": "each line is KEY: VALUE; the line may be one that goes on from the one before",
    "expected <block end>": "the indent is not that of the lines before",
    "unexpected end of stream": "a quote or bracket is not closed",
}


def load(text: str, file: str) -> Document:
    """Read one YAML document. Never raises: what is wrong is in ``mistakes`` (codes Y001–Y006)."""
    document = Document(file)
    if (forbidden := yaml.reader.Reader.NON_PRINTABLE.search(text)) is not None:
        before = text[: forbidden.start()]
        mark = Mark(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        problem = f"not readable as YAML: the character U+{ord(forbidden[0]):04X} is not allowed"
        document.mistakes.append(Mistake("Y001", problem, mark))
        return document
    try:
        document.data = _Reader(document, yaml.parse(text, Loader=yaml.CSafeLoader)).read_document()
    except _TooDeepError:
        pass
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        mark = Mark(file, place.line + 1, place.column + 1) if place else Mark(file, 1, 1)
        problem = str(error.problem or error)
        document.mistakes.append(Mistake("Y001", f"not readable as YAML: {problem}", mark, _what_to_do(problem)))
    return document


def _what_to_do(problem: str) -> str:
    """What an engineer does about a problem of YAML, which speaks of its own grammar."""
    return next(
        (help_ for part, help_ in _HELP.items() if part in problem), "compare with the line before, its quotes and indent"
    )


class _TooDeepError(Exception):
    """The rest of the document is not read."""


class _Reader:
    """Reads the parser's events, not composed nodes: those hide anchors and tags, and composing deep nesting ends the process."""

    def __init__(self, document: Document, events: Iterator[Any]) -> None:
        self._document = document
        self._events = events

    def read_document(self) -> Any:
        """The content of the first document; a second one is a mistake."""
        data = None
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.DocumentStartEvent):
            data = self._value(next(self._events), ())
            next(self._events)  # the document's end
            following = next(self._events)
            if isinstance(following, yaml.DocumentStartEvent):
                self._mistake("Y001", "a second document (---) is not allowed", following, "one file, one document")
        return data

    def _value(self, event: Any, path: Path) -> Any:
        self._document.values[path] = self._mark(event)
        if len(path) > _MAX_DEPTH:
            self._too_deep(event)
        self._plain(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        if isinstance(event, yaml.AliasEvent) or (event.style in (None, "") and event.value in _NULLS):
            return None
        return str(event.value)

    def _plain(self, event: Any) -> None:
        """Neither alias nor anchor nor tag."""
        if isinstance(event, yaml.AliasEvent):
            self._mistake("Y003", "an alias (*name) is not allowed", event, "write the value out")
            return
        if event.anchor is not None:
            self._mistake("Y003", "an anchor (&name) is not allowed", event, "remove it, and write out what refers to it")
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._mistake("Y004", f"the tag {tag} is not allowed", event, "remove it: every scalar is text")

    def _sequence(self, path: Path) -> list[Any]:
        result: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            result.append(self._value(event, (*path, len(result))))
        return result

    def _mapping(self, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._mistake("Y006", "a key must be plain text", event)
                self._skip(event)
                self._skip(next(self._events))
                continue
            self._plain(event)
            key = str(event.value)
            if key in result:
                first = self._document.mark((*path, key), key=True)
                self._mistake("Y002", f'the key "{key}" stands twice', event, f"it is also on line {first.line}")
                self._skip(next(self._events))
                continue
            self._document.keys[(*path, key)] = self._mark(event)
            result[key] = self._value(next(self._events), (*path, key))
        return result

    def _skip(self, event: Any) -> None:
        """Pass over a value that has no place."""
        depth = 0
        while True:
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if not depth:
                return
            if depth > _MAX_DEPTH:  # the parser's time grows with the square of the depth
                self._too_deep(event)
            event = next(self._events)

    def _too_deep(self, event: Any) -> NoReturn:
        self._mistake("Y005", f"nested deeper than {_MAX_DEPTH} levels", event)
        raise _TooDeepError

    def _mark(self, event: Any) -> Mark:
        return Mark(self._document.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _mistake(self, code: str, message: str, event: Any, hint: str = "") -> None:
        self._document.mistakes.append(Mistake(code, message, self._mark(event), hint))
