"""A site is taken anew under traffic: nothing is lost or overtaken, what is as it was stays open, a mistake changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interop_engine.config import loader
from interop_engine.core.errors import ConfigError, UnknownItem
from interop_engine.engine.channel import Channel
from interop_engine.engine.runtime import Runtime
from interop_engine.hl7.ack import read_ack
from interop_engine.hl7.framing import frame
from interop_engine.journal.base import Queue, Selection
from tests.support.node import Node
from tests.support.process import free_port

ENGINE = 'site: Test\nfacility: "24001"\n'
CHANNEL = """channel: {name}
source:
  mllp: {{listen: "127.0.0.1:{port}"}}
accept: [ADT^A04]
otherwise: reject
patient: {{authority: BV24001, type: MR}}
mapping: adt
deliver:
  - name: folder
    file: {{folder: {name}}}
"""
MAPPING = """mapping: adt
message: ADT_A01
resources:
  patient:
    resource: Patient
    key: PID-3 | own_number
    newer: MSH-10
    set: {identifier: PID-3, name: PID-5}
"""


def registration(number: int) -> bytes:
    """One patient's registration; ``number`` is the order they are sent in."""
    return (
        f"MSH|^~\\&|HIS|24001|E|24001|20260302080000||ADT^A04^ADT_A01|{number}|P|2.5\r"
        f"PID|1||BN001^^^BV24001^MR||Nguyễn^Số {number}||19800115\r"
    ).encode()


class Site:
    """A site that is edited while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, int] = {}
        self.write("engine.yaml", ENGINE)
        self.write("mappings/adt.yaml", MAPPING)
        for name in ("lab", "ward"):
            self.channel(name)

    def write(self, name: str, text: str) -> None:
        """Write a file of the site."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def channel(self, name: str, more: str = "", port: int | None = None) -> None:
        """Write a channel's file."""
        self.ports[name] = port or self.ports.get(name) or free_port()
        self.write(f"channels/{name}.yaml", CHANNEL.format(name=name, port=self.ports[name]) + more)

    def received(self, channel: str) -> list[dict[str, object]]:
        """The patients a channel's receiver has, in the order they came."""
        bundles = [json.loads(path.read_bytes()) for path in sorted((self.folder / channel).glob("*.json"))]
        return [
            entry["resource"] for each in bundles for entry in each["entry"] if entry["resource"]["resourceType"] == "Patient"
        ]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two channels, one mapping."""
    return Site(tmp_path)


@contextlib.asynccontextmanager
async def running(site: Site) -> AsyncIterator[Node]:
    """The site at work."""
    runtime = Runtime(loader.load(site.folder))
    await runtime.start()
    try:
        yield Node(runtime, site.folder)
    finally:
        await runtime.stop()


class Sender:
    """Sends one message after the other, and again where it got no answer; says how often it had to connect."""

    def __init__(self, port: int) -> None:
        self.connected = 0
        self.sent = 0
        self._port = port
        self._told = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._told.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            self.connected += 1
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while not self._told.is_set():
                    writer.write(frame(registration(self.sent)))
                    answer = read_ack((await reader.readuntil(b"\x1c\r"))[1:-2])
                    assert (answer.code, answer.control_id) == ("AA", str(self.sent))
                    self.sent += 1
            writer.close()

    async def more(self, count: int = 5) -> None:
        """Wait until so many more were acknowledged."""
        wanted = self.sent + count
        async with asyncio.timeout(30):
            while self.sent < wanted:
                assert not self._task.done() or self._task.result() is None
                await asyncio.sleep(0.01)

    async def end(self) -> int:
        """Stop; how many were acknowledged."""
        self._told.set()
        await self._task
        return self.sent


def family_names(site: Site, channel: str) -> list[str]:
    """Of each patient received, what tells the messages apart."""
    return [each["name"][0]["given"][0] for each in site.received(channel)]  # type: ignore[index]


async def test_a_changed_mapping_is_taken_without_a_sender_noticing(site: Site) -> None:
    """Under traffic: one connection from first to last, nothing lost, nothing overtaken, the new mapping from some message on."""
    async with running(site) as node:
        sender = Sender(site.ports["lab"])
        await sender.more()
        site.write("mappings/adt.yaml", MAPPING.replace("name: PID-5", "name: PID-5, birthDate: PID-7"))
        done = await node.runtime.reload()
        assert (done.problem, done.changed, done.kept, done.reopened) == ("", ("lab", "ward"), (), ())
        await sender.more()
        count = await sender.end()
        await node.settled()
        assert sender.connected == 1
        names = family_names(site, "lab")
        assert names == [f"Số {number}" for number in range(count)]
        dated = ["birthDate" in each for each in site.received("lab")]
        assert dated == sorted(dated)
        assert (dated[0], dated[-1]) == (False, True)


async def test_a_changed_source_costs_its_senders_one_connection_and_others_none(site: Site) -> None:
    """The changed channel is closed and opened; the other's sender stays connected; both lose nothing and keep their order."""
    async with running(site) as node:
        lab, ward = Sender(site.ports["lab"]), Sender(site.ports["ward"])
        await lab.more()
        await ward.more()
        text = CHANNEL.format(name="lab", port=site.ports["lab"]).replace('"}', '", idle_timeout: 5m}')
        site.write("channels/lab.yaml", text)
        done = await node.runtime.reload()
        assert (done.problem, done.reopened, done.kept) == ("", ("lab",), ("ward",))
        await lab.more()
        await ward.more()
        counts = {"lab": await lab.end(), "ward": await ward.end()}
        await node.settled()
        assert (lab.connected, ward.connected) == (2, 1)
        for name, count in counts.items():
            assert family_names(site, name) == [f"Số {number}" for number in range(count)]


