"""``status``, ``messages``, ``channels``: on a journal without an engine, and through the API of a running one."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from interop_engine.cli import output
from interop_engine.cli.app import app
from interop_engine.connectors.http_server import HttpServer
from interop_engine.core.model import Park, Retry, digest, new_id
from interop_engine.exchange.base import ExchangeHealth
from interop_engine.journal import open_journal
from interop_engine.journal.base import Forward, Journal, MessageState, NewDelivery, NewMessage, Queue
from interop_engine.ops.api import Watch, application
from tests.support.journals import key_file
from tests.support.observed import FakeEngine

SITE = 'site: Bệnh viện mẫu\nfacility: "24001"\njournal: {path: journal.db}\nstatus: {listen: "%s"}\n'


async def run(*arguments: str) -> tuple[int, str, str]:
    """A verb, in a thread: it runs an event loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


async def shown(*arguments: str) -> Any:
    """What a verb shows with --json."""
    code, stdout, stderr = await run(*arguments, "--json")
    assert (code, stderr) == (0, "")
    return json.loads(stdout)


def new(control_id: str, **more: Any) -> NewMessage:
    """A message of the channel lab."""
    data = f"MSH|^~\\&|LIS|BV|E|BV|20260302||ORU^R01|{control_id}|P|2.5\r".encode()
    values: dict[str, Any] = {
        "id": new_id(),
        "channel": "lab",
        "data": data,
        "media": "hl7v2",
        "received_at": datetime.now(UTC),
        "peer": "10.0.0.1:40000",
        "control_id": control_id,
        "message_type": "ORU^R01",
        "digest": digest(data),
        "lanes": (control_id,),
        "search": (("patient", "BN001"),),
    }
    return NewMessage(**{**values, **more})


async def fill(journal: Journal) -> dict[str, str]:
    """One message parked, one rejected, one whose delivery is parked; gives their ids and the delivery's."""
    parked = await journal.accept(new("C1"))
    await journal.park(await journal.lease(Queue("lab"), "test"), "204", "OBR-3 names no known order.", ["OBR-3: order-unknown"])
    rejected = await journal.accept(new("C2", state=MessageState.REJECTED, code="200", why="Not taken.", lanes=()))
    sent = await journal.accept(new("C3"))
    delivery = NewDelivery(new_id(), "hub", ("C3",), b'{"resourceType":"Bundle"}', "fhir")
    assert await journal.forward(await journal.lease(Queue("lab"), "test"), Forward(deliveries=(delivery,)))
    await journal.settle(await journal.lease(Queue("lab", "hub"), "test"), Park("fhir-422", "Not taken by the server."))
    return {"parked": parked.id, "rejected": rejected.id, "sent": sent.id, "delivery": delivery.id}


def with_channel(folder: Path) -> None:
    """Give a site a channel's file, as far as names are read of it."""
    (folder / "channels").mkdir()
    (folder / "channels" / "lab.yaml").write_text("channel: lab\ndeliver: [{name: hub}, {name: record}]\n")


def put_aside(folder: Path) -> list[Path]:
    """Journals that a restore put aside."""
    return list(folder.glob("*.before-*"))


