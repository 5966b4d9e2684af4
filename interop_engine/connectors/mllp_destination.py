"""MLLP as a destination: a client that keeps its connections and has one message in flight on each.

Which delivery may go beside which is the engine's to say: two of one lane are never under way at once. An answer counts only if
its MSA-2 is the message's MSH-10; others are late answers to earlier messages and skipped. After anything but a matching answer
the socket is closed, so that no late answer can be taken for the next message's.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from interop_engine.connectors.addresses import Address, read_address
from interop_engine.connectors.base import ConnectorHealth, SendingHl7, Surroundings, before_sending
from interop_engine.connectors.breaker import BreakerOptions
from interop_engine.connectors.gate import Gate
from interop_engine.connectors.mllp_answer import Answer, Expected
from interop_engine.connectors.renewed_tls import RenewedTls
from interop_engine.connectors.sockets import keep_alive
from interop_engine.connectors.streak import Streak
from interop_engine.connectors.tls import TlsClient
from interop_engine.core.errors import FramingError, ParseError
from interop_engine.core.model import Delivered, Delivery, Outcome, Park, Retry
from interop_engine.core.retry import LONGEST_REQUEST
from interop_engine.core.units import Duration
from interop_engine.hl7.ack import Ack, AckCode, asking, is_ack, wanted, wanted_later
from interop_engine.hl7.framing import Decoder, frame
from interop_engine.hl7.message import parse

if TYPE_CHECKING:
    from interop_engine.hl7.message import Message

_LARGEST_ANSWER = 1_000_000
_PACKET = 65_536
_BROKEN = "connection"
_UNREACHED = frozenset({"connect", "tls"})  # codes of what went wrong before a message was sent
_SILENT = _UNREACHED | {"ack-timeout", _BROKEN}  # codes of what is no answer
_CLOSED = "the receiver closed the connection without an answer"
_SAYS = "; it says: "
_TEXT = 200  # characters kept of what a receiver says: it may repeat patient data
_CONDITION = re.compile(r"[A-Z]?[0-9]{1,4}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")

_ASKED = {"original": ("", ""), "accept": ("AL", "NE"), "application": ("AL", "AL")}

Decision = Literal["delivered", "retry", "park"]
_DECISIONS: dict[AckCode, Decision] = {
    "AA": "delivered",
    "AE": "park",
    "AR": "park",
    "CA": "delivered",
    "CE": "park",
    "CR": "park",
}


class MllpDestinationOptions(SendingHl7):
    """Send HL7 v2 over MLLP."""

    send: str = Field(
        "original",
        description="original (the HL7 v2 as received), or the name of a mapping with to:, which puts it right, or makes it of"
        " bundles.",
        examples=["oru_from_bundle"],
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$",
    )
    connect: Address = Field(description="The receiver's address.", examples=["10.20.0.5:2575"])
    tls: TlsClient | None = Field(
        None, description="TLS; without it everything goes in clear.", examples=[{"ca_file": "tls/ca.pem"}]
    )
    connect_timeout: Duration = Field(10.0, gt=0, description="Time to connect.", examples=["10s"])
    ack_timeout: Duration = Field(30.0, gt=0, description="Time the receiver has to answer a message.", examples=["30s"])
    concurrency: int = Field(
        1, ge=1, le=64, description="Connections, each with one message in flight; order is kept by lane.", examples=[4]
    )
    breaker: BreakerOptions = Field(default_factory=BreakerOptions, description="When a silent receiver is left alone.")
    acks: Literal["original", "accept", "application", "sender"] = Field(
        "original",
        description="What MSH-15 and MSH-16 of what is sent ask for, and so which answer decides. original: both are empty, and"
        " the one answer decides; accept (AL, NE): CA, CE or CR does; application (AL, AL): what follows CA on the same"
        " connection does; sender: as the sender wrote them. Who wants no answer has it delivered once it is written.",
        examples=["accept"],
    )
    answers: dict[AckCode, Decision] = Field(
        default_factory=dict,
        description="What an answer means, where it is not the usual: AA and CA delivered, AE, AR, CE and CR park.",
        examples=[{"AE": "retry"}],
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.connect_timeout + self.ack_timeout > LONGEST_REQUEST:
            raise ValueError(f"connect_timeout and ack_timeout are together more than {LONGEST_REQUEST / 60:g} minutes")
        return self

    def asking(self, body: bytes) -> bytes:
        """HL7 v2 as it is sent: its sender's MSH-15 and MSH-16 were for the engine, the receiver's answer is ours."""
        return body if self.acks == "sender" else asking(body, *_ASKED[self.acks])


class MllpDestination:
    """The client: a pool of connections."""

    def __init__(self, options: MllpDestinationOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._surroundings = surroundings
        self._tls: RenewedTls | None = None
        self._breaker = options.breaker.breaker()
        self.gate = Gate(self._breaker, surroundings.channel, surroundings.name)
        self._lines: list[_Line] = []
        self._free: asyncio.LifoQueue[_Line] = asyncio.LifoQueue()  # the last one used first, so that idle ones stay idle
        self._streak = Streak()

    async def open(self) -> None:
        """Make ready; the first delivery connects. Raises OSError where a file of the certificate cannot be used."""
        if self._lines:
            return
        if self._options.tls is not None:
            self._tls = await asyncio.to_thread(RenewedTls, self._options.tls, self._surroundings)
        self._lines = [_Line(self._options, self._tls) for _ in range(self._options.concurrency)]
        for line in self._lines:
            self._free.put_nowait(line)

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Send one message and wait for its answer."""
        if delivery.media != "hl7v2":
            return Park("not-hl7v2", "MLLP carries HL7 v2, and this is not")
        try:
            message, framed = parse(delivery.body), frame(delivery.body)
        except FramingError as error:
            return Park("framing", str(error))
        except ParseError as error:
            return Park("102", str(error))
        if not message.control_id:
            return Park("101", "MSH-10 is empty, so no answer could be matched")
        expected = _expected(message, application=self._options.acks == "application")
        return await self.gate.attempt(partial(self._exchange, delivery.id, framed, expected))

    async def _exchange(self, delivery: str, framed: bytes, expected: Expected) -> Outcome:
        line = await self._free.get()
        try:
            kept = line.connected
            outcome = await line.exchange(framed, expected)
            if kept and isinstance(outcome, Retry) and outcome.code == _BROKEN:
                # A receiver that closes after each answer, or when idle: seen only when the next message is sent.
                outcome = await line.exchange(framed, expected)
        finally:
            self._free.put_nowait(line)
        why = outcome.why.partition(_SAYS)[0] if isinstance(outcome, Retry) else ""  # what it says, the journal alone has
        if isinstance(outcome, Retry):
            self._streak.failed(why, None if outcome.code in _UNREACHED else delivery)
        else:
            self._streak.ended()
        if isinstance(outcome, Retry) and outcome.code in _SILENT:
            self._breaker.failure(why)
        else:
            self._breaker.success()
        return outcome

    async def close(self) -> None:
        """Close; twice is harmless."""
        for line in self._lines:
            writer = line.drop()
            if writer is not None:
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def health(self) -> ConnectorHealth:
        """How many are connected, and why nothing is taken, and since when, where that is so."""
        return ConnectorHealth(
            place=self._options.connect,
            connections=sum(line.connected for line in self._lines),
            problem=self._streak.problem(self.gate.problem),
            details=self._streak.details(self.gate.problem),
            warning=self._tls.problem if self._tls is not None else "",
        )


