"""The ways a FHIR server can take Bundles, against the stand-in server in the moods of real ones: limits, own ids, no Bundles."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from interop_engine.connectors.fhir_pieces import Cutting
from interop_engine.core.model import Delivered, Delivery, Park, Retry
from interop_engine.demo.fhir_server import Fault, FhirServer
from tests.support.scripted_fhir import ScriptedServer, again_until_settled, open_destination, operation_outcome, receipt, reply

_GOLDEN = Path(__file__).parents[2] / "mappings" / "cases" / "golden"
_SAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted(_GOLDEN.glob("*.json"))}
_URI = "urn:ietf:rfc:3986"
_MRN = "https://hie.example.vn/facility/*/mrn"


@pytest.fixture
async def hub() -> AsyncIterator[FhirServer]:
    """A server that refuses references to what it does not have."""
    async with FhirServer(referential=True) as running:
        yield running


def delivery(bundle: Any, number: int = 1) -> Delivery:
    """A delivery of a bundle."""
    return Delivery(f"d{number}", f"m{number}", "hub", "record", ("p1",), json.dumps(bundle).encode(), "fhir")


def sample(name: str) -> dict[str, Any]:
    """A bundle of the sample site."""
    found: dict[str, Any] = _SAMPLES[name]
    return found


def stored(hub: FhirServer, bundle: dict[str, Any]) -> list[str]:
    """Which entries of a bundle the server holds in exactly one version, under our ids."""
    names = [entry["request"]["url"] for entry in bundle["entry"]]
    return [name for name in names if len(hub.store.versions(*name.split("/"))) == 1]


def names(bundle: dict[str, Any]) -> list[str]:
    """What the entries write."""
    return [entry["request"]["url"] for entry in bundle["entry"]]


# --- split -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", _SAMPLES)
@pytest.mark.parametrize("entries", [0, 2])
def test_nothing_is_sent_before_what_it_refers_to(name: str, entries: int) -> None:
    """Every piece refers only to itself and to pieces before; all entries are there once; none is over the limit."""
    pieces = Cutting("split", entries).pieces(json.dumps(sample(name)).encode())
    assert isinstance(pieces, tuple)
    assert sorted(url for piece in pieces for url in piece.names) == sorted(names(sample(name)))
    assert entries == 0 or all(len(piece.names) <= entries for piece in pieces)
    inside = set(names(sample(name)))
    linked = {url for url in inside if url.startswith("Patient/")} if entries else set()  # more of them than a piece may hold
    before: set[str] = set()
    for piece in pieces:
        before |= set(piece.names)
        told = {part for part in inside if f'"{part}"' in piece.body.decode()}
        assert told <= before | linked


async def test_a_split_bundle_arrives_whole_at_a_server_with_a_limit(hub: FhirServer) -> None:
    """A server that takes three entries at once, and no reference into the void, has everything in the end."""
    hub.store.most_entries = 3
    bundle = sample("antibiograms")
    async with open_destination(hub.url) as whole:
        refused = await whole.deliver(delivery(bundle))
    assert isinstance(refused, Park)
    assert refused.code == "fhir-413"
    async with open_destination(hub.url, bundle="split", entries=3) as destination:
        outcome = await destination.deliver(delivery(bundle))
    assert isinstance(outcome, Delivered)
    assert outcome.detail.startswith(f"{len(bundle['entry'])} entries in ")
    assert stored(hub, bundle) == names(bundle)
    assert {exchanged.status for exchanged in hub.log[1:]} == {200}


async def test_a_server_without_transactions_is_put_each_resource(hub: FhirServer) -> None:
    """``entries: 1`` writes each resource by itself, with PUT."""
    hub.store.bundles = False
    bundle = sample("by-order")
    async with open_destination(hub.url, bundle="split", entries=1) as destination:
        assert isinstance(await destination.deliver(delivery(bundle)), Delivered)
    assert stored(hub, bundle) == names(bundle)
    assert {exchanged.method for exchanged in hub.log} == {"PUT"}


async def test_pieces_that_were_taken_are_not_sent_again(hub: FhirServer) -> None:
    """A piece that fails is tried again where it stopped: those before it are not sent a second time."""
    bundle = sample("antibiograms")
    async with open_destination(hub.url, bundle="split", entries=2) as destination:
        hub.fail(Fault("drop"), Fault("refuse", status=503), Fault("drop"))
        assert isinstance(await again_until_settled(destination, delivery(bundle)), Delivered)
    pieces = Cutting("split", 2).pieces(json.dumps(bundle).encode())
    assert isinstance(pieces, tuple)
    assert len(hub.log) == len(pieces) + 3
    assert stored(hub, bundle) == names(bundle)


@pytest.mark.parametrize("mode", [{"bundle": "split"}, {"bundle": "split", "entries": 1}, {"bundle": "batch", "entries": 3}])
async def test_a_death_between_pieces_has_no_second_effect(hub: FhirServer, mode: dict[str, Any]) -> None:
    """Who comes after the death of a node knows nothing of pieces taken: it sends all of them again, and nothing changes."""
    bundle = sample("antibiograms")
    async with open_destination(hub.url, timeouts={"read": "60s"}, **mode) as dying:
        first = asyncio.create_task(dying.deliver(delivery(bundle)))
        while len(hub.store.types()) < 2:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0)
        hub.fail(Fault("stall"))
        await hub.until_stalled()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert len(stored(hub, bundle)) < len(names(bundle))
    hub.release()
    async with open_destination(hub.url, **mode) as successor:
        assert isinstance(await again_until_settled(successor, delivery(bundle)), Delivered)
    assert stored(hub, bundle) == names(bundle)


@pytest.mark.parametrize("mode", [Cutting("split"), Cutting("batch", 3), Cutting(write="conditional")])
@pytest.mark.parametrize("entry", ["7", "{}", "[7]", '[{"request": 7}]', '[{"resource": "x"}]', '[{"request": null}]'])
def test_what_has_no_entries_is_no_bundle(mode: Cutting, entry: str) -> None:
    """A hub hands on what others made: what is not shaped like a Bundle parks, and breaks nothing."""
    outcome = mode.pieces(f'{{"resourceType": "Bundle", "entry": {entry}}}'.encode())
    assert isinstance(outcome, Park)
    assert outcome.code == "not-a-bundle"


# --- batch -------------------------------------------------------------------------------------------------------------


def patients(count: int) -> dict[str, Any]:
    """A bundle of so many."""
    resources = [{"resourceType": "Patient", "id": f"p{number}"} for number in range(count)]
    entries = [{"resource": each, "request": {"method": "PUT", "url": f"Patient/{each['id']}"}} for each in resources]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


async def test_an_entry_that_is_refused_parks_alone(hub: FhirServer) -> None:
    """The server has the others; the delivery parks with the name of what it has not, and why."""
    bundle = patients(3)
    bundle["entry"][1]["resource"]["id"] = "another"
    async with open_destination(hub.url, bundle="batch") as destination:
        outcome = await destination.deliver(delivery(bundle))
    assert isinstance(outcome, Park)
    assert outcome.code == "fhir-400"
    assert outcome.why.startswith("1 of 3 entries were refused, the others taken: Patient/p1: 400 Bad Request; invalid")
    assert sorted(each["id"] for each in hub.store.all("Patient")) == ["p0", "p2"]


async def test_only_what_a_batch_did_not_take_is_sent_again(server: ScriptedServer) -> None:
    """Of three entries one is taken, one asked for later, one refused: the second alone goes again, then the delivery parks."""
    answered = receipt("201", "503", "422")
    answered["entry"][2]["response"]["outcome"] = operation_outcome("invariant")
    server.answers = [reply(200, answered), reply(200, receipt("503")), reply(200, receipt("200"))]
    async with open_destination(server.url, bundle="batch") as destination:
        first = await destination.deliver(delivery(patients(3)))
        assert isinstance(first, Retry)
        assert (first.code, first.counts) == ("fhir-503", True)
        second = await destination.deliver(delivery(patients(3)))
        assert isinstance(second, Retry)
        third = await destination.deliver(delivery(patients(3)))
    assert isinstance(third, Park)
    assert third.code == "fhir-422"
    sent = [json.loads(request.body) for request in server.requests]
    assert [bundle["type"] for bundle in sent] == ["batch"] * 3
    assert [names(bundle) for bundle in sent] == [["Patient/p0", "Patient/p1", "Patient/p2"], ["Patient/p1"], ["Patient/p1"]]


@pytest.mark.parametrize(
    ("statuses", "kind", "code"),
    [
        (("200", "200", "409"), Retry, "fhir-409"),
        (("200", "401", "422"), Park, "fhir-401"),
        (("200", "403", "200"), Park, "fhir-403"),
        (("403", "403", "403"), Retry, "fhir-403"),
        (("404", "404", "404"), Park, "fhir-404"),
        (("200", "200", "412"), Park, "fhir-412"),
        (("200", "200", "999"), Park, "fhir-entry"),
        (("200", "200", ""), Park, "fhir-entry"),
        (("200", "200"), Park, "fhir-reply"),
    ],
)
async def test_entries_of_a_batch_are_judged_by_the_reply_table(
    server: ScriptedServer, statuses: tuple[str, ...], kind: type[Retry | Park], code: str
) -> None:
    """Each entry's status means what it would as a reply, but one is refused alone; without an answer there is no receipt."""
    server.answers = [reply(200, receipt(*statuses))]
    async with open_destination(server.url, bundle="batch") as destination:
        outcome = await destination.deliver(delivery(patients(3)))
    assert isinstance(outcome, kind)
    assert outcome.code == code


