"""What a hub hands on: a bundle that writes what it holds, and nothing else in the hub's name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from interop_engine.config import load
from interop_engine.config.site import ChannelConfig
from interop_engine.core.model import Received, digest
from interop_engine.engine import relay
from interop_engine.engine.transform import Parked
from interop_engine.journal.base import Forward
from tests.support.resources import whole_bundle

_SITE = 'site: Test\nfacility: "24001"\n'
_HUB = """\
channel: hub
source: {exchange: {as: hub, kinds: [lab]}}
deliver:
  - name: record
    fhir: {url: "https://record.example/fhir"}
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> ChannelConfig:
    """A channel that hands bundles of others on to a FHIR server."""
    folder: Path = tmp_path_factory.mktemp("site")
    (folder / "channels").mkdir()
    (folder / "engine.yaml").write_text(_SITE, encoding="utf-8")
    (folder / "channels" / "hub.yaml").write_text(_HUB, encoding="utf-8")
    return load(folder).channels[0]


def received(bundle: dict[str, Any]) -> Received:
    """The bundle, as another facility sent it."""
    data = json.dumps(bundle, default=float).encode()
    header = {"sender": "24002", "kind": "lab"}
    return Received("m1", "hub", data, "fhir", datetime.now(UTC), "24002", "c1", "", digest(data), ("p1",), header)


def test_what_an_engine_sends_is_handed_on(hub: ChannelConfig) -> None:
    """Every entry puts the resource that it holds: byte for byte, to the server."""
    bundle = received(whole_bundle())
    outcome = relay.begin(bundle, hub)
    assert isinstance(outcome, Forward)
    assert [delivery.body for delivery in outcome.deliveries] == [bundle.data]


@pytest.mark.parametrize(
    ("request_", "resource"),
    [
        ({"method": "DELETE", "url": "Patient/p9"}, None),
        ({"method": "DELETE", "url": "Observation?status=final"}, None),
        ({"method": "POST", "url": "$expunge"}, {"resourceType": "Parameters", "id": "p9"}),
        ({"method": "POST", "url": "Patient"}, {"resourceType": "Patient", "id": "p9"}),
        ({"method": "GET", "url": "Patient?name=an"}, None),
        ({"method": "PUT", "url": "Patient/p8"}, {"resourceType": "Patient", "id": "p9"}),
        ({"method": "PUT", "url": "Patient?active=true"}, {"resourceType": "Patient", "id": "p9"}),
        ({"method": "PUT", "url": "../../admin/users"}, {"resourceType": "Patient", "id": "p9"}),
    ],
)
def test_what_is_no_update_of_what_it_holds_is_not_done_for_others(
    hub: ChannelConfig, request_: dict[str, str], resource: dict[str, Any] | None
) -> None:
    """A facility may not delete, search or run operations with the hub's token: the bundle parks, and the entry is named."""
    bundle = whole_bundle()
    entry = {"fullUrl": "https://elsewhere.example/Patient/p9", "request": request_}
    bundle["entry"].insert(2, entry | ({"resource": resource} if resource else {}))
    outcome = relay.begin(received(bundle), hub)
    assert isinstance(outcome, Parked)
    assert outcome.code == "invalid-bundle"
    assert "Bundle.entry[2]" in outcome.why
