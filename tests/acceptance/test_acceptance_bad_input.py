"""Bad input of every kind has the answer that semantics.md and reliability.md give it: a clear error, nothing lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interop_engine.demo.fhir_server import FhirServer
from interop_engine.hl7.framing import frame
from interop_engine.journal.base import MessageRow, MessageState, Selection
from interop_engine.journal.sqlite import writer
from tests.support.corpus import ROOT
from tests.support.hub import make_hub_site
from tests.support.node import Node, make_site, resources, running
from tests.support.process import COMMAND, free_port
from tests.support.texts import PATIENT, admission, msh, result, text


async def rows(node: Node, *states: str, channel: str | None = None) -> list[MessageRow]:
    """The messages in these states, newest first."""
    return await node.runtime.journal.search(Selection(channel=channel, states=states))


# --- What comes in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "control_id"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""),
        (b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', ""),
        (b'{"resourceType": "Patient"}', ""),
        (b"\x00\xff\xfe\x80 nothing at all", ""),
        (b"PID|1||BN001^^^BV24001^MR\r", ""),
        (b"MSH", ""),
        (b"MSH|||||||||X1", ""),
        (text(msh("ORU^R01^ORU_R01", "X2")).replace(b"PIT", b"").replace(b"LIS|", b"L\xffS|"), "X2"),
    ],
    ids=["HTTP", "XML", "JSON", "bytes", "no MSH", "an MSH cut short", "no encoding characters", "not UTF-8"],
)
async def test_what_is_no_message_is_refused_and_kept(tmp_path: Path, data: bytes, control_id: str) -> None:
    """Refused at once, with what can be recovered of MSH-10; kept byte for byte, never delivered; the next one is taken."""
    async with running(make_site(tmp_path)) as node:
        refused, taken = await node.send("lab-results", data, result("M1"))
        assert refused.code in ("AR", "AE")
        assert refused.error_code in ("100", "102")
        assert refused.control_id == control_id
        assert taken.code == "AA"
        await node.settled()
        (row,) = await rows(node, "rejected")
        assert (row.code, row.deliveries) == (refused.error_code, ())
        assert (await node.runtime.journal.content(row.id)).data == data
        assert len(node.bundles("hub")) == 1


@pytest.mark.parametrize(("type_", "code"), [("ADT^A01^ADT_A01", "200"), ("ORU^R99^ORU_R01", "201"), ("ZZZ^Z01", "200")])
async def test_an_unknown_type_is_rejected(tmp_path: Path, type_: str, code: str) -> None:
    """AR with the condition of table 0357; kept as rejected, never delivered."""
    async with running(make_site(tmp_path)) as node:
        (answer,) = await node.send("lab-results", text(msh(type_, "M1"), PATIENT.format("BN001")))
        assert (answer.code, answer.control_id, answer.error_code) == ("AR", "M1", code)
        await node.settled()
        (row,) = await rows(node)
        assert (row.state, row.code) == (MessageState.REJECTED, code)
        assert node.bundles("hub") == []


async def test_an_unknown_type_may_be_ignored(tmp_path: Path) -> None:
    """With ``otherwise: ignore``: AA, kept, marked as filtered."""
    channel = make_site(tmp_path) / "channels" / "lab-results.yaml"
    channel.write_text(channel.read_text(encoding="utf-8").replace("otherwise: reject", "otherwise: ignore"), encoding="utf-8")
    async with running(tmp_path) as node:
        (answer,) = await node.send("lab-results", text(msh("ADT^A01^ADT_A01", "M1"), PATIENT.format("BN001")))
        assert answer.code == "AA"
        (row,) = await rows(node)
        assert (row.state, row.code) == (MessageState.FILTERED, "not-accepted")


# --- What cannot be mapped --------------------------------------------------------------------------------------------


async def test_a_mapping_failure_parks(tmp_path: Path) -> None:
    """AA was said, so it is kept and parked with the fields to look at; a resend takes its place; put right, it is delivered."""
    async with running(make_site(tmp_path)) as node:
        wrong = admission("M1").replace(b"BN001^^^BV24001^MR", b"")
        (answer,) = await node.send("patients", wrong)
        assert answer.code == "AA"
        await node.settled()
        (row,) = await rows(node)
        assert (row.state, row.code) == (MessageState.PARKED, "101")
        assert "PID-3" in row.why
        assert (await node.runtime.journal.content(row.id)).data == wrong
        await node.send("patients", wrong, admission("M1"))
        await node.settled()
        assert [each.state for each in await rows(node, channel="patients")] == ["transformed", "parked", "superseded"]
        assert len(node.bundles("hub")) == 1


async def test_a_message_of_which_nothing_is_made_parks(tmp_path: Path) -> None:
    """A header alone says that there is a result, and has none: it is not dropped in silence."""
    async with running(make_site(tmp_path)) as node:
        (answer,) = await node.send("lab-results", text(msh("ORU^R01^ORU_R01", "M1")))
        assert answer.code == "AA"
        await node.settled()
        (row,) = await rows(node)
        assert (row.state, row.code) == (MessageState.PARKED, "100")
        assert "MSH-9" in row.why


async def test_a_line_that_is_no_segment_is_told(tmp_path: Path) -> None:
    """A text with a bare CR in it is torn, and what follows belongs to nothing: that is said, not lost in silence."""
    async with running(make_site(tmp_path)) as node:
        await node.send("lab-results", result("M1").replace(b"|mmol/L", b"|mmol\rand more|mmol/L"))
        await node.settled()
        (row,) = await rows(node, channel="lab-results")
        assert "???[1]: segment-name Line 6 of the message has no segment name." in row.findings


async def test_an_invalid_bundle_never_leaves(tmp_path: Path) -> None:
    """A mapping that breaks an invariant: parked as invalid-bundle, path and rule named; mapped right and replayed, it goes."""
    mapping = make_site(tmp_path) / "mappings" / "oru_r01_lab.yaml"
    right = mapping.read_text(encoding="utf-8")
    absent = "      dataAbsentReason: ='http://terminology.hl7.org/CodeSystem/data-absent-reason#unknown'\n      value: OBX-5 "
    mapping.write_text(right.replace("      value: OBX-5 ", absent), encoding="utf-8")
    async with running(tmp_path) as node:
        (answer,) = await node.send("lab-results", result("M1"))
        assert answer.code == "AA"
        await node.settled()
        (row,) = await rows(node)
        assert (row.state, row.code, node.bundles("hub")) == (MessageState.PARKED, "invalid-bundle", [])
        assert "Bundle.entry[" in row.why
        assert "obs-6" in row.why
    mapping.write_text(right, encoding="utf-8")
    async with running(tmp_path) as node:
        await node.runtime.journal.replay(row.id)
        await node.settled()
        assert len(node.bundles("hub")) == 1


# --- Where it goes ----------------------------------------------------------------------------------------------------


async def waiting(node: Node) -> int:
    """How many deliveries to the hub's server wait."""
    counts = {(each.queue.channel, each.queue.destination): each.waiting for each in await node.runtime.journal.counts()}
    return counts.get(("hub", "record"), 0)


