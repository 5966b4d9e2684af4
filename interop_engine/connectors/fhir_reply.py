"""What a FHIR server's reply means. Pure: status, headers and body in, a verdict out.

| reply | verdict |
|---|---|
| 2xx, a Bundle with as many entries, each 2xx, no error inside | Delivered |
| 2xx, a Bundle that says otherwise | Park |
| 2xx, no FHIR at all (a proxy's page) | Again: nothing says that the server saw it |
| 400 404 405 410 412 413 415 422 and other 4xx | Park; where it speaks of a missing reference, Again a few times first |
| 404 405 410 without an OperationOutcome | Barred: a wrong path, or a proxy's page |
| 401 403 407, a redirect | Barred: all of this destination waits, unless others pass |
| 408 425 429 5xx | Again, ``Retry-After`` honoured in both forms (RFC 9110, 10.2.3) |
| 409 | Again, at most 5 times |

In the reply to a batch the same holds for each entry, but a Barred one parks, unless all of them are. A resource that was put by
itself is taken with any 2xx.

Sources: FHIR R4 http.html (transaction responses), operationoutcome.html. The texts of a missing reference are those of HAPI
(HAPI-1091, HAPI-1094), Microsoft's and LinuxForHealth's servers; R4 has no code of its own for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import msgspec

from interop_engine.core.model import Delivered, Park

LONGEST_WAIT = 3600.0  # seconds that a Retry-After may ask for

_ISSUES = 5  # shown of an OperationOutcome
_TEXT = 200  # characters shown of an issue: servers repeat patient data in them
_PATIENCE = 6  # tries, at the destination's own doubling delays: what is referred to may be on its way in another channel
_ALONE = 5  # failures of one message, while others pass, that make it the message's fault
ALONE_UNANSWERED = 10
"""The same where nothing says that the server itself answered: a firewall may drop the one message, or the server is slow."""

_AGAIN = frozenset({408, 425, 429})
_BARRED = frozenset({401, 403, 407})
_ELSEWHERE = frozenset({404, 405, 410})  # without an OperationOutcome: not from a FHIR server at that path
_DOWN = frozenset({502, 503, 504})
_UNANSWERED = frozenset({408, 502, 504})
_BUSY = frozenset({425, 429, 503})  # said of the server, never of a message
_MISSING = re.compile(
    r"not[ -]found|does not exist|unresolv|cannot be resolved|could not (?:be )?resolve|unknown reference"
    r"|no resources match|does not resolve to a|returned no results",
    re.IGNORECASE,
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as read. ``readable`` is False where its body is larger than allowed or in an encoding not asked for."""

    status: int
    body: bytes = b""
    retry_after: str = ""
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Again:
    """Try again. ``limit``: how often, before it parks. ``alone``: how often while others pass, before it parks; 0 for ever."""

    why: str
    code: str
    after: float | None = None
    limit: int | None = None
    alone: int = 0
    down: bool = False  # the server says that it cannot work at present: that counts as a network failure
    hold: bool = False  # ``after`` was asked of all of us, not for this message


@dataclass(frozen=True, slots=True)
class Barred:
    """The server will have none of us: a person must act, and meanwhile nothing is sent and nothing parks.

    Where others pass it is the message that it will not have, and that parks after ``alone`` times; 0 where it cannot be.
    """

    why: str
    code: str
    alone: int = _ALONE


Verdict = Delivered | Park | Again | Barred


def judge(reply: Reply, entries: int, now: datetime | None = None) -> Verdict:
    """The verdict on a reply to a transaction of so many entries."""
    content = _read(reply)
    if not 200 <= reply.status < 300:
        return _refused(reply, content, now)
    answers = _answers(reply, content, entries)
    if not isinstance(answers, list):
        return answers
    for number, (status, outcome) in enumerate(answers):
        if not status.startswith("2"):
            why = f"Bundle.entry[{number}] was answered {_clean(status) or 'without a status'}{_said(outcome)}"
            return Park("fhir-entry", why)
        if any(_is_error(issue) for issue in _issues(outcome)):
            return Park("fhir-outcome", f"Bundle.entry[{number}] was answered with an error{_said(outcome)}")
    return Delivered(f"{reply.status}, {entries} entries")


def judge_batch(reply: Reply, entries: int, now: datetime | None = None) -> Verdict | list[Delivered | Park | Again]:
    """The verdict on each entry of a batch, or the one on a reply that does not answer them, or that refuses us in every one."""
    content = _read(reply)
    if not 200 <= reply.status < 300:
        return _refused(reply, content, now)
    answers = _answers(reply, content, entries)
    if not isinstance(answers, list):
        return answers
    verdicts = [_entry(status, outcome) for status, outcome in answers]
    barred = [verdict for verdict in verdicts if isinstance(verdict, Barred)]
    if barred and len(barred) == len(verdicts):
        return barred[0]
    return [Park(verdict.code, verdict.why) if isinstance(verdict, Barred) else verdict for verdict in verdicts]


def judge_alone(reply: Reply, now: datetime | None = None) -> Verdict:
    """The verdict on a reply to a resource that was put by itself: the status says it, the body may be empty."""
    content = _read(reply)
    if not 200 <= reply.status < 300:
        return _refused(reply, content, now)
    if any(_is_error(issue) for issue in _issues(content)):
        return Park("fhir-outcome", f"{reply.status}, but with an error{_said(content)}")
    if reply.readable and reply.body and _kind(content) is None:
        return _no_receipt(reply)
    return Delivered(str(reply.status))


