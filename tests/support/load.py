"""The senders of a hospital under faults, and their log: what they sent, in which order, and what they were told.

Each patient's messages go over one connection, each after the acknowledgement of the one before. A message that is not
acknowledged is sent again, the same bytes, for as long as it takes: as hospital systems do.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import statistics
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

from interop_engine.hl7.framing import frame
from tests.support.texts import result

_AGAIN = 0.1  # seconds until a sender without an answer tries again


@dataclass
class Log:
    """What the senders know. Times are those of ``time.monotonic``."""

    sent: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # patient → control ids, in order
    acknowledged: dict[str, float] = field(default_factory=dict)  # control id → when it was answered AA
    waited: list[float] = field(default_factory=list)  # seconds for each acknowledgement, resends included
    refused: list[str] = field(default_factory=list)  # control ids that were answered otherwise
    broken: int = 0  # connections that ended under a message, or could not be made

    def percentile(self, percent: int) -> float:
        """Seconds within which so many of a hundred messages were acknowledged."""
        return statistics.quantiles(self.waited, n=100)[percent - 1]

    def pause_after(self, moment: float) -> float:
        """Seconds from a moment to the first acknowledgement after it."""
        return min(at for at in self.acknowledged.values() if at >= moment) - moment


def control_id(number: int) -> str:
    """MSH-10 of message ``number``."""
    return f"M{number:07}"


def digest(control: str) -> str:
    """MSH-10 as the engine writes it into a Provenance."""
    return hashlib.sha256(control.encode()).hexdigest()


@dataclass
class Senders:
    """So many connections to one MLLP port. ``rate``: messages a second in all, 0 for as fast as they are answered.

    ``others``: the ports of further nodes. Connections are spread over all of them, and go to the next where one does not answer.
    """

    port: int
    connections: int = 8
    patients: int = 50
    rate: float = 0.0
    timeout: float = 10.0
    resend: bool = True
    others: tuple[int, ...] = ()
    stopping: bool = False  # set by whoever has enough of what ``send`` still has to send
    log: Log = field(default_factory=Log)

    async def send(self, first: int, count: int) -> None:
        """Messages ``first`` to ``first + count - 1``, until every one is answered; without ``resend``, each is tried once."""
        start = time.monotonic()
        await asyncio.gather(*(self._connection(n, first, count, start) for n in range(self.connections)))

    async def _connection(self, own: int, first: int, count: int, start: float) -> None:
        line = _Line((self.port, *self.others), own, self.timeout)
        for number in range(first, first + count):
            patient = number % self.patients
            if patient % self.connections != own:
                continue
            if self.stopping:
                break
            if self.rate:
                await asyncio.sleep(max(0.0, start + (number - first) / self.rate - time.monotonic()))
            await self._message(line, number, f"BN{patient:03}")
        line.close()

    async def _message(self, line: _Line, number: int, patient: str) -> None:
        control = control_id(number)
        self.log.sent[patient].append(control)
        data = frame(result(control, patient=patient, order=f"A{number}", filler=f"F{number}"))
        begun = time.monotonic()
        while (answer := await line.ask(data)) is None:
            self.log.broken += 1
            if not self.resend:
                return
            await asyncio.sleep(_AGAIN)
        now = time.monotonic()
        if b"MSA|AA|" + control.encode() in answer:
            self.log.acknowledged[control] = now
            self.log.waited.append(now - begun)
        else:
            self.log.refused.append(control)


class _Line:
    """A connection that is made when it is needed, to the next port after each that gave no answer."""

    def __init__(self, ports: tuple[int, ...], own: int, timeout: float) -> None:
        self._ports, self._timeout = deque(ports), timeout
        self._ports.rotate(-own)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, data: bytes) -> bytes | None:
        """The answer; None where there is none, and the connection is given up."""
        try:
            async with asyncio.timeout(self._timeout):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._ports[0])
                reader, writer = self._streams
                writer.write(data)
                return await reader.readuntil(b"\x1c\r")
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            self._ports.rotate(-1)
            return None

    def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            with contextlib.suppress(OSError):
                streams[1].close()
