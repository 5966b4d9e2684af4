"""Bundles that a node passes on over the exchange: as its own, with their origin, told of hop by hop, and never in a circle."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interop_engine.cli.app import app
from interop_engine.config import loader
from interop_engine.config.site import ChannelConfig
from interop_engine.core.model import Delivered, Received
from interop_engine.engine import relay
from interop_engine.engine.transform import Parked
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import RECEIPT, Parcel
from interop_engine.journal.base import Forward, MessageRow, Selection
from tests.support.broker import Broker
from tests.support.journals import START
from tests.support.node import Node, running

PATIENT = "9b2b1a0e-7f9e-4c5e-9d8f-0a1b2c3d4e5f"
ENTRY = {
    "fullUrl": f"urn:uuid:{PATIENT}",
    "resource": {"resourceType": "Patient", "id": PATIENT},
    "request": {"method": "PUT", "url": f"Patient/{PATIENT}"},
}
BODY = json.dumps(
    {"resourceType": "Bundle", "type": "transaction", "timestamp": "2026-01-01T00:00:00Z", "entry": [ENTRY]}
).encode()
ENGINE = 'site: A node\nfacility: "{0}"\ntimezone: Asia/Ho_Chi_Minh\nstatus: {{listen: "127.0.0.1:0"}}\n'
ONWARD = """\
channel: onward
source:
  exchange: {as: hub, kinds: [lab]}
deliver:
  - name: other
    exchange: {to: =24017, kind: lab}
"""
LAST = """\
channel: last
source:
  exchange: {as: "24017", kinds: [lab]}
deliver:
  - name: record
    file: {folder: out}
"""


def site(folder: Path, facility: str, *channels: str, exchange: str = "") -> Path:
    """A node that is fed by the exchange."""
    (folder / "channels").mkdir(parents=True)
    for number, text in enumerate(channels):
        (folder / "channels" / f"c{number}.yaml").write_text(text, encoding="utf-8")
    (folder / "engine.yaml").write_text(ENGINE.format(facility) + exchange, encoding="utf-8")
    return folder


def parcel(sender: str = "24001") -> Parcel:
    """What a hospital sends to the hub."""
    return Parcel("d1", sender, "hub", "lab", BODY, "fhir", {"lane": "p1"})


async def one(node: Node, channel: str) -> MessageRow:
    """The one message of a channel, once it is there and nothing of it is under way."""
    found: list[MessageRow] = []

    async def done() -> bool:
        found[:] = await node.runtime.journal.search(Selection(channel=channel))
        return bool(found) and not any(each.waiting for each in await node.runtime.journal.counts())

    await node.until(done)
    return await node.runtime.journal.show(found[0].id)


async def test_a_bundle_goes_on_as_the_nodes_own_and_shows_its_origin(tmp_path: Path) -> None:
    """Byte for byte; the last receiver's ``messages show`` says who passed it on and where it began."""
    async with running(site(tmp_path, "hub", ONWARD, LAST)) as node:
        assert await node.runtime.exchange.publish(parcel()) == Delivered()
        last, onward = await one(node, "last"), await one(node, "onward")
        assert [(each.destination, each.state, each.code) for each in onward.deliveries] == [("other", "delivered", "")]
        assert (last.peer, dict(last.search)["origin"]) == ("hub", "24001")
    (file,) = (tmp_path / "out").iterdir()
    assert file.read_bytes() == BODY
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["messages", "show", last.id, "--project", str(tmp_path)])
    assert [line.split() for line in shown.output.splitlines() if "24001" in line] == [["origin", "24001"]]


