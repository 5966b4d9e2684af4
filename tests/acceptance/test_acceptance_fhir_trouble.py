"""A FHIR server that fails in every way it can: nothing lost, nothing twice, each patient's own order kept."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner

from interop_engine.cli.app import app
from interop_engine.config import loader
from interop_engine.demo.fhir_server import Fault, FhirServer
from interop_engine.engine.runtime import Runtime
from interop_engine.journal.base import DeliveryRow, Selection
from interop_engine.ops.api import Watch, application
from tests.support.hub import make_hub_site
from tests.support.node import PORTS, Node, running
from tests.support.texts import result


async def hub_deliveries(node: Node) -> list[DeliveryRow]:
    """What the hub's channel did with each message, oldest first."""
    rows = await node.runtime.journal.search(Selection(channel="hub", limit=1000))
    return [delivery for row in reversed(rows) for delivery in row.deliveries]


def versions(server: FhirServer, type_: str) -> list[int]:
    """How many versions each resource of a type has."""
    return [len(server.store.versions(type_, resource["id"])) for resource in server.store.all(type_)]


async def test_unavailable_then_well(tmp_path: Path) -> None:
    """503, then 200: delivered at the second attempt, one version of everything."""
    async with FhirServer() as server, running(make_hub_site(tmp_path, server.url)) as node:
        server.fail(Fault("refuse", status=503))
        await node.send("lab-results", result("M1"))
        await node.settled()
        assert [exchanged.status for exchanged in server.log] == [503, 200]
        (delivery,) = await hub_deliveries(node)
        assert (delivery.state, delivery.attempts) == ("delivered", 2)
        assert [versions(server, type_) for type_ in server.store.types()] == [[1]] * 5


async def test_committed_and_never_said(tmp_path: Path) -> None:
    """The server commits and drops the connection: the same bytes go again, under the same ids, and change nothing."""
    async with FhirServer() as server, running(make_hub_site(tmp_path, server.url)) as node:
        server.fail(Fault("drop"))
        await node.send("lab-results", result("M1"))
        await node.settled()
        assert [(exchanged.status, exchanged.entries) for exchanged in server.log] == [(0, 5), (200, 5)]
        (delivery,) = await hub_deliveries(node)
        assert (delivery.state, delivery.attempts) == ("delivered", 2)
        assert [versions(server, type_) for type_ in server.store.types()] == [[1]] * 5


async def test_refused_is_parked_and_seen(tmp_path: Path) -> None:
    """422: parked with the server's reason, in the status, in the metrics and in the lists; a retry delivers it."""
    async with FhirServer() as server, running(make_hub_site(tmp_path, server.url)) as node:
        server.fail(Fault("refuse", status=422))
        await node.send("lab-results", result("M1"), result("M2", patient="BN002", order="A2", filler="F2"))
        await node.settled()
        refused, taken = await hub_deliveries(node)
        assert (refused.state, refused.code, taken.state) == ("parked", "fhir-422", "delivered")
        assert "transient" in refused.why  # the code of the OperationOutcome's issue
        status, metrics = await _watched(node.runtime)
        (destination,) = next(each for each in status["channels"] if each["name"] == "hub")["destinations"]
        assert (destination["backlog"]["parked"], destination["backlog"]["waiting"]) == (1, 0)
        parked = [line for line in metrics.splitlines() if "parked" in line and 'channel="hub"' in line]
        assert [line for line in parked if line.endswith(" 1.0")] != []
        listed = await asyncio.to_thread(_run, "messages", "list", "--project", str(tmp_path), "--state", "delivery-parked")
        assert "record: parked fhir-422" in listed
        await node.runtime.journal.retry(refused.id)
        await node.settled()
        assert [each.state for each in await hub_deliveries(node)] == ["delivered", "delivered"]
        assert len(server.store.all("DiagnosticReport")) == 2


def _run(*arguments: str) -> str:
    """What a verb prints; a thread of its own, since it runs a loop of its own."""
    return CliRunner().invoke(app, arguments).output


