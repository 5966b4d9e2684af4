"""HL7 v2 sent over the exchange as it came: its sender is told what became of it, as of a bundle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from interop_engine.core.model import Delivered
from interop_engine.demo.his import ReceivingSystem
from interop_engine.exchange.base import RECEIPT, Parcel
from interop_engine.exchange.rules import FAULT
from interop_engine.hl7.ack import acknowledge
from interop_engine.hl7.message import parse
from interop_engine.journal.base import DeliveryRow, MessageRow, Selection
from tests.support.journals import START
from tests.support.node import Node, make_site, running
from tests.support.texts import result

_FOLDER = "file: {folder: out, send: original}"
_HUB = """\
channel: at-hub
source:
  exchange: {{as: "{hub}", kinds: [lab]}}
accept: [ORU^R01]
deliver:
  - name: out
    {out}
"""
_ENGINE = 'site: A node\nfacility: "{0}"\ntimezone: Asia/Ho_Chi_Minh\nexchange: {{amqp: "{1}"}}\n'


class Refusing(ReceivingSystem):
    """Answers AR to everything."""

    def _answer(self, data: bytes) -> bytes:
        return acknowledge(parse(data), "AR", control_id="1", at=START)


def hub(folder: Path, out: str = _FOLDER, *, engine: str = "", name: str = "hub") -> Path:
    """A node that takes HL7 v2 in from the exchange."""
    made = make_site(folder, engine=engine or 'site: Hub\nfacility: "hub"\ntimezone: Asia/Ho_Chi_Minh\n', receivers=())
    for each in (made / "channels").iterdir():
        each.unlink()
    (made / "channels" / "at-hub.yaml").write_text(_HUB.format(out=out, hub=name), encoding="utf-8")
    return made


def hospital(folder: Path, *, engine: str = "", to: str = "hub") -> Path:
    """The sample hospital, which sends the hub its results as they came."""
    made = make_site(folder, engine=engine, receivers=())
    lab = made / "channels" / "lab-results.yaml"
    text = lab.read_text(encoding="utf-8").replace("{to: =hub, kind: lab}", f'{{to: "={to}", kind: lab, send: original}}')
    lab.write_text(text, encoding="utf-8")
    return made


@dataclass
class Sender:
    """A facility on the exchange of a node, and what it is told."""

    node: Node
    told: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, delivery: str, data: bytes, **headers: str) -> None:
        """Hand a message over under a delivery id."""
        parcel = Parcel(delivery, "24001", "hub", "lab", data, "hl7v2", headers)
        assert await self.node.runtime.exchange.publish(parcel) == Delivered()

    async def last(self, delivery: str) -> dict[str, Any]:
        """The last word on a delivery."""
        found: list[dict[str, Any]] = []

        async def said() -> bool:
            found[:] = [each for each in self.told if each["delivery"] == delivery and each["state"] != "accepted"]
            return bool(found)

        await self.node.until(said)
        return found[-1]

    async def messages(self) -> list[MessageRow]:
        """What the hub has, the newest first."""
        return await self.node.runtime.journal.search(Selection(channel="at-hub"))

    async def take(self, parcel: Parcel) -> bool:
        """Be told."""
        self.told += json.loads(parcel.body)
        return True


@asynccontextmanager
async def sending(folder: Path, out: str = _FOLDER) -> AsyncIterator[Sender]:
    """A hub, and a facility that sends it HL7 v2."""
    async with running(hub(folder, out)) as node:
        sender = Sender(node)
        await node.runtime.exchange.subscribe("24001", [RECEIPT], sender.take)
        yield sender


async def told(node: Node) -> DeliveryRow:
    """The hospital's delivery to the hub, once a receipt has the last word."""
    found: list[DeliveryRow] = []

    async def done() -> bool:
        (row,) = await node.runtime.journal.search(Selection(channel="lab-results"))
        shown = await node.runtime.journal.show(row.id)
        found[:] = [each for each in shown.deliveries if each.destination == "hub"]
        return any(receipt.state != "accepted" for each in found for receipt in each.receipts)

    await node.until(done)
    return found[0]


