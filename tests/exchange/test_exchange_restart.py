"""A node that comes back to a backlog: each parcel goes to its channel, in order, whatever starts first."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import aio_pika
import msgspec
import pytest

from interop_engine.core import events
from interop_engine.core.model import Delivered, Receipt
from interop_engine.engine.receipts import ParkedElsewhere
from interop_engine.exchange import open_exchange
from interop_engine.exchange.base import RECEIPT, Parcel
from interop_engine.exchange.rabbitmq.topology import queue_names, receipts_queue
from interop_engine.journal.base import MessageState, Selection
from tests.support.node import Node, running

_names = itertools.count(random.randrange(10**9))
SENDERS = [str(24000 + number) for number in range(20)]
EACH = 5


def hub(folder: Path, url: str, queues: int, facility: str, name: str, kinds: dict[str, str]) -> Path:
    """A site whose channels, one for each of ``kinds``, receive under one name and write files."""
    (folder / "channels").mkdir()
    (folder / "engine.yaml").write_text(
        f"site: Hub\nfacility: {facility}\ntimezone: Asia/Ho_Chi_Minh\n"
        f'exchange: {{amqp: "{url}", queues: {queues}}}\nstatus: {{listen: "127.0.0.1:0"}}\n'
    )
    for channel, taken in kinds.items():
        (folder / "channels" / f"{channel}.yaml").write_text(
            f"channel: {channel}\nsource:\n  exchange: {{as: {name}, kinds: {taken}}}\n"
            f"deliver:\n  - name: record\n    file: {{folder: {channel}}}\n"
        )
    return folder


def parcels(receiver: str, kinds: tuple[str, ...]) -> list[Parcel]:
    """Some of every sender, in turn."""
    return [
        Parcel(
            f"{sender}-{number}",
            sender,
            receiver,
            kinds[number % len(kinds)],
            body(f"{sender}-{number}"),
            "fhir",
            {"lane": sender},
        )
        for number in range(EACH)
        for sender in SENDERS
    ]


def body(name: str) -> bytes:
    """A bundle that says which it is."""
    number = "9b2b1a0e-7f9e-4c5e-9d8f-0a1b2c3d4e5f"
    entry = {
        "fullUrl": f"urn:uuid:{number}",
        "resource": {"resourceType": "Patient", "id": number},
        "request": {"method": "PUT", "url": f"Patient/{number}"},
    }
    return json.dumps({"resourceType": "Bundle", "id": name, "type": "transaction", "entry": [entry]}).encode()


def written(folder: Path) -> list[str]:
    """Which bundles are there, in the order they were written in."""
    return [json.loads(file.read_bytes())["id"] for file in sorted(folder.glob("*.json"))]


async def sent(url: str, what: list[Parcel]) -> None:
    """Each is confirmed."""
    exchange = open_exchange(url, name="senders")
    await exchange.open()
    for each in what:
        assert await exchange.publish(each) == Delivered()
    await exchange.close()


async def arrived(node: Node, count: int) -> Counter[tuple[str, MessageState]]:
    """What is in the journal once so many are."""

    async def there() -> bool:
        return len(await node.runtime.journal.search(Selection(limit=1000))) >= count

    await node.until(there)
    await node.settled()
    return Counter((row.channel, row.state) for row in await node.runtime.journal.search(Selection(limit=1000)))


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    "channels", [{"all": "[lab, imaging]"}, {"a-imaging": "[imaging]", "b-lab": "[lab]"}], ids=["one", "two"]
)
@pytest.mark.parametrize("same", [True, False], ids=["own name", "other name"])
@pytest.mark.parametrize("queues", [1, 4, 16])
async def test_a_backlog_goes_to_its_channels(
    tmp_path: Path, broker: str, queues: int, same: bool, channels: dict[str, str]
) -> None:
    """Nothing that was confirmed is dropped or rejected because its channel joins later than another, or than receipts."""
    name = f"h{next(_names)}"
    facility = name if same else f"{name}f"
    site = hub(tmp_path, broker, queues, facility, name, channels)
    async with running(site):
        pass  # its queues are there and bound
    what = parcels(name, ("lab", "imaging"))
    await sent(broker, what)
    expected = Counter(
        (next(each for each in channels if parcel.kind in channels[each]), MessageState.TRANSFORMED) for parcel in what
    )
    async with running(site) as node:
        assert await arrived(node, len(what)) == expected
    for channel, kinds in channels.items():
        found = written(site / channel)
        for sender in SENDERS:
            mine = [parcel.delivery_id for parcel in what if parcel.sender == sender and parcel.kind in kinds]
            assert [each for each in found if each in mine] == mine
    async with await aio_pika.connect(broker) as connection:
        channel = await connection.channel()
        for queue in (*queue_names(name, queues), receipts_queue(name), receipts_queue(facility)):
            await channel.queue_delete(queue)


@pytest.mark.rabbitmq
async def test_receipts_do_not_wait_behind_a_stopped_channel(tmp_path: Path, broker: str) -> None:
    """A node whose one channel from the exchange is stopped, with a parcel before it, hears what became of what it sent."""
    name = f"h{next(_names)}"
    heard: list[events.Event] = []
    end = events.subscribe(heard.append)
    async with running(hub(tmp_path, broker, 1, name, name, {"all": "[lab]"})) as node:
        await node.runtime.channels[0].close_source()
        receipt = Receipt("d1", "record", "m1", "parked", datetime.now(UTC), 1)
        told = Parcel("2", "24001", name, RECEIPT, msgspec.json.encode([receipt]), "receipt")
        await sent(broker, [Parcel("1", "24001", name, "lab", body("1"), "fhir"), told])

        async def kept() -> bool:
            return ParkedElsewhere("24001", "d1", "") in heard

        await node.until(kept)
    end()