def _expected(message: Message, *, application: bool) -> Expected:
    if is_ack(message):  # an acknowledgement is never acknowledged
        return Expected()
    later = wanted_later(message, accepted=True)
    if not wanted(message, accepted=True) and not later:
        return Expected()
    return Expected(message.control_id, application=later and application)


class _Line:
    """One connection, made when it is needed and closed after anything but a matching answer."""

    def __init__(self, options: MllpDestinationOptions, tls: ssl.SSLContext | None) -> None:
        self._options = options
        self._tls = tls
        self._decisions = _DECISIONS | options.answers
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._decoder = Decoder(max_frame=_LARGEST_ANSWER)

    @property
    def connected(self) -> bool:
        """Whether a connection is kept."""
        return self._writer is not None

    async def exchange(self, framed: bytes, expected: Expected) -> Outcome:
        """Send once, and wait for what is expected. Without a connection it is no message's fault: none waits longer for it."""
        clean = False
        try:
            try:
                async with asyncio.timeout(self._options.connect_timeout):
                    reader, writer = await self._connected()
            except TimeoutError:
                return Retry("no connection in time", "connect", nth=1)
            except ssl.SSLError as error:
                return Retry(f"no TLS connection: {_reason(error)}", "tls", nth=1)
            except OSError as error:
                return Retry(f"no connection: {error.strerror or type(error).__name__}", "connect", nth=1)
            answer = Answer(expected, self._decoder)
            ack: Ack | Retry | None = None
            try:
                async with asyncio.timeout(self._options.ack_timeout):
                    before_sending()
                    writer.write(framed)
                    await writer.drain()
                    while expected.control_id and ack is None:
                        data = await reader.read(_PACKET)
                        ack = answer.feed(data) if data else Retry(answer.none(_CLOSED), _BROKEN)
            except TimeoutError:
                return Retry(answer.none("no answer in time"), "ack-timeout")
            except OSError as error:
                return Retry(f"the connection broke: {error.strerror or type(error).__name__}", _BROKEN)
            if isinstance(ack, Retry):
                return ack
            clean = True
            return self._outcome(ack)
        finally:
            if not clean:  # also when this delivery is cancelled
                self.drop()

    def drop(self) -> asyncio.StreamWriter | None:
        """Close the connection, if there is one."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
        return writer

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is not None and self._writer is not None:
            await self._skip(self._reader)
            if not self._reader.at_eof() and not self._writer.is_closing():
                return self._reader, self._writer
            self.drop()
        host, port = read_address(self._options.connect)
        name = (self._options.tls.server_name if self._options.tls else "") or host
        self._reader, self._writer = await asyncio.open_connection(
            host, port, ssl=self._tls, server_hostname=name if self._tls else None
        )
        keep_alive(self._writer)
        self._decoder = Decoder(max_frame=_LARGEST_ANSWER)
        return self._reader, self._writer

    async def _skip(self, reader: asyncio.StreamReader) -> None:
        """Let by what has come since the last answer: it is none to a message that was not sent yet, though it may name it."""
        with contextlib.suppress(OSError):  # nothing came, or its end: which ``_connected`` sees
            async with asyncio.timeout(0):
                while data := await reader.read(_PACKET):
                    self._decoder.feed(data)

    def _outcome(self, ack: Ack | None) -> Outcome:
        if ack is None:
            return Delivered("no answer was asked for")
        decision = self._decisions[ack.code]
        if decision == "delivered":
            return Delivered(ack.code)
        said = ack.error_code if _CONDITION.fullmatch(ack.error_code) else ""  # else it may hold content
        condition = said or ack.code
        why = f"the receiver answered {ack.code}" + (f" with condition {said}" if said else "")
        if text := _UNPRINTABLE.sub(" ", ack.text)[:_TEXT].strip():
            why += f"{_SAYS}{text}"
        return Retry(why, condition) if decision == "retry" else Park(condition, why)


def _reason(error: ssl.SSLError) -> str:
    return str(getattr(error, "verify_message", "") or error.reason or type(error).__name__).replace("_", " ").lower()
