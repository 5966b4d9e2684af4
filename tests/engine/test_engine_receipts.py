"""Receipts between nodes: the sender's message shows the whole way, down to the ACK of a receiver that only speaks HL7 v2."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from interop_engine.cli.app import app
from interop_engine.core import events
from interop_engine.core.errors import JournalError
from interop_engine.core.model import Delivered, Outcome, Park, Receipt, Report, Retry
from interop_engine.demo.his import ReceivingSystem
from interop_engine.engine.receipts import ParkedElsewhere, Receipts, ReceiptsRefused, ReceiptsUnwanted
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import Exchange, Parcel
from interop_engine.exchange.embedded import EmbeddedExchange
from interop_engine.exchange.rules import FAULT
from interop_engine.hl7.ack import acknowledge
from interop_engine.hl7.message import parse
from interop_engine.journal.base import DeliveryRow, Selection
from tests.support.journals import START
from tests.support.node import PORTS, Node, make_site, running
from tests.support.texts import result

_BACK = """\
channel: to-his
source:
  exchange: {{as: hub, kinds: [lab, imaging, order, patient]}}
deliver:
  - name: his
    mllp: {{connect: '{address}', send: oru_from_bundle, application: HIS}}
"""


class Refusing(ReceivingSystem):
    """Answers AR to everything."""

    def _answer(self, data: bytes) -> bytes:
        return acknowledge(parse(data), "AR", control_id="1", at=START)


def site(folder: Path, channel: str) -> Path:
    """The sample hospital, whose hub is this channel."""
    made = make_site(folder, receivers=())
    (made / "channels" / "to-his.yaml").write_text(channel, encoding="utf-8")
    return made


async def told(node: Node) -> DeliveryRow:
    """The delivery to the hub of the newest result, once a receipt has the last word."""
    found: list[DeliveryRow] = []

    async def done() -> bool:
        (row,) = await node.runtime.journal.search(Selection(channel="lab-results", limit=1))
        shown = await node.runtime.journal.show(row.id)
        found[:] = [each for each in shown.deliveries if each.destination == "hub"]
        return any(receipt.state != "accepted" for each in found for receipt in each.receipts)

    await node.until(done)
    return found[0]


async def test_the_ack_of_a_receiver_of_hl7_v2_closes_the_loop(tmp_path: Path) -> None:
    """A result goes over the exchange, becomes ORU^R01, is answered AA, and the sender's ``messages show`` tells all of it."""
    async with ReceivingSystem() as his, running(site(tmp_path, _BACK.format(address=his.address))) as node:
        await node.send("lab-results", result("M1"))
        delivery = await told(node)
        ((receipt,), (message,)) = delivery.receipts, await node.runtime.journal.search(Selection(channel="to-his"))
        assert (receipt.channel, receipt.message, receipt.state) == ("to-his", message.id, "delivered")
        assert receipt.taken_at == message.received_at
        (step,) = receipt.steps
        assert (step.destination, step.state, step.detail, step.at) == (
            "his",
            "delivered",
            "AA",
            message.deliveries[0].settled_at,
        )
        (mine,) = await node.runtime.journal.search(Selection(channel="lab-results"))
    arguments = ["messages", "show", mine.id, "--project", str(tmp_path)]
    shown = await asyncio.to_thread(CliRunner(env={"COLUMNS": "300", **PORTS}).invoke, app, arguments)
    assert "what became of it there" in shown.output
    assert "hub (to-his)" in shown.output
    assert "his: delivered" in shown.output


async def test_what_the_receiver_parks_is_told_without_its_words(tmp_path: Path) -> None:
    """A refusal (AR) parks at the receiver; its sender gets the code, and an event for its operator."""
    heard: list[events.Event] = []
    end = events.subscribe(heard.append)
    try:
        async with Refusing() as his, running(site(tmp_path, _BACK.format(address=his.address))) as node:
            await node.send("lab-results", result("M1"))
            delivery = await told(node)
    finally:
        end()
    ((receipt,),) = (delivery.receipts,)
    assert (receipt.state, [step.detail for step in receipt.steps]) == ("parked", [""])
    assert ParkedElsewhere("hub", delivery.id, receipt.code) in heard


@pytest.mark.rabbitmq
async def test_two_nodes_on_a_broker_tell_each_other(tmp_path: Path, broker: str) -> None:
    """Each with a journal of its own: the hub tells the hospital, over RabbitMQ."""
    engine = f'site: {{0}}\nfacility: "{{1}}"\ntimezone: Asia/Ho_Chi_Minh\nexchange: {{{{amqp: "{broker}"}}}}\n'
    hospital = make_site(tmp_path / "hospital", engine=engine.format("Hospital", "24001-receipts"), receivers=())
    hub = make_site(tmp_path / "hub", engine=engine.format("Hub", "hub"), receivers=("hub",))
    for name in ("lab-results", "imaging-results", "orders", "patients"):
        (hub / "channels" / f"{name}.yaml").unlink()
    for name in ("imaging-results", "orders", "patients"):
        (hospital / "channels" / f"{name}.yaml").unlink()
    shutil.rmtree(hub / "mappings")
    async with running(hub), running(hospital) as node:
        await node.send("lab-results", result("M1"))
        (receipt,) = (await told(node)).receipts
    assert (receipt.channel, receipt.state) == ("to-hub", "delivered")


