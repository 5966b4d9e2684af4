"""From MLLP to a FHIR server over HTTP, through the whole node: what the server holds in the end is what semantics.md says.

The server is the demonstration's, and ``sekmet-fhir``, which nobody here wrote.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from itertools import permutations
from pathlib import Path

import pytest

from interop_engine.demo.fhir_server import FhirServer
from interop_engine.journal.base import MessageRow, Selection
from tests.support import sekmet
from tests.support.hub import Hub, make_hub_site
from tests.support.node import Node, running
from tests.support.texts import admission, merge, order, result


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running ``sekmet-fhir``."""
    with sekmet.serving(tmp_path_factory.mktemp("sekmet")) as url:
        yield url


@pytest.fixture(params=["our stand-in", "sekmet"])
async def hub(request: pytest.FixtureRequest) -> AsyncIterator[Hub]:
    """A FHIR server; only what a test itself sends there counts."""
    if request.param == "sekmet":
        found = Hub(request.getfixturevalue("foreign"), sekmet.TOKEN)
        await found.forget()
        yield found
    else:
        async with FhirServer(referential=True) as server:
            yield Hub(server.url)


@contextlib.asynccontextmanager
async def node_for(hub: Hub, folder: Path) -> AsyncIterator[Node]:
    """A node whose ids no other test's node makes, since its facility and its patients' numbers are its own."""
    code = f"T{len(hub.before)}"
    engine = f'site: Test\nfacility: "{code}"\ntimezone: Asia/Ho_Chi_Minh\nbase: https://{code.lower()}.example\n'
    async with running(make_hub_site(folder, hub.url, token=hub.token, engine=engine)) as node:
        yield node


async def test_a_resend_makes_no_second_resource(tmp_path: Path, hub: Hub) -> None:
    """The same message again, the same content under another MSH-10, a replay at the origin and one at the hub: one of each."""
    async with node_for(hub, tmp_path) as node:
        await node.send("lab-results", result("M1"), result("M1"))
        await node.settled()
        counts = await hub.counts()
        assert counts == {"Patient": 1, "ServiceRequest": 1, "DiagnosticReport": 1, "Observation": 1, "Provenance": 1}
        observation = await hub.one("Observation")
        assert observation["valueQuantity"]["value"] == 5.2
        await node.send("lab-results", result("M2"))
        journal = node.runtime.journal
        for channel in ("lab-results", "hub"):
            oldest = (await journal.search(Selection(channel=channel)))[-1]
            await journal.replay(oldest.id)
            await node.settled()
        assert await hub.counts() == counts
        assert await rows(node, "parked", "delivery-parked") == []


async def test_a_late_preliminary_changes_nothing(tmp_path: Path, hub: Hub) -> None:
    """The final stands, with its value; then a correction takes its place, under the same ids."""
    async with node_for(hub, tmp_path) as node:
        await node.send(
            "lab-results",
            result("M1", status="F", at="20261121090000+0700"),
            result("M2", status="P", value="9.9", at="20261121080000+0700"),
        )
        await node.settled()
        report, observation = await hub.one("DiagnosticReport"), await hub.one("Observation")
        assert (report["status"], observation["status"], observation["valueQuantity"]["value"]) == ("final", "final", 5.2)
        await node.send("lab-results", result("M3", status="C", value="5.30", at="20261121093000+0700"))
        await node.settled()
        corrected, value = await hub.one("DiagnosticReport"), await hub.one("Observation")
        assert (corrected["id"], corrected["status"]) == (report["id"], "corrected")
        assert (value["id"], value["status"], value["valueQuantity"]["value"]) == (observation["id"], "corrected", 5.3)


