"""Parser, encoder and acknowledgements on messages that nobody of the project wrote."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from interop_engine.core.errors import ParseError
from interop_engine.hl7.ack import acknowledge, is_ack, read_ack, recover, recover_control_id
from interop_engine.hl7.batch import split_batch
from interop_engine.hl7.message import Message, parse
from tests.support.needs import require

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
AT = datetime(2024, 1, 31, tzinfo=UTC)


def messages() -> list[tuple[str, bytes]]:
    """Each message by its file's name, batches split."""
    require(CORPUS.is_dir(), "the corpus of public messages beside the project")
    return [(path.name, data) for path in sorted(CORPUS.rglob("*.hl7")) for data in split_batch(path.read_bytes())]


def parsed(data: bytes) -> Message | None:
    """The message, None where it is refused."""
    try:
        return parse(data)
    except ParseError:
        return None


def test_each_is_read_whole_or_refused() -> None:
    """Every line is a segment, every segment is encoded again as it was, and few are refused."""
    refused = []
    for name, data in messages():
        message = parsed(data)
        if message is None:
            refused.append(name)
            continue
        lines = [line for line in re.split(rb"[\r\n]+", data.removeprefix(b"\xef\xbb\xbf").lstrip()) if line]
        assert message.encode() == b"\r".join(lines) + b"\r", name
        for segment in message.segments:
            for number in range(1, len(segment.fields)):
                values = segment.repetitions(number)
                assert message.delimiters.repetition.join(value.raw for value in values) == segment.raw(number), name
                assert all(value.text in value.whole or value.deleted for value in values), name
    assert len(refused) < 12, refused


def test_each_is_acknowledged() -> None:
    """An ACK can be made for each, names its control id, and is never acknowledged itself."""
    for name, data in messages():
        message = parsed(data)
        ack = acknowledge(message or recover(data), "AA" if message else "AR", control_id="1", at=AT)
        control_id = message.control_id if message else recover_control_id(data)
        assert read_ack(ack).control_id == control_id, name
        assert is_ack(parse(ack, charset=message.charset if message else "latin-1")), name
