"""Receivers under faults, MLLP and FHIR, and their logs: what came, in which order, with which bytes. And the oracle.

The oracle compares the senders' log with a receiver's log. It asks neither the engine nor its journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from interop_engine.hl7.framing import frame
from tests.support.load import Log, digest
from tests.support.proxy import end_connection
from tests.support.scripted_fhir import Request, ScriptedServer, listening, operation_outcome, receipt, reply

_FORMS = "/control-digest"


@dataclass
class Inbox:
    """What a receiver took. A message that is told apart by its id and its bytes is one, however often it came."""

    arrivals: list[tuple[str, str]] = field(default_factory=list)  # (control id or its digest, digest of the bytes), as they came
    times: list[float] = field(default_factory=list)
    first: dict[str, int] = field(default_factory=dict)  # where among the arrivals each control id came for the first time

    def note(self, key: str, data: bytes) -> None:
        """It came, now."""
        self.first.setdefault(key, len(self.arrivals))
        self.arrivals.append((key, hashlib.sha256(data).hexdigest()))
        self.times.append(time.monotonic())

    def __len__(self) -> int:
        return len(self.first)

    def pause_after(self, moment: float) -> float:
        """Seconds from a moment to the first arrival after it."""
        return min(at for at in self.times if at >= moment) - moment


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a receiver's log says about a senders' log. All zero is the promise kept."""

    lost: int  # acknowledged, and never came
    duplicated: int  # came as more than one message: under one control id with other bytes
    inverted: int  # came for the first time after a later message of its patient
    unknown: int = 0  # never sent
    late: int = 0  # came, first or again, after a later message of its patient: a repeat too would bring an old state back


def judge(log: Log, inbox: Inbox, key: Callable[[str], str] = lambda control: control) -> Verdict:
    """Compare the logs; ``key`` makes of a control id what the receiver sees of it."""
    first = inbox.first
    keys = {patient: [key(control) for control in controls] for patient, controls in log.sent.items()}
    sent = {each for controls in keys.values() for each in controls}
    return Verdict(
        lost=sum(key(control) not in first for control in log.acknowledged),
        duplicated=len(set(inbox.arrivals)) - len(first),
        inverted=sum(_inversions([first[each] for each in controls if each in first]) for controls in keys.values()),
        unknown=len(first.keys() - sent),
        late=_late(inbox, keys),
    )


def _inversions(places: Iterable[int]) -> int:
    found, latest = 0, -1
    for place in places:
        found += place < latest
        latest = max(latest, place)
    return found


def _late(inbox: Inbox, keys: Mapping[str, Sequence[str]]) -> int:
    places = {each: (patient, number) for patient, controls in keys.items() for number, each in enumerate(controls)}
    found, latest = 0, dict.fromkeys(keys, -1)
    for patient, number in (places[each] for each, _ in inbox.arrivals if each in places):
        found += number < latest[patient]
        latest[patient] = max(latest[patient], number)
    return found


def longest_pause(log: Log, inbox: Inbox, since: float, key: Callable[[str], str] = lambda control: control) -> float:
    """Seconds between two arrivals of one patient, the longest of any patient from a moment on; see ``judge``.

    Where something of a patient is acknowledged and has not come, he waits until now.
    """
    patients = {key(control): patient for patient, controls in log.sent.items() for control in controls}
    longest, latest = 0.0, dict.fromkeys(log.sent, since)
    for (each, _), at in zip(inbox.arrivals, inbox.times, strict=True):
        if at >= since and each in patients:
            longest = max(longest, at - latest[patients[each]])
            latest[patients[each]] = at
    waiting = {patients[key(control)] for control in log.acknowledged if key(control) not in inbox.first}
    return max(longest, *(time.monotonic() - latest[patient] for patient in waiting), 0.0)


# --- MLLP --------------------------------------------------------------------------------------------------------------


@dataclass
class MllpReceiver:
    """Takes every message and answers AA. ``loses``: the part of its answers that never leave; ``gate`` holds it back."""

    inbox: Inbox = field(default_factory=Inbox)
    loses: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                data = (await reader.readuntil(b"\x1c\r"))[1:-2]
                await self.gate.wait()
                control = data.split(b"\r", 1)[0].split(b"|")[9]
                self.inbox.note(control.decode(), data)
                if self.chance.random() < self.loses:
                    break
                writer.write(frame(b"MSH|^~\\&|HIS|24001|||20261121083000||ACK|1|P|2.5\rMSA|AA|" + control + b"\r"))
                await writer.drain()
        end_connection(writer, "reset")


@contextlib.asynccontextmanager
async def mllp_receiver(loses: float = 0.0) -> AsyncIterator[MllpReceiver]:
    """A receiver on a port of its own."""
    found = MllpReceiver(loses=loses)
    found.gate.set()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await found.serve(reader, writer)
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


# --- FHIR --------------------------------------------------------------------------------------------------------------


@dataclass
class FhirReceiver:
    """A FHIR server that takes transactions, or does with a part of them what ``troubles`` names.

    ``500`` ``503`` ``429`` (with Retry-After) and ``stall`` come before the commit; ``reset`` and ``lost`` (closed without a
    word) after it.
    """

    server: ScriptedServer
    inbox: Inbox = field(default_factory=Inbox)
    troubles: tuple[str, ...] = ()
    part: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    made: dict[str, int] = field(default_factory=dict)  # trouble → how often

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """Take one transaction, or do otherwise."""
        trouble = self.chance.choice(self.troubles) if self.troubles and self.chance.random() < self.part else ""
        if trouble:
            self.made[trouble] = self.made.get(trouble, 0) + 1
        if trouble in ("500", "503"):
            return await reply(int(trouble), operation_outcome("transient"))(request, writer)
        if trouble == "429":
            return await reply(429, operation_outcome("throttled"), Retry_After="1")(request, writer)
        if trouble == "stall":
            await asyncio.sleep(3)  # longer than the destination waits
            raise ConnectionResetError
        entries = json.loads(request.body)["entry"]
        for key in _digests(entries):
            self.inbox.note(key, request.body)
        if trouble == "reset":
            end_connection(writer, "reset")
        if trouble in ("reset", "lost"):
            raise ConnectionResetError
        return await reply(200, receipt(*(["200 OK"] * len(entries))))(request, writer)


def _digests(entries: list[dict[str, dict[str, list[dict[str, dict[str, dict[str, str]]]]]]]) -> Iterator[str]:
    """The digest of MSH-10, which travels in the Provenance."""
    for entry in entries:
        for entity in entry["resource"].get("entity", ()):
            identifier = entity["what"]["identifier"]
            if identifier["system"].endswith(_FORMS):
                yield identifier["value"]


@contextlib.asynccontextmanager
async def fhir_receiver(*troubles: str, part: float = 0.0) -> AsyncIterator[FhirReceiver]:
    """A server on a port of its own."""
    async with listening() as server:
        found = FhirReceiver(server, troubles=troubles, part=part)
        server.answers = [found.answer]
        yield found


def judge_record(log: Log, receiver: FhirReceiver) -> Verdict:
    """The verdict on a FHIR server's log."""
    return judge(log, receiver.inbox, digest)