async def test_a_conflict_that_stays_parks_its_entry(server: ScriptedServer) -> None:
    """409 for one entry, again and again: after five more tries a person looks."""
    server.answers = [reply(200, receipt("200", "409")), reply(200, receipt("409"))]
    async with open_destination(server.url, bundle="batch") as destination:
        outcomes = [await destination.deliver(delivery(patients(2))) for _ in range(6)]
    assert [type(outcome) for outcome in outcomes] == [Retry] * 5 + [Park]


# --- conditional -------------------------------------------------------------------------------------------------------


def own(hub: FhirServer, url: str) -> dict[str, Any]:
    """The one resource at the server that carries our URL of it."""
    kind = url.split("/")[-2]
    (found,) = [
        each
        for each in hub.store.all(kind)
        if {"system": _URI, "value": url} in each.get("identifier", [])
        or {"system": _URI, "code": url} in each["meta"].get("tag", [])
    ]
    return found


async def deliver_twice(hub: FhirServer, content: dict[str, Any], **options: Any) -> None:
    """Deliver, and deliver again under another id, as after a replay."""
    async with open_destination(hub.url, write="conditional", **options) as destination:
        for number in (1, 2):
            assert isinstance(await again_until_settled(destination, delivery(content, number)), Delivered)


@pytest.mark.parametrize("mode", [{}, {"bundle": "split"}, {"bundle": "split", "entries": 2}])
@pytest.mark.parametrize("name", ["antibiograms", "by-order", "chest-ct", "admission-full", "registration"])
async def test_a_server_with_its_own_ids_gets_each_resource_once(hub: FhirServer, name: str, mode: dict[str, Any]) -> None:
    """It refuses our ids: everything is there under its own, once, however often it is sent, and refers to what it should."""
    hub.store.client_ids = False
    bundle = sample(name)
    await deliver_twice(hub, bundle, **mode)
    assert sum(len(hub.store.all(kind)) for kind in hub.store.types()) == len(bundle["entry"])
    ours = {entry["fullUrl"]: own(hub, entry["fullUrl"]) for entry in bundle["entry"]}
    assert not {each["id"] for each in ours.values()} & {url.rpartition("/")[2] for url in ours}
    meant = json.dumps([entry["resource"] for entry in bundle["entry"]])
    got = json.dumps(list(ours.values()), default=str)
    for url, found in ours.items():
        kind, identity = url.split("/")[-2:]
        before, after = (text.count(f'"reference": "{kind}/{each}"') for text, each in ((meant, identity), (got, found["id"])))
        assert (before, got.count("urn:uuid"), got.count(f"{kind}?")) == (after, 0, 0)