@pytest.fixture
async def site(tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A site's folder with a journal, no engine running, and the ids in it."""
    (tmp_path / "engine.yaml").write_text(SITE % "127.0.0.1:9")
    journal = open_journal(tmp_path / "journal.db")
    await journal.open()
    ids = await fill(journal)
    await journal.close()
    return str(tmp_path), ids


async def test_messages_are_listed_newest_first(site: tuple[str, dict[str, str]]) -> None:
    """Each with its state, the reason, and where its deliveries are."""
    folder, ids = site
    rows = await shown("messages", "list", "--project", folder)
    assert [row["id"] for row in rows] == [ids["sent"], ids["rejected"], ids["parked"]]
    assert [row["state"] for row in rows] == ["transformed", "rejected", "parked"]
    _, text, _ = await run("messages", "list", "--project", folder)
    assert "hub: parked" in text


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["--state", "parked"], ["parked"]),
        (["--state", "parked", "--state", "rejected"], ["rejected", "parked"]),
        (["--state", "delivery-parked"], ["sent"]),
        (["--control-id", "C2"], ["rejected"]),
        (["--search", "patient=BN001", "--limit", "1"], ["sent"]),
        (["--search", "patient=BN002"], []),
        (["--since", "1h", "--type", "ORU^R01", "--channel", "lab"], ["sent", "rejected", "parked"]),
        (["--until", "2020-01-01T00:00"], []),
    ],
)
async def test_a_listing_has_conditions(site: tuple[str, dict[str, str]], conditions: list[str], expected: list[str]) -> None:
    """State, MSH-10, type, time, channel and search keys; all of them must hold."""
    folder, ids = site
    rows = await shown("messages", "list", "--project", folder, *conditions)
    assert [row["id"] for row in rows] == [ids[name] for name in expected]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--state", "pakred"], 'did you mean "parked"?'),
        (["list", "--search", "patiant=BN001"], 'did you mean "patient"?'),
        (["list", "--channel", "labb"], 'did you mean "lab"?'),
        (["replay", "--channel", "lab", "--to", "hbu", "--yes"], 'did you mean "hub"?'),
        (["replay", "ID", "--to", "nonsense"], 'there is no destination "nonsense": known: hub, record'),
        (["retry", "--to", "nonsense/24002", "--yes"], "there is no destination"),
        (["discard", "--why", "a test", "--channel", "lab", "--to", "hub2", "--yes"], 'did you mean "hub"?'),
    ],
)
async def test_a_name_that_nothing_has_is_refused(site: tuple[str, dict[str, str]], arguments: list[str], said: str) -> None:
    """A slip of the keyboard would find nothing, or make messages for nobody; nothing is done."""
    folder, ids = site
    with_channel(Path(folder))
    before = await shown("messages", "list", "--project", folder)
    arguments = [ids["sent"] if each == "ID" else each for each in arguments]
    code, _, told = await run("messages", *arguments, "--project", folder)
    assert (code, said in " ".join(told.replace("│", " ").split())) == (2, True), told
    assert await shown("messages", "list", "--project", folder) == before


async def test_one_message_is_shown_with_its_content(site: tuple[str, dict[str, str]]) -> None:
    """Its findings and deliveries; the exact bytes as received, and the exact body of a delivery."""
    folder, ids = site
    _, text, _ = await run("messages", "show", ids["parked"], "--project", folder)
    assert "OBR-3: order-unknown" in text
    _, text, _ = await run("messages", "show", ids["sent"], "--project", folder)
    assert "fhir-422 Not taken by the server." in text
    assert (await run("messages", "show", ids["rejected"], "--raw", "--project", folder))[1].startswith("MSH|^~\\&|LIS")
    body = await run("messages", "show", ids["sent"], "--delivery", ids["delivery"], "--project", folder)
    assert body[1] == '{"resourceType":"Bundle"}'
    (attempt,) = await shown("messages", "show", ids["sent"], "--attempts", "--project", folder)
    assert (attempt["delivery"], attempt["outcome"], attempt["why"]) == (ids["delivery"], "parked", "Not taken by the server.")


async def test_an_operator_acts_on_the_journal_where_no_engine_runs(site: tuple[str, dict[str, str]]) -> None:
    """Replay makes a new message and supersedes the parked one; retry makes a delivery wait again; discard needs a reason."""
    folder, ids = site
    replayed = await shown("messages", "replay", ids["parked"], "--project", folder)
    assert (await run("messages", "retry", ids["delivery"], "--project", folder))[0] == 0
    rows = {row["id"]: row for row in await shown("messages", "list", "--project", folder)}
    assert rows[ids["parked"]]["state"] == "superseded"
    assert rows[replayed[ids["parked"]]]["replay_of"] == ids["parked"]
    assert rows[ids["sent"]]["deliveries"][0]["state"] == "waiting"
    assert (await run("messages", "discard", ids["sent"], "--why", " ", "--project", folder))[0] == 2
    code, _, told = await run("messages", "discard", ids["sent"], "--why", "a test", "--project", folder)
    assert (code, "what waits is given up only if" in " ".join(told.split())) == (1, True)
    assert (await run("messages", "discard", ids["sent"], "--why", "a test", "--waiting", "--project", folder))[0] == 0
    assert (await shown("messages", "show", ids["sent"], "--project", folder))["deliveries"][0]["state"] == "discarded"


async def test_a_replay_by_condition_goes_oldest_first(site: tuple[str, dict[str, str]]) -> None:
    """A replay of many keeps the order in which they arrived; without any condition nothing is replayed."""
    folder, ids = site
    assert (await run("messages", "replay", "--project", folder))[0] == 2
    conditions = ("--channel", "lab", "--since", "1h", "--project", folder)
    code, _, told = await run("messages", "replay", *conditions)
    assert (code, "3 messages to replay" in told, "--yes" in told) == (0, True, True)
    replayed = await shown("messages", "replay", *conditions, "--yes")
    assert list(replayed) == [ids["parked"], ids["rejected"], ids["sent"]]
    assert await shown("messages", "replay", *conditions, "--yes") == replayed  # resumed: all of it is done
    assert await shown("messages", "replay", *conditions, "--yes", "--to", "hub") != replayed
    assert await shown("messages", "replay", *conditions, "--yes", "--again") != replayed
    resent = await shown("messages", "replay", *conditions, "--yes", "--resend", "--to", "hub")
    _, text, _ = await run("messages", "show", resent[ids["sent"]], "--project", folder)
    assert "what was sent already, too" in text