async def test_an_unreachable_destination_loses_nothing(tmp_path: Path) -> None:
    """Nobody listens there: AA all the same, all waits and the reason is shown; once it is up, all arrives, each once."""
    port = free_port()
    async with running(make_hub_site(tmp_path, f"http://127.0.0.1:{port}/fhir")) as node:
        hub = next(channel for channel in node.runtime.channels if channel.name == "hub")
        messages = [result(f"M{n}", patient=f"BN{n}", order=f"O{n}", filler=f"F{n}") for n in range(9)]
        assert {answer.code for answer in await node.send("lab-results", *messages)} == {"AA"}

        async def known_to_be_down() -> bool:
            all_wait = await waiting(node) == 9
            return all_wait and "cannot be reached" in hub.destination_healths["record"].problem

        await node.until(known_to_be_down)
        async with FhirServer(port=port) as server:
            await node.settled()
            assert len(server.store.all("DiagnosticReport")) == 9
            assert hub.destination_healths["record"].problem == ""
        assert await rows(node, "parked", "delivery-parked") == []


# --- The disk ---------------------------------------------------------------------------------------------------------


async def silent(node: Node, data: bytes) -> bool:
    """Send, and see whether the connection is closed without a word."""
    reader, sender = await asyncio.open_connection("127.0.0.1", node.port("lab-results"))
    try:
        sender.write(frame(data))
        async with asyncio.timeout(30):
            return await reader.read(1) == b""
    except ConnectionResetError:
        return True
    finally:
        sender.close()


async def limit_pages(node: Node, pages: int) -> None:
    """As a disk that has so many pages of room: SQLite itself says that it is full."""
    journal: Any = node.runtime.journal
    await journal._writer.do(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages}").fetchall())


