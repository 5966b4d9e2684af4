"""Addresses as people write them."""

from __future__ import annotations

import pytest

from interop_engine.core.address import read_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:2575", ("127.0.0.1", 2575)),
        ("[::1]:2575", ("::1", 2575)),
        ("lis.example:1", ("lis.example", 1)),
        (":2575", ("127.0.0.1", 2575)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, expected: tuple[str, int]) -> None:
    """Names, both kinds of addresses, and a port alone for this machine."""
    assert read_address(text) == expected


@pytest.mark.parametrize("text", ["", "localhost", "2575", "host:", "host:port", "::1:2575", "host:70000", "host:²"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """A bare IPv6 address would be ambiguous."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        read_address(text)
