"""The worklist of codes that had no target: what a terminologist should map next, the most frequent first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_CODE = "code "
_LONGEST = 200  # characters of an entry: a text in a code's place must not fill the ledger


def entry(map_name: str, system: str, code: str) -> str:
    """A code without a target, as the loss ledger of a journal keeps it beside the paths of fields: ``code MAP SYSTEM|CODE``."""
    return f"{_CODE}{map_name} {system}|{code}"[:_LONGEST]


def read_entry(text: str) -> tuple[str, str, str] | None:
    """Map, system and code of an entry; None where it is the path of a field."""
    if not text.startswith(_CODE):
        return None
    map_name, _, coding = text.removeprefix(_CODE).partition(" ")
    system, _, code = coding.partition("|")
    return map_name, system, code


@dataclass(frozen=True, slots=True)
class Missing:
    """A code without a target. ``example`` is the id of a message that has it."""

    map: str
    system: str
    code: str
    count: int
    example: str


@dataclass
class Worklist:
    """Counts unmapped codes by map, system and code; keeps the first message's id as the example."""

    _counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _examples: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def add(self, map_name: str, system: str, code: str, message_id: str) -> None:
        """Count one occurrence."""
        key = (map_name, system, code)
        self._counts[key] += 1
        self._examples.setdefault(key, message_id)

    def missing(self) -> list[Missing]:
        """All of them, the most frequent first, then by name."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return [Missing(*key, count, self._examples[key]) for key, count in ordered]