async def test_a_site_with_mistakes_changes_nothing(site: Site) -> None:
    """The site is read and checked first: its mistakes are raised, and what runs goes on."""
    async with running(site) as node:
        before = list(node.runtime.channels)
        site.write("mappings/adt.yaml", MAPPING.replace("name: PID-5", "nam: PID-5"))
        with pytest.raises(ConfigError) as caught:
            await node.runtime.reload()
        assert [mistake.code for mistake in caught.value.mistakes] == ["M204"]
        assert node.runtime.channels == before


async def test_a_port_in_use_rolls_everything_back(site: Site) -> None:
    """One channel that cannot start: the others go back to what ran before too, over the connections they had, and it is said."""
    async with running(site) as node:
        sender = Sender(site.ports["lab"])
        await sender.more()
        with socket.create_server(("127.0.0.1", 0)) as other:
            old = site.ports["ward"]
            site.channel("ward", port=other.getsockname()[1])
            site.write("mappings/adt.yaml", MAPPING.replace("name: PID-5", "name: PID-5, birthDate: PID-7"))
            done = await node.runtime.reload()
            taken = f"127.0.0.1:{other.getsockname()[1]}"
        assert done.problem.startswith(f"channel ward: The source cannot start: {taken}: Address already in use")
        assert {each.name: each.state for each in node.runtime.channels} == {"lab": "running", "ward": "running"}
        assert node.port("ward") == old
        await sender.more()
        await sender.end()
        await node.settled()
        assert sender.connected == 1
        assert not any("birthDate" in each for each in site.received("lab"))


async def test_channels_come_and_go(site: Site) -> None:
    """A new file is a channel that starts; without its file a channel stops taking in, and what it has to deliver stays there."""
    async with running(site) as node:
        (site.folder / "channels" / "ward.yaml").unlink()
        site.channel("clinic")
        done = await node.runtime.reload()
        assert (done.started, done.removed, done.kept) == (("clinic",), ("ward",), ("lab",))
        assert [each.name for each in node.runtime.channels] == ["clinic", "lab"]
        (answer,) = await node.send("clinic", registration(1))
        assert answer.code == "AA"
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", site.ports["ward"])


async def test_what_a_removed_channel_had_to_deliver_waits_until_it_is_back(site: Site) -> None:
    """Its receiver is down, its file goes away and comes back: the delivery stays in the journal and is made in the end."""
    (site.folder / "ward").write_text("a file where the receiver's folder should be")
    async with running(site) as node:
        await node.send("ward", registration(1))

        async def waits() -> bool:
            return any(count.queue == Queue("ward", "folder") and count.waiting for count in await node.runtime.journal.counts())

        await node.until(waits)
        (site.folder / "channels" / "ward.yaml").unlink()
        assert (await node.runtime.reload()).removed == ("ward",)
        assert await waits()
        (site.folder / "ward").unlink()
        site.channel("ward")
        assert (await node.runtime.reload()).started == ("ward",)
        await node.settled()
        assert family_names(site, "ward") == ["Số 1"]