async def _watched(runtime: Runtime) -> tuple[dict[str, Any], str]:
    """The status and the metrics, as the API gives them."""
    watch = Watch(runtime)
    try:
        transport = httpx.ASGITransport(application(watch, "127.0.0.1"), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.get("/status")).json(), (await client.get("/metrics")).text
    finally:
        watch.close()


async def test_one_patient_waits_and_the_others_pass(tmp_path: Path) -> None:
    """While the first result of A is to be tried again, its correction waits behind it, and B's result arrives."""
    async with FhirServer() as server, running(make_hub_site(tmp_path, server.url, first="1s")) as node:
        server.fail(Fault("refuse", status=500))
        await node.send("lab-results", result("A1", patient="BN-A", filler="FA", order="OA"))

        async def refused() -> bool:
            return bool(server.log)

        await node.until(refused)
        await node.send(
            "lab-results",
            result("A2", patient="BN-A", filler="FA", order="OA", status="C", value="5.3", at="20261121093000+0700"),
            result("B1", patient="BN-B", filler="FB", order="OB"),
        )
        await node.settled()
        history = _history(server)
        assert [status for status, _ in history["FA"]] == ["final", "corrected"]
        assert history["FB"][0][1] < history["FA"][0][1] < history["FA"][1][1]
        assert [exchanged.status for exchanged in server.log] == [500, 200, 200, 200]


def _history(server: FhirServer) -> dict[str, list[tuple[str, Any]]]:
    """Of each report, by its filler number: (status, when it was written), oldest first."""
    found = defaultdict(list)
    for report in server.store.all("DiagnosticReport"):
        for version in server.store.versions("DiagnosticReport", report["id"]):
            assert version.content is not None
            found[report["identifier"][0]["value"]].append((version.content["status"], version.at))
    return found


async def test_a_bad_day(tmp_path: Path) -> None:
    """60 messages of 12 patients against 80 failures of seven kinds: each version written once, in order, nothing parked."""
    chance = random.Random(7)
    kinds = [Fault("drop"), *(Fault("refuse", status=status) for status in (408, 425, 429, 502, 503, 504))]
    async with FhirServer() as server, running(make_hub_site(tmp_path, server.url, first="5ms")) as node:
        server.fail(*(chance.choice(kinds) for _ in range(80)))
        for turn in range(5):
            messages = [
                result(
                    f"M{turn}-{n}",
                    patient=f"BN{n}",
                    order=f"O{n}",
                    filler=f"F{n}",
                    status="C" if turn else "F",
                    value=f"5.{turn}",
                    at=f"202611210{turn + 1}0000+0700",
                )
                for n in range(12)
            ]
            await node.send("lab-results", *messages)
        await node.settled()
        assert {delivery.state for delivery in await hub_deliveries(node)} == {"delivered"}
        written = {
            resource["id"]: [
                str(version.content["valueQuantity"]["value"])
                for version in server.store.versions("Observation", resource["id"])
                if version.content
            ]
            for resource in server.store.all("Observation")
        }
        assert list(written.values()) == [[f"5.{turn}" for turn in range(5)]] * 12


async def test_a_server_that_was_down_all_day(tmp_path: Path) -> None:
    """Nothing lost while nobody listens, not over a restart either; all of it arrives once the server is there."""
    async with FhirServer() as server:
        url = server.url
    folder = make_hub_site(tmp_path, url)
    messages = [result(f"M{n}", patient=f"BN{n % 4}", order=f"O{n}", filler=f"F{n}") for n in range(20)]
    async with running(folder) as node:
        assert {answer.code for answer in await node.send("lab-results", *messages)} == {"AA"}
    port = int(url.rpartition(":")[2].partition("/")[0])
    runtime = Runtime(loader.load(folder, PORTS))
    await runtime.start()
    node = Node(runtime, folder)
    later = FhirServer(port=port)
    try:
        await later.start()
        await node.settled()
    finally:
        await runtime.stop()
        await later.stop()
    assert sorted(_history(later)) == sorted(f"F{n}" for n in range(20))
    assert set(versions(later, "DiagnosticReport")) == {1}