@pytest.fixture(scope="module")
def url(own_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A broker that holds each facility to its rights; the URL of each."""
    folder = tmp_path_factory.mktemp("rights")
    known = {name: secrets.token_hex(8) for name in ("hub", "24001", "24017")}
    for name, password in known.items():
        (folder / name).write_text(password, encoding="utf-8")
    (folder / "agreements.yaml").write_text(
        'facilities: {hub: , "24001": , "24017": }\nkinds: [lab]\nagreements:\n'
        '  - {from: "24001", to: hub, kinds: lab}\n  - {from: hub, to: "24017", kinds: lab}\n',
        encoding="utf-8",
    )
    made = CliRunner().invoke(app, ["exchange", "definitions", str(folder), "--passwords", str(folder)])
    (folder / "definitions.json").write_text(made.output, encoding="utf-8")
    own_broker.control("import_definitions", str(folder / "definitions.json"))
    return lambda name: f"amqp://{name}:{known[name]}@127.0.0.1:{own_broker.port}/"


@pytest.mark.rabbitmq
async def test_the_brokers_rights_let_it_pass_and_each_hop_is_told(tmp_path: Path, url: Callable[[str], str]) -> None:
    """Three users, none of which may send as another: the hub tells the hospital, and the district hospital the hub."""
    told: asyncio.Queue[Parcel] = asyncio.Queue()

    async def take(parcel: Parcel) -> bool:
        told.put_nowait(parcel)
        return True

    def joined(name: str) -> str:
        return f'exchange: {{amqp: "{url(name)}", declare: false}}\n'

    hospital = open_exchange(url("24001"), declare=False)
    await hospital.open()
    await hospital.subscribe("24001", [RECEIPT], take)
    await hospital.begin()
    hub = site(tmp_path / "hub", "hub", ONWARD, exchange=joined("hub"))
    async with running(site(tmp_path / "last", "24017", LAST, exchange=joined("24017"))) as last, running(hub) as node:
        assert await hospital.publish(parcel()) == Delivered()
        assert (await one(last, "last")).peer == "hub"

        async def closed() -> bool:
            (delivery,) = (await one(node, "onward")).deliveries
            return [each.state for each in delivery.receipts] == ["delivered"]

        await node.until(closed)
        async with asyncio.timeout(20):
            while json.loads((receipt := await told.get()).body)[0]["state"] != "delivered":
                pass
    await hospital.close()
    assert (receipt.sender, [step["destination"] for step in json.loads(receipt.body)[0]["steps"]]) == ("hub", ["other"])


# --- Pure ------------------------------------------------------------------------------------------------------------


def received(**headers: str) -> Received:
    """A bundle that came over the exchange."""
    all_ = {"sender": "24001", "receiver": "hub", "kind": "lab", "delivery-id": "d1", "event": "ORU^R01", **headers}
    return Received("m1", "onward", BODY, "fhir", START, "24001", "d1", "ORU^R01", "d", ("24001/p1",), all_)


def onward(folder: Path, *, to: str = "=24017") -> ChannelConfig:
    """The channel, sending to another."""
    (channel,) = loader.load(site(folder, "hub", ONWARD.replace("=24017", to)), {}).channels
    return channel


def test_each_hop_is_named_in_its_order(tmp_path: Path) -> None:
    """The sender's own name, the kind of this destination, and all whom it came by; the sender's delivery id stays here."""
    made = relay.begin(received(via="24005 24004"), onward(tmp_path))
    assert isinstance(made, Forward)
    (delivery,) = made.deliveries
    expected = {"sender": "hub", "receiver": "24017", "kind": "lab", "event": "ORU^R01", "via": "24005 24004 24001"}
    assert delivery.headers == expected
    assert delivery.lanes == ("24001/p1",)


def test_a_bundle_that_goes_round_between_sites_parks(tmp_path: Path) -> None:
    """No site sees the whole circle; after eight nodes a person is shown it."""
    channel = onward(tmp_path)
    assert isinstance(relay.begin(received(via=" ".join("ab" * 3 + "a")), channel), Forward)
    parked = relay.begin(received(via=" ".join("ab" * 4)), channel)
    assert isinstance(parked, Parked)
    assert parked.code == "loop"


def test_a_receiver_that_a_bundle_cannot_tell_parks(tmp_path: Path) -> None:
    """Of a channel that takes HL7 v2 and is sent a bundle all the same: nothing goes astray."""
    channel = onward(tmp_path)
    (destination,) = channel.destinations
    asking = replace(channel, destinations=(replace(destination, receivers=lambda message, _: [message.msh.raw(6)]),))
    parked = relay.begin(received(), asking)
    assert isinstance(parked, Parked)
    assert parked.code == "unknown-receiver"