async def test_what_is_parked_is_retried_and_discarded_by_condition(site: tuple[str, dict[str, str]]) -> None:
    """By destination and reason; counted first; a discard is of what is parked."""
    folder, ids = site
    code, _, told = await run("messages", "retry", "--code", "fhir-422", "--to", "hub", "--project", folder)
    assert (code, "1 parked delivery to retry" in told) == (0, True)
    assert await shown("messages", "retry", "--code", "fhir-503", "--yes", "--project", folder) == {}
    assert await shown("messages", "retry", "--to", "hub", "--yes", "--project", folder) == {ids["delivery"]: "due now"}
    assert (await run("messages", "discard", "--why", "test", "--yes", "--project", folder))[0] == 2
    done = await shown("messages", "discard", "--why", "test", "--channel", "lab", "--yes", "--project", folder)
    assert done == {ids["parked"]: "test"}


async def test_a_discard_by_condition_leaves_what_waits(site: tuple[str, dict[str, str]]) -> None:
    """A message with one delivery parked and one waiting keeps the waiting one; destination and reason narrow it further."""
    folder, _ = site
    journal = open_journal(Path(folder) / "journal.db")
    await journal.open()
    stored = await journal.accept(new("C9"))
    made = tuple(NewDelivery(new_id(), name, (name,), b"{}", "fhir") for name in ("record", "second"))
    assert await journal.forward(await journal.lease(Queue("lab"), "test"), Forward(deliveries=made))
    await journal.settle(await journal.lease(Queue("lab", "record"), "test"), Park("fhir-422", "No."))
    await journal.close()

    async def states() -> list[str]:
        row = await shown("messages", "show", stored.id, "--project", folder)
        return [each["state"] for each in row["deliveries"]]

    all_parked = ("messages", "discard", "--why", "test", "--state", "delivery-parked", "--project", folder)
    code, _, told = await run(*all_parked, "--to", "record")
    assert (code, "1 message to discard" in told) == (0, True)
    assert await shown(*all_parked, "--code", "fhir-409", "--yes") == {}
    assert await shown(*all_parked, "--to", "second", "--yes") == {}
    assert stored.id in await shown(*all_parked, "--yes")
    assert await states() == ["discarded", "waiting"]
    waiting = ("messages", "discard", "--why", "test", "--waiting", "--to", "second", "--channel", "lab", "--project", folder)
    assert await shown(*waiting, "--yes") == {stored.id: "test"}
    assert await states() == ["discarded", "discarded"]


