"""``status``, ``messages``, ``channels``: on a journal without an engine, and through the API of a running one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

from interop_engine.cli import api
from interop_engine.core.model import Park, Retry, new_id
from interop_engine.engine.parcels import origin
from interop_engine.journal import open_journal
from interop_engine.journal.base import Forward, NewDelivery, Queue
from tests.support.journals import key_file
from tests.support.operating import engine, new, put_aside, run, shown, with_channel


async def test_messages_are_listed_newest_first(site: tuple[str, dict[str, str]]) -> None:
    """Each with its state, the reason, and where its deliveries are."""
    folder, ids = site
    rows = await shown("messages", "list", "--project", folder)
    assert [row["id"] for row in rows] == [ids["sent"], ids["rejected"], ids["parked"]]
    assert [row["state"] for row in rows] == ["transformed", "rejected", "parked"]
    _, text, _ = await run("messages", "list", "--project", folder)
    assert "hub: parked" in text


@pytest.mark.parametrize(("limit", "expected"), [("2", 2), ("3", 3), ("50", 3)])
async def test_a_long_listing_comes_a_page_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int
) -> None:
    """Of a running engine: more than it gives at once, in the same order, each once."""
    monkeypatch.setattr(api, "PAGE", 1)
    async with engine(tmp_path) as (url, ids):
        rows = await shown("messages", "list", "--url", url, "--limit", limit)
    assert [row["id"] for row in rows] == [ids["sent"], ids["rejected"], ids["parked"]][:expected]


async def test_where_nothing_is_found_it_is_said(site: tuple[str, dict[str, str]]) -> None:
    """Not a table without a line."""
    folder, _ = site
    assert (await run("messages", "list", "--control-id", "nobody's", "--project", folder))[1] == "no messages\n"


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


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.write_bytes(b"not SQLite" * 1_000), "cannot be opened: file is not a database"),
        (lambda file: as_of(file, 999), "has schema 999, of a newer engine; this one knows "),
        (lambda file: as_of(file, 1), "has schema 1, of an older engine: the next start of the engine brings it to "),
        (lambda file: (file.unlink(), file.mkdir()), "cannot be opened: "),
    ],
    ids=["another file", "newer", "older", "a folder"],
)
@pytest.mark.parametrize("verb", [["messages", "list"], ["journal", "check"], ["status"], ["losses"]])
async def test_a_journal_that_cannot_be_read_is_told_in_one_line(
    site: tuple[str, dict[str, str]], verb: list[str], spoil: Callable[[Path], object], said: str
) -> None:
    """Whatever lies in its place, and whoever wrote it."""
    folder, _ = site
    spoil(Path(folder, "journal.db"))
    code, _, told = await run(*verb, "--project", folder)
    assert (code, told.count("\n"), said in told) == (1, 1, True), told


def as_of(journal: Path, version: int) -> None:
    """A journal as an engine of another version would have left it."""
    connection = apsw.Connection(str(journal))
    connection.pragma("user_version", version)
    connection.close()


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


async def test_a_message_is_shown_with_what_operators_did(site: tuple[str, dict[str, str]]) -> None:
    """When, what and why, in words and as JSON."""
    folder, ids = site
    again = (await shown("messages", "replay", ids["parked"], "--project", folder))[ids["parked"]]
    assert (await run("messages", "retry", ids["delivery"], "--project", folder))[0] == 0
    assert (await run("messages", "discard", ids["sent"], "--why", "a slip", "--waiting", "--project", folder))[0] == 0
    done = (await shown("messages", "show", ids["sent"], "--project", folder))["history"]
    assert [(each["what"], each["delivery"], each["detail"]) for each in done] == [
        ("retried", ids["delivery"], ""),
        ("discarded", "", "a slip"),
    ]
    _, text, _ = await run("messages", "show", ids["sent"], "--project", folder)
    assert [word in text.partition("what was done")[2] for word in ("retried", "discarded", "a slip")] == [True] * 3
    _, text, _ = await run("messages", "show", ids["parked"], "--project", folder)
    assert again in "".join(text.partition("what was done")[2].split())


async def test_a_message_is_found_by_any_of_its_ids(site: tuple[str, dict[str, str]]) -> None:
    """A delivery's, and that which its sender on the exchange knows it by; what nobody knows is said to be unknown."""
    folder, ids = site
    assert (await shown("messages", "show", ids["delivery"], "--project", folder))["id"] == ids["sent"]
    assert len(await shown("messages", "show", ids["delivery"], "--attempts", "--project", folder)) == 1
    assert "|C3|" in (await run("messages", "show", ids["delivery"], "--raw", "--project", folder))[1]
    code, _, told = await run("messages", "show", "nobody", "--project", folder)
    assert (code, "There is no message nobody." in " ".join(told.split())) == (1, True)
    parcel = new("C9", headers={"delivery-id": "d-1"}, search=origin({"delivery-id": "d-1"}))
    journal = open_journal(Path(folder, "journal.db"))
    await journal.open()
    await journal.accept(parcel)
    await journal.close()
    assert (await shown("messages", "show", "d-1", "--project", folder))["id"] == parcel.id


async def test_a_running_engine_finds_a_message_by_its_delivery(tmp_path: Path) -> None:
    """Over HTTP as in the journal, and tells what was done with it."""
    async with engine(tmp_path) as (url, ids):
        assert (await run("messages", "retry", ids["delivery"], "--url", url))[0] == 0
        row = await shown("messages", "show", ids["delivery"], "--url", url)
    assert (row["id"], [each["what"] for each in row["history"]]) == (ids["sent"], ["retried"])


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
        (["status", "127.0.0.1:9"], '"127.0.0.1:9" is no URL; write http://127.0.0.1:8080'),
        (["messages", "list", "--since", "soon", "--project", folder], "is no time"),
    ):
        code, _, stderr = await run(*arguments)
        assert code in (1, 2)
        assert said in " ".join(stderr.split())


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


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(b"<html>", "text/html"), (b'{"status": "ok"}', "application/json"), (b"not HTTP", "")],
    ids=["a page", "JSON", "another protocol"],
)
async def test_what_answers_and_is_no_engine_is_not_taken_for_one(answer: bytes, kind: str) -> None:
    """The wrong port of the right machine: another program's, or the one that HL7 v2 comes in by."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(answer)}\r\n\r\n" if kind else ""
        writer.write(head.encode() + answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = "http://{}:{}".format(*server.sockets[0].getsockname())
        code, _, told = await run("status", url)
    assert (code, told.count("\n")) == (1, 1)
    assert told.startswith(f"error: No engine answers at {url}: ")
