"""Whom a message is about, before it is mapped: the lanes that keep its order. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from interop_engine.mapping.context import Context
from interop_engine.mapping.functions import own_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interop_engine.config.site import ChannelConfig
    from interop_engine.hl7.message import Message

MOST_LANES: Final = 500
"""Of one message or bundle. Each is looked at whenever one that shares it comes or goes, and all go along over the exchange."""
_PATIENT_FIELDS = (("PID", 3), ("MRG", 1))


def lanes_of(message: Message, channel: ChannelConfig) -> tuple[str, ...]:
    """The lanes of a message: one a patient, the channel's own (empty text) where it names none.

    A merge names two patients and so waits for both, and both wait for it.
    """
    if channel.options.order == "none":
        return ()
    if channel.options.order == "channel":
        return ("",)
    return tuple(dict.fromkeys(_patients(message, channel))) or ("",)


def is_crowd(message: Message, channel: ChannelConfig) -> bool:
    """Whether a message names more patients than can wait for one another, see ``MOST_LANES``."""
    named = sum(len(message.all(name)) for name, _ in _PATIENT_FIELDS)
    return named > MOST_LANES and len(lanes_of(message, channel)) > MOST_LANES


def _patients(message: Message, channel: ChannelConfig) -> Iterator[str]:
    context = Context(channel.scope)
    for name, field in _PATIENT_FIELDS:
        for segment in message.all(name):
            numbers = segment.repetitions(field)
            if (own := own_number(numbers, context) or next((each for each in numbers if each.text), None)) is not None:
                yield own.text