async def test_the_sender_of_a_message_is_told_that_it_was_delivered(tmp_path: Path) -> None:
    """In one process: the hospital's delivery shows what the hub's own destination did with it."""
    made = hospital(tmp_path)
    (made / "channels" / "at-hub.yaml").write_text(_HUB.format(out=_FOLDER, hub="hub"), encoding="utf-8")
    async with running(made) as node:
        await node.send("lab-results", result("M1"))
        delivery = await told(node)
        (message,) = await node.runtime.journal.search(Selection(channel="at-hub"))
        headers = (await node.runtime.journal.content(message.id)).headers
    (receipt,) = delivery.receipts
    assert (receipt.channel, receipt.message, receipt.state) == ("at-hub", message.id, "delivered")
    assert (headers["delivery-id"], headers["sender"], headers["receiver"]) == (delivery.id, "24001", "hub")
    assert headers["event"] == "ORU^R01"


@pytest.mark.rabbitmq
async def test_two_nodes_on_a_broker_tell_each_other_of_a_message(tmp_path: Path, broker: str) -> None:
    """Each with a journal of its own: nothing of what the hub delivered is overdue at the hospital."""
    site = hospital(tmp_path / "a", engine=_ENGINE.format("24001-originals", broker), to="hub-originals")
    for name in ("imaging-results", "orders", "patients"):
        (site / "channels" / f"{name}.yaml").unlink()
    at_hub = hub(tmp_path / "b", engine=_ENGINE.format("hub-originals", broker), name="hub-originals")
    async with running(at_hub), running(site) as node:
        await node.send("lab-results", result("M1"))
        (receipt,) = (await told(node)).receipts
    assert (receipt.channel, receipt.state) == ("at-hub", "delivered")


async def test_what_its_receiver_refuses_is_told(tmp_path: Path) -> None:
    """AR parks it at the hub: the sender's receipt has the code."""
    async with Refusing() as his, sending(tmp_path, f"mllp: {{connect: '{his.address}'}}") as sender:
        await sender.send("d1", result("M1"))
        receipt = await sender.last("d1")
    assert (receipt["state"], [each["destination"] for each in receipt["steps"]]) == ("parked", ["out"])


@pytest.mark.parametrize("data", [result("M1"), b"GET / HTTP/1.1"])
async def test_a_fault_is_told(tmp_path: Path, data: bytes) -> None:
    """What the exchange says is wrong with a parcel, and what is no HL7 v2, is kept as rejected; its sender is told."""
    faults = {FAULT: "the header sender is not what the routing key says"} if data.startswith(b"MSH") else {}
    async with sending(tmp_path) as sender:
        await sender.send("d1", data, **faults)
        receipt = await sender.last("d1")
        (message,) = await sender.messages()
    assert (receipt["state"], receipt["code"], receipt["message"]) == ("rejected", "100", message.id)


async def test_a_forged_parcel_stands_in_for_nothing_that_was_sent(tmp_path: Path) -> None:
    """With the bytes of a message that was taken, and under another delivery: it is shown as rejected, not as a duplicate."""
    async with sending(tmp_path) as sender:
        await sender.send("d1", result("M1"))
        await sender.send("forged", result("M1"), **{FAULT: "the user who published it is not its sender"})
        assert (await sender.last("forged"))["state"] == "rejected"
        assert [each.arrivals for each in await sender.messages()] == [1, 1]


async def test_a_delivery_that_comes_twice_is_one_message(tmp_path: Path) -> None:
    """The broker gives again what was not acknowledged: it is noted on the message, of which the sender is told once."""
    async with sending(tmp_path) as sender:
        await sender.send("d1", result("M1"))
        await sender.send("d1", result("M1"))
        (message,) = await sender.messages()
        assert message.arrivals == 2
        assert (await sender.last("d1"))["message"] == message.id


