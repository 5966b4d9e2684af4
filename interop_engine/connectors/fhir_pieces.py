"""The requests that a Bundle goes to a FHIR server in, as that server can take it. Pure: bytes in, requests out.

``transaction``: as it is, all or nothing. ``split``: what refers to something goes after it (Patient, then orders and specimens,
then observations, then the report, then Provenance), each piece a transaction that is settled before the next is sent. ``batch``:
entries that the server takes or refuses one by one, in the same order.

Resources that refer to each other in a circle (two merged patients, an encounter and its diagnosis) stay together as far as the
server's limit allows.

Nothing durable says which pieces were taken, and nothing need: the bytes of a delivery are fixed, every entry is an update by an
id or an identifier, and nothing later of the lane is sent before. After a crash all of them go again, and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from interop_engine.connectors.fhir_keys import Keys, Unnamed, by_key
from interop_engine.core.model import Park
from interop_engine.fhir.bundle import decode, encode, references

Cut = Literal["transaction", "batch", "split"]
Write = Literal["put", "conditional"]

NO_BUNDLE = Park("not-a-bundle", "a FHIR server is sent Bundles, and this is none")


@dataclass(frozen=True, slots=True)
class Piece:
    """One request, to the base URL unless it has a ``path``. ``names``: ``Type/id`` of each entry whose answer is expected.

    Without ``entries`` the request's body is what it is: a Bundle as it was stored, or with a ``path`` a resource by itself.
    """

    body: bytes
    names: tuple[str, ...]
    path: str = ""
    entries: tuple[bytes, ...] = ()

    def only(self, numbers: Sequence[int]) -> bytes:
        """The body with some of its entries."""
        if len(numbers) == len(self.names):
            return self.body
        return _bundle("batch", [self.entries[number] for number in numbers])


@dataclass(frozen=True, slots=True)
class Cutting:
    """How a server wants its Bundles. ``entries``: the most it takes in one, 0 for any number."""

    cut: Cut = "transaction"
    entries: int = 0
    write: Write = "put"
    keys: Keys = field(default_factory=dict)

    def pieces(self, body: bytes) -> tuple[Piece, ...] | Park:
        """The requests for a Bundle, in the order they are to be sent."""
        if self.cut == "transaction" and self.write == "put":
            names = _names(body)
            return NO_BUNDLE if names is None else (Piece(body, names),)
        try:
            bundle = decode(body)
        except (ValueError, msgspec.DecodeError):
            return NO_BUNDLE
        entries = bundle.get("entry", [])
        if bundle.get("resourceType") != "Bundle" or not _are_entries(entries):
            return NO_BUNDLE
        groups = list(self._groups(entries))
        if self.write == "conditional" and len(groups) > 1 and (pair := _torn(groups)) is not None:
            why = f"{pair[0]} and {pair[1]} refer to each other, so they must go in one request"
            return Park("fhir-key", f"{why}; entries: {self.entries} parts them")
        try:
            return tuple(self._piece(group) for group in groups)
        except Unnamed as unnamed:
            return Park("fhir-key", str(unnamed))

    def _groups(self, entries: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
        if self.cut == "transaction":
            yield entries
            return
        layers = _layers(entries)
        if self.cut == "batch":
            layers = [[entry for layer in layers for entry in layer]]
        for layer in layers:
            most = self.entries or max(len(layer), 1)
            yield from (layer[start : start + most] for start in range(0, len(layer), most))

    def _piece(self, entries: Sequence[Mapping[str, Any]]) -> Piece:
        names = tuple(_name(entry) for entry in entries)
        if self.write == "conditional":
            entries = by_key(entries, self.keys)
        if self._alone(entries):
            return Piece(encode(entries[0]["resource"]), names, path=entries[0]["request"]["url"])
        encoded = tuple(encode(dict(entry)) for entry in entries)
        kind: Literal["transaction", "batch"] = "batch" if self.cut == "batch" else "transaction"
        return Piece(_bundle(kind, encoded), names, entries=encoded)

    def _alone(self, entries: Sequence[Mapping[str, Any]]) -> bool:
        """Whether an entry goes by itself, to a server that has no transactions."""
        if (self.cut, self.entries, self.write, len(entries)) != ("split", 1, "put", 1):
            return False
        return bool(entries[0].get("request", {}).get("method") == "PUT" and "resource" in entries[0])


class _Request(msgspec.Struct):
    url: str = ""


class _Entry(msgspec.Struct):
    request: _Request | None = None


class _Bundle(msgspec.Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's name
    entry: list[_Entry] = []


def _names(body: bytes) -> tuple[str, ...] | None:
    """What each entry writes, read without the resources; None where it is no Bundle."""
    try:
        found = msgspec.json.decode(body, type=_Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found.resourceType != "Bundle":
        return None
    return tuple(entry.request.url if entry.request else "" for entry in found.entry)


def _are_entries(entries: Any) -> bool:
    """Whether they have the shape of entries: what is relayed was made elsewhere."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return False
    return all(isinstance(entry.get(part, {}), dict) for entry in entries for part in ("request", "resource"))


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("request", {}).get("url", ""))


def _bundle(kind: Literal["transaction", "batch"], entries: Sequence[bytes]) -> bytes:
    return encode({"resourceType": "Bundle", "type": kind, "entry": [msgspec.Raw(entry) for entry in entries]})


def _layers(entries: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The entries in layers that refer only to themselves and to layers before; within one, in the order they stand in."""
    at = {_name(entry): number for number, entry in enumerate(entries)}
    waits = [
        {at[ref["reference"]] for _, ref in references(entry.get("resource", {})) if ref["reference"] in at} - {number}
        for number, entry in enumerate(entries)
    ]
    left = set(range(len(entries)))
    layers = []
    while left:
        ready = {number for number in left if not waits[number] & left} or _circle(left, waits)
        layers.append([entries[number] for number in sorted(ready)])
        left -= ready
    return layers


def _torn(groups: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[str, str] | None:
    """An entry, and one that it refers to although it goes later: no server can know by then what it is to refer to."""
    coming = {_name(entry) for group in groups for entry in group}
    for group in groups:
        coming -= {_name(entry) for entry in group}
        for entry in group:
            for _, reference in references(entry.get("resource", {})):
                if reference["reference"] in coming:
                    return _name(entry), reference["reference"]
    return None


def _circle(left: set[int], waits: Sequence[set[int]]) -> set[int]:
    """Those that wait for each other (two patients linked by a merge), without those that only wait for them."""
    core = set(left)
    while idle := core - {other for number in core for other in waits[number]}:
        core -= idle
    return core