def read_retry_after(text: str, now: datetime) -> float | None:
    """Seconds from a ``Retry-After``, a number or a date; None where there is none or it cannot be read."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), LONGEST_WAIT)


def _refused(reply: Reply, content: Any, now: datetime | None) -> Verdict:
    """A reply that is no 2xx."""
    if reply.status in _ELSEWHERE and _kind(content) != "OperationOutcome":
        return Barred(f"{reply.status} {_phrase(reply.status)}, and no FHIR resource", f"fhir-{reply.status}")
    return _no_success(reply.status, content, read_retry_after(reply.retry_after, now or datetime.now(UTC)))


def _no_success(status: int, content: Any, after: float | None = None) -> Park | Again | Barred:
    """A status, of a reply or of an entry in one, that is no 2xx."""
    why = f"{status} {_phrase(status)}{_said(content)}"
    code = f"fhir-{status}"
    if status in _BARRED or 300 <= status < 400:
        return Barred(why, code)
    if status in _AGAIN or status >= 500:
        alone = 0 if status in _BUSY else ALONE_UNANSWERED if status in _UNANSWERED else _ALONE
        hold = after is not None and status in (429, 503)
        return Again(why, code, after, alone=alone, down=status in _DOWN, hold=hold)
    if status == 409:
        return Again(why, code, limit=5)
    if any(_is_missing(issue) for issue in _issues(content)):
        return Again(why, code, limit=_PATIENCE)
    return Park(code, why)


def _no_receipt(reply: Reply) -> Again:
    """A page, of a proxy or of a firewall: nothing says that the server saw the request."""
    return Again(f"{reply.status}, but the reply is no FHIR resource", "fhir-reply", alone=ALONE_UNANSWERED)


def _entry(status: str, outcome: Any) -> Delivered | Park | Again | Barred:
    """The verdict on an entry of a batch."""
    number = status[:3]
    if not (number.isascii() and number.isdigit() and 200 <= int(number) <= 599):
        return Park("fhir-entry", f"answered {_clean(status) or 'without a status'}{_said(outcome)}")
    if not number.startswith("2"):
        return _no_success(int(number), outcome)
    if any(_is_error(issue) for issue in _issues(outcome)):
        return Park("fhir-outcome", f"{number}, but with an error{_said(outcome)}")
    return Delivered(number)


def _answers(reply: Reply, content: Any, entries: int) -> Park | Again | list[tuple[str, Any]]:
    """Status and outcome of each entry in a 2xx, all of which must be there; or what is wrong with the reply."""
    if not reply.readable:
        return Park("fhir-reply", f"{reply.status}, but the reply is too large or encoded; whether it was stored is not known")
    kind = _kind(content)
    if kind is None:
        return _no_receipt(reply)
    if any(_is_error(issue) for issue in _issues(content)):
        return Park("fhir-outcome", f"{reply.status}, but with an error{_said(content)}")
    if kind != "Bundle":
        return Park("fhir-reply", f"{reply.status}, but the reply is no Bundle, so nothing says what was stored")
    answers = [entry.get("response") if isinstance(entry, dict) else None for entry in _list(content, "entry")]
    if len(answers) != entries:
        return Park("fhir-reply", f"{reply.status}, but {len(answers)} entries are answered of {entries}")
    responses = [answer if isinstance(answer, dict) else {} for answer in answers]
    return [(str(response.get("status", "")), response.get("outcome")) for response in responses]


def _kind(content: Any) -> Any:
    return content.get("resourceType") if isinstance(content, dict) else None


def _read(reply: Reply) -> Any:
    if not reply.readable:
        return None
    try:
        return msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _issues(resource: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(resource, dict) and resource.get("resourceType") == "OperationOutcome":
        yield from (issue for issue in _list(resource, "issue") if isinstance(issue, dict))


def _list(resource: Mapping[str, Any], name: str) -> list[Any]:
    found = resource.get(name)
    return found if isinstance(found, list) else []


def _is_error(issue: Mapping[str, Any]) -> bool:
    return issue.get("severity") in ("error", "fatal")


def _is_missing(issue: Mapping[str, Any]) -> bool:
    return _is_error(issue) and bool(issue.get("code") == "not-found" or _MISSING.search(_issue_text(issue)))


def _said(resource: Any) -> str:
    """The issues for ``why``: code, place, and the beginning of the text."""
    parts = []
    for issue in _issues(resource):
        places = [str(place) for name in ("expression", "location") for place in _list(issue, name)]
        place = f" at {', '.join(places[:3])}" if places else ""
        text = _issue_text(issue)
        parts.append(_clean(f"{issue.get('code', 'no code')}{place}") + (f": {_clean(text)}" if text else ""))
    return "; ".join(["", *parts[:_ISSUES]])


def _issue_text(issue: Mapping[str, Any]) -> str:
    details = issue.get("details")
    text = issue.get("diagnostics") or (details.get("text") if isinstance(details, dict) else "")
    return text if isinstance(text, str) else ""


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text)[:_TEXT].strip()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(unknown status)"
