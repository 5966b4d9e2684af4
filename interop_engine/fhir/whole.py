"""Rules that need more than one element: contained resources, and bundles as a whole.

https://hl7.org/fhir/R4/references.html#contained, https://hl7.org/fhir/R4/bundle.html. They run once the structure is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from interop_engine.fhir.bundle import references
from interop_engine.fhir.references import Reading, read_reference

Json = dict[str, Any]
Problem = tuple[str, str, str]  # path below the element, message, issue code


class Pointer(NamedTuple):
    """A reference met on the way that only its surroundings can resolve."""

    element: Json
    reading: Reading
    targets: tuple[str, ...]


_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")
_WITH_REQUEST = frozenset({"batch", "transaction", "history"})
_WITH_RESPONSE = frozenset({"batch-response", "transaction-response", "history"})
_MAY_LACK_URL = frozenset({"batch", "transaction", "batch-response", "transaction-response"})
_WRITES = frozenset({"transaction", "batch"})


# --- Contained resources --------------------------------------------------------------------------------------------


def contained_problems(resource: Json, pointers: Sequence[Pointer]) -> Iterator[Problem]:
    """ref-1 and dom-2 to dom-5 of a resource that is not itself contained."""
    inner = resource.get("contained", [])
    by_id = {one["id"]: one for one in inner if "id" in one}
    for pointer in pointers:
        if (target := pointer.reading.target) and target not in by_id:
            yield _where(resource, pointer), "ref-1: the local reference has no contained resource", "not-found"
        elif pointer.targets and (by_id[target] if target else resource)["resourceType"] not in pointer.targets:
            yield _where(resource, pointer), "refers to a resource of a type that may not stand here", "structure"
    for index, one in enumerate(inner):
        path, meta = f".contained[{index}]", one.get("meta", {})
        if "contained" in one:
            yield path, "dom-2: a contained resource SHALL NOT contain resources", "invariant"
        if f"#{one.get('id')}" not in set(_strings(resource)) and "#" not in set(_strings(one)):
            yield path, "dom-3: a contained resource SHALL be referred to from elsewhere in the resource", "invariant"
        if "versionId" in meta or "lastUpdated" in meta:
            yield f"{path}.meta", "dom-4: a contained resource SHALL NOT have a versionId or lastUpdated", "invariant"
        if "security" in meta:
            yield f"{path}.meta", "dom-5: a contained resource SHALL NOT have a security label", "invariant"


def _strings(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, str):
            yield current
        elif isinstance(current, dict):
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(current)


def _where(resource: Json, pointer: Pointer) -> str:
    """The path of a reference, found again by its identity: only faults pay for paths."""
    return next((path for path, element in _below(resource) if element is pointer.element), "") + ".reference"


def _below(resource: Json) -> Iterator[tuple[str, Json]]:
    skipped = len(resource["resourceType"])
    for path, element in references(resource):
        yield path[skipped:], element


# --- Bundles --------------------------------------------------------------------------------------------------------


def bundle_problems(bundle: Json, pointers: Sequence[Pointer]) -> Iterator[Problem]:
    """bdl-1 to bdl-12, fullUrl against ids, requests against resources, and that each urn:uuid resolves."""
    entries: list[Json] = bundle.get("entry", [])
    kind = bundle.get("type", "")
    if not pointers and "total" not in bundle and kind in _WRITES and _plainly_puts(entries):
        return
    yield from _bundle_invariants(bundle, kind, entries)
    seen: set[tuple[str, str]] = set()
    written: set[str] = set()
    for index, entry in enumerate(entries):
        for path, message, code in _entry_problems(entry, kind, seen, written):
            yield f".entry[{index}]{path}", message, code
    if pointers:
        at = {entry["fullUrl"].lower(): entry.get("resource", {}) for entry in entries if "fullUrl" in entry}
        for pointer in pointers:
            found = at.get(pointer.reading.target.lower())
            if found is None:
                yield _where(bundle, pointer), "the urn:uuid is no entry of the bundle", "not-found"
            elif pointer.targets and found.get("resourceType") not in pointer.targets:
                yield _where(bundle, pointer), "refers to an entry of a type that may not stand here", "structure"


def _plainly_puts(entries: list[Json]) -> bool:
    """Whether each entry puts its resource under its own name, once, as our bundles do: then no rule can be broken."""
    root = ""
    names = set()
    for entry in entries:
        if len(entry) != 3:
            return False
        try:
            resource, request, url = entry["resource"], entry["request"], entry["fullUrl"]
            name = f"{resource['resourceType']}/{resource['id']}"
            plain = request["method"] == "PUT" and request["url"] == name
        except KeyError:
            return False
        root = root or url.removesuffix(name)
        if not plain or url != root + name:
            return False
        names.add(name)
    return (
        len(names) == len(entries) and root.endswith("/") and _ABSOLUTE.fullmatch(root) is not None and "/_history/" not in root
    )


def _bundle_invariants(bundle: Json, kind: str, entries: list[Json]) -> Iterator[Problem]:
    if "total" in bundle and kind not in {"searchset", "history"}:
        yield ".total", "bdl-1: total only when a search or history", "invariant"
    if kind == "document":
        identifier = bundle.get("identifier", {})
        if "system" not in identifier or "value" not in identifier:
            yield ".identifier", "bdl-9: a document must have an identifier with a system and a value", "invariant"
        if "timestamp" not in bundle:
            yield ".timestamp", "bdl-10: a document must have a date", "invariant"
    opening = {"document": ("bdl-11", "Composition"), "message": ("bdl-12", "MessageHeader")}.get(kind)
    if opening and (not entries or entries[0].get("resource", {}).get("resourceType") != opening[1]):
        yield ".entry", f"{opening[0]}: a {kind} must have a {opening[1]} as the first resource", "invariant"


def _entry_problems(entry: Json, kind: str, seen: set[tuple[str, str]], written: set[str]) -> Iterator[Problem]:
    resource, request, url = entry.get("resource"), entry.get("request"), entry.get("fullUrl")
    if "search" in entry and kind != "searchset":
        yield ".search", "bdl-2: search only when a search", "invariant"
    if (request is not None) != (kind in _WITH_REQUEST):
        yield ".request", "bdl-3: mandatory for batch, transaction and history, otherwise prohibited", "invariant"
    if ("response" in entry) != (kind in _WITH_RESPONSE):
        yield ".response", "bdl-4: mandatory for responses and history, otherwise prohibited", "invariant"
    if resource is None and request is None and "response" not in entry:
        yield "", "bdl-5: must be a resource unless there's a request or response", "invariant"
    if url is None and resource is not None and kind not in _MAY_LACK_URL:
        yield ".fullUrl", "is required unless the bundle is written or answers", "required"
    if url is not None:
        yield from _full_url_problems(url, resource, request, kind, seen)
    if request is not None and kind in _WRITES:
        yield from _request_problems(request, resource, written if kind == "transaction" else set())


def _full_url_problems(
    url: str, resource: Json | None, request: Json | None, kind: str, seen: set[tuple[str, str]]
) -> Iterator[Problem]:
    if "/_history/" in url:
        yield ".fullUrl", "bdl-8: cannot be a version specific reference", "invariant"
        return
    if not _ABSOLUTE.fullmatch(url):
        yield ".fullUrl", "must be an absolute URL or a urn", "value"
    name = (url, (resource or {}).get("meta", {}).get("versionId", ""))
    if name in seen and kind != "history":
        yield ".fullUrl", "bdl-7: must be unique in a bundle, or the entries have different versions", "invariant"
    seen.add(name)
    creates = request is not None and request.get("method") == "POST"
    named = resource is not None and "id" in resource and url.startswith(("http:", "https:")) and not creates
    if resource is not None and named and not url.endswith(f"/{resource['resourceType']}/{resource['id']}"):
        yield ".fullUrl", "must end with the resource's type and id", "value"


def _request_problems(request: Json, resource: Json | None, written: set[str]) -> Iterator[Problem]:
    """What https://hl7.org/fhir/R4/http.html asks of the interactions a bundle holds."""
    method, url = request.get("method"), request.get("url", "")
    if method in {"PUT", "POST"} and resource is None:
        yield ".resource", f"a {method} needs a resource", "required"
    elif (
        method == "POST"
        and resource is not None
        and url.partition("?")[0] not in {resource["resourceType"], ""}
        and "$" not in url
    ):
        yield ".request.url", "must name the resource's type", "value"
    elif method == "PUT" and resource is not None:
        own = f"{resource['resourceType']}/{resource.get('id')}"
        if url != own and not url.startswith(f"{resource['resourceType']}?"):
            yield ".request.url", "must name the resource's type and id, or a condition", "value"
    if method in {"PUT", "DELETE", "PATCH"} and url:
        if url in written:
            yield ".request.url", "a transaction may write a resource only once", "duplicate"
        written.add(url)


def unresolved(bundle: Json) -> Iterator[Problem]:
    """References to resources by type and id that are no entry of a bundle that claims to be complete."""
    here = {entry["fullUrl"] for entry in bundle.get("entry", []) if "fullUrl" in entry}
    roots = {tail[0] for url in here if (tail := _split(url))}
    for path, element in _below(bundle):
        reading = read_reference(element["reference"])
        if reading.form == "local" and not any(f"{root}/{reading.target}" in here for root in roots):
            yield f"{path}.reference", "is no entry of the bundle", "not-found"


def _split(url: str) -> tuple[str, str] | None:
    parts = url.rsplit("/", 2)
    return (parts[0], "/".join(parts[1:])) if len(parts) == 3 else None
