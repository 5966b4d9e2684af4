"""A node, or several on one journal, between senders and receivers with logs of their own: what the faults break, part by part.

Each engine is a process of its own. Results come in over MLLP and leave twice: as they are, over MLLP to a HIS; and as bundles
over the exchange (RabbitMQ, or the embedded one) to the hub's channel, which writes them to a FHIR server.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.load import Senders, digest
from tests.support.node import ROOT
from tests.support.process import COMMAND, Engine, free_port
from tests.support.receivers import (
    FhirReceiver,
    MllpReceiver,
    Verdict,
    fhir_receiver,
    judge,
    judge_record,
    longest_pause,
    mllp_receiver,
)

KEPT = Verdict(lost=0, duplicated=0, inverted=0)
_RECOVERY = 10.0  # seconds
_PROBE = 0.05  # seconds
_ENGINE = """\
site: Test
facility: "24001"
timezone: Asia/Ho_Chi_Minh
exchange: {exchange}
status: {{listen: "127.0.0.1:${{STATUS_PORT}}"}}
"""
_SHARED = """\
journal: {postgres: "${JOURNAL_URL}"}
"""
_LAB = """\
channel: lab-results
source: {{mllp: {{listen: "127.0.0.1:${{LAB_PORT}}", max_connections_per_address: 1000}}}}
accept: [ORU^R01]
otherwise: reject
patient: {{authority: BV24001, type: MR}}
mapping: oru_r01_lab
deliver:
  - name: his
    mllp: {{connect: "127.0.0.1:{his}", concurrency: 4, ack_timeout: 2s}}
    retry: {{first: 100ms, up_to: 1s}}
  - name: hub
    exchange: {{to: =hub, kind: lab}}
    retry: {{first: 100ms, up_to: 1s}}
"""
_HUB = """\
channel: hub
source: {{exchange: {{as: hub, kinds: [lab]}}}}
deliver:
  - name: record
    fhir: {{url: "{record}", concurrency: 4, timeouts: {{read: 2s}}, breaker: {{first: 100ms, up_to: 1s}}}}
    retry: {{first: 100ms, up_to: 1s}}
"""
_RELAY = """\
channel: lab-results
source: {{mllp: {{listen: "127.0.0.1:${{LAB_PORT}}", max_connections_per_address: 1000}}}}
accept: [ORU^R01]
otherwise: reject
patient: {{authority: BV24001, type: MR}}
deliver:
  - name: his
    mllp: {{connect: "127.0.0.1:{his}", concurrency: 4, ack_timeout: 10m}}
"""
_MAPPINGS = str(ROOT / "mappings")
_NEEDED = ("oru_r01_lab.yaml", "common.yaml")
CARELESS, SLOW, UNFENCED = ((COMMAND[0], "-m", "tests.support.careless", way) for way in ("early", "slow", "unfenced"))


def recovery() -> float:
    """How many seconds a recovery may take: ten on a core of its own; where other work takes turns, longer, as a busy loop is."""
    began, used = time.monotonic(), time.process_time()
    while time.process_time() - used < _PROBE:
        pass
    return _RECOVERY * max(1.0, (time.monotonic() - began) / _PROBE)


@dataclass
class Rig:
    """Senders → engines → receivers."""

    folder: Path
    engines: Sequence[Engine]
    senders: Senders
    his: MllpReceiver
    record: FhirReceiver

    @property
    def engine(self) -> Engine:
        """The first, and mostly the only one."""
        return self.engines[0]

    def verdicts(self) -> tuple[Verdict, Verdict]:
        """Of the HIS's log and of the FHIR server's, against the senders'."""
        return judge(self.senders.log, self.his.inbox), judge_record(self.senders.log, self.record)

    def longest_pause(self, since: float) -> float:
        """Seconds that one patient's messages stood still at a receiver, the longest of any from a moment on."""
        log = self.senders.log
        return max(longest_pause(log, self.his.inbox, since), longest_pause(log, self.record.inbox, since, digest))

    async def acknowledged(self, count: int, seconds: float = 600.0) -> None:
        """Wait until so many messages are acknowledged."""
        async with asyncio.timeout(seconds):
            while len(self.senders.log.acknowledged) < count:  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.005)

    async def recorded(self, count: int, seconds: float = 600.0) -> None:
        """Wait until the FHIR server has so many messages."""
        async with asyncio.timeout(seconds):
            while len(self.record.inbox) < count:  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.01)

    async def arrived(self, seconds: float = 600.0) -> None:
        """Wait until both receivers have whatever was acknowledged."""
        async with asyncio.timeout(seconds):
            while min(len(self.his.inbox), len(self.record.inbox)) < len(self.senders.log.acknowledged):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await self.settled()

    async def settled(self) -> None:
        """Wait until there is nothing to do; asks an engine that lives."""
        await asyncio.to_thread(next(each for each in self.engines if each.running).settled)

    async def restart(self, number: int = 0) -> float:
        """Start an engine again; returns the moment the start began."""
        moment = time.monotonic()
        await asyncio.to_thread(self.engines[number].start)
        return moment

    async def stop(self) -> None:
        """Stop every engine."""
        await asyncio.gather(*(asyncio.to_thread(each.stop) for each in self.engines))

    async def checked(self) -> bool:
        """Stop, and let ``journal check`` read every row and every checksum."""
        await self.stop()
        return await asyncio.to_thread(self.engine.verb, "journal", "check") == 0


