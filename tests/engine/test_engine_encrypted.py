"""A whole node on an encrypted journal: it does what it does in plain, and its files show nothing of a patient."""

from __future__ import annotations

import asyncio
from pathlib import Path

from typer.testing import CliRunner

from interop_engine.cli.app import app
from interop_engine.journal.base import Selection
from tests.support.journals import key_file
from tests.support.node import make_site, resources, running
from tests.support.texts import admission, order, result

ENGINE = """\
site: Test
facility: "24001"
timezone: Asia/Ho_Chi_Minh
journal: {encrypt: {keys: journal.keys}}
"""
_PATIENT = "BN7700881"
_ORDER, _FILLER = "A7700882", "F7700883"
_NAMES = ("Nguyễn", "Văn An", "NGUYEN")


async def test_a_node_writes_nothing_of_a_patient(tmp_path: Path) -> None:
    """Admission, order, result, correction and resend arrive as ever, a replay too; no name and no number is in any file."""
    key_file(tmp_path / "journal.keys")
    later = "20261121093000+0700"
    final = result("M3", patient=_PATIENT, order=_ORDER, filler=_FILLER)
    corrected = result("M4", patient=_PATIENT, order=_ORDER, filler=_FILLER, status="C", value="6.10", at=later)
    async with running(make_site(tmp_path, engine=ENGINE)) as node:
        answers = await node.send("patients", admission("M1", patient=_PATIENT))
        answers += await node.send("orders", order("M2", placer=_ORDER).replace(b"BN001", _PATIENT.encode()))
        answers += await node.send("lab-results", final, corrected, final)
        await node.settled()
        assert {answer.code for answer in answers} == {"AA"}
        reports = [report for bundle in node.bundles("hub") for report in resources(bundle, "DiagnosticReport")]
        assert [report["status"] for report in reports] == ["final", "corrected"]
        assert len({report["id"] for report in reports}) == 1
        found = await node.runtime.journal.search(Selection(channel="lab-results", search=(("patient", _PATIENT),)))
        assert [row.control_id for row in found] == ["M4", "M3"]
        await node.runtime.journal.replay(found[0].id)
        await node.settled()
        held = _journal(tmp_path)
    for canary in (_PATIENT, _ORDER, _FILLER, *_NAMES):
        assert canary.encode() not in held, canary
        assert canary.encode() not in _journal(tmp_path), canary
    for verb, told in (
        (("journal", "check"), "all of it is as it was written"),
        (("messages", "list", "--search", f"patient={_PATIENT}"), "M4"),
    ):
        done = await asyncio.to_thread(CliRunner().invoke, app, [*verb, "--project", str(tmp_path)])
        assert (done.exit_code, told in done.stdout) == (0, True)


def _journal(site: Path) -> bytes:
    return b"".join(file.read_bytes() for file in (site / "var").glob("journal.db*"))