async def test_a_message_by_another_delivery_is_told_as_a_duplicate(tmp_path: Path) -> None:
    """Its sender replayed it: nothing is done twice, and the sender does not wait for ever for what became of it."""
    async with sending(tmp_path) as sender:
        await sender.send("d1", result("M1"))
        await sender.send("d2", result("M1"))
        await sender.send("d2", result("M1"))  # and again, from the broker
        receipt = await sender.last("d2")
        again, first = await sender.messages()
        await sender.node.settled()
        assert (receipt["state"], receipt["code"], receipt["message"]) == ("filtered", "duplicate", again.id)
        assert again.why == f"It was received before, as {first.id}."
        assert (again.arrivals, (await sender.last("d1"))["state"]) == (2, "delivered")
    assert len(list((tmp_path / "out").iterdir())) == 1


async def test_what_has_no_name_of_its_own_is_known_by_its_delivery(tmp_path: Path) -> None:
    """An acknowledgement that went astray has no key of its sender's: the broker gives it again, and it is kept once."""
    stray = b"MSH|^~\\&|LIS|24001|HIE|hub|20261121083000||ACK^R01|A1|P|2.5\rMSA|AA|M1\r"
    async with sending(tmp_path) as sender:
        await sender.send("d1", stray)
        await sender.send("d1", stray)
        (message,) = await sender.messages()
    assert (message.state, message.code, message.arrivals) == ("filtered", "ack", 2)


async def test_a_parcel_may_not_say_what_only_a_node_itself_knows(tmp_path: Path) -> None:
    """A header by which a node knows its own acknowledgements does nothing in what another sends."""
    async with sending(tmp_path) as sender:
        await sender.send("d1", result("M1"), acknowledges="m0")
        assert (await sender.last("d1"))["state"] == "delivered"


_ROUND = """\
channel: at-{here}
source:
  exchange: {{as: {here}, kinds: [lab]}}
accept: [ORU^R01]
deliver:
  - name: other
    exchange: {{to: ={there}, kind: lab, send: renamed}}
    when: MSH-3 = 'LIS'
"""
_RENAMED = "mapping: renamed\nmessage: ORU_R01\nto: ORU_R01\nlens: [\"MSH-10 := concat(MSH-10, 'x')\"]\n"


async def test_a_message_that_goes_round_between_two_hubs_parks(tmp_path: Path) -> None:
    """Each gives it a new name, so that neither knows it again: after eight nodes a person is shown it, as of a bundle."""
    made = hub(tmp_path)
    (made / "channels" / "at-hub.yaml").unlink()
    for here, there in (("one", "two"), ("two", "one")):
        (made / "channels" / f"at-{here}.yaml").write_text(_ROUND.format(here=here, there=there), encoding="utf-8")
    (made / "mappings" / "renamed.yaml").write_text(_RENAMED, encoding="utf-8")
    async with running(made) as node:
        assert await node.runtime.exchange.publish(Parcel("d1", "24001", "one", "lab", result("M1"), "hl7v2")) == Delivered()

        async def parked() -> bool:
            return bool(await node.runtime.journal.search(Selection(states=("parked",))))

        async with asyncio.timeout(30):
            await node.until(parked)
        last, *before = await node.runtime.journal.search(Selection())
        headers = (await node.runtime.journal.content(last.id)).headers
    assert (last.code, len(before), dict(last.search)["origin"]) == ("loop", 8, "24001")
    assert headers["via"].split() == ["24001", *["hub"] * 7]


async def test_a_message_that_comes_back_as_it_was_is_known_again(tmp_path: Path) -> None:
    """Where nobody renames it a circle ends where it began: it was received before."""
    made = hub(tmp_path)
    (made / "channels" / "at-hub.yaml").unlink()
    for here, there in (("one", "two"), ("two", "one")):
        text = _ROUND.format(here=here, there=there).replace("renamed", "original")
        (made / "channels" / f"at-{here}.yaml").write_text(text, encoding="utf-8")
    async with running(made) as node:
        assert await node.runtime.exchange.publish(Parcel("d1", "24001", "one", "lab", result("M1"), "hl7v2")) == Delivered()
        await node.settled()
        rows = await node.runtime.journal.search(Selection())
    assert [(row.channel, row.code) for row in rows] == [("at-one", "duplicate"), ("at-two", ""), ("at-one", "")]