def make_site(folder: Path, exchange: str, channels: Mapping[str, str], *, shared: bool = False) -> None:
    """A site of these channels; a ``shared`` journal's URL is in the environment."""
    copy_mappings(folder)
    (folder / "channels").mkdir()
    for name, text in channels.items():
        (folder / "channels" / f"{name}.yaml").write_text(text, encoding="utf-8")
    given = f'{{amqp: "{exchange}"}}' if "://" in exchange else exchange
    (folder / "engine.yaml").write_text(_ENGINE.format(exchange=given) + (_SHARED if shared else ""), encoding="utf-8")


def copy_mappings(folder: Path) -> None:
    """The laboratory's mapping alone: compiling all the sample's is half of a start, and nothing here needs them."""
    shutil.copytree(ROOT / "mappings", folder / "mappings", ignore=lambda at, names: _others(names) if at == _MAPPINGS else ())


def _channels(his: int, record: str, *, relay: bool) -> dict[str, str]:
    if relay:
        return {"lab-results": _RELAY.format(his=his)}
    return {"lab-results": _LAB.format(his=his), "hub": _HUB.format(record=record)}


def _others(names: Sequence[str]) -> list[str]:
    return [name for name in names if name == "cases" or (name.endswith(".yaml") and name not in _NEEDED)]


@contextlib.asynccontextmanager
async def rig(
    folder: Path,
    *,
    exchange: str = "embedded",
    command: Sequence[str] = COMMAND,
    connections: int = 8,
    rate: float = 0.0,
    relay: bool = False,
    journals: Sequence[str] = (),
) -> AsyncIterator[Rig]:
    """A running node with its surroundings. ``exchange``: embedded, or a broker's URL. ``relay``: to the HIS alone.

    ``journals``: a node for each, on one PostgreSQL journal; a node's URL is its own way there.
    """
    async with mllp_receiver() as his, fhir_receiver() as record:
        make_site(folder, exchange, _channels(his.port, record.server.url, relay=relay), shared=bool(journals))
        ports = [free_port() for _ in journals or ("",)]
        environments = [{"STATUS_PORT": str(free_port()), "LAB_PORT": str(port)} for port in ports]
        for environment, url in zip(environments, journals, strict=False):
            environment["JOURNAL_URL"] = url
        engines = [Engine(folder, each, command=command, log=f"engine{n}.log") for n, each in enumerate(environments)]
        senders = Senders(ports[0], connections, rate=rate, others=tuple(ports[1:]))
        node = Rig(folder, engines, senders, his, record)
        try:
            await asyncio.gather(*(asyncio.to_thread(each.start) for each in engines))
            yield node
        finally:
            await node.stop()
