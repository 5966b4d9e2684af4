"""Results and orders of several messages through a whole node: what one teaches, the next one finds in the journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from interop_engine.journal.base import Selection
from tests.support.node import Node, make_site, resources, running
from tests.support.texts import PATIENT, msh, result, text

ENGINE = 'site: Test\nfacility: "24001"\ntimezone: Asia/Ho_Chi_Minh\ntransform: {{processes: {0}}}\n'
CRP = "OBX|2|NM|1988-5^CRP^LN||{0}|mg/L|||||F"


def snapshots(folder: Path, processes: int) -> Path:
    """A site whose laboratory says all of a report each time."""
    site = make_site(folder, engine=ENGINE.format(processes))
    channel = site / "channels" / "lab-results.yaml"
    channel.write_text(channel.read_text("utf-8") + "\nresults: snapshot\n", "utf-8")
    return site


async def parked(node: Node) -> list[str]:
    """The codes of what is parked."""
    return [row.code for row in await node.runtime.journal.search(Selection(states=("parked",)))]


@pytest.mark.parametrize("processes", [0, 1], ids=["inside", "beside"])
async def test_a_snapshot_withdraws_what_only_the_journal_knows(tmp_path: Path, processes: int) -> None:
    """The known report names the missing result, and a second question its content: mapped inside, or in a process beside."""
    async with running(snapshots(tmp_path, processes)) as node:
        whole = result("M1") + CRP.format(7).encode() + b"\r"
        await node.send("lab-results", whole, result("M2", at="20261121093000+0700"))
        await node.settled()
        first, second = node.bundles("hub")
        (before,) = [each for each in resources(first, "Observation") if each["code"]["coding"][0]["code"] == "1988-5"]
        (after,) = [each for each in resources(second, "Observation") if each["id"] == before["id"]]
        assert after == {**before, "status": "entered-in-error"}
        assert len(resources(second, "DiagnosticReport")[0]["result"]) == 2
        assert await parked(node) == []


async def test_a_cancel_by_number_reaches_every_order_of_a_panel(tmp_path: Path) -> None:
    """One placer number, two examinations: two orders, each with its result, and both revoked or completed in the end."""
    async with running(make_site(tmp_path)) as node:
        requested = [f"ORC|NW|A17^HIS\rOBR|{n}|A17^HIS||{code}^{code}^99LAB" for n, code in ((1, "GLU"), (2, "K"))]
        panel = text(msh("OML^O21^OML_O21", "O1", at="20261121070000+0700"), PATIENT.format("BN001"), *requested)
        cancel = text(msh("OML^O21^OML_O21", "O2", at="20261121100000+0700"), PATIENT.format("BN001"), "ORC|CA|A17^HIS")
        await node.send("orders", panel)
        await node.settled()
        await node.send("lab-results", result("M1"))
        await node.settled()
        await node.send("orders", cancel)
        await node.settled()
        placed, reported, cancelled = [resources(bundle, "ServiceRequest") for bundle in node.bundles("hub")]
        ids = {each["code"]["coding"][0]["code"]: each["id"] for each in placed}
        assert [(each["id"], each["status"]) for each in reported] == [(ids["GLU"], "completed")]
        assert {(each["id"], each["status"]) for each in cancelled} == {(id_, "revoked") for id_ in ids.values()}
        assert await parked(node) == []
