"""Ten thousand inputs a reader, made from pieces of what it expects; ``python -m tests.fuzz`` goes on where these end."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

_PIECES = {
    "framing": [b"\x0b", b"\x1c", b"\r", b"\n", b"\x1c\r", b"MSH|^~\\&|", b"\x00", b"x" * 70],
    "message": [
        b"MSH|^~\\&|",
        b"MSH",
        b"|",
        b"^",
        b"~",
        b"\\",
        b"&",
        b"\r",
        b"\n",
        b"OBX|1|NM",
        b"\\X0D\\",
        b"\\E\\",
        b"UNICODE UTF-8",
    ],
    "document": [
        b": ",
        b"- ",
        b"\n",
        b"  ",
        b"a",
        b"[",
        b"]",
        b"{",
        b"}",
        b"&a",
        b"*a",
        b"!!str",
        b"'",
        b'"',
        b"|",
        b"#",
        b"<<",
        b"~",
    ],
    "answer": [b"MSH|^~\\&|||||||ACK|1|P|2.5\r", b"MSA|", b"AA", b"|", b"\r", b"ERR|", b"^", b"MSA|AA|M1\r", b"~", b"&"],
}


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes(name: str, scale: int) -> None:
    """No input makes a reader raise what it does not say, or return what it must not."""
    pieces = _PIECES[name]

    @settings(max_examples=10_000 * scale, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.binary(max_size=48))
    def explore(chosen: bytes) -> None:
        TARGETS[name](b"".join(pieces[each % len(pieces)] if each < 192 else bytes([each - 192]) for each in chosen))

    explore()


@pytest.mark.parametrize("name", TARGETS)
def test_what_once_was_found(name: str) -> None:
    """Inputs that were hard: nothing, the smallest of each kind, and each piece alone."""
    for data in (b"", b"\x00", b"\xff\xfe", b"MSH", b"MSH|^~\\&", b"\x0b\x1c\r", *_PIECES[name]):
        TARGETS[name](data)