async def test_a_full_disk_is_silent_and_keeps_its_word(tmp_path: Path) -> None:
    """Closed without an ACK, nothing half committed; what was acknowledged stays; with room again the same message is taken."""
    async with running(make_site(tmp_path)) as node:
        await limit_pages(node, 100)
        acknowledged = 0
        while not await silent(node, filling := big(acknowledged)):
            acknowledged += 1
        assert acknowledged
        assert (await node.runtime.journal.health()).problem == "The disk is full."
        assert len(await rows(node, channel="lab-results")) == acknowledged
        await limit_pages(node, 1_000_000)
        (answer,) = await node.send("lab-results", filling)
        assert (answer.code, answer.control_id) == ("AA", f"M{acknowledged}")
        await node.settled()
        assert [(row.control_id, row.arrivals) for row in reversed(await rows(node, channel="lab-results"))] == [
            (f"M{n}", 1) for n in range(acknowledged + 1)
        ]
        assert len(node.bundles("hub")) == acknowledged + 1
        assert (await node.runtime.journal.health()).problem == ""


def big(number: int) -> bytes:
    """A result with a note that does not compress."""
    note = os.urandom(40_000).hex()
    return result(f"M{number}", order=f"O{number}", filler=f"F{number}") + f"NTE|1||{note}\r".encode()


async def test_the_reserve_is_for_what_was_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below it nothing is taken in, while what was taken in is delivered."""
    free = SimpleNamespace(f_bavail=10_000_000, f_frsize=4096)
    port = free_port()
    async with running(make_hub_site(tmp_path, f"http://127.0.0.1:{port}/fhir")) as node:
        monkeypatch.setattr(writer.os, "statvfs", lambda _: free)
        (answer,) = await node.send("lab-results", result("M1"))
        assert answer.code == "AA"

        async def at_the_door() -> bool:
            return await waiting(node) == 1

        await node.until(at_the_door)
        free.f_bavail = 10
        assert await silent(node, result("M2", order="A2", filler="F2"))
        async with FhirServer(port=port) as server:

            async def arrived() -> bool:
                return len(server.store.all("DiagnosticReport")) == 1

            await node.until(arrived)
            free.f_bavail = 10_000_000
            (answer,) = await node.send("lab-results", result("M2", order="A2", filler="F2"))
            assert answer.code == "AA"
            await node.settled()
            assert len(server.store.all("DiagnosticReport")) == 2


# --- The configuration ------------------------------------------------------------------------------------------------


def test_a_broken_config_does_not_run(tmp_path: Path) -> None:
    """``run`` refuses what ``check`` refuses: every mistake of every file with its place, exit 1, no journal made."""
    site = make_site(tmp_path / "site")
    engine, lab = site / "engine.yaml", site / "channels" / "lab-results.yaml"
    engine.write_text(engine.read_text(encoding="utf-8") + "timezon: UTC\n", encoding="utf-8")
    lab.write_text(lab.read_text(encoding="utf-8").replace("oru_r01_lab", "oru_r01_labs"), encoding="utf-8")
    mapping = site / "mappings" / "adt_visit.yaml"
    mapping.write_text(mapping.read_text(encoding="utf-8").replace("gender: PID-8", "gendre: PID-8"), encoding="utf-8")
    refused, checked = (_verb(verb, site) for verb in ("run", "check"))
    assert (refused.returncode, checked.returncode) == (1, 1)
    for place in ("engine.yaml:4:1: ", "channels/lab-results.yaml:", "mappings/adt_visit.yaml:"):
        assert place in refused.stderr
    mistakes = [line for line in checked.stderr.splitlines() if ".yaml:" in line]
    assert len(mistakes) >= 3
    assert [line for line in mistakes if line not in refused.stderr] == []
    assert "Traceback" not in refused.stderr
    assert not (site / "var").exists()


def _verb(verb: str, site: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "STATUS_PORT": "0"}
    return subprocess.run([*COMMAND, verb, str(site)], capture_output=True, text=True, timeout=60, env=environment, check=False)


async def test_what_is_filtered_is_kept(tmp_path: Path) -> None:
    """Training data (MSH-11 T): AA, filtered, not delivered, still there; the same under P goes its way."""
    async with running(make_site(tmp_path)) as node:
        training = result("M1").replace(b"|M1|P|", b"|M1|T|")
        assert [answer.code for answer in await node.send("lab-results", training, result("M2"))] == ["AA", "AA"]
        await node.settled()
        (filtered,) = await rows(node, "filtered")
        assert (filtered.control_id, filtered.code) == ("M1", "training")
        (bundle,) = node.bundles("hub")
        assert len(resources(bundle, "DiagnosticReport")) == 1