@pytest.mark.parametrize("mode", [{}, {"bundle": "split"}])
async def test_merged_patients_name_each_other_by_the_server_s_ids(hub: FhirServer, mode: dict[str, Any]) -> None:
    """A merge links two records both ways, and both are written in one request."""
    hub.store.client_ids = False
    await deliver_twice(hub, sample("merge-one"), **mode)
    one, two = hub.store.all("Patient")
    others = {each["id"]: {link["other"]["reference"] for link in each["link"]} for each in (one, two)}
    assert others == {one["id"]: {f"Patient/{two['id']}"}, two["id"]: {f"Patient/{one['id']}"}}


async def test_what_was_left_out_is_referred_to_by_our_url(hub: FhirServer) -> None:
    """A later bundle without its patient, who has not changed, still refers to the one at the server."""
    hub.store.client_ids = False
    first, rest = sample("registration"), sample("registration")
    patient, encounter = first["entry"][:2]
    async with open_destination(hub.url, write="conditional") as destination:
        later = {**rest, "entry": [encounter]}
        missing = await destination.deliver(delivery(later))
        assert isinstance(missing, Retry)
        assert missing.code == "fhir-422"
        assert isinstance(await destination.deliver(delivery({**first, "entry": [patient]}, 2)), Delivered)
        assert isinstance(await destination.deliver(delivery(later)), Delivered)
    assert hub.store.all("Encounter")[0]["subject"]["reference"] == f"Patient/{hub.store.all('Patient')[0]['id']}"


