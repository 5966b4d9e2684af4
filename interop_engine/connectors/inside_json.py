"""HL7 v2 inside JSON: where a path leads, and the bytes of a message that JSON holds as text.

A path is names and positions: ``data.items[*].hl7`` goes through every item of a list, ``messages[0]`` takes its first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator

from interop_engine.core.errors import CharsetError
from interop_engine.hl7 import charset
from interop_engine.hl7.ack import recover

_MOST = 200_000  # values; reading them takes the interpreter some 50 ms, and nobody else gets a turn meanwhile
_STRUCTURE = (b",", b"[", b"{")  # there is one of them before each value that is no member's
_TOKEN = re.compile(rb'[,\[{]|"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_STEP = re.compile(r"(?:\A|\.)([^.\[\]]+)|\[(\*|[0-9]{1,6})\]")


def steps(path: str) -> list[str | int | None]:
    """The steps of a path: names, positions, None for every item. Raises ValueError."""
    found: list[str | int | None] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise ValueError(f'"{path}" is no path into JSON; write data.items[*].hl7')
        name, index = match.groups()
        found.append(name if index is None else None if index == "*" else int(index))
        position = match.end()
    return found


def _checked(path: str) -> str:
    steps(path)
    return path


JsonPath = Annotated[str, AfterValidator(_checked)]


def follow(document: Any, path: str) -> list[Any]:
    """What a path leads to: nothing, one value, or several; an empty path leads to the document itself."""
    values = [document]
    for step in steps(path):
        values = [each for value in values for each in _next(value, step)]
    return values


def _next(value: Any, step: str | int | None) -> Iterable[Any]:
    if isinstance(step, str):
        return (value[step],) if isinstance(value, dict) and step in value else ()
    if not isinstance(value, list):
        return ()
    return value if step is None else value[step : step + 1]


def read_json(body: bytes) -> Any:
    """The document of a body. Raises ValueError where it is not JSON, or holds more values than anybody means to send."""
    if sum(map(body.count, _STRUCTURE)) > _MOST and _values(body) > _MOST:
        raise ValueError(f"The body holds more than {_MOST} values.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("The body is not JSON.") from None


def _values(body: bytes) -> int:
    """How many values there are at least, counted until there are too many: a comma in a text is none."""
    count = 0
    for token in _TOKEN.finditer(body):
        count += token[0][:1] != b'"'
        if count > _MOST:
            break
    return count


def message_bytes(text: str) -> bytes:
    """A message as its sender would have sent it: in the character set of its own MSH-18, UTF-8 where that is impossible."""
    data = text.encode("utf-8", "surrogatepass")
    header = recover(data)
    if header is None:
        return data
    try:
        return charset.encode(text, header.charset)
    except (CharsetError, UnicodeEncodeError):
        return data
