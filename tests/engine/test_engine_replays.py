"""What is sent again, by whole nodes: late retries, replays for one destination, replays through the mappings of another day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interop_engine.core.model import Delivered
from interop_engine.demo.fhir_server import Fault, FhirServer
from interop_engine.exchange.base import Parcel
from interop_engine.journal.base import DeliveryRow, DeliveryState, MessageRow, MessageState, Selection
from tests.support.hub import make_hub_site
from tests.support.node import Node, make_site, resources, running
from tests.support.texts import result

NINE, TEN = "20261121090000+0700", "20261121100000+0700"


async def rows(node: Node, channel: str) -> list[MessageRow]:
    """A channel's messages, oldest first."""
    return (await node.runtime.journal.search(Selection(channel=channel)))[::-1]


async def parked(node: Node, channel: str) -> DeliveryRow:
    """The one delivery of a channel that is parked."""
    found = [each for row in await rows(node, channel) for each in row.deliveries if each.state is DeliveryState.PARKED]
    (delivery,) = found
    return delivery


async def test_an_old_bundle_is_not_written_over_a_newer_one(tmp_path: Path) -> None:
    """Refused, corrected meanwhile, retried: the FHIR server keeps the correction; what it lacks of the old one it gets."""
    async with FhirServer() as server, running(make_hub_site(tmp_path, server.url)) as node:
        server.fail(Fault("refuse", status=422))
        await node.send("lab-results", result("M1", status="F", value="5.20", at=NINE))
        await node.settled()
        late = await parked(node, "hub")
        await node.send("lab-results", result("M2", status="C", value="5.30", at=TEN))
        await node.settled()
        again = await node.runtime.journal.retry(late.id)
        assert again is not None
        await node.settled()
        (observation,) = server.store.all("Observation")
        assert (observation["status"], str(observation["valueQuantity"]["value"])) == ("corrected", "5.30")
        assert len(server.store.all("Patient")) == 1  # M2 did not bring it: only the old bundle has it
        made = await node.runtime.journal.show(again)
        assert f"stale Observation/{observation['id']}" in made.findings


async def test_an_old_result_is_not_sent_after_a_newer_one(tmp_path: Path) -> None:
    """At the sender: nobody received it, a correction went meanwhile; the retry is made again, and says what is stale."""
    site = make_site(tmp_path, receivers=())
    async with running(site) as node:
        await node.send("lab-results", result("M1", status="F", value="5.20", at=NINE))
        await node.settled()
        late = await parked(node, "lab-results")
    async with running(make_site(tmp_path, receivers=("hub",))) as node:
        await node.send("lab-results", result("M2", status="C", value="5.30", at=TEN))
        await node.settled()
        again = await node.runtime.journal.retry(late.id)
        assert again is not None
        await node.settled()
        made = await node.runtime.journal.show(again)
        assert (made.only, made.state, made.code) == ("hub/hub", MessageState.FILTERED, "stale")
        assert [each["status"] for each in resources(node.bundles("hub")[-1], "Observation")] == ["corrected"]


def bundle_of(name: str, at: str) -> bytes:
    """A patient, as another node says it is at a time; empty: it does not say when."""
    patient = {"resourceType": "Patient", "id": "p1", "name": [{"text": name}]}
    entry = {"fullUrl": "urn:p1", "resource": patient, "request": {"method": "PUT", "url": "Patient/p1"}}
    made = {"resourceType": "Bundle", "type": "transaction", **({"timestamp": at} if at else {}), "entry": [entry]}
    return json.dumps(made).encode()


def relayed(delivery: str, name: str, at: str) -> Parcel:
    """The same, on its way to the hub."""
    return Parcel(delivery, "24002", "hub", "patient", bundle_of(name, at), "fhir", {"lane": "p1"})


@pytest.mark.parametrize("way", ["retry", "replay", "resend"])
@pytest.mark.parametrize(
    ("old", "new", "ends"),
    [
        ("2026-11-21T09:00:00Z", "2026-11-21T10:00:00Z", "filtered stale"),
        ("", "2026-11-21T10:00:00Z", "parked undated"),
        ("2026-11-21T09:00:00Z", "", "parked undated"),
        ("", "", "parked undated"),
    ],
)
async def test_what_parked_at_a_hub_is_never_put_over_what_passed_it(
    tmp_path: Path, way: str, old: str, new: str, ends: str
) -> None:
    """Nothing is known at a hub but which objects a bundle brings, and when it was made: that is enough, or a person is asked."""
    async with FhirServer() as server, running(make_hub_site(tmp_path, server.url)) as node:
        server.fail(Fault("refuse", status=422))
        assert await node.runtime.exchange.publish(relayed("d1", "old", old)) == Delivered()
        await node.settled()
        late = await parked(node, "hub")
        assert await node.runtime.exchange.publish(relayed("d2", "new", new)) == Delivered()
        await node.settled()
        journal = node.runtime.journal
        (first, _) = await rows(node, "hub")
        again = await (journal.retry(late.id) if way == "retry" else journal.replay(first.id, resend=way == "resend"))
        assert again is not None
        await node.settled()
        assert [each["name"][0]["text"] for each in server.store.all("Patient")] == ["new"]
        made = await journal.show(again)
        assert f"{made.state} {made.code}" == ends


