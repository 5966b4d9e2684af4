"""The HTTP API over a real socket."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import httpx
import pytest

from interop_engine.cli.reference_http import routes
from interop_engine.connectors.addresses import read_address
from interop_engine.connectors.http_server import HttpServer
from interop_engine.core import events
from interop_engine.core.diagnostics import Mark, Mistake
from interop_engine.core.errors import ConfigError
from interop_engine.engine.reload import Reloaded
from interop_engine.ops.api import Watch, application
from interop_engine.ops.paging import PAGE
from tests.support.observed import FakeEngine

OPERATE = {"x-interop-engine": "operate"}


@pytest.fixture
def engine() -> FakeEngine:
    """What the API shows."""
    return FakeEngine()


@pytest.fixture
async def client(engine: FakeEngine) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that listens on a free port."""
    watch = Watch(engine)
    server = HttpServer(application(watch, "127.0.0.1"), "127.0.0.1", 0)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://{server.address}", trust_env=False) as found:
        yield found
    await server.stop()
    watch.close()


async def test_live_and_ready(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    """A process that answers is live; one whose journal cannot commit is live, not ready, and says why."""
    assert (await client.get("/health/ready")).json() == {"ready": True, "problems": []}
    engine.journal.problem = "No room."
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()) == (503, {"ready": False, "problems": ["journal: No room."]})
    assert (await client.get("/health/live")).status_code == 200


async def test_status_is_json_without_patient_data(client: httpx.AsyncClient) -> None:
    """The status has every channel with its counts, in the site's own time."""
    answer = await client.get("/status")
    status = answer.json()
    assert (answer.status_code, status["site"], status["channels"][0]["received"]) == (200, "Bệnh viện mẫu", 13)
    assert status["channels"][0]["last_received"] == "2026-03-02T08:00:00+07:00"
    assert status["channels"][0]["destinations"][0]["health"]["problem"] == "refused"


async def test_metrics_count_events_and_show_the_backlog(client: httpx.AsyncClient) -> None:
    """Counters follow the events, gauges the journal at the moment of the scrape."""
    events.emit(events.MessageAccepted("lab", "m1"))
    events.emit(events.MessageAccepted("lab", "m1", duplicate=True))
    events.emit(events.DeliveryRetried("lab", "hub", "d1", "network", 1, 2.0))
    answer = await client.get("/metrics")
    lines = answer.text.splitlines()
    assert answer.headers["content-type"].startswith("text/plain; version=")
    for line in (
        'interop_engine_messages_total{channel="lab",result="accepted"} 1.0',
        'interop_engine_messages_total{channel="lab",result="duplicate"} 1.0',
        'interop_engine_deliveries_total{channel="lab",destination="hub",result="retried"} 1.0',
        'interop_engine_events_total{event="message_accepted",level="debug"} 2.0',
        'interop_engine_waiting{channel="lab",destination="hub"} 2.0',
        'interop_engine_parked{channel="lab",destination=""} 1.0',
        'interop_engine_destination_up{channel="lab",destination="hub"} 0.0',
        "interop_engine_ready 1.0",
        "interop_engine_journal_wal_bytes 1024.0",
    ):
        assert line in lines


async def test_a_foreign_host_name_is_refused(client: httpx.AsyncClient) -> None:
    """DNS rebinding makes a browser send a stranger's name: it is not served; addresses and localhost are."""
    for host, status in {
        "evil.example": 421,
        "evil.example:80": 421,
        "localhost:1": 200,
        "[::1]:80": 200,
        "127.0.0.1": 200,
    }.items():
        assert (host, (await client.get("/status", headers={"host": host})).status_code) == (host, status)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"limit": "many"}, "int"),
        ({"limit": "0"}, f"limit is 1 to {PAGE};"),
        ({"limit": "-1"}, f"limit is 1 to {PAGE};"),  # to a database it is no limit at all
        ({"limit": str(PAGE + 1)}, f"limit is 1 to {PAGE};"),
        ({"states": "parkd"}, "There is no state parkd;"),
        ({"since": "2026-03-01T00:00:00"}, "since and until need an offset"),
        ({"until": "yesterday"}, "until"),
    ],
)
async def test_what_cannot_be_listed_is_said(client: httpx.AsyncClient, query: dict[str, str], told: str) -> None:
    """No request takes the memory of all messages at once; a slip finds nothing, and so is no answer."""
    answer = await client.get("/messages", params=query)
    assert (answer.status_code, told in answer.json()["problem"]) == (400, True)


async def test_the_largest_page_is_listed(client: httpx.AsyncClient) -> None:
    """And the reference says how large it is."""
    assert (await client.get("/messages", params={"limit": str(PAGE)})).status_code == 200
    (told,) = (text for method, path, text in routes() if (method, path) == ("`GET`", "`/messages`"))
    assert f"1 to {PAGE}" in told


