"""A parcel's properties as they go on the wire."""

from __future__ import annotations

import pytest
from pamqp.commands import Basic

from interop_engine.exchange.base import Parcel
from interop_engine.exchange.rabbitmq import wire


@pytest.mark.parametrize("body", [b"{}", b" " * 5_000], ids=["plain", "compressed"])
@pytest.mark.parametrize("headers", [{}, {"lane": "a\nNguyễn", "event": "", "x" * 200: "y"}], ids=["none", "some"])
def test_properties_are_encoded_as_the_library_does(body: bytes, headers: dict[str, str]) -> None:
    """The short way gives the very bytes of the long one."""
    _, properties = wire.pack(Parcel("d1", "24001", "hub", "lab", body, "fhir", headers), "interop")
    assert properties.marshal() == Basic.Properties.marshal(properties)
