"""The FHIR REST destination against a real HTTP server: what it sends, and every row of the reply table."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from interop_engine.connectors.base import deliver_while
from interop_engine.connectors.fhir_reply import read_retry_after
from interop_engine.core.errors import UnknownItem
from interop_engine.core.events import Event, subscribe
from interop_engine.core.model import Delivered, Delivery, Park, Retry
from tests.support.scripted_fhir import (
    ScriptedServer,
    again_until_settled,
    bundle_of,
    deliver_once,
    listening,
    open_destination,
    operation_outcome,
    receipt,
    reply,
)

_TOKEN = "secret-token-7"


# --- What is sent ------------------------------------------------------------------------------------------------------


async def test_the_exact_bytes_are_posted_to_the_base_url(server: ScriptedServer) -> None:
    """A transaction goes to the base URL, byte for byte, with FHIR's media type, the delivery's id and the token."""
    async with open_destination(server.url + "/", auth={"bearer": _TOKEN}) as destination:
        assert await destination.deliver(bundle_of()) == Delivered("200, 2 entries")
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/fhir", bundle_of().body)
    expected = {"content-type": "application/fhir+json", "accept": "application/fhir+json", "accept-encoding": "identity"}
    assert expected.items() <= request.headers.items()
    assert request.headers["x-request-id"] == "d1"
    assert request.headers["authorization"] == f"Bearer {_TOKEN}"


@pytest.mark.parametrize("answers", [[False], [True, False]], ids=["before its headers", "before its body"])
async def test_a_request_does_not_leave_once_its_delivery_may_be_anothers(server: ScriptedServer, answers: list[bool]) -> None:
    """A node can stand still at any line: it is asked again where bytes leave, and no server acts on half a request."""
    deliver_while(lambda: answers.pop(0))
    async with open_destination(server.url) as destination:
        with pytest.raises(UnknownItem):
            await destination.deliver(bundle_of())
    assert (answers, server.requests) == ([], [])


@pytest.mark.parametrize(
    "delivery",
    [
        Delivery("d", "m", "c", "d", (), b"MSH|^~\\&|", "hl7v2"),
        Delivery("d", "m", "c", "d", (), b'{"resourceType":"Patient"}', "fhir"),
        Delivery("d", "m", "c", "d", (), b"{", "fhir"),
        Delivery("d", "m", "c", "d", (), b"\xff\xfe", "fhir"),
        Delivery("d", "m", "c", "d", (), b'{"resourceType":"Bundle","entry":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "fhir"),
    ],
)
async def test_what_is_no_bundle_is_not_sent(server: ScriptedServer, delivery: Delivery) -> None:
    """Only Bundles go to a base URL."""
    async with open_destination(server.url) as destination:
        outcome = await destination.deliver(delivery)
    assert isinstance(outcome, Park)
    assert outcome.code == "not-a-bundle"
    assert server.requests == []


# --- The reply table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, receipt("201 Created", "200 OK"), Delivered("200, 2 entries")),
        (201, receipt("201", "204 No Content"), Delivered("201, 2 entries")),
        (
            200,
            receipt("200", "200", outcome=operation_outcome("informational", "information", "created")),
            Delivered("200, 2 entries"),
        ),
        (200, receipt("200 OK"), "fhir-reply"),
        (200, {"resourceType": "Bundle"}, "fhir-reply"),
        (200, receipt("200 OK", "422 Unprocessable Entity"), "fhir-entry"),
        (200, {"resourceType": "Bundle", "entry": [{}, {"response": {"status": "200"}}]}, "fhir-entry"),
        (200, {"resourceType": "Bundle", "entry": [None, 7]}, "fhir-entry"),
        (200, receipt("200 OK", "200 OK", outcome=operation_outcome("value")), "fhir-outcome"),
        (200, operation_outcome("processing"), "fhir-outcome"),
        (200, operation_outcome("informational", "information"), "fhir-reply"),
        (200, {"resourceType": "Patient"}, "fhir-reply"),
        (400, operation_outcome("structure"), "fhir-400"),
        (402, None, "fhir-402"),
        (404, operation_outcome("not-supported"), "fhir-404"),
        (405, operation_outcome("not-supported"), "fhir-405"),
        (410, operation_outcome("deleted"), "fhir-410"),
        (412, operation_outcome("multiple-matches"), "fhir-412"),
        (413, None, "fhir-413"),
        (415, None, "fhir-415"),
        (422, operation_outcome("invariant"), "fhir-422"),
        (451, None, "fhir-451"),
    ],
)
async def test_replies_that_end_a_delivery(server: ScriptedServer, status: int, body: Any, expected: Delivered | str) -> None:
    """Delivered only where every entry is answered with a 2xx and no error; what sending again cannot change parks."""
    outcome = await deliver_once(server, reply(status, body))
    if isinstance(expected, Delivered):
        assert outcome == expected
    else:
        assert isinstance(outcome, Park)
        assert outcome.code == expected


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
async def test_replies_that_are_tried_again(server: ScriptedServer, status: int) -> None:
    """The server may take it later; the attempt counts."""
    outcome = await deliver_once(server, reply(status, operation_outcome("exception")))
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.counts, outcome.after) == (f"fhir-{status}", True, None)


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe{"])
async def test_a_page_that_is_no_fhir_is_no_receipt(server: ScriptedServer, body: bytes) -> None:
    """A proxy's login page with 200 says nothing about the server: the delivery is tried again."""
    outcome = await deliver_once(server, reply(200, body))
    assert isinstance(outcome, Retry)
    assert outcome.code == "fhir-reply"


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured_in_both_forms(server: ScriptedServer, status: int) -> None:
    """Seconds or a date; it was asked of all of us, so the next delivery is not even sent."""
    outcome = await deliver_once(server, reply(status, Retry_After="120"))
    assert isinstance(outcome, Retry)
    assert outcome.after == 120
    at = datetime.now(UTC) + timedelta(seconds=300)
    server.answers = [reply(status, Retry_After=format_datetime(at, usegmt=True))]
    async with open_destination(server.url) as destination:
        outcome = await destination.deliver(bundle_of(1))
        assert isinstance(outcome, Retry)
        assert outcome.after is not None
        assert 290 < outcome.after <= 300
        waiting = await destination.deliver(bundle_of(2))
    assert isinstance(waiting, Retry)
    assert not waiting.counts
    assert waiting.after is not None
    assert 290 < waiting.after <= 300
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("17", 17),
        ("999999", 3600),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_is_read_with_care(text: str, seconds: float | None) -> None:
    """What cannot be read is ignored, what is past is now, what is absurd is capped at an hour."""
    assert read_retry_after(text, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("status", "body"),
    [(401, None), (403, operation_outcome("forbidden")), (407, None), (404, b"<html>"), (405, None), (410, b"{")],
)
async def test_a_server_that_refuses_us_is_left_alone_and_nothing_parks(server: ScriptedServer, status: int, body: Any) -> None:
    """A wrong token or path is no message's fault: the breaker opens, a person is told, and once it is right all pass."""
    events: list[Event] = []
    end = subscribe(events.append)
    server.answers = [reply(status, body), reply(200, receipt("201", "201"))]
    try:
        async with open_destination(server.url, breaker={"first": "50ms", "up_to": "50ms"}) as destination:
            outcome = await destination.deliver(bundle_of(1))
            assert isinstance(outcome, Retry)
            assert (outcome.code, outcome.counts) == (f"fhir-{status}", False)
            assert str(status) in destination.health().problem
            second = await destination.deliver(bundle_of(2))
            assert isinstance(second, Retry)
            assert second.code == "breaker-open"
            assert await again_until_settled(destination, bundle_of(2)) == Delivered("200, 2 entries")
            assert destination.health().problem == ""
    finally:
        end()
    assert [type(event).__name__ for event in events] == ["DestinationBarred", "DestinationUp"]
    assert events[0].level == "error"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
