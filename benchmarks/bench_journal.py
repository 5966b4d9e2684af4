"""The journal alone, in process: how many messages a second it makes durable, and what one costs.

    ./dev bench journal [--seconds 2] [--folder DIR] [--encrypted]

``accept``: commit only, by 1, 8 and 32 senders. ``life``: accept with 3 search keys, lease, known (25 ids), forward with
2 deliveries and 22 sent resources, lease and settle both, by 16 workers at each step. ``--encrypted``: each of them in pairs, in
plain and encrypted.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import platform
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import apsw

from interop_engine.core.model import Delivered, Learned, Question, Sent, digest, new_id
from interop_engine.journal import open_journal
from interop_engine.journal.base import Forward, Journal, NewDelivery, NewMessage, Queue

OBSERVATION = (
    '{"resourceType":"Observation","id":"%s","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"718-7",'
    '"display":"Hemoglobin"}],"text":"Huyết sắc tố"},"subject":{"reference":"Patient/%s"},"effectiveDateTime":'
    '"2024-03-05T08:30:00+07:00","valueQuantity":{"value":%d,"unit":"g/L","system":"http://unitsofmeasure.org","code":"g/L"}}'
)


def hl7(number: int) -> bytes:
    """An ORU^R01 of 20 OBX, about 1.9 kB."""
    lines = [
        f"MSH|^~\\&|LIS|24001|HUB|HUB|20240305083000+0700||ORU^R01^ORU_R01|{number}|P|2.5.1|||||VNM|UNICODE UTF-8",
        f"PID|1||BN{number % 500:06}^^^24001^PI||Nguyễn^Văn An||19700101|M",
        f"OBR|1|A{number}|L{number}|CBC^Công thức máu^L|||20240305080000+0700",
    ]
    lines += [f"OBX|{n}|NM|{700 + n}-7^Xét nghiệm {n}^LN||{number % 97}.{n}|g/L|120-160|N|||F" for n in range(1, 21)]
    return ("\r".join(lines) + "\r").encode()


def message(number: int) -> NewMessage:
    """A message as the ingress hands it over."""
    data = hl7(number)
    return NewMessage(
        id=new_id(),
        channel="lab",
        data=data,
        media="hl7v2",
        received_at=datetime.now(UTC),
        peer="10.0.0.1:4242",
        control_id=str(number),
        message_type="ORU^R01",
        digest=digest(data),
        reply=b"MSH|^~\\&|HUB|HUB|LIS|24001|20240305083001||ACK^R01^ACK|1|P|2.5.1\rMSA|AA|1\r",
        lanes=(f"24001|BN{number % 500:06}",),
        duplicate_key=f"LIS|24001|{number}",
        search=(("patient", f"BN{number % 500:06}"), ("order", f"A{number}"), ("accession", f"ACC{number}")),
        config="c1",
    )


def resource_ids(number: int) -> list[str]:
    """Patient, report and 20 observations."""
    space = uuid.NAMESPACE_OID
    patient = f"Patient/{uuid.uuid5(space, str(number % 500))}"
    own = [f"Observation/{uuid.uuid5(space, f'{number}-{n}')}" for n in range(20)]
    return [patient, f"DiagnosticReport/{uuid.uuid5(space, str(number))}", *own]


def forwarded(number: int, ids: list[str], stamp: str) -> Forward:
    """What a transformation of such a message makes."""
    sent = tuple(
        Sent(
            "exchange/hub",
            thing,
            digest(thing.encode()),
            "2024-03-05T01:30:00Z",
            5,
            (OBSERVATION % (thing, ids[0], number)).encode(),
        )
        for thing in ids
    )
    body = b",".join(state.content or b"" for state in sent)
    deliveries = tuple(
        NewDelivery(new_id(), name, (f"24001|BN{number % 500:06}",), body, "fhir", {"kind": "lab"}, sent if name == "hub" else ())
        for name in ("hub", "district")
    )
    learned = Learned({f"ServiceRequest|placer|24001|A{number}": f"ServiceRequest/{number}"})
    return Forward(deliveries, learned, stamp, ledger=("OBR-2", "PID-1"))


async def accept(folder: Path, senders: int, seconds: float, keys: Path | None) -> None:
    """Commit only."""
    journal = open_journal(folder / f"accept{senders}-{_how(keys)}.db", keys=keys)
    await journal.open()
    waits: list[float] = []
    numbers = iter(range(10**9))
    end = time.perf_counter() + seconds

    async def send() -> None:
        while (start := time.perf_counter()) < end:
            await journal.accept(message(next(numbers)))
            waits.append(time.perf_counter() - start)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(send() for _ in range(senders)))
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    await journal.close()
    waits.sort()
    p50, p99 = waits[len(waits) // 2] * 1e3, waits[len(waits) * 99 // 100] * 1e3
    rate = len(waits) / elapsed
    waited = f"p50 {p50:6.2f} ms   p99 {p99:6.2f} ms"
    each = cpu / len(waits) * 1e6
    print(f"accept, {senders:2} senders, {_how(keys):9} {rate:8.0f} messages/s   {waited}   {each:5.0f} µs CPU")


class Life:
    """Messages on their way from accept to both deliveries settled, by so many workers at each step."""

    def __init__(self, journal: Journal, messages: int) -> None:
        self.journal = journal
        self.numbers = iter(range(messages))
        self.left = messages * 2
        self.done = asyncio.Event()
        self.asked: list[float] = []

    async def send(self) -> None:
        """Accept until there are enough."""
        for number in self.numbers:
            await self.journal.accept(message(number))

    async def transform(self) -> None:
        """Ask what is known and forward, for ever."""
        while True:
            lease = await self.journal.lease(Queue("lab"), "transform")
            assert lease.message is not None
            number = int(lease.message.control_id)
            ids = resource_ids(number)
            start = time.perf_counter()
            names = (f"ServiceRequest|placer|24001|A{number}", f"ServiceRequest|filler|24001|L{number}")
            known = await self.journal.known(Question(names, tuple(ids), (ids[0],)), ("exchange/hub",))
            self.asked.append(time.perf_counter() - start)
            assert await self.journal.forward(lease, forwarded(number, ids, known.stamp))

    async def deliver(self, destination: str) -> None:
        """Settle as delivered, for ever."""
        while True:
            lease = await self.journal.lease(Queue("lab", destination), "deliver")
            await self.journal.settle(lease, Delivered())
            self.left -= 1
            if not self.left:
                self.done.set()

    async def run(self, workers: int) -> None:
        """Until all are delivered."""
        steps = [self.send, self.transform, lambda: self.deliver("hub"), lambda: self.deliver("district")]
        tasks = [asyncio.create_task(step()) for step in steps for _ in range(workers)]
        await self.done.wait()
        for task in tasks:
            task.cancel()


async def life(folder: Path, workers: int, messages: int, keys: Path | None) -> None:
    """From accept to both settled."""
    path = folder / f"life-{_how(keys)}.db"
    journal = open_journal(path, keys=keys)
    await journal.open()
    lives = Life(journal, messages)
    began, cpu = time.perf_counter(), time.process_time()
    await lives.run(workers)
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    await journal.close()
    own = made_by_the_benchmark(min(messages, 500))
    lives.asked.sort()
    print(
        f"life, {workers:2} workers, {_how(keys):9} {messages / elapsed:8.0f} messages/s"
        f"   {(cpu / messages - own) * 1e6:5.0f} µs CPU"
        f" (without {own * 1e6:.0f} µs to make the input)   known p50 {lives.asked[len(lives.asked) // 2] * 1e6:.0f} µs"
        f"   {path.stat().st_size / messages / 1000:.1f} kB each"
    )


def _how(keys: Path | None) -> str:
    return "plain" if keys is None else "encrypted"


def made_by_the_benchmark(rounds: int) -> float:
    """CPU seconds a message that the benchmark itself needs to make its input."""
    start = time.process_time()
    for number in range(rounds):
        message(number)
        forwarded(number, resource_ids(number), "")
    return (time.process_time() - start) / rounds


def fsync_seconds(folder: Path) -> float:
    """What one durable write of 8 kB costs on this disk, without any journal."""
    with (folder / "probe").open("wb", buffering=0) as probe:
        start = time.perf_counter()
        for _ in range(200):
            probe.write(bytes(8192))
            os.fdatasync(probe.fileno())
        return (time.perf_counter() - start) / 200


def main(arguments: list[str]) -> None:
    """Run all and print the machine beside the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--messages", type=int, default=3_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--encrypted", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        load = os.getloadavg()[0]
        print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}", end=", ")
        print(f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}")
        print(f"disk: {fsync_seconds(folder) * 1e6:.0f} µs a durable 8 kB write")
        file = folder / "keys"
        file.touch(0o600)
        file.write_text(f"bench {base64.b64encode(os.urandom(32)).decode()}\n", encoding="ascii")
        pairs = (None, file) if options.encrypted else (None,)
        for senders in (1, 8, 32):
            for keys in pairs:
                asyncio.run(accept(folder, senders, options.seconds, keys))
        for keys in pairs:
            asyncio.run(life(folder, 16, options.messages, keys))
