"""Sizes and durations as people write them: ``16MB``, ``64KiB``; ``500ms``, ``2s``, ``10m``, ``1h30m``, ``7d``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_SIZES = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,6}))? ?([A-Za-z]{0,3})")
_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")


def read_size(value: Any) -> Any:
    """Bytes. Raises ValueError for text that is no size; a number is bytes already."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None or match[3].upper() not in _SIZES:
        raise ValueError(f'"{value}" is no size; write 16MB, 64KiB or a number of bytes')
    return int(Decimal(match[1] + "." + (match[2] or "0")) * _SIZES[match[3].upper()])


def read_duration(value: Any) -> Any:
    """Seconds. Raises ValueError for text that is no duration; a number is seconds already."""
    if not isinstance(value, str):
        return value
    text = value.strip().replace(" ", "")
    if _DURATION.fullmatch(text) is None:
        raise ValueError(f'"{value}" is no duration; write 500ms, 2s, 10m, 1h30m or 7d')
    return sum(float(amount) * _SECONDS[unit] for amount, unit in _PART.findall(text))


Size = Annotated[
    int,
    BeforeValidator(read_size),
    WithJsonSchema({"type": ["string", "integer"], "description": "Bytes: 16MB, 64KiB.", "examples": ["16MB"]}),
]
Duration = Annotated[
    float,
    BeforeValidator(read_duration),
    WithJsonSchema({"type": ["string", "number"], "description": "A time: 2s, 10m, 7d.", "examples": ["2s"]}),
]
