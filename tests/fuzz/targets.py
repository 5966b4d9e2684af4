"""One function a reader: it takes any bytes, and raises AssertionError where the reader does what it never may."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from interop_engine.core import yaml
from interop_engine.core.errors import ParseError
from interop_engine.hl7.ack import acknowledge, read_ack, recover
from interop_engine.hl7.batch import split_batch
from interop_engine.hl7.framing import Decoder, Frame
from interop_engine.hl7.message import parse
from tests.support.mllp import AT

_SMALL = 64  # bytes: a limit that many inputs pass


def framing(data: bytes) -> None:
    """Frames do not depend on how the bytes came, and the decoder holds no more than its limit and a packet."""
    size = 1 + data[0] % 9 if data else 1
    whole = Decoder(max_frame=len(data) + 1)
    pieces = Decoder(max_frame=len(data) + 1)
    small = Decoder(max_frame=_SMALL)
    at_once = [event.data for event in whole.feed(data) if isinstance(event, Frame)]
    one_by_one = []
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        one_by_one += [event.data for event in pieces.feed(piece) if isinstance(event, Frame)]
        assert all(len(event.data) <= _SMALL for event in small.feed(piece) if isinstance(event, Frame))
        assert len(small._buffer) <= _SMALL + size + 2
    assert at_once == one_by_one
    whole.close()
    assert not whole.inside


def message(data: bytes) -> None:
    """A message is read, to its last subcomponent, or refused with a ParseError; it can be acknowledged either way."""
    try:
        found = parse(data)
    except ParseError:
        acknowledge(recover(data), "AR", control_id="1", at=AT)
        return
    for segment in found.segments:
        for number in range(1, 6):
            for value in segment.repetitions(number):
                assert isinstance(value.text, str)
    assert read_ack(acknowledge(found, "AA", control_id="1", at=AT)).code == "AA"
    assert split_batch(data)


def document(data: bytes) -> None:
    """YAML is read to plain text, lists and dicts, or there is a mistake that says where."""
    found = yaml.load(data.decode("utf-8", "replace"), "fuzz.yaml")
    assert _plain(found.data)
    assert all(mistake.mark.line >= 1 and mistake.mark.column >= 1 for mistake in found.mistakes)


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(each) for key, each in value.items())
    if isinstance(value, list):
        return all(_plain(each) for each in value)
    return value is None or isinstance(value, str)


def answer(data: bytes) -> None:
    """What a receiver answers is an acknowledgement, or refused with a ParseError."""
    with contextlib.suppress(ParseError):
        assert isinstance(read_ack(data).code, str)


TARGETS: dict[str, Callable[[bytes], None]] = {each.__name__: each for each in (framing, message, document, answer)}
