"""What the stand-in FHIR server is asked and answers, by itself or as an entry of a Bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interop_engine.core.model import Resource

_REASONS = {200: "OK", 201: "Created", 204: "No Content"}


@dataclass(frozen=True, slots=True)
class Request:
    """One interaction. ``path`` is relative to the base: ``Patient/1``; ``body`` is the resource, None where there is none."""

    method: str
    path: str
    query: str = ""
    body: Resource | None = None
    if_none_exist: str = ""
    if_match: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    body: Resource | None = None
    location: str = ""
    etag: str = ""
    last_modified: str = ""


class Refused(Exception):  # noqa: N818 - an answer, not an accident
    """The interaction is refused; nothing of it was done."""

    def __init__(self, status: int, code: str, text: str) -> None:
        """``code`` is of the value set issue-type."""
        super().__init__(text)
        self.status = status
        self.code = code

    def reply(self) -> Reply:
        """The refusal as an OperationOutcome."""
        issue = {"severity": "error", "code": self.code, "diagnostics": str(self)}
        return Reply(self.status, {"resourceType": "OperationOutcome", "issue": [issue]})


def entry_request(entry: Mapping[str, Any]) -> Request:
    """What an entry of a Bundle asks."""
    asked = entry.get("request", {})
    path, _, query = str(asked.get("url", "")).partition("?")
    body = entry.get("resource")
    return Request(
        str(asked.get("method", "")),
        path.strip("/"),
        query,
        body if isinstance(body, dict) else None,
        str(asked.get("ifNoneExist", "")),
        str(asked.get("ifMatch", "")),
    )


def entry_reply(reply: Reply) -> Resource:
    """The answer as an entry of a Bundle."""
    response: Resource = {"status": f"{reply.status} {_REASONS.get(reply.status, '')}".strip()}
    if reply.location:
        response |= {"location": reply.location, "etag": reply.etag, "lastModified": reply.last_modified}
    if reply.status >= 400:
        response["outcome"] = reply.body
        return {"response": response}
    if reply.body is not None and not reply.location:
        return {"resource": reply.body, "response": response}
    return {"response": response}
