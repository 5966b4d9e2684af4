"""``${NAME}``, ``${NAME:-default}`` and ``${file:path}`` in scalars, filled in after parsing: a secret is never structure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from interop_engine.core.diagnostics import Mistake

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from interop_engine.core import yaml

_VARIABLE = re.compile(r"\$\{(?:file:(?P<file>[^}]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?)\}")


def fill(document: yaml.Document, root: Path, environment: Mapping[str, str]) -> Any:
    """The document's data with its variables filled in; what cannot be filled becomes a mistake of the document."""
    return _Filler(document, root, environment).fill(document.data, ())


class _Filler:
    def __init__(self, document: yaml.Document, root: Path, environment: Mapping[str, str]) -> None:
        self._document = document
        self._root = root
        self._environment = environment

    def fill(self, value: Any, path: yaml.Path) -> Any:
        if isinstance(value, dict):
            return {key: self.fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return _VARIABLE.sub(lambda match: self._value(match, path), value)
        return value

    def _value(self, match: re.Match[str], path: yaml.Path) -> str:
        if match["file"]:
            return self._file(match["file"], path)
        default: str | None = match["default"]
        found = self._environment.get(match["name"], default)
        if found is None:
            self._mistake(f"the variable {match['name']} is not set", f"set it, or give a default: ${{{match['name']}:-…}}", path)
            return ""
        return found

    def _file(self, name: str, path: yaml.Path) -> str:
        try:
            return (self._root / name).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self._mistake(f"the file {name} cannot be read", str(getattr(error, "strerror", "") or "it is not UTF-8"), path)
            return ""

    def _mistake(self, message: str, hint: str, path: yaml.Path) -> None:
        self._document.mistakes.append(Mistake("C106", message, self._document.mark(path), hint))
