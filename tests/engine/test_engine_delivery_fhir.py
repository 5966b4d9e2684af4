"""Results at a FHIR server, all the way from MLLP: what parks and what goes past it, servers with limits and ids of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interop_engine.demo.fhir_server import Fault, FhirServer
from interop_engine.journal.base import DeliveryState, MessageRow, Selection
from tests.support.node import Node, running
from tests.support.rig import copy_mappings
from tests.support.texts import result


@pytest.fixture
async def hub() -> AsyncIterator[FhirServer]:
    """The hub's FHIR server, which refuses references to what it does not have."""
    async with FhirServer(referential=True) as server:
        yield server


_LAB = """\
channel: lab-results
source: {mllp: {listen: "127.0.0.1:0"}}
accept: [ORU^R01]
otherwise: reject
patient: {authority: BV24001, type: MR}
mapping: oru_r01_lab
deliver:
  - name: hub
    exchange: {to: =hub, kind: lab}
"""
_HUB = """\
channel: to-hub
source: {exchange: {as: hub, kinds: [lab]}}
deliver:
  - name: record
"""


def site(folder: Path, hub: FhirServer, fhir: str = "", more: str = "", *, direct: bool = False) -> Path:
    """A laboratory whose results go to that server: by way of the hub, or directly."""
    copy_mappings(folder)
    (folder / "channels").mkdir()
    (folder / "engine.yaml").write_text('site: Test\nfacility: "24001"\ntimezone: Asia/Ho_Chi_Minh\n', encoding="utf-8")
    record = f'    fhir: {{url: "{hub.url}"{fhir}}}{more}\n'
    lab = _LAB.replace("    exchange: {to: =hub, kind: lab}\n", record) if direct else _LAB
    (folder / "channels" / "lab-results.yaml").write_text(lab, encoding="utf-8")
    if not direct:
        (folder / "channels" / "to-hub.yaml").write_text(_HUB + record, encoding="utf-8")
    return folder


async def rows(node: Node) -> list[MessageRow]:
    """The messages of the channel that writes to the server, the oldest first."""
    last = node.runtime.channels[-1].name
    return (await node.runtime.journal.search(Selection(channel=last)))[::-1]


async def states(node: Node) -> list[DeliveryState]:
    """Of their deliveries."""
    return [delivery.state for row in await rows(node) for delivery in row.deliveries]


async def test_where_a_parked_delivery_holds_its_patient_waits(tmp_path: Path, hub: FhirServer) -> None:
    """The first report is refused: the second of that patient waits, another patient's passes; a retry sends both, in order."""
    hub.fail(Fault("refuse", status=422))
    async with running(site(tmp_path, hub, more="\n    on_parked: hold")) as node:
        await node.send("lab-results", result("M1"))
        await node.until(lambda: _are(node, [DeliveryState.PARKED]))
        await node.send("lab-results", result("M2", order="A18", filler="F18"))
        await node.send("lab-results", result("M3", patient="BN002", order="A19", filler="F19"))
        await node.until(lambda: _are(node, [DeliveryState.PARKED, DeliveryState.WAITING, DeliveryState.DELIVERED]))
        found = await rows(node)
        assert found[1].deliveries[0].behind == found[0].id
        assert len(hub.store.all("Patient")) == 1
        await node.runtime.journal.retry(found[0].deliveries[0].id)
        await node.settled()
        assert await states(node) == [DeliveryState.DELIVERED] * 3
    first, second, third = [each["identifier"] for each in hub.store.all("ServiceRequest")]
    assert [any(number["value"] == order for number in of) for of, order in ((first, "A19"), (second, "A17"), (third, "A18"))]


async def test_what_passes_a_parked_delivery_lacks_nothing(tmp_path: Path, hub: FhirServer) -> None:
    """By default the next report goes on, and brings the patient whom the parked one would have brought."""
    hub.fail(Fault("refuse", status=422))
    async with running(site(tmp_path, hub, direct=True)) as node:
        await node.send("lab-results", result("M1"))
        await node.until(lambda: _are(node, [DeliveryState.PARKED]))
        await node.send("lab-results", result("M2", order="A18", filler="F18"))
        await node.until(lambda: _are(node, [DeliveryState.PARKED, DeliveryState.DELIVERED]))
    (report,) = hub.store.all("DiagnosticReport")
    assert report["subject"]["reference"] == f"Patient/{hub.store.all('Patient')[0]['id']}"


@pytest.mark.parametrize("fhir", [", bundle: split, entries: 2", ", write: conditional", ", write: conditional, bundle: split"])
async def test_a_server_with_limits_or_ids_of_its_own(tmp_path: Path, hub: FhirServer, fhir: str) -> None:
    """Two reports of a patient, the second without what has not changed: in the end one patient, and both reports lead to it."""
    hub.store.client_ids = "conditional" not in fhir
    hub.store.most_entries = 2 if "entries" in fhir else 0
    async with running(site(tmp_path, hub, fhir)) as node:
        await node.send("lab-results", result("M1"), result("M2", order="A18", filler="F18"))
        await node.settled()
        assert await states(node) == [DeliveryState.DELIVERED] * 2
    (patient,) = hub.store.all("Patient")
    reports = hub.store.all("DiagnosticReport")
    assert [report["subject"]["reference"] for report in reports] == [f"Patient/{patient['id']}"] * 2


async def _are(node: Node, expected: list[DeliveryState]) -> bool:
    return await states(node) == expected
