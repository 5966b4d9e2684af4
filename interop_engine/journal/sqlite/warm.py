"""What was just written is usually read next: kept in memory for a while, so that it need not be read back."""

from __future__ import annotations

from typing import Generic, TypeVar

_MOST_BYTES = 32 << 20

T = TypeVar("T")


class Warm(Generic[T]):
    """Values by row number, the oldest forgotten first when their sizes sum to more than 32 MiB."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[int, T]] = {}
        self._bytes = 0

    def put(self, seq: int, size: int, value: T) -> None:
        """Keep a value of so many bytes."""
        self._values[seq] = (size, value)
        self._bytes += size
        while self._bytes > _MOST_BYTES:
            oldest = next(iter(self._values))
            self._bytes -= self._values.pop(oldest)[0]

    def get(self, seq: int) -> T | None:
        """The value, still kept; None where it was forgotten."""
        found = self._values.get(seq)
        return None if found is None else found[1]

    def take(self, seq: int) -> T | None:
        """The value, no longer kept; None where it was forgotten."""
        if (found := self._values.pop(seq, None)) is None:
            return None
        self._bytes -= found[0]
        return found[1]