async def test_a_redirect_to_another_host_is_not_followed(server: ScriptedServer, status: int) -> None:
    """Neither the bundle nor the token goes where a reply points; nothing parks."""
    async with listening() as other:
        outcome = await deliver_once(server, reply(status, Location=other.url), auth={"bearer": _TOKEN})
        assert isinstance(outcome, Retry)
        assert (outcome.code, outcome.counts) == (f"fhir-{status}", False)
        assert other.requests == []


async def test_a_redirect_to_nowhere_is_not_followed(server: ScriptedServer) -> None:
    """A Location that is no URL leads nowhere, and is no accident of ours."""
    outcome = await deliver_once(server, reply(308, Location="http://[bad"))
    assert isinstance(outcome, Retry)
    assert outcome.code == "fhir-308"


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_on_the_same_server_is_followed_once(server: ScriptedServer, status: int) -> None:
    """From /fhir to /fhir/, with method and body; a loop ends."""
    server.answers = [reply(status, Location="/fhir/"), reply(200, receipt("201", "201"))]
    async with open_destination(server.url) as destination:
        assert await destination.deliver(bundle_of()) == Delivered("200, 2 entries")
        assert [request.path for request in server.requests] == ["/fhir", "/fhir/"]
        assert server.requests[1].body == bundle_of().body
        server.answers = [reply(status, Location="/fhir/")]
        assert isinstance(await destination.deliver(bundle_of()), Retry)
    assert len(server.requests) == 4