async def test_a_key_finds_what_others_wrote_and_several_park(hub: FhirServer) -> None:
    """With the hospital's own number as key, the patient whom the hub has is updated; where it has two, a person must look."""
    hub.store.client_ids = False
    number = {"system": "https://hie.example.vn/facility/24001/mrn", "value": "BN0000304"}
    known = {"resourceType": "Patient", "identifier": [number]}
    async with (
        httpx.AsyncClient(trust_env=False) as client,
        open_destination(hub.url, write="conditional", keys={"Patient": _MRN}) as destination,
    ):
        await client.post(f"{hub.url}/Patient", json=known)
        assert isinstance(await destination.deliver(delivery(sample("registration"))), Delivered)
        (patient,) = hub.store.all("Patient")
        assert patient["meta"]["versionId"] == "2"
        await client.post(f"{hub.url}/Patient", json=known)
        outcome = await destination.deliver(delivery(sample("registration"), 2))
    assert isinstance(outcome, Park)
    assert outcome.code == "fhir-412"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"fullUrl": ""}, "an entry without a fullUrl"),
        ({"fullUrl": "urn:uuid:1"}, "an entry without a fullUrl"),
        ({"fullUrl": "https://elsewhere.example/Patient/p1"}, "several bases"),
    ],
)
async def test_what_has_no_name_for_the_server_parks(hub: FhirServer, change: dict[str, Any], why: str) -> None:
    """Without a URL of ours a conditional write could meet another resource: nothing is sent."""
    bundle = patients(2)
    for entry in bundle["entry"]:
        entry["fullUrl"] = f"https://hie.example.vn/{entry['request']['url']}"
    bundle["entry"][1] |= change
    async with open_destination(hub.url, write="conditional") as destination:
        outcome = await destination.deliver(delivery(bundle))
    assert isinstance(outcome, Park)
    assert outcome.code == "fhir-key"
    assert why in outcome.why
    assert hub.log == []


async def test_a_circle_that_the_limit_parts_parks(hub: FhirServer) -> None:
    """An encounter and its diagnosis name each other: at a server with its own ids they go in one request, or not at all."""
    async with open_destination(hub.url, write="conditional", bundle="split", entries=1) as destination:
        outcome = await destination.deliver(delivery(sample("admission-full")))
    assert isinstance(outcome, Park)
    assert outcome.code == "fhir-key"
    assert "refer to each other" in outcome.why
    assert hub.log == []


async def test_two_numbers_of_the_key_s_system_are_no_key(hub: FhirServer) -> None:
    """Which of them the server knows the patient by is not for us to guess."""
    bundle = json.loads(json.dumps(sample("registration")))
    bundle["entry"][0]["resource"]["identifier"].append({"system": "https://hie.example.vn/facility/24001/mrn", "value": "BN9"})
    async with open_destination(hub.url, write="conditional", keys={"Patient": _MRN}) as destination:
        outcome = await destination.deliver(delivery(bundle))
    assert isinstance(outcome, Park)
    assert "2 identifiers" in outcome.why
