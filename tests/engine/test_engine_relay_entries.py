"""What a hub hands on: a bundle that writes what it holds, and nothing else in the hub's name."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from interop_engine.config.loader import load
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


@pytest.mark.parametrize("id_", [".", "..", "..."])
def test_an_id_that_no_url_can_name_is_refused(hub: ChannelConfig, id_: str) -> None:
    """``PUT Patient/..`` would be a PUT of the server's own address: dots are legal in an id, and not alone."""
    bundle = whole_bundle()
    resource = {"resourceType": "Patient", "id": id_}
    request = {"method": "PUT", "url": f"Patient/{id_}"}
    bundle["entry"].insert(2, {"fullUrl": f"https://elsewhere.example/Patient/{id_}", "resource": resource, "request": request})
    outcome = relay.begin(received(bundle), hub)
    assert isinstance(outcome, Parked)
    assert (outcome.code, outcome.why) == ("invalid-bundle", "Bundle.entry[2] has an id of dots alone, which no URL can name.")


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ('"method": "PUT"', '"method": "DELETE", "method": "PUT"'),
        ('"resourceType": "Bundle"', '"entry": [], "resourceType": "Bundle"'),
        ('"resourceType": "Patient"', '"\\u0069d": "p8", "resourceType": "Patient"'),
        ('"family": ', '"family": "x", "family": '),
    ],
)
def test_what_two_readers_may_read_differently_is_refused(hub: ChannelConfig, once: str, twice: str) -> None:
    """A property that stands twice: we look at the last one, and a server may take the first. It is said wherever it stands."""
    whole = received(whole_bundle())
    data = whole.data.replace(once.encode(), twice.encode(), 1)
    assert data != whole.data
    outcome = relay.begin(replace(whole, data=data, digest=digest(data)), hub)
    assert isinstance(outcome, Parked)
    assert (outcome.code, outcome.why) == ("invalid-bundle", "A property stands twice in one object of the body.")