async def test_a_conflict_is_tried_five_times(server: ScriptedServer) -> None:
    """409: another writer was faster; after five more tries a person looks."""
    server.answers = [reply(409, operation_outcome("conflict"))]
    async with open_destination(server.url) as destination:
        outcomes = [await destination.deliver(bundle_of()) for _ in range(6)]
    assert [type(outcome) for outcome in outcomes] == [Retry] * 5 + [Park]


_URL = "Patient?identifier=urn%3Aietf%3Arfc%3A3986%7Chttps%3A%2F%2Fhie.example.vn%2FPatient%2Fp9"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (422, operation_outcome("not-found")),
        (412, operation_outcome("not-found")),
        (422, operation_outcome("value", text="", details={"text": "Reference Patient/p9 does not exist"}, diagnostics=None)),
        # HAPI: a reference, and a conditional one
        (
            400,
            operation_outcome(
                "processing", text="HAPI-1094: Resource Patient/p9 not found, specified in path: Observation.subject"
            ),
        ),
        (404, operation_outcome("processing", text=f'HAPI-1091: Invalid match URL "{_URL}" - No resources match this search')),
        (400, operation_outcome("processing", text=f'Invalid match URL "{_URL}" - No resources match this search')),
        # Microsoft's FHIR server
        (400, operation_outcome("invalid", text=f"Given conditional reference '{_URL}' does not resolve to a resource.")),
        # LinuxForHealth
        (
            400,
            operation_outcome(
                "invalid", details={"text": f"Error resolving conditional reference: search '{_URL}' returned no results"}
            ),
        ),
    ],
)
async def test_a_missing_reference_is_waited_for_a_little(server: ScriptedServer, status: int, body: Any) -> None:
    """The patient may be on its way in another channel: six retries, two minutes at the usual delays, then it parks."""
    server.answers = [reply(status, body)]
    async with open_destination(server.url) as destination:
        outcomes = [await destination.deliver(bundle_of()) for _ in range(7)]
    assert [type(outcome) for outcome in outcomes] == [Retry] * 6 + [Park]
    retries = [outcome for outcome in outcomes if isinstance(outcome, Retry)]
    assert [(retry.after, retry.nth) for retry in retries] == [(None, nth) for nth in range(1, 7)]


async def test_several_matches_park(server: ScriptedServer) -> None:
    """HAPI's words for two patients of one number are near those for none; a person must merge them, and no wait helps."""
    text = f'HAPI-2207: Invalid match URL "{_URL}" - Multiple resources match this search'
    outcome = await deliver_once(server, reply(412, operation_outcome("processing", text=text)))
    assert isinstance(outcome, Park)
    assert outcome.code == "fhir-412"


async def test_why_holds_code_and_place_and_little_text(server: ScriptedServer) -> None:
    """A person sees what the server said: codes, places and the first 200 characters, on one line, without control characters."""
    text = "\x1b[31mline one\r\nline two " + "x" * 500
    body = operation_outcome("required", text=text, expression=["Bundle.entry[3].resource.status"], location=["/f:Bundle"])
    body["issue"].extend([{"severity": "error"}, "odd", *[{"code": f"c{number}"} for number in range(9)]])
    outcome = await deliver_once(server, reply(422, body))
    assert isinstance(outcome, Park)
    expected = "422 Unprocessable Entity; required at Bundle.entry[3].resource.status, /f:Bundle: [31mline one line two xxx"
    assert outcome.why.startswith(expected)
    assert outcome.why.isprintable()
    assert len(outcome.why) < 400
    assert outcome.why.endswith("; no code; c0; c1; c2")


@pytest.mark.parametrize("status", [200, 400, 401, 403, 422, 429, 500, 503])
async def test_what_a_server_wrote_is_stored_and_not_shown(
    server: ScriptedServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers repeat patient data in their replies: it goes into ``why``, and into no event, log line or health text."""
    caplog.set_level(logging.DEBUG)
    events: list[Event] = []
    end = subscribe(events.append)
    server.answers = [reply(status, operation_outcome("processing", text="Nguyễn Thị Canary"), Retry_After="1")]
    try:
        async with open_destination(server.url, breaker={"failures": 1}) as destination:
            outcome = await destination.deliver(bundle_of(1))
            waiting = await destination.deliver(bundle_of(2))
            health = destination.health()
    finally:
        end()
    assert isinstance(outcome, Retry | Park)
    assert "Canary" in outcome.why
    if status in (401, 403, 429, 503):
        assert isinstance(waiting, Retry)
        assert waiting.code == "breaker-open"
        assert "Canary" not in waiting.why
    assert "Canary" not in f"{events} {health} {caplog.text}"
