"""What holds for every connector that a channel file can name."""

from __future__ import annotations

import pytest

from interop_engine.connectors.addresses import allowed, networks, read_address, written
from interop_engine.connectors.registry import DESTINATIONS, SOURCES

OPTIONS = {
    **{f"source {name}": each[0] for name, each in SOURCES.items()},
    **{name: each[0] for name, each in DESTINATIONS.items()},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_described(name: str) -> None:
    """A model's docstring and each field's description are the reference page; the JSON Schema can be made."""
    model = OPTIONS[name]
    assert model.__doc__
    assert [field for field, info in model.model_fields.items() if not info.description] == []
    assert model.model_json_schema()["additionalProperties"] is False


def test_addresses() -> None:
    """Host and port; IPv6 in brackets."""
    assert read_address("0.0.0.0:2575") == ("0.0.0.0", 2575)
    assert read_address("[::1]:2575") == ("::1", 2575)
    assert [written(*read_address(text)) for text in ("0.0.0.0:2575", "[::1]:2575")] == ["0.0.0.0:2575", "[::1]:2575"]


def test_networks() -> None:
    """IPv4 in IPv6 is IPv4; without networks everyone may come."""
    among = networks(["10.20.0.0/16", "::1"])
    assert [allowed(host, among) for host in ("10.20.3.4", "::ffff:10.20.3.4", "::1", "10.21.0.1", "fe80::1%eth0")] == [
        *(True, True, True, False, False)
    ]
    assert allowed("192.0.2.1", ())
