"""Messages kept between their arrival and their transformation."""

from __future__ import annotations

import pytest

from interop_engine.engine import parsed
from interop_engine.engine.parsed import Parsed
from interop_engine.hl7.message import parse

MESSAGE = b"MSH|^~\\&|LIS|BV24001|||||ACK|1|P|2.5\r"


def test_a_message_is_given_once_and_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by what was received; who asks twice, or late, parses again."""
    monkeypatch.setattr(parsed, "_MOST_BYTES", 2 * len(MESSAGE))
    kept = Parsed()
    messages = [parse(MESSAGE) for _ in range(3)]
    for number, message in enumerate(messages):
        kept.put(str(number), message)
    assert [kept.take(str(number)) for number in (0, 1, 2, 2)] == [None, messages[1], messages[2], None]
