"""Writing to a FHIR server that gives out its own ids: conditional updates (https://hl7.org/fhir/R4/http.html#cond-update).

Each entry becomes ``PUT Type?identifier=system|value``, its resource goes without our id, and references that lead to another
entry of the request become its ``urn:uuid``. A reference out of the request becomes a conditional one, ``Type?identifier=…``,
which the server resolves (http.html#trules): unchanged resources are left out of Bundles, so there are many.

What a resource is called at the server is decided by **our URL of it**, its fullUrl. It travels as one more identifier of the
system ``urn:ietf:rfc:3986`` (that of URIs), or as a tag of that system where R4 gives a type no list of identifiers (Provenance).
The site may name the system of a business identifier to be the key of a type; then what others wrote under it is found, too.
References always go by our URL, which every resource that we wrote carries.

There is no conditional create: two at once would both create, and an id that the server gave is never ours to name.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from interop_engine.fhir import definitions
from interop_engine.fhir.bundle import references

Keys = Mapping[str, str]
"""Resource type → the system of the identifier that is its key; a ``*`` in it stands for any characters."""

_URI = "urn:ietf:rfc:3986"
_LOCAL = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9.-]{1,64})")
_SPECIAL = re.compile(r"([\\,$|])")  # escaped in a search value: https://hl7.org/fhir/R4/search.html#escaping


class Unnamed(Exception):  # noqa: N818 - what a bundle lacks, not an accident
    """A resource cannot be told from others at the server."""


def by_key(entries: Sequence[Mapping[str, Any]], keys: Keys) -> list[dict[str, Any]]:
    """The entries of one request, rewritten; the resources given are changed. Raises Unnamed."""
    bases = {_base(entry) for entry in entries}
    if len(bases) != 1:
        raise Unnamed("the entries' fullUrls are of several bases, so references do not say what they lead to")
    base = bases.pop()
    inside = {name: f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{base}/{name}')}" for name in map(_local, entries)}
    return [_rewritten(entry, base, inside, keys) for entry in entries]


def _rewritten(entry: Mapping[str, Any], base: str, inside: Mapping[str, str], keys: Keys) -> dict[str, Any]:
    name = _local(entry)
    kind, _, _ = name.partition("/")
    resource = entry["resource"]
    del resource["id"]
    for _, reference in references(resource):
        target = reference["reference"].removeprefix(f"{base}/")
        if target in inside:
            reference["reference"] = inside[target]
        elif (found := _LOCAL.fullmatch(target)) is not None and definitions.is_resource(found[1]):
            reference["reference"] = _query(found[1], "", f"{base}/{target}")
    key = _business_key(resource, kind, keys)
    _sign(resource, kind, f"{base}/{name}")
    url = _query(kind, *key) if key is not None else _query(kind, "", f"{base}/{name}")
    return {"fullUrl": inside[name], "resource": resource, "request": {"method": "PUT", "url": url}}


def _business_key(resource: Mapping[str, Any], kind: str, keys: Keys) -> tuple[str, str] | None:
    """The identifier that is the key of its type, None where the site names none or the resource has none of that system."""
    if kind not in keys or not _has_identifiers(kind):
        return None
    found = {
        (identifier["system"], identifier["value"])
        for identifier in resource.get("identifier", ())
        if identifier.get("value") and identifier.get("system") and fnmatchcase(identifier["system"], keys[kind])
    }
    if len(found) > 1:
        raise Unnamed(f"{kind} has {len(found)} identifiers of the system that is its key, so none of them tells it from others")
    return found.pop() if found else None


def _sign(resource: dict[str, Any], kind: str, url: str) -> None:
    """Let the resource carry our URL of it."""
    if _has_identifiers(kind):
        resource["identifier"] = [*resource.get("identifier", ()), {"system": _URI, "value": url}]
    else:
        meta = resource.get("meta", {})
        resource["meta"] = {**meta, "tag": [*meta.get("tag", ()), {"system": _URI, "code": url}]}


def _query(kind: str, system: str, value: str) -> str:
    """The search that finds one resource; without a system, by our URL of it."""
    parameter = "identifier" if system or _has_identifiers(kind) else "_tag"
    escaped = "|".join(_SPECIAL.sub(r"\\\1", part) for part in (system or _URI, value))
    return f"{kind}?{parameter}={quote(escaped, safe='')}"


def _has_identifiers(kind: str) -> bool:
    element = definitions.element(kind, "identifier")
    return element is not None and element.repeats


def _local(entry: Mapping[str, Any]) -> str:
    resource = entry.get("resource", {})
    return f"{resource.get('resourceType', '')}/{resource.get('id', '')}"


def _base(entry: Mapping[str, Any]) -> str:
    """The base of an entry's fullUrl, which must end as the resource is called."""
    url, end = str(entry.get("fullUrl", "")), f"/{_local(entry)}"
    if _LOCAL.fullmatch(end[1:]) is None or not url.endswith(end) or url == end:
        raise Unnamed("an entry without a fullUrl that ends in its type and id has no name that the server could know it by")
    return url.removesuffix(end)