async def test_one_channel_alone_is_taken_and_opened_anew(site: Site) -> None:
    """By its name: it is opened again though nothing changed (a renewed certificate), and no other's change is taken."""
    async with running(site) as node:
        site.channel("ward", more="training: take\n")
        done = await node.runtime.reload("lab")
        assert (done.problem, done.reopened, done.kept) == ("", ("lab",), ("ward",))
        ward = next(each for each in node.runtime.channels if each.name == "ward")
        assert ward.config.options.training == "filter"
        assert len({each.config.site for each in node.runtime.channels}) == 2
        with pytest.raises(UnknownItem, match="There is no channel labb"):
            await node.runtime.reload("labb")


async def test_messages_are_stamped_with_the_configuration_they_came_under(site: Site) -> None:
    """Before and after a reload: two digests, each with its snapshot in the journal, also in a channel that stayed as it was."""
    async with running(site) as node:
        await node.send("lab", registration(1))
        site.channel("ward", more="training: take\n")
        done = await node.runtime.reload()
        await node.send("lab", registration(2))
        second, first = await node.runtime.journal.search(Selection(channel="lab"))
        assert second.config == done.config != first.config
        assert "training: take" in await node.runtime.journal.config(second.config)
        assert "training: take" not in await node.runtime.journal.config(first.config)


async def test_a_stopped_channel_stays_stopped(site: Site) -> None:
    """What an operator stopped is not started by a change of its configuration, of the source or behind it."""
    async with running(site) as node:
        lab = next(each for each in node.runtime.channels if each.name == "lab")
        await lab.close_source()
        for port in (site.ports["lab"], free_port()):
            site.channel("lab", more="training: take\n", port=port)
            assert (await node.runtime.reload()).problem == ""
            assert [each.state for each in node.runtime.channels] == ["stopped", "running"]


async def test_a_stopped_destination_stays_stopped(site: Site) -> None:
    """What is for it waits, and the status says why, through changes of the channel too, until an operator starts it again."""
    async with running(site) as node:

        def ward() -> Channel:
            return next(each for each in node.runtime.channels if each.name == "ward")

        async def waits() -> bool:
            return any(each.queue == Queue("ward", "folder") and each.waiting for each in await node.runtime.journal.counts())

        ward().stop_destination("folder")
        for port in (site.ports["ward"], free_port()):
            site.channel("ward", more="training: take\n", port=port)
            assert (await node.runtime.reload()).problem == ""
            assert "stopped by an operator since" in ward().destination_healths["folder"].problem
        await node.send("ward", registration(1))
        await node.until(waits)
        assert site.received("ward") == []
        ward().start_destination("folder")
        await node.settled()
        assert ward().destination_healths["folder"].problem == ""
        assert family_names(site, "ward") == ["Số 1"]
        with pytest.raises(UnknownItem, match="The channel ward has no destination hub"):
            ward().stop_destination("hub")


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("journal: {path: var/other.db}\n", "journal"),
        ("status: {listen: 127.0.0.1:9}\n", "status"),
        ("exchange: {amqp: amqp://localhost}\n", "exchange"),
    ],
)
async def test_what_only_a_restart_changes_is_refused(site: Site, more: str, key: str) -> None:
    """The journal's place, the exchange, the processes and the status API: said, and nothing has changed."""
    async with running(site) as node:
        before = list(node.runtime.channels)
        site.write("engine.yaml", ENGINE + more)
        done = await node.runtime.reload()
        assert done.problem == f"engine.yaml: {key} can only change with a restart."
        assert node.runtime.channels == before


async def test_processes_beside_get_the_new_mappings(site: Site) -> None:
    """With transform: {processes: 1} the mapping of now is that of the process too; the old one has ended."""
    site.write("engine.yaml", ENGINE + "transform: {processes: 1}\n")
    async with running(site) as node:
        await node.send("lab", registration(1))
        await node.settled()
        site.write("mappings/adt.yaml", MAPPING.replace("name: PID-5", "name: PID-5, birthDate: PID-7"))
        assert (await node.runtime.reload()).problem == ""
        await node.send("lab", registration(2))
        await node.settled()
        assert ["birthDate" in each for each in site.received("lab")] == [False, True]
        beside = node.runtime.beside
        assert beside is not None
        assert list(beside._workers) == [node.runtime.site.digest]
