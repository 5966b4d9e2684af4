"""YAML as engineers write it, read without its traps: every scalar is text, and every place is known.

Duplicate keys, tags, anchors and aliases are mistakes (no ``N`` that turns false, no ``02401`` that loses its zero, no
alias bomb). A null (``key:`` with nothing, ``null`` or ``~`` unquoted) is kept as None, since ``extends`` uses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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


def load(text: str, file: str) -> Document:
    """Read one YAML document. Never raises: what is wrong is in ``mistakes`` (codes Y001–Y006)."""
    document = Document(file)
    try:
        node = yaml.compose(text, Loader=_loader())
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        mark = Mark(file, place.line + 1, place.column + 1) if place else Mark(file, 1, 1)
        document.mistakes.append(Mistake("Y001", f"not readable as YAML: {error.problem or error}", mark))
        return document
    except yaml.YAMLError as error:  # a character YAML forbids: it has no mark
        document.mistakes.append(Mistake("Y001", f"not readable as YAML: {error}", Mark(file, 1, 1)))
        return document
    if node is not None:
        document.data = _Reader(document).read(node, ())
    return document


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._seen: set[int] = set()

    def read(self, node: yaml.Node, path: Path) -> Any:
        document = self._document
        mark = self._mark(node)
        document.values[path] = mark
        if id(node) in self._seen:
            self._mistake("Y003", "an alias (*name) is not allowed", mark, "write the value out")
            return None
        self._seen.add(id(node))
        if len(path) > _MAX_DEPTH:
            self._mistake("Y005", f"nested deeper than {_MAX_DEPTH} levels", mark)
            return None
        if node.tag not in _PLAIN_TAGS:
            self._mistake("Y004", f"the tag {node.tag} is not allowed", mark, "remove it: every scalar is text")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node)

    def _scalar(self, node: yaml.ScalarNode) -> str | None:
        if node.style in (None, "") and node.value in _NULLS:
            return None
        return str(node.value)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = self._mark(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._mistake("Y006", "a key must be plain text", mark)
                continue
            key = str(key_node.value)
            if key in result:
                first = self._document.mark((*path, key), key=True)
                self._mistake("Y002", f'the key "{key}" stands twice', mark, f"it is also on line {first.line}")
                continue
            self._document.keys[(*path, key)] = mark
            result[key] = self.read(value_node, (*path, key))
        return result

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self._document.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _mistake(self, code: str, message: str, mark: Mark, hint: str = "") -> None:
        self._document.mistakes.append(Mistake(code, message, mark, hint))


_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "map", "seq")
)
