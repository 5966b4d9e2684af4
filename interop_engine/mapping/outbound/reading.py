"""YAML documents with ``to:`` → the values of ``outbound.language``: keys known, forms right. All mistakes at once."""

from __future__ import annotations

import re
from typing import Any

from interop_engine.core.diagnostics import Mistake, near
from interop_engine.core.yaml import Document, Path
from interop_engine.mapping.expression import FieldPath, SyntaxProblem, parse_expression
from interop_engine.mapping.language import Name
from interop_engine.mapping.outbound.language import Line, MessageFile, Shape

MESSAGE_KEYS = ("mapping", "to", "event", "set")
CORRECTION_KEYS = ("mapping", "message", "to", "when", "lens")
SHAPE_KEYS = ("each", "when", "required")
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def message_file(document: Document) -> MessageFile:
    """A mapping from a bundle."""
    data: dict[str, Any] = document.data
    for key in data:
        if key not in MESSAGE_KEYS:
            hint = near(key, MESSAGE_KEYS) or f"keys: {', '.join(MESSAGE_KEYS)}"
            _mistake(document, "M100", f'"{key}:" is not a key here', (key,), hint, key=True)
    if not isinstance(data.get("set"), dict):
        _mistake(document, "M103", '"set:" is missing or empty', ("set",), "the groups, segments and fields of the message")
    shape = _shape(document, "", data.get("set"), ("set",))
    name = _name(document, ("mapping",)) or Name("", document.mark(("mapping",)))
    to = _name(document, ("to",)) or Name("", document.mark(("to",)))
    return MessageFile(name.text, name.mark, to, _name(document, ("event",)), shape)


def _shape(document: Document, name: str, data: Any, path: Path) -> Shape:
    lines: list[Line] = []
    shapes: list[Shape] = []
    for key, value in data.items() if isinstance(data, dict) else ():
        place = (*path, key)
        if key in SHAPE_KEYS and name:
            continue
        if _NAME.fullmatch(key):
            for item, where in _listed(value, place):
                if isinstance(item, dict):
                    shapes.append(_shape(document, key, item, where))
                else:
                    _mistake(document, "M104", f'"{key}:" takes lines of its own', where, "each:, when:, fields and segments")
        elif (target := _target(document, key, place)) is not None:
            lines.append(Line(target, document.mark(place, key=True), _expressions(document, value, place)))
    each, when, required = (_name(document, (*path, key)) if name and key in data else None for key in SHAPE_KEYS)
    if required is not None and required.text not in ("true", "false"):
        _mistake(document, "M104", '"required:" takes true or false', (*path, "required"))
    needed = required is not None and required.text == "true"
    return Shape(name, document.mark(path, key=True), each, when, tuple(lines), tuple(shapes), needed)


def _listed(value: Any, path: Path) -> list[tuple[Any, Path]]:
    return [(item, (*path, n)) for n, item in enumerate(value)] if isinstance(value, list) else [(value, path)]


def _target(document: Document, key: str, path: Path) -> FieldPath | None:
    try:
        found = parse_expression(key)
    except SyntaxProblem:
        found = None
    if isinstance(found, FieldPath) and found.segment and found.field and not (found.segment_choice or found.field_choice):
        return found
    hint = near(key, SHAPE_KEYS) or "PID-3, PID-5.1, or the name of a group or a segment"
    _mistake(document, "M100", f'"{key}:" is not a key here', path, hint, key=True)
    return None


def _expressions(document: Document, value: Any, path: Path) -> tuple[Name, ...]:
    found = []
    for item, where in _listed(value, path):
        if isinstance(item, str) and item.strip():
            found.append(Name(item, document.mark(where)))
        else:
            _mistake(document, "M101", "expected an expression of FHIRPath", where, "such as identifier, or 'F' in quotes")
    return tuple(found)


def _name(document: Document, path: Path) -> Name | None:
    value: Any = document.data
    for step in path:
        value = value.get(step) if isinstance(value, dict) else value[step] if isinstance(step, int) else None
    if value is None:
        return None
    if not isinstance(value, str):
        _mistake(document, "M104", f'"{path[-1]}:" takes one name', path)
        return None
    return Name(value, document.mark(path))


def _mistake(document: Document, code: str, message: str, path: Path, hint: str = "", *, key: bool = False) -> None:
    document.mistakes.append(Mistake(code, message, document.mark(path, key=key), hint))
