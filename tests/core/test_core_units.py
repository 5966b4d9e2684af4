"""Sizes and durations as people write them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from interop_engine.core.units import Duration, Size

SIZE, DURATION = TypeAdapter[int](Size), TypeAdapter[float](Duration)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16MB", 16_000_000),
        ("64KiB", 65_536),
        ("1.5 GB", 1_500_000_000),
        ("512", 512),
        ("512B", 512),
        ("16mb", 16_000_000),
        (7, 7),
    ],
)
def test_sizes(text: object, expected: int) -> None:
    """Bytes: decimal units, and binary ones by their own names."""
    assert SIZE.validate_python(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("500ms", 0.5), ("2s", 2), ("10m", 600), ("1h30m", 5400), ("7d", 604_800), ("1.5h", 5400), (3, 3)]
)
def test_durations(text: object, expected: float) -> None:
    """Seconds; a bare number in text has no unit and is refused."""
    assert DURATION.validate_python(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "16 apples", "-1MB", "MB", "1,5MB", "١MB"])
def test_what_is_no_size(text: str) -> None:
    """The mistake says how to write it."""
    with pytest.raises(ValidationError, match="write 16MB"):
        SIZE.validate_python(text)


@pytest.mark.parametrize("text", ["", "2", "2 s 3", "soon", "-2s", "2w"])
def test_what_is_no_duration(text: str) -> None:
    """The mistake says how to write it."""
    with pytest.raises(ValidationError, match="write 500ms"):
        DURATION.validate_python(text)