@pytest.mark.parametrize("resend", [False, True])
async def test_an_undated_bundle_that_nothing_passed_is_sent_again(tmp_path: Path, resend: bool) -> None:
    """Where only itself was sent there is nothing to be put in order."""
    async with FhirServer() as server, running(make_hub_site(tmp_path, server.url)) as node:
        assert await node.runtime.exchange.publish(relayed("d1", "one", "")) == Delivered()
        await node.settled()
        (first,) = await rows(node, "hub")
        again = await node.runtime.journal.replay(first.id, resend=resend)
        await node.settled()
        assert [each.state for each in (await node.runtime.journal.show(again)).deliveries] == [DeliveryState.DELIVERED]


async def test_a_replay_goes_to_one_receiver_alone(tmp_path: Path) -> None:
    """The other gets nothing again: neither the message's new life, nor a copy."""
    async with running(make_site(tmp_path)) as node:
        await node.send("lab-results", result("M1", requester="24017"))
        await node.settled()
        (row,) = await rows(node, "to-24017")
        await node.runtime.journal.replay(row.id, only="record")
        (first,) = await rows(node, "lab-results")
        again = await node.runtime.journal.replay(first.id, only="hub/none")
        await node.settled()
        assert (len(node.bundles("hub")), len(node.bundles("24017"))) == (1, 2)
        assert (await node.runtime.journal.show(again)).code == "unknown-receiver"


async def test_a_receiver_that_lost_what_it_had_is_sent_it_again(tmp_path: Path) -> None:
    """A server restored from a backup: a resend of what it was sent brings all of it back, the newest last; a replay does not."""
    async with FhirServer() as server, running(make_hub_site(tmp_path, server.url)) as node:
        journal = node.runtime.journal
        for control_id, status, value, at in (("M1", "F", "5.20", NINE), ("M2", "C", "5.30", TEN)):
            await node.send("lab-results", result(control_id, status=status, value=value, at=at))
            await node.settled()
        before = {kind: server.store.all(kind) for kind in ("Patient", "Observation", "DiagnosticReport")}
        assert all(before.values())
    async with FhirServer() as server, running(make_hub_site(tmp_path, server.url)) as node:
        journal = node.runtime.journal
        (sender, hub) = [await rows(node, name) for name in ("lab-results", "hub")]
        again = [await journal.replay(row.id) for row in sender]
        await node.settled()
        assert {(await journal.show(each)).code for each in again} == {"stale", "unchanged"}
        assert not server.store.all("Observation")
        for row in hub:
            await journal.replay(row.id, only="record", resend=True)
        await node.settled()
        assert {kind: len(server.store.all(kind)) for kind in before} == {kind: len(each) for kind, each in before.items()}
        (observation,) = server.store.all("Observation")
        assert (observation["status"], str(observation["valueQuantity"]["value"])) == ("corrected", "5.30")


async def test_what_was_delivered_is_sent_again_where_that_is_asked(tmp_path: Path) -> None:
    """To one receiver, the bundle it had; a correction that went since is left alone."""
    async with running(make_site(tmp_path)) as node:
        journal = node.runtime.journal
        await node.send("lab-results", result("M1", status="F", value="5.20", at=NINE))
        await node.settled()
        (first,) = await rows(node, "lab-results")
        again = await journal.replay(first.id, only="hub/hub", resend=True)
        await node.settled()
        one, two = node.bundles("hub")
        assert resources(one, "Observation") == resources(two, "Observation")
        await node.send("lab-results", result("M2", status="C", value="5.30", at=TEN))
        await node.settled()
        late = await journal.replay(again, only="hub/hub", resend=True)
        await node.settled()
        assert any(each.startswith("stale Observation/") for each in (await journal.show(late)).findings)
        assert all(each["status"] != "final" for each in resources(node.bundles("hub")[-1], "Observation"))


async def test_a_replay_through_the_mappings_of_that_day(tmp_path: Path) -> None:
    """The mapping has changed since; the replay is mapped as it was, and goes where messages go today."""
    site = make_site(tmp_path)
    channel = site / "channels" / "lab-results.yaml"
    kept = channel.read_text(encoding="utf-8")
    async with running(site) as node:
        await node.send("lab-results", result("M1"))
        await node.settled()
        (first,) = await rows(node, "lab-results")
        assert (first.config, first.commit) == (node.runtime.site.digest, "")
    channel.write_text(kept + "filter: MSH-10 = 'none of them'\n", encoding="utf-8")
    async with running(site) as node:
        journal = node.runtime.journal
        now = await journal.replay(first.id, config=node.runtime.site.digest)
        then = await journal.replay(first.id, config=node.runtime.site.digest, then=True)
        await node.settled()
        assert ((await journal.show(now)).code, (await journal.show(then)).code) == ("filter", "unchanged")
        assert (await journal.show(then)).through == first.config


async def test_a_configuration_that_is_lost_parks_the_replay(tmp_path: Path) -> None:
    """Through which mappings it went cannot be said any more: a person must choose."""
    async with running(make_site(tmp_path)) as node:
        await node.send("lab-results", result("M1"))
        await node.settled()
        (first,) = await rows(node, "lab-results")
        unknown = await node.runtime.journal.replay(first.id, config="f" * 64)
        again = await node.runtime.journal.replay(unknown, then=True)
        await node.settled()
        row = await node.runtime.journal.show(again)
        assert (row.state, row.code) == (MessageState.PARKED, "config-lost")
        assert "There is no configuration" in row.why
