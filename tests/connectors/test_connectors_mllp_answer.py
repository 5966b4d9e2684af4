"""What comes back for a message, as bytes: its answer, or what came instead, told without its content."""

from __future__ import annotations

import pytest

from interop_engine.connectors.mllp_answer import Answer, Expected
from interop_engine.core.model import Retry
from interop_engine.hl7.ack import Ack, acknowledge
from interop_engine.hl7.framing import Decoder, frame
from interop_engine.hl7.message import parse
from tests.support.mllp import AT, message

ANSWER = acknowledge(parse(message("A123")), "AA", control_id="1", at=AT)
ACCEPTED = ANSWER.replace(b"MSA|AA", b"MSA|CA")


def answer(*, application: bool = False) -> Answer:
    """The answer to message A123, of which nothing has come yet."""
    return Answer(Expected("A123", application), Decoder(max_frame=100_000))


@pytest.mark.parametrize(
    ("reply", "came"),
    [
        (b"", ""),
        (b"\r\n", ""),
        (b"\x0b" + ANSWER, "a frame that does not end"),
        (b"\x0b" + ANSWER + b"\x1c", "a frame that ends in 1C without 0D"),
        (b"\x0b" + ANSWER + b"\x1c\n", "a frame that ends in 1C 0A, not in 1C 0D"),
        (ANSWER, f"{len(ANSWER) - ANSWER.count(13)} bytes in no frame"),
        (b"\x15", "1 bytes in no frame"),
        (frame(ANSWER.replace(b"A123", b"")), "an answer whose MSA-2 is empty"),
        (frame(ANSWER.replace(b"A123", b"A12")), "an answer whose MSA-2 is cut off after 3 characters"),
        (frame(ANSWER.replace(b"A123", b"A999")), "an answer whose MSA-2 names another message"),
        (b"\x0b\x06\x1c\r", "the commit byte of MLLP release 2 alone"),
    ],
)
def test_what_came_instead_of_an_answer_is_told(reply: bytes, came: str) -> None:
    """Its people hear what is wrong with what it sent, however it was cut into packets."""
    whole, cut = answer(), answer()
    assert whole.feed(reply) is None
    assert [cut.feed(reply[i : i + 1]) for i in range(len(reply))] == [None] * len(reply)
    for each in (whole, cut):
        assert each.none("no answer") == (f"no answer; what came is {came}" if came else "no answer")


def test_the_accept_acknowledgement_alone() -> None:
    """Where the application's answer decides, CA is not it; what follows is."""
    waiting = answer(application=True)
    assert waiting.feed(frame(ACCEPTED)) is None
    assert waiting.none("no answer") == "no answer; what came is its accept acknowledgement alone"
    assert waiting.feed(frame(ANSWER)) == Ack("AA", "A123")
    assert answer().feed(frame(ACCEPTED)) == Ack("CA", "A123")


@pytest.mark.parametrize(
    ("reply", "code"), [(b"\x0b\x15\x1c\r", "nak"), (frame(b"OK"), "bad-ack"), (b"\x0b" + b"x" * 100_100, "bad-ack")]
)
def test_what_ends_the_waiting(reply: bytes, code: str) -> None:
    """A NAK of release 2, what is no acknowledgement, a huge one: no answer will come."""
    found = answer().feed(reply)
    assert isinstance(found, Retry)
    assert found.code == code
