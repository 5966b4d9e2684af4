"""A broker's URL: what is refused at the start, and what is shown of it."""

from __future__ import annotations

import pytest

from interop_engine.core.errors import ExchangeError
from interop_engine.exchange import open_exchange
from interop_engine.exchange.rabbitmq.address import read_address


@pytest.mark.parametrize(
    "url",
    [
        "amqp://node:secret@broker.example/",  # patient data in clear
        "amqps://guest:guest@broker.example/",
        "amqps://broker.example/",  # libraries fill in guest/guest
        "amqps://gu%65st:guest@broker.example/",
        "amqps://node:secret@broker.example/?no_verify_ssl=1",
        "amqp://node:secret@127.0.0.1.example/",
        "amqp://node:secret@10.0.0.5/",
        "http://node:secret@127.0.0.1/",
        "amqp:///secret",
        "amqp://node:secret@127.0.0.1:port/",
        "secret",
        "",
        "amqp://node:secret@127.0.0.1,/",
        "amqp://node:secret@127.0.0.1,127.0.0.1:port/",
        "amqp://node:secret@127.0.0.1,broker.example/",  # one of them in clear
        "amqps://guest:guest@127.0.0.1,broker.example/",
    ],
)
def test_an_open_door_is_refused_without_repeating_the_url(url: str) -> None:
    """Default credentials, plain AMQP and unchecked certificates off this machine do not start; no message holds the URL."""
    with pytest.raises(ExchangeError) as refusal:
        open_exchange(url)
    assert "secret" not in str(refusal.value)
    assert "broker.example" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("amqp://guest:guest@127.0.0.1/", "amqp://127.0.0.1:5672"),
        ("amqp://localhost", "amqp://localhost:5672"),
        ("amqp://node:secret@[::1]:5673/hospital", "amqp://[::1]:5673/hospital"),
        ("amqps://node:secret@broker.example/?cafile=/etc/ca.pem", "amqps://broker.example:5671"),
        ("amqps://node:secret@one, two:5681,[fe80::1]:5/hospital", "amqps://one:5671,two:5681,[fe80::1]:5/hospital"),
    ],
)
def test_the_location_shows_no_credentials(url: str, location: str) -> None:
    """What is logged and shown is scheme, host, port and virtual host."""
    address = read_address(url, allow_plain=False)
    assert address.location == location
    assert "secret" not in repr(address)


def test_each_node_of_a_cluster_has_a_url() -> None:
    """User, virtual host and options are the same for all; ports may differ."""
    address = read_address("amqps://n%40de:s%2Fecret@one,two:5681/hospital?cafile=/etc/ca.pem", allow_plain=False)
    assert address.urls == tuple(f"amqps://n%40de:s%2Fecret@{host}/hospital?cafile=/etc/ca.pem" for host in ("one", "two:5681"))
    assert address.locations == ("amqps://one:5671/hospital", "amqps://two:5681/hospital")
    assert address.user == "n@de"


def test_plain_amqp_off_this_machine_can_be_allowed() -> None:
    """A private network may be allowed in words; default credentials may not."""
    assert read_address("amqp://node:secret@broker.example/", allow_plain=True).location == "amqp://broker.example:5672"
    with pytest.raises(ExchangeError, match="guest"):
        read_address("amqp://guest:guest@broker.example/", allow_plain=True)