async def test_an_order_is_one_under_all_its_numbers(tmp_path: Path, hub: Hub) -> None:
    """Ordered by its placer number, resulted under both, corrected under the filler's alone: one order, with both numbers."""
    async with node_for(hub, tmp_path) as node:
        await node.send("orders", order("O1"))
        await node.settled()
        ordered = await hub.one("ServiceRequest")
        await node.send("lab-results", result("M1"))
        await node.settled()
        by_filler = result("M2", status="C", value="5.30", at="20261121093000+0700").replace(b"A17^HIS", b"")
        await node.send("lab-results", by_filler)
        await node.settled()
        request, report = await hub.one("ServiceRequest"), await hub.one("DiagnosticReport")
        assert request["id"] == ordered["id"]
        assert {each["value"] for each in request["identifier"]} == {"A17", "F17"}
        assert report["basedOn"] == [{"reference": f"ServiceRequest/{request['id']}"}]
        assert report["status"] == "corrected"


@pytest.mark.parametrize("turns", list(permutations(("patients", "orders", "lab-results"))), ids="-".join)
async def test_whoever_comes_first_the_end_is_the_same(tmp_path: Path, turns: tuple[str, ...]) -> None:
    """HIS and LIS send over connections of their own: the order in which they are heard changes neither patient nor result."""
    at_home = "|M|||1 Phố Huế^^Hà Nội\r".encode()
    messages = {
        "patients": admission("P1", at="20261121075000+0700").replace(b"|M\r", at_home),
        "orders": order("O1", at="20261121080000+0700"),
        "lab-results": result("M1", at="20261121083000+0700"),
    }
    async with FhirServer(referential=True) as server:
        hub = Hub(server.url)
        async with node_for(hub, tmp_path) as node:
            for turn in turns:
                await node.send(turn, messages[turn])
                await node.settled()
            assert await rows(node, "parked", "delivery-parked", "filtered") == []
        patient, request, report = await hub.one("Patient"), await hub.one("ServiceRequest"), await hub.one("DiagnosticReport")
        assert patient["address"][0]["city"] == "Hà Nội"
        assert (request["authoredOn"], report["status"]) == ("2026-11-21T08:00:00+07:00", "final")
        assert {each["value"] for each in request["identifier"]} == {"A17", "F17"}
        assert (await hub.one("Observation"))["subject"] == report["subject"] == {"reference": f"Patient/{patient['id']}"}


async def rows(node: Node, *states: str) -> list[MessageRow]:
    """The messages in these states."""
    return await node.runtime.journal.search(Selection(states=states))


async def test_a_merge_stays_a_merge(tmp_path: Path, hub: Hub) -> None:
    """The survivor replaces; the other is inactive, keeps its earlier result, and no later update revives it."""
    async with node_for(hub, tmp_path) as node:
        await node.send("patients", admission("P1", patient="BN001"), admission("P2", patient="BN009"))
        await node.settled()
        await node.send("lab-results", result("M1", patient="BN009", order="A1", filler="F1"))
        await node.settled()
        await node.send("patients", merge("P3", survivor="BN001", retired="BN009"))
        await node.send("patients", admission("P4", event="A08", patient="BN009", name="Trần^Bê", at="20261121110000+0700"))
        await node.settled()
        await node.send("lab-results", result("M2", patient="BN009", order="A2", filler="F2"))
        await node.settled()
        patients = {patient["identifier"][0]["value"]: patient for patient in await hub.all("Patient")}
        survivor, retired = patients.pop("BN001"), patients.pop("BN009")
        assert patients == {}
        assert survivor["link"] == [{"other": {"reference": f"Patient/{retired['id']}"}, "type": "replaces"}]
        assert retired["link"] == [{"other": {"reference": f"Patient/{survivor['id']}"}, "type": "replaced-by"}]
        assert (survivor.get("active", True), retired["active"]) == (True, False)
        subjects = {each["identifier"][0]["value"]: each["subject"]["reference"] for each in await hub.all("DiagnosticReport")}
        assert subjects == {"F1": f"Patient/{retired['id']}", "F2": f"Patient/{survivor['id']}"}
