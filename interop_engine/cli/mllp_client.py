"""The client behind ``send``: one message under way a connection, closed before anything is sent again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from interop_engine.cli import output
from interop_engine.cli.inputs import Message
from interop_engine.core.errors import ParseError
from interop_engine.hl7.ack import read_ack, recover_control_id
from interop_engine.hl7.framing import Decoder, Frame, Oversize, frame

_MAX_ANSWER = 1_000_000  # bytes; an acknowledgement is some hundred
_MAX_FAILURES = 20  # of a summary
_PACKET = 65_536
_CLOSING = 2.0  # seconds a receiver is given to end TLS
_ACCEPTED = frozenset({"AA", "CA"})


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one message: ``code`` of HL7 table 0008, '' where nothing (or nothing readable) was answered."""

    file: str
    control_id: str
    code: str
    milliseconds: float
    text: str = ""
    error_code: str = ""

    @property
    def accepted(self) -> bool:
        """AA or CA."""
        return self.code in _ACCEPTED


@dataclass(frozen=True, slots=True)
class Plan:
    """How to send; ``rate`` in messages a second over all connections (0: no limit), ``timeout`` in seconds."""

    host: str
    port: int
    connections: int = 1
    rate: float = 0
    repeat: int = 1
    new_ids: bool = False
    timeout: float = 30
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """All of it: times of acknowledgement in milliseconds, ``failures`` the first twenty that were not accepted."""

    to: str
    messages: int
    accepted: int
    unanswered: int
    codes: dict[str, int]
    seconds: float
    rate: float
    p50: float | None  # where anything was answered
    p99: float | None
    failures: tuple[Answered, ...] = field(default=())


async def send_all(messages: Sequence[Message], plan: Plan, note: Callable[[Answered], None]) -> Summary:
    """Send everything; ``note`` is told what came of each message, as it comes."""
    answers: list[Answered] = []
    begun = time.monotonic()
    work = _paced(messages, plan, begun)

    async def send_some() -> None:
        connection = _Connection(plan)
        try:
            for message, due in work:
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                answers.append(answered := await connection.send(message))
                note(answered)
        finally:
            await connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(plan.connections, len(messages) * plan.repeat)):
            group.create_task(send_some())
    return _sum_up(answers, plan, time.monotonic() - begun)


def _paced(messages: Sequence[Message], plan: Plan, begun: float) -> Iterator[tuple[Message, float]]:
    """Each message with the moment from which it may be sent. One iterator serves all connections."""
    number, run = 0, secrets.token_hex(4).upper()
    for _ in range(plan.repeat):
        for message in messages:
            due = begun + number / plan.rate if plan.rate else begun
            number += 1
            yield (_renamed(message, f"{run}{number:08d}") if plan.new_ids else message), due


def _renamed(message: Message, control_id: str) -> Message:
    """The same message with another MSH-10; itself where there is no such field to fill."""
    separator = message.data[3:4]
    head, end, rest = message.data.partition(b"\r")
    fields = head.split(separator)
    if len(fields) < 10:
        return message
    fields[9] = control_id.encode("ascii")
    return Message(message.label, separator.join(fields) + end + rest)


class _Connection:
    """One connection, opened when it is needed and closed after anything but a matching answer."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, message: Message) -> Answered:
        """Send one message and wait for its answer."""
        control_id, begun = recover_control_id(message.data), time.perf_counter()
        code = text = error_code = ""
        try:
            ack = await asyncio.wait_for(self._exchange(frame(message.data), control_id), self._plan.timeout)
            code, text, error_code = ack.code, ack.text, ack.error_code
        except ParseError as error:
            text = str(error)
        except ssl.SSLError as error:
            text = f"No TLS connection: {getattr(error, 'verify_message', '') or error.reason}."
        except TimeoutError:
            text = f"No answer within {self._plan.timeout:g} s."
        except socket.gaierror as error:
            text = f"{self._plan.host}: {error.strerror}"
        except OSError as error:
            text = os.strerror(error.errno) if error.errno else str(error) or "The connection was closed."
        if not code:
            await self.close()
        milliseconds = round((time.perf_counter() - begun) * 1000, 3)
        return Answered(message.label, control_id, code, milliseconds, text, error_code)

    async def _exchange(self, framed: bytes, control_id: str) -> Any:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._plan.host, self._plan.port, ssl=self._plan.tls)
        reader, writer = self._streams
        writer.write(framed)
        await writer.drain()
        decoder = Decoder(max_frame=_MAX_ANSWER)
        while data := await reader.read(_PACKET):
            for event in decoder.feed(data):
                if isinstance(event, Oversize):
                    raise ParseError("The answer is too large.")
                # An answer to an earlier message is stale: the right one may still come.
                if isinstance(event, Frame) and (ack := read_ack(event.data)).control_id in (control_id, ""):
                    return ack
        raise ConnectionResetError("The connection was closed without an answer.")

    async def close(self) -> None:
        """Close; what is under way on it is never answered."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CLOSING):
                    await streams[1].wait_closed()


def _sum_up(answers: Sequence[Answered], plan: Plan, seconds: float) -> Summary:
    times = sorted(each.milliseconds for each in answers if each.code)
    failures = [each for each in answers if not each.accepted]
    return Summary(
        to=f"{plan.host}:{plan.port}",
        messages=len(answers),
        accepted=len(answers) - len(failures),
        unanswered=sum(not each.code for each in answers),
        codes=dict(Counter(each.code for each in answers if each.code)),
        seconds=round(seconds, 3),
        rate=round(len(answers) / max(seconds, 1e-9), 1),
        p50=times[(len(times) - 1) // 2] if times else None,
        p99=times[(len(times) - 1) * 99 // 100] if times else None,
        failures=tuple(failures[:_MAX_FAILURES]),
    )


class Progress:
    """A bar on a terminal, nothing in a pipe; and the log, a line for each message as soon as it is answered."""

    def __init__(self, total: int, log: Path | None) -> None:
        self._log = log.open("w", encoding="utf-8", buffering=1) if log else None
        self._bar = _bar()
        self._task = self._bar.add_task("sending", total=total) if self._bar else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()
        if self._log:
            self._log.close()

    def note(self, answered: Answered) -> None:
        """One more is answered, or given up."""
        if self._log:
            self._log.write(json.dumps(asdict(answered)) + "\n")
        if self._bar and self._task is not None:
            self._bar.advance(self._task)


def _bar() -> Any:
    screen = output.console(err=True)
    if not screen.is_terminal:
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=screen)
