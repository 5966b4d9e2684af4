"""A FHIR server that nobody here wrote (``sekmet-fhir``) takes the sample site's bundles from the FHIR destination.

What it does with a transaction of ours: it takes PUT with client ids (201, then 200 with a new version, also for equal content),
answers entries in the request's order, rolls back as a whole, honours ``Prefer: return=minimal``, checks bearer tokens (401).
What it does not check: required bindings, and references to resources it does not have. A bad structure gets 400 or 422.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from interop_engine.connectors.base import Surroundings
from interop_engine.connectors.fhir_rest import FhirRestDestination, FhirRestOptions
from interop_engine.core.model import Delivered, Delivery, Outcome, Park, Retry, new_id
from interop_engine.exchange import open_exchange
from tests.support.sekmet import TOKEN, serving

_GOLDEN = Path(__file__).parents[2] / "mappings" / "cases" / "golden"
_BUNDLES = {path.stem: json.loads(path.read_text()) for path in sorted(_GOLDEN.glob("*.json"))}


@pytest.fixture(scope="module")
def sekmet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server of our own, on loopback."""
    with serving(tmp_path_factory.mktemp("sekmet")) as base:
        yield base


async def _deliver(base: str, content: Any, token: str = TOKEN, **more: Any) -> Outcome:
    options = FhirRestOptions.model_validate({"url": base, "auth": {"bearer": token}, **more})
    destination = FhirRestDestination(options, Surroundings("hub", open_exchange("embedded"), "hub", "record"))
    await destination.open()
    try:
        return await destination.deliver(Delivery(new_id(), "m1", "hub", "record", ("p1",), json.dumps(content).encode(), "fhir"))
    finally:
        await destination.close()


async def _get(base: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        return await client.get(f"{base}/{path}")


@pytest.mark.parametrize("bundle", _BUNDLES.values(), ids=_BUNDLES)
async def test_it_takes_the_samples_and_a_resend_makes_nothing_new(sekmet: str, bundle: dict[str, Any]) -> None:
    """Every resource of a sample's bundle is at the server under our id and unchanged; sent again, there is none more."""
    entries = bundle["entry"]
    assert await _deliver(sekmet, bundle) == Delivered(f"200, {len(entries)} entries")
    before = await _counts(sekmet, entries)
    assert await _deliver(sekmet, bundle) == Delivered(f"200, {len(entries)} entries")
    assert await _counts(sekmet, entries) == before
    for entry in entries:
        resource = entry["resource"]
        stored = (await _get(sekmet, f"{resource['resourceType']}/{resource['id']}")).json()
        assert _without_meta(stored) == _without_meta(resource)


async def test_a_transaction_is_taken_whole_or_not_at_all(sekmet: str) -> None:
    """One entry that the server refuses parks the delivery with its reason, and the other entry is not there."""
    entries = [
        {"resource": {"resourceType": "Patient", "id": "whole-1"}, "request": {"method": "PUT", "url": "Patient/whole-1"}},
        {
            "resource": {"resourceType": "Observation", "id": "whole-2"},
            "request": {"method": "PUT", "url": "Observation/whole-2"},
        },
    ]
    outcome = await _deliver(sekmet, {"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert isinstance(outcome, Park)
    assert outcome.code in ("fhir-400", "fhir-422")
    assert "Observation" in outcome.why
    assert (await _get(sekmet, "Patient/whole-1")).status_code == 404


@pytest.mark.parametrize("mode", [{"bundle": "split", "entries": 3}, {"bundle": "split", "entries": 1}, {"bundle": "batch"}])
async def test_it_takes_a_bundle_in_pieces(sekmet: str, mode: dict[str, Any]) -> None:
    """In transactions of three, one resource at a time, and entry by entry: in the end it has the same."""
    entries = _BUNDLES["by-order"]["entry"]
    assert isinstance(await _deliver(sekmet, _BUNDLES["by-order"], **mode), Delivered)
    for entry in entries:
        resource = entry["resource"]
        stored = (await _get(sekmet, f"{resource['resourceType']}/{resource['id']}")).json()
        assert _without_meta(stored) == _without_meta(resource)


async def test_conditional_writes_find_what_they_wrote(sekmet: str) -> None:
    """It gives out ids of its own; sent again nothing is there twice, and what is left out of a bundle is still found."""
    bundle = json.loads(json.dumps(_BUNDLES["person"]))
    entries = bundle["entry"]
    before = await _counts(sekmet, entries)
    for _ in range(2):
        assert await _deliver(sekmet, bundle, write="conditional") == Delivered(f"200, {len(entries)} entries")
    after = await _counts(sekmet, entries)
    assert after == {kind: before[kind] + sum(entry["resource"]["resourceType"] == kind for entry in entries) for kind in before}


async def test_a_wrong_token_parks_nothing(sekmet: str) -> None:
    """A token it does not know is a 401, which holds the destination and blames no message."""
    outcome = await _deliver(sekmet, next(iter(_BUNDLES.values())), token="another")
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.counts) == ("fhir-401", False)


async def _counts(base: str, entries: list[dict[str, Any]]) -> dict[str, int]:
    types = {entry["resource"]["resourceType"] for entry in entries}
    return {type_: (await _get(base, f"{type_}?_summary=count")).json()["total"] for type_ in types}


def _without_meta(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != "meta"}
