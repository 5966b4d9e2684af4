"""Whom and what a message is about, before it is mapped: the lanes that keep its order, the keys it is searched by. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interop_engine.mapping.context import Context
from interop_engine.mapping.functions import own_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interop_engine.config.site import ChannelConfig
    from interop_engine.hl7.message import Message

_PATIENT_FIELDS = (("PID", 3), ("MRG", 1))
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


def lanes_of(message: Message, channel: ChannelConfig) -> tuple[str, ...]:
    """The lanes of a message: one a patient, the channel's own (empty text) where it names none.

    A merge names two patients and so waits for both, and both wait for it.
    """
    if channel.options.order == "none":
        return ()
    if channel.options.order == "channel":
        return ("",)
    return tuple(dict.fromkeys(_patients(message, channel))) or ("",)


def _patients(message: Message, channel: ChannelConfig) -> Iterator[str]:
    context = Context(channel.scope)
    for name, field in _PATIENT_FIELDS:
        for segment in message.all(name):
            numbers = segment.repetitions(field)
            if (own := own_number(numbers, context) or next((each for each in numbers if each.text), None)) is not None:
                yield own.text


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
