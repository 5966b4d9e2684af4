"""A bundle that another node made: checked, and handed on byte for byte. Reconciling was done where HL7 v2 was read. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interop_engine.core.model import Received, new_id
from interop_engine.engine.transform import Parked, invalid
from interop_engine.fhir import bundle
from interop_engine.journal.base import Forward, NewDelivery

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig


def forward(received: Received, channel: ChannelConfig) -> Forward | Parked:
    """The bundle to every destination of the channel; parked where it is not a valid bundle."""
    try:
        content = bundle.decode(received.data)
    except (msgspec.DecodeError, ValueError) as error:
        return Parked("invalid-bundle", f"The body is not a FHIR resource in JSON: {type(error).__name__}")
    if content.get("resourceType") != "Bundle":
        return Parked("invalid-bundle", "The body is not a Bundle.")
    if (fault := invalid(content)) is not None:
        return fault
    headers = {name: value for name, value in received.headers.items() if name in _KEPT}
    return Forward(
        deliveries=tuple(
            NewDelivery(new_id(), each.name, received.lanes, received.data, "fhir", headers) for each in channel.destinations
        )
    )


_KEPT = frozenset({"sender", "kind", "event", "control-digest", "config", "mapping", "delivery-id"})