async def test_what_is_not_there_is_said_in_a_line(site: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    """An unknown id, a folder without a site, a site that never ran, an engine that does not run: 1, and no traceback."""
    folder, _ = site
    for arguments, said in (
        (["messages", "show", new_id(), "--project", folder], "There is no message"),
        (["messages", "list", "--project", str(tmp_path / "none")], "engine.yaml is not there"),
        (["status", "--project", folder], "No engine of this site answers at 127.0.0.1:9"),
        (["status", "http://127.0.0.1:9"], "No engine answers at http://127.0.0.1:9"),
        (["messages", "list", "--since", "soon", "--project", folder], "is no time"),
    ):
        code, _, stderr = await run(*arguments)
        assert code in (1, 2)
        assert said in " ".join(stderr.split())


@asynccontextmanager
async def engine(folder: Path) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """A running engine's journal and API, in this process; gives the API's URL and the ids in the journal."""
    journal = open_journal(folder / "journal.db")
    await journal.open()
    watch = Watch(FakeEngine(journal=journal))
    server = HttpServer(application(watch, "127.0.0.1"), "127.0.0.1", 0)
    await server.start()
    (folder / "engine.yaml").write_text(SITE % server.address)
    try:
        yield f"http://{server.address}", await fill(journal)
    finally:
        await server.stop()
        watch.close()
        await journal.close()


async def test_a_running_engine_is_asked_to_act(tmp_path: Path) -> None:
    """Only the engine may write its journal: what changes something goes through its API; reading goes on beside it."""
    async with engine(tmp_path) as (url, ids):
        replayed = await shown("messages", "replay", ids["parked"], "--project", str(tmp_path))
        rows = await shown("messages", "list", "--project", str(tmp_path))
        assert rows[0]["id"] == replayed[ids["parked"]]
        assert rows[0]["search"] == [["patient", "BN001"]]
        remote = await shown("messages", "show", rows[0]["id"], "--url", url)
        assert (remote["replay_of"], remote["search"]) == (ids["parked"], [])
        assert (await run("messages", "retry", ids["delivery"], "--url", url))[0] == 0
        assert (await shown("messages", "list", "--state", "delivery-waiting", "--url", url))[0]["id"] == ids["sent"]
        assert (await run("messages", "show", ids["sent"], "--raw", "--url", url))[0] == 2


async def test_what_waits_to_be_tried_again_is_retried_too(site: tuple[str, dict[str, str]]) -> None:
    """With --waiting: counted first, done with --yes; what parked stays."""
    folder, ids = site
    journal = open_journal(Path(folder, "journal.db"))
    await journal.open()
    waiting = NewDelivery(new_id(), "hub", ("C4",), b"{}", "fhir")
    await journal.accept(new("C4"))
    await journal.forward(await journal.lease(Queue("lab"), "test"), Forward(deliveries=(waiting,)))
    due_at = datetime.now(UTC) + timedelta(hours=1)
    await journal.settle(await journal.lease(Queue("lab", "hub"), "test"), Retry("503"), due_at=due_at)
    await journal.close()
    of = ("messages", "retry", "--waiting", "--to", "hub", "--project", folder)
    assert "1 waiting delivery to retry" in (await run(*of))[2]
    assert await shown(*of, "--yes") == {waiting.id: "due now"}
    parked = await shown("messages", "list", "--state", "delivery-parked", "--project", folder)
    assert [row["id"] for row in parked] == [ids["sent"]]


async def test_status_shows_what_is_stuck(tmp_path: Path) -> None:
    """Found through engine.yaml or by URL: a table for people, JSON for programs; 1 when the engine is not ready."""
    async with engine(tmp_path) as (url, _):
        status = await shown("status", url)
        assert (status["channels"][0]["parked"], status["channels"][0]["destinations"][0]["backlog"]["parked"]) == (1, 1)
        code, text, _ = await run("status", "--project", str(tmp_path))
        assert code == 0
        assert "Bệnh viện mẫu (24001)" in text
        assert "→ hub" in text
        code, text, _ = await run("channels", "list", "--project", str(tmp_path))
        assert (code, "0.0.0.0:2575" in text) == (0, True)


async def test_status_tells_what_is_left_where_no_engine_runs(site: tuple[str, dict[str, str]]) -> None:
    """At night, with the engine down: what waits and is parked is in the journal all the same."""
    code, text, stderr = await run("status", "--project", site[0])
    assert (code, "No engine of this site answers" in stderr) == (1, True)
    assert re.search(r"lab +0 +1\b", text)
    assert re.search(r"lab → hub +0 +1\b", text)


async def test_an_engine_is_known_by_its_journal(tmp_path: Path) -> None:
    """An engine.yaml edited since the start still finds its engine, by the journal's place; one with another journal does not."""
    async with engine(tmp_path) as (_, _):
        file = tmp_path / "engine.yaml"
        text = file.read_text().replace("Bệnh viện mẫu", "Bệnh viện khác").replace("24001", "24002")
        file.write_text(text)
        assert (await run("status", "--project", str(tmp_path)))[0] == 0
        file.write_text(text.replace("journal.db", "other.db"))
        assert (await run("status", "--project", str(tmp_path)))[0] == 1


@pytest.mark.parametrize(("columns", "lines"), [("100", 3), ("200", 1)])
async def test_ids_are_whole_on_any_terminal(
    site: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch, columns: str, lines: int
) -> None:
    """An id is there to be copied: what has no room beside it stands below it."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(output, "_WIDE", int(columns))
    _, text, _ = await run("messages", "list", "--project", site[0], "--state", "delivery-parked")
    shown = [line.strip() for line in text.splitlines() if line.strip()][2:]
    assert len(shown) == lines
    assert shown[0].startswith(site[1]["sent"])
    assert "hub: parked fhir-422" in shown[-1]


async def test_a_channel_is_stopped_and_started(tmp_path: Path) -> None:
    """Through the API of the running engine; a channel that is not there is said."""
    async with engine(tmp_path) as (url, _):
        assert (await run("channels", "stop", "lab", "--url", url))[:2] == (0, "lab: stopped\n")
        assert (await run("channels", "start", "lab", "--project", str(tmp_path)))[:2] == (0, "lab: running\n")
        hub = ("--destination", "hub", "--url", url)
        assert (await run("channels", "stop", "lab", *hub))[:2] == (0, "lab → hub: stopped\n")
        assert (await shown("status", url))["channels"][0]["destinations"][0]["health"]["problem"] == "stopped"
        assert (await run("channels", "start", "lab", *hub))[:2] == (0, "lab → hub: running\n")
        code, _, stderr = await run("channels", "stop", "none", "--url", url)
        assert (code, "There is no channel none." in stderr) == (1, True)


async def test_an_engine_that_is_not_ready_ends_status_with_1() -> None:
    """The reasons are on stderr."""
    watch = Watch(observed := FakeEngine())
    observed.journal.problem = "No room."
    server = HttpServer(application(watch, "127.0.0.1"), "127.0.0.1", 0)
    await server.start()
    code, _, stderr = await run("status", f"http://{server.address}")
    assert (code, "journal: No room." in stderr) == (1, True)
    await server.stop()
    watch.close()


async def test_status_warns_of_what_waits_for_a_stopped_channel() -> None:
    """An operator's wish is no reason not to be ready, but who asks is told what waits behind it."""
    waiting = ('the channel that receives lab as "hub" is stopped',)
    watch = Watch(observed := FakeEngine())
    observed.exchange.health = lambda: ExchangeHealth("rabbitmq", "amqps://broker:5671", waiting=waiting)
    server = HttpServer(application(watch, "127.0.0.1"), "127.0.0.1", 0)
    await server.start()
    code, _, stderr = await run("status", f"http://{server.address}")
    assert (code, f"exchange: {waiting[0]}" in stderr) == (0, True)
    await server.stop()
    watch.close()


def test_a_span_is_written_as_people_say_it() -> None:
    """Seconds, minutes, hours, days."""
    from interop_engine.cli.output import span

    spans = [timedelta(seconds=3.21), timedelta(minutes=4), timedelta(hours=2, minutes=5), timedelta(days=3, hours=4)]
    assert [span(each.total_seconds()) for each in spans] == ["3.2 s", "4 min", "2 h 5 min", "3 d 4 h"]


async def test_a_journal_is_copied_checked_restored_and_pruned(site: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    """The whole round of an operator; a restore over messages needs --force, and puts them aside."""
    folder, ids = site
    copy = str(tmp_path / "copy.db")
    project = ("--project", folder)
    assert (await run("journal", "backup", copy, *project))[0] == 0
    assert (await run("journal", "backup", copy, *project))[0] == 1
    assert (await run("journal", "check", *project))[:2] == (0, "all of it is as it was written\n")
    assert (await run("messages", "discard", ids["parked"], "--why", "a test", *project))[0] == 0
    code, _, told = await run("journal", "restore", copy, *project)
    assert (code, "--force" in told) == (1, True)
    code, said, told = await run("journal", "restore", copy, "--force", *project)
    assert (code, "before-1" in said, "ask the senders" in told) == (0, True, True)
    assert (await shown("messages", "show", ids["parked"], *project))["state"] == "parked"
    assert (await run("journal", "prune", "--days", "1", *project))[:2] == (0, "no messages removed\n")


async def test_a_copy_that_the_keys_do_not_open_is_not_restored(site: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    """It would be refused by the next start, with the journal that stood there out of the way: nothing is moved."""
    folder, ids = site
    project = ("--project", folder)
    copy = str(tmp_path / "copy.db")
    assert (await run("journal", "backup", copy, *project))[0] == 0
    plain = (tmp_path / "engine.yaml").read_text()
    key_file(tmp_path / "journal.keys")
    (tmp_path / "engine.yaml").write_text(plain.replace("journal: {", "journal: {encrypt: {keys: journal.keys}, "))
    code, _, told = await run("journal", "restore", copy, "--force", *project)
    assert (code, "holds messages in plain" in " ".join(told.split())) == (1, True)
    (tmp_path / "engine.yaml").write_text(plain)
    assert (await shown("messages", "show", ids["parked"], *project))["state"] == "parked"
    assert put_aside(tmp_path) == []


async def test_a_journal_in_a_database_is_left_to_its_server(tmp_path: Path) -> None:
    """A backup says what to use instead."""
    (tmp_path / "engine.yaml").write_text(
        'site: Test\nfacility: "24001"\njournal: {postgres: "postgresql://127.0.0.1:9/journal"}\n'
    )
    code, _, told = await run("journal", "backup", str(tmp_path / "copy.db"), "--project", str(tmp_path))
    assert (code, "pg_dump" in told) == (1, True)
