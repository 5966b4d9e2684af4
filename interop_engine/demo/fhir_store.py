"""The stand-in FHIR R4 server without its HTTP: resources, their versions, and what may be done to them.

Interactions (https://hl7.org/fhir/R4/http.html): read, vread, history of an instance, search, create (conditional too),
update (update as create by the client's id, conditional too, If-Match), delete, batch, and transaction: all or nothing. An
update that changes nothing makes no new version, so that a resend is seen as one.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from interop_engine.core.model import Resource
from interop_engine.demo.fhir_requests import Refused, Reply, Request, entry_reply, entry_request
from interop_engine.demo.fhir_search import PARAMETERS, matches, references
from interop_engine.fhir.bundle import instant
from interop_engine.fhir.definitions import is_resource

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a resource; ``content`` is None where it was deleted."""

    number: int
    at: datetime
    content: Resource | None


@dataclass
class Store:
    """All resources, and what this server will not do.

    ``referential``: a reference to a resource that is not here is refused with 422. ``client_ids`` False: ids are the server's
    to give, and an update of what is not here is refused with 405. ``most_entries``: a Bundle with more is refused with 413.
    ``bundles`` False: it takes none.
    """

    base: str = ""
    referential: bool = False
    client_ids: bool = True
    most_entries: int = 0
    bundles: bool = True
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    _held: dict[str, dict[str, tuple[Version, ...]]] = field(default_factory=dict)
    _undo: list[tuple[str, str, tuple[Version, ...]]] | None = None

    # --- What tests and the demo look at --------------------------------------------------------------------------------

    def versions(self, kind: str, identity: str) -> tuple[Version, ...]:
        """Every version of a resource, oldest first; none where it never was."""
        return self._held.get(kind, {}).get(identity, ())

    def current(self, kind: str, identity: str) -> Resource | None:
        """A resource as it is, None where it is not or was deleted."""
        versions = self.versions(kind, identity)
        return versions[-1].content if versions else None

    def all(self, kind: str) -> list[Resource]:
        """All resources of a type, in the order they were first written."""
        return [content for versions in self._held.get(kind, {}).values() if (content := versions[-1].content) is not None]

    def types(self) -> list[str]:
        """The types of which there is something."""
        return sorted(kind for kind in self._held if self.all(kind))

    # --- Interactions ---------------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Reply:
        """Do it, or say why not; a refusal leaves everything as it was."""
        before, self._undo = self._undo, []
        try:
            self._permit(request)
            reply = self._route(request)
            if self.referential and request.body is not None and reply.status < 300 and request.path:
                self._refer(request.body)
        except Refused as refused:
            self._roll_back()
            return refused.reply()
        finally:
            done, self._undo = self._undo, before
            if before is not None:
                before.extend(done or ())
        return reply

    def _permit(self, request: Request) -> None:
        kind, _, identity = request.path.partition("/")
        if request.method == "PUT" and identity and not self.client_ids and not self.versions(kind, identity):
            raise Refused(405, "not-supported", "This server gives out the ids itself.")

    def _roll_back(self) -> None:
        for kind, identity, versions in reversed(self._undo or []):
            if versions:
                self._held[kind][identity] = versions
            else:
                del self._held[kind][identity]
        self._undo = []

    def _route(self, request: Request) -> Reply:
        parts = [part for part in request.path.split("/") if part]
        if not parts:
            return self._bundle(request)
        if not is_resource(parts[0]):
            raise Refused(404, "not-supported", f"There is no resource type {parts[0]}.")
        match request.method, parts:
            case ("GET", [kind]) | ("POST", [kind, "_search"]):
                return self._search(kind, request.query)
            case "GET", [kind, identity]:
                return self._read(kind, identity)
            case "GET", [kind, identity, "_history"]:
                return self._history(kind, identity)
            case "GET", [kind, identity, "_history", number]:
                return self._vread(kind, identity, number)
            case "POST", [kind]:
                return self._create(kind, request)
            case "PUT", [kind]:
                return self._update(kind, self._conditional(kind, request.query, request.body), request)
            case "PUT", [kind, identity]:
                return self._update(kind, identity, request)
            case "DELETE", [kind, identity]:
                return self._delete(kind, identity)
        raise Refused(405, "not-supported", f"{request.method} is not allowed here.")

    def _read(self, kind: str, identity: str) -> Reply:
        versions = self.versions(kind, identity)
        if not versions:
            raise Refused(404, "not-found", f"There is no {kind}/{identity}.")
        if versions[-1].content is None:
            raise Refused(410, "deleted", f"{kind}/{identity} was deleted.")
        return self._reply(200, kind, identity)

    def _vread(self, kind: str, identity: str, number: str) -> Reply:
        for version in self.versions(kind, identity):
            if str(version.number) == number and version.content is not None:
                return Reply(200, version.content, etag=f'W/"{number}"', last_modified=instant(version.at))
        raise Refused(404, "not-found", f"There is no version {number} of {kind}/{identity}.")

    def _history(self, kind: str, identity: str) -> Reply:
        versions = self.versions(kind, identity)
        if not versions:
            raise Refused(404, "not-found", f"There is no {kind}/{identity}.")
        entries: list[Resource] = []
        for version in reversed(versions):
            method = "DELETE" if version.content is None else "PUT"
            entry: Resource = {"fullUrl": f"{self.base}/{kind}/{identity}"}
            if version.content is not None:
                entry["resource"] = version.content
            entry["request"] = {"method": method, "url": f"{kind}/{identity}"}
            entry["response"] = {"status": "200", "etag": f'W/"{version.number}"', "lastModified": instant(version.at)}
            entries.append(entry)
        return Reply(200, {"resourceType": "Bundle", "type": "history", "total": len(entries), "entry": entries})

    def _search(self, kind: str, query: str) -> Reply:
        wanted = parse_qsl(query, keep_blank_values=True)
        count = next((int(value) for name, value in wanted if name == "_count" and value.isdigit()), None)
        found = self._found(kind, [pair for pair in wanted if pair[0] not in ("_count", "_format", "_total")])
        entries = [
            {"fullUrl": f"{self.base}/{kind}/{each['id']}", "resource": each, "search": {"mode": "match"}}
            for each in found[:count]
        ]
        bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
        return Reply(200, bundle | ({"entry": entries} if entries else {}))

    def _found(self, kind: str, parameters: Sequence[tuple[str, str]]) -> list[Resource]:
        unknown = [name for name, _ in parameters if name.partition(":")[0] not in PARAMETERS]
        if unknown:  # to overlook one would find, and in a conditional update overwrite, what was not meant
            raise Refused(400, "not-supported", f"{kind} is not searched by {', '.join(unknown)}.")
        return [each for each in self.all(kind) if matches(each, parameters)]

    def _create(self, kind: str, request: Request) -> Reply:
        if request.if_none_exist:
            existing = self._one(kind, request.if_none_exist)
            if existing:
                return self._reply(200, kind, existing)
        return self._write(kind, str(uuid.uuid4()), request.body)

    def _one(self, kind: str, query: str) -> str:
        """The id of the one resource that matches, '' where none does; several are an error (412)."""
        criteria = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
        if not criteria:
            raise Refused(400, "required", "A conditional interaction needs criteria.")
        found = self._found(kind, criteria)
        if len(found) > 1:
            raise Refused(412, "multiple-matches", f"{len(found)} resources of type {kind} match.")
        return str(found[0]["id"]) if found else ""

    def _conditional(self, kind: str, query: str, body: Resource | None) -> str:
        existing = self._one(kind, query)
        own = str((body or {}).get("id", ""))
        if (existing and own and own != existing) or (own and not self.client_ids):
            raise Refused(400, "invalid", "The resource's id is not that of the one that matches.")
        return existing or own or str(uuid.uuid4())

    def _update(self, kind: str, identity: str, request: Request) -> Reply:
        body = request.body or {}
        if request.path.count("/") and body.get("id") != identity:
            raise Refused(400, "invalid", f"The resource's id is not {identity}, the id in the URL.")
        if request.if_match:
            versions = self.versions(kind, identity)
            if not versions or request.if_match != f'W/"{versions[-1].number}"':
                raise Refused(412, "conflict", f"{kind}/{identity} is not at that version.")
        return self._write(kind, identity, body)

    def _write(self, kind: str, identity: str, body: Resource | None) -> Reply:
        if not body or body.get("resourceType") != kind:
            raise Refused(400, "invalid", f"A {kind} is expected.")
        if not _ID.fullmatch(identity):
            raise Refused(400, "invalid", "That is not an id of FHIR.")
        versions = self.versions(kind, identity)
        content = {
            "resourceType": kind,
            "id": identity,
            **{k: v for k, v in body.items() if k not in ("resourceType", "id", "meta")},
        }
        said = {k: v for k, v in body.get("meta", {}).items() if k not in ("versionId", "lastUpdated")}
        held = versions[-1].content if versions else None
        if held is not None and held == content | {"meta": held["meta"] | said} and said.keys() == held["meta"].keys() - _SERVERS:
            return self._reply(200, kind, identity)
        at, number = self.now(), len(versions) + 1
        content = {
            "resourceType": kind,
            "id": identity,
            "meta": {"versionId": str(number), "lastUpdated": instant(at), **said},
        } | content
        self._keep(kind, identity, Version(number, at, content))
        return self._reply(200 if held is not None else 201, kind, identity)

    def _delete(self, kind: str, identity: str) -> Reply:
        versions = self.versions(kind, identity)
        if versions and versions[-1].content is not None:
            self._keep(kind, identity, Version(len(versions) + 1, self.now(), None))
        return Reply(204)

    def _keep(self, kind: str, identity: str, version: Version) -> None:
        held = self._held.setdefault(kind, {})
        before = held.get(identity, ())
        if self._undo is not None:
            self._undo.append((kind, identity, before))
        held[identity] = (*before, version)

    def _reply(self, status: int, kind: str, identity: str) -> Reply:
        version = self.versions(kind, identity)[-1]
        location = f"{kind}/{identity}/_history/{version.number}"
        return Reply(status, version.content, location, f'W/"{version.number}"', instant(version.at))

    def _refer(self, body: Resource) -> None:
        """Every reference to this server must lead to something."""
        for reference in references(body):
            kind, _, rest = reference["reference"].removeprefix(f"{self.base}/").partition("/")
            identity = rest.partition("/")[0]
            if is_resource(kind) and identity and self.current(kind, identity) is None:
                raise Refused(422, "not-found", f"There is no {kind}/{identity}, to which {body['resourceType']} refers.")

    # --- Bundles --------------------------------------------------------------------------------------------------------

    def _bundle(self, request: Request) -> Reply:
        body = request.body
        if request.method != "POST" or not body or body.get("resourceType") != "Bundle":
            raise Refused(400, "invalid", "A Bundle is expected here.")
        entries = body.get("entry", [])
        if not self.bundles:
            raise Refused(405, "not-supported", "This server takes no Bundles.")
        if 0 < self.most_entries < len(entries):
            raise Refused(413, "too-long", f"This server takes {self.most_entries} entries at once.")
        if body.get("type") == "batch":
            replies = [self.handle(entry_request(entry)) for entry in entries]
        elif body.get("type") == "transaction":
            replies = self._transaction(entries)
        else:
            raise Refused(400, "invalid", "Only a batch or a transaction can be executed.")
        answered = {"resourceType": "Bundle", "type": f"{body['type']}-response"}
        return Reply(200, answered | ({"entry": [entry_reply(reply) for reply in replies]} if replies else {}))

    def _transaction(self, entries: Sequence[Resource]) -> list[Reply]:
        """All entries or none, by method in the standard's order, whatever order they stand in (http.html#trules)."""
        requests = self._named(entries)
        replies: dict[int, Reply] = {}
        for index in sorted(range(len(requests)), key=lambda at: (_METHODS.index(requests[at].method), at)):
            replies[index] = self._route(requests[index])
        if self.referential:
            for request in requests:
                self._refer(request.body or {"resourceType": ""})
        return [replies[index] for index in range(len(requests))]

    def _named(self, entries: Sequence[Resource]) -> list[Request]:
        """The entries' requests with every identity known and every ``urn:uuid`` reference replaced by it."""
        requests, names, seen = [], {}, set()
        for entry in entries:
            request = entry_request(entry)
            if request.method not in _METHODS:
                raise Refused(400, "not-supported", f"{request.method} is not possible in a transaction.")
            self._permit(request)
            target = self._target(request)
            if target in seen:
                raise Refused(400, "duplicate", f"Two entries write {target}.")
            if request.method in ("POST", "PUT"):
                seen.add(target)
                names[entry.get("fullUrl", "")] = target
                kind, _, identity = target.partition("/")
                if request.body is None or not is_resource(kind):
                    raise Refused(400, "invalid", "An entry has no resource, or one of an unknown type.")
                if request.path == target and request.body.get("id") != identity:
                    raise Refused(400, "invalid", f"The resource's id is not {identity}, the id in the URL.")
                if not (request.if_none_exist and self.current(kind, identity)):
                    request = Request("PUT", target, body=dict(request.body) | {"id": identity}, if_match=request.if_match)
            requests.append(request)
        for request in requests:
            for reference in references(request.body):
                reference["reference"] = self._resolved(names.get(reference["reference"], reference["reference"]))
                if reference["reference"].startswith("urn:"):
                    raise Refused(400, "invalid", "A reference leads to no entry of the transaction.")
        return requests

    def _resolved(self, reference: str) -> str:
        """A conditional reference as the one to the resource that matches (http.html#trules)."""
        kind, mark, query = reference.partition("?")
        if not mark or not is_resource(kind):
            return reference
        found = self._one(kind, query)
        if not found:
            raise Refused(422, "not-found", f"No {kind} matches a conditional reference.")
        return f"{kind}/{found}"

    def _target(self, request: Request) -> str:
        kind, _, identity = request.path.partition("/")
        if request.method == "POST":
            existing = self._one(kind, request.if_none_exist) if request.if_none_exist else ""
            return f"{kind}/{existing or uuid.uuid4()}"
        if request.method == "PUT" and not identity:
            return f"{kind}/{self._conditional(kind, request.query, request.body)}"
        return request.path


_SERVERS = frozenset({"versionId", "lastUpdated"})  # of meta: the server's own
_METHODS = ("DELETE", "POST", "PUT", "GET")
