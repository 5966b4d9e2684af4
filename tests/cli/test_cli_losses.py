"""``losses``: what messages said that went nowhere."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from interop_engine.config.loader import load
from interop_engine.core.model import NOTHING_KNOWN, Received
from interop_engine.engine.transform import Prepared, prepare, transform
from interop_engine.journal import open_journal
from interop_engine.journal.base import Forward, Queue
from interop_engine.terminology.worklist import entry, read_entry
from tests.support.small_site import MAPPING, journaled, run, small_site

SYSTEM = "http://terminology.hl7.org/CodeSystem/v2-0002"
ADT = "MSH|^~\\&|HIS|24001|E|24001|20260302||ADT^A04^ADT_A01|1|P|2.5\rPID|1||1^^^BV24001^MR||A||19800131|||||||||ZZ\rPV1|1|I\r"


def forward(made: Forward, site: Path) -> None:
    """Forward the one message in a site's journal."""

    async def go() -> None:
        journal = open_journal(site / "var" / "journal.db")
        await journal.open()
        assert await journal.forward(await journal.lease(Queue("patients"), "test"), made)
        await journal.close()

    asyncio.run(go())


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site whose journal counts two fields that nobody read and one code."""
    found = small_site(tmp_path)
    journaled(found, "19800131")
    forward(Forward(ledger=("PID-8", "PV1-2", entry("lab-tests", "urn:x", "T|1"))), found)
    return found


def listed(site: Path, *options: str) -> list[dict[str, Any]]:
    """What the verb shows as JSON."""
    result = run("losses", "--project", site, "--json", *options)
    assert result.exit_code == 0
    return list(json.loads(result.stdout))


def test_fields_and_codes_that_went_nowhere_are_counted(site: Path) -> None:
    """Fields by path, with what they are; codes by map, system and code."""
    code = {
        "channel": "patients",
        "kind": "code",
        "name": "T|1",
        "count": 1,
        "map": "lab-tests",
        "system": "urn:x",
        "meaning": "",
    }
    assert listed(site)[0] == code
    assert [each["name"] for each in listed(site)] == ["T|1", "PID-8", "PV1-2"]
    assert [each["meaning"] for each in listed(site)] == ["", "administrative sex", "patient class"]
    assert listed(site, "--codes") == [code]
    assert listed(site, "--channel", "other") == []
    assert "lab-tests" in run("losses", "--project", site).stdout


def test_a_code_without_a_target_is_on_the_ledger_of_its_message(tmp_path: Path) -> None:
    """What a channel forwards names it, so that a running node counts it."""
    (small_site(tmp_path) / "mappings" / "adt.yaml").write_text(MAPPING + "      maritalStatus: PID-16\n", "utf-8")
    (channel,) = load(tmp_path).channels
    received = Received("1", channel.name, ADT.encode(), "hl7v2", datetime(2026, 3, 2, tzinfo=UTC), "", "1", "ADT^A04", "", ())
    prepared = prepare(received, channel)
    assert isinstance(prepared, Prepared)
    made = transform(prepared, NOTHING_KNOWN, channel)
    assert isinstance(made, Forward)
    assert [read_entry(each) for each in made.ledger if read_entry(each)] == [("marital-status", SYSTEM, "ZZ")]


def test_a_text_in_a_codes_place_does_not_fill_the_ledger() -> None:
    """An entry has an end."""
    assert len(entry("m", "urn:x", "x" * 10_000)) == 200