# --- Telling, and being told ------------------------------------------------------------------------------------------------


class Ledger:
    """A journal as receipts see it."""

    def __init__(self, *reports: Report) -> None:
        self.due = list(reports)
        self.kept: list[tuple[str, Receipt]] = []
        self.full = False

    async def reports(self, after: int = 0, limit: int = 200) -> list[Report]:
        return [each for each in self.due if each.receipt.number > after][:limit]

    async def reported(self, numbers: Sequence[int]) -> None:
        self.due = [each for each in self.due if each.receipt.number not in numbers]

    async def keep_receipts(self, by: str, receipts: Sequence[Receipt]) -> None:
        if self.full:
            raise JournalError("full")
        self.kept += [(by, each) for each in receipts]


class Answering(EmbeddedExchange):
    """An exchange that answers by receiver."""

    def __init__(self, **answers: Outcome) -> None:
        super().__init__()
        self.answers = answers
        self.parcels: list[Parcel] = []

    async def publish(self, parcel: Parcel) -> Outcome:
        self.parcels.append(parcel)
        return self.answers[parcel.receiver]


def owed(number: int, to: str = "a", state: str = "delivered") -> Report:
    """A receipt that is to be sent."""
    return Report(to, "hub", Receipt(f"d{number}", "record", f"m{number}", state, START, number))


def receipts(ledger: Any, exchange: Exchange, **options: float) -> Receipts:
    """Of the facility a."""
    return Receipts("a", ledger, exchange, lambda error: pytest.fail(str(error)), **options)


@asynccontextmanager
async def embedded(ledger: Any) -> AsyncIterator[Exchange]:
    """An exchange on which a is told."""
    exchange = open_exchange("embedded")
    await exchange.open()
    await exchange.begin()
    telling = receipts(ledger, exchange, pause=0.001)
    await telling.start()
    yield exchange
    await telling.stop()
    await exchange.close()


async def test_receipts_travel_together_and_once() -> None:
    """Many receipts of one sender are one parcel, in their order; what the exchange took is not told again."""
    ledger = Ledger(*(owed(number, "ab"[number % 2]) for number in range(1, 500)))
    exchange = Answering(a=Delivered(), b=Delivered())
    await receipts(ledger, exchange).tell()
    assert len(exchange.parcels) == 6  # of two senders, 200 receipts a page
    assert {(each.sender, each.kind, each.media) for each in exchange.parcels} == {("hub", "receipt", "receipt")}
    assert ledger.due == []


async def test_a_sender_that_cannot_be_reached_keeps_no_other_waiting() -> None:
    """Its receipts stay for the next round; one that takes none is told of in the log, and they are dropped."""
    ledger = Ledger(owed(1, "away"), owed(2, "a"), owed(3, "old"), owed(4, "away"))
    exchange = Answering(a=Delivered(), away=Retry("no broker"), old=Park("unrouted", "nobody"))
    heard: list[events.Event] = []
    end = events.subscribe(heard.append)
    await receipts(ledger, exchange).tell()
    end()
    assert [each.receipt.number for each in ledger.due] == [1, 4]
    assert heard == [ReceiptsUnwanted("old", "unrouted", 1)]


async def test_what_is_told_is_kept_under_the_name_of_who_tells_it() -> None:
    """By the name on the parcel, which the broker's rights vouch for; a journal that cannot commit leaves it on the exchange."""
    ledger, source = Ledger(), Ledger(owed(1), owed(2))
    async with embedded(ledger) as exchange:
        telling = receipts(source, exchange)
        ledger.full = True
        await telling.tell()
        assert (ledger.kept, len(source.due)) == ([], 2)
        ledger.full = False
        await telling.tell()
    assert ledger.kept == [("hub", owed(1).receipt), ("hub", owed(2).receipt)]


@pytest.mark.parametrize(
    ("body", "headers"), [(b"{", {}), (b"[]", {FAULT: "the header sender is not what the routing key says"})]
)
async def test_malformed_and_forged_receipts_are_dropped(body: bytes, headers: dict[str, str]) -> None:
    """They are told of in the log, and do not hold up the queue."""
    heard: list[events.Event] = []
    end = events.subscribe(heard.append)
    ledger = Ledger()
    async with embedded(ledger) as exchange:
        taken = await exchange.publish(Parcel("1", "hub", "a", "receipt", body, "receipt", headers))
    end()
    assert (taken, ledger.kept) == (Delivered(), [])
    assert isinstance(heard[0], ReceiptsRefused)


async def test_receipts_are_told_by_themselves(tmp_path: Path) -> None:
    """The loop looks again and again, and ends when it is told to, twice too."""
    source = Ledger()
    exchange = Answering(a=Delivered())
    telling = receipts(source, exchange, pause=0.001)
    await telling.start()
    source.due.append(owed(1))
    async with asyncio.timeout(10):
        while source.due:  # noqa: ASYNC110 - the ledger tells nobody
            await asyncio.sleep(0.001)
    await telling.stop()
    await telling.stop()
