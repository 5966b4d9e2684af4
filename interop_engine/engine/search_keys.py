"""What a message is found by: the numbers an operator types. Pure, and apart from what reads mappings: a listing needs it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interop_engine.hl7.message import Message

# What an operator types to find a message: the kind, and the fields that hold such a number.
_SEARCHED = (
    ("patient", "PID", 3),
    ("patient", "MRG", 1),
    ("order", "ORC", 2),
    ("order", "ORC", 3),
    ("order", "OBR", 2),
    ("order", "OBR", 3),
    ("accession", "OBR", 18),
    ("visit", "PV1", 19),
)
KINDS = tuple(dict.fromkeys(kind for kind, _, _ in _SEARCHED))
_MOST_KEYS = 200  # of one message: a catalogue of a thousand orders is found by its control id


def search_keys(message: Message) -> tuple[tuple[str, str], ...]:
    """(kind, value) pairs; of patients every number they came with."""
    found: dict[tuple[str, str], None] = {}
    for key in _keys(message):
        found[key] = None
        if len(found) == _MOST_KEYS:
            break
    return tuple(found)


def _keys(message: Message) -> Iterator[tuple[str, str]]:
    for kind, name, field in _SEARCHED:
        for segment in message.all(name):
            for value in segment.repetitions(field):
                if text := value.text:
                    yield kind, text