async def test_messages_are_listed_without_their_search_keys(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    """Patient and order numbers stay in the journal, and so do receivers' words; the conditions of the query reach it typed."""
    query = {"channel": "lab", "states": ["parked", "rejected"], "since": "2026-03-01T00:00:00+07:00", "limit": "5"}
    answer = await client.get("/messages", params={**query, "search": "patient:BN001"})
    (row,) = answer.json()
    (delivery,) = row["deliveries"]
    assert (row["id"], row["search"], delivery["code"], delivery["why"]) == ("m1", [], "fhir-422", "")
    ((_, asked),) = engine.journal.done
    assert "states=('parked', 'rejected')" in asked
    assert "limit=5" in asked
    assert "search=(('patient', 'BN001'),)" in asked
    assert (await client.get("/messages/m9")).status_code == 404


async def test_an_operator_replays_retries_and_discards(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    """Each is one POST; a discard needs a reason."""
    assert (await client.post("/messages/m1/replay", headers=OPERATE)).json() == {"id": "m2"}
    how = {"to": "hub", "mapping": "then", "resend": True, "once": True}
    assert (await client.post("/messages/m1/replay", headers=OPERATE, json=how)).json() == {"id": "m2"}
    assert (await client.post("/messages/m1/replay", headers=OPERATE, json={"too": "hub"})).status_code == 400
    assert (await client.post("/deliveries/d1/retry", headers=OPERATE)).json() == {"id": "d1", "replay": None}
    assert (await client.post("/messages/m1/discard", headers=OPERATE)).status_code == 400
    assert (await client.post("/messages/m1/discard", headers=OPERATE, json={"why": "a test"})).status_code == 200
    assert engine.journal.done == [
        ("replay", "m1", "c0ffee", "", "then=False resend=False once=False"),
        ("replay", "m1", "c0ffee", "hub", "then=True resend=True once=True"),
        ("retry", "d1"),
        ("discard", "m1", "a test"),
    ]


async def test_an_operator_stops_and_starts_a_channel(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    """Only intake: what was taken in goes on. A channel or an action that is not there is said."""
    (channel,) = engine.channels
    stopped = await client.post("/channels/lab/stop", headers=OPERATE)
    assert (stopped.status_code, stopped.json()["state"], channel.state) == (200, "stopped", "stopped")
    assert (await client.get("/health/ready")).status_code == 200
    started = await client.post("/channels/lab/start", headers=OPERATE)
    assert (started.json(), channel.state) == ({"channel": "lab", "state": "running", "problem": ""}, "running")
    assert (await client.post("/channels/none/stop", headers=OPERATE)).status_code == 404
    assert (await client.post("/channels/lab/explode", headers=OPERATE)).status_code == 404
    assert (await client.post("/channels/lab/stop")).status_code == 403


async def test_an_operator_stops_and_starts_one_destination(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    """The channel goes on taking messages in; a destination or an action that is not there is said."""
    (channel,) = engine.channels
    of = "/channels/lab/destinations/hub"
    stopped = await client.post(f"{of}/stop", headers=OPERATE)
    told = {"channel": "lab", "destination": "hub", "state": "stopped", "problem": "stopped"}
    assert (stopped.json(), channel.state) == (told, "running")
    started = await client.post(f"{of}/start", headers=OPERATE)
    assert started.json() == {"channel": "lab", "destination": "hub", "state": "running", "problem": ""}
    for path in ("/channels/none/destinations/hub/stop", "/channels/lab/destinations/none/stop", f"{of}/explode"):
        assert (await client.post(path, headers=OPERATE)).status_code == 404
    assert (await client.post(f"{of}/stop")).status_code == 403


async def test_nothing_is_changed_without_the_header(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    """An HTML form cannot send the header, so a page in a browser cannot operate the engine."""
    answer = await client.post("/messages/m1/replay", data={"x": "y"})
    assert (answer.status_code, engine.journal.done) == (403, [])


async def test_a_large_request_is_refused_unread(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    """By its own word, and one that does not say how large it is."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1_000

    statuses = [
        (await client.post("/messages/m1/replay", headers=OPERATE, content=content)).status_code
        for content in (b" " * 100_000, pieces())
    ]
    assert (statuses, engine.journal.done) == ([413, 411], [])


async def test_a_port_in_use_is_an_error_of_the_start(engine: FakeEngine) -> None:
    """The engine must say at its start that its status page cannot be had; signals stay the engine's own."""
    watch = Watch(engine)
    before = signal.getsignal(signal.SIGTERM)
    first = HttpServer(application(watch, "127.0.0.1"), "127.0.0.1", 0)
    await first.start()
    second = HttpServer(application(watch, "127.0.0.1"), *read_address(first.address))
    with pytest.raises(OSError, match="in use"):
        await second.start()
    assert signal.getsignal(signal.SIGTERM) is before
    await asyncio.gather(first.stop(), second.stop())
    await first.stop()
    watch.close()


async def test_a_reload_that_finds_mistakes_lists_them(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    """422 with every mistake as check has it; 409 with the reason where it was rolled back; 200 says what was done."""

    def mistaken(only: str) -> Reloaded:
        raise ConfigError([Mistake("C111", f"there is no mapping {only}", Mark("channels/lab.yaml", 7, 10))])

    assert (await client.post("/reload", headers=OPERATE)).json()["kept"] == ["lab"]
    engine.reloads = mistaken
    answer = await client.post("/channels/lab/reload", headers=OPERATE)
    assert answer.status_code == 422
    assert answer.json()["mistakes"][0]["mark"] == {"file": "channels/lab.yaml", "line": 7, "column": 10}
    engine.reloads = lambda _: Reloaded(problem="channel lab: The source cannot start.")
    answer = await client.post("/reload", headers=OPERATE)
    assert (answer.status_code, answer.json()["problem"]) == (409, "channel lab: The source cannot start.")
    assert (await client.post("/reload")).status_code == 403
