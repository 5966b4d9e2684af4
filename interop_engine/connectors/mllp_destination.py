"""MLLP as a destination: a client that keeps one connection and has one message in flight on it.

An answer counts only if its MSA-2 is the message's MSH-10; others are late answers to earlier messages and skipped. After
anything but a matching answer the socket is closed, so that no late answer can be taken for the next message's.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Literal

from pydantic import Field

from interop_engine.connectors.addresses import Address, read_address
from interop_engine.connectors.base import ConnectorHealth, Options, Surroundings
from interop_engine.core.errors import FramingError, ParseError
from interop_engine.core.model import Delivered, Delivery, Outcome, Park, Retry
from interop_engine.core.units import Duration
from interop_engine.hl7.ack import Ack, AckCode, read_ack, wanted, wanted_later
from interop_engine.hl7.framing import Decoder, Frame, Oversize, frame
from interop_engine.hl7.message import parse

_LARGEST_ANSWER = 1_000_000
_PACKET = 65_536
_BROKEN = "connection"
_CONDITION = re.compile(r"[A-Z]?[0-9]{1,4}")

Decision = Literal["delivered", "retry", "park"]
_DECISIONS: dict[AckCode, Decision] = {
    "AA": "delivered",
    "AE": "park",
    "AR": "park",
    "CA": "delivered",
    "CE": "park",
    "CR": "park",
}


class MllpDestinationOptions(Options):
    """Send HL7 v2 over MLLP."""

    connect: Address = Field(description="The receiver's address.", examples=["10.20.0.5:2575"])
    connect_timeout: Duration = Field(10.0, gt=0, description="Time to connect.", examples=["10s"])
    ack_timeout: Duration = Field(30.0, gt=0, description="Time the receiver has to answer a message.", examples=["30s"])
    answers: dict[AckCode, Decision] = Field(
        default_factory=dict,
        description="What an answer means, where it is not the usual: AA and CA delivered, AE, AR, CE and CR park.",
        examples=[{"AE": "retry"}],
    )


class MllpDestination:
    """The client."""

    def __init__(self, options: MllpDestinationOptions, surroundings: Surroundings) -> None:  # noqa: ARG002 - as every factory
        self._options = options
        self._decisions = _DECISIONS | options.answers
        self._lock = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._decoder = Decoder(max_frame=_LARGEST_ANSWER)
        self._problem = ""

    async def open(self) -> None:
        """Nothing to do: the first delivery connects."""

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
        answered = wanted(message, accepted=True) or wanted_later(message, accepted=True)
        async with self._lock:
            kept = self._writer is not None
            outcome = await self._exchange(framed, message.control_id if answered else "")
            if kept and isinstance(outcome, Retry) and outcome.code == _BROKEN:
                # A receiver that closes after each answer, or when idle: seen only when the next message is sent.
                outcome = await self._exchange(framed, message.control_id if answered else "")
        self._problem = outcome.why if isinstance(outcome, Retry) else ""
        return outcome

    async def close(self) -> None:
        """Close; twice is harmless."""
        writer = self._drop()
        if writer is not None:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def health(self) -> ConnectorHealth:
        """Whether it is connected, and why the last delivery failed, if it did."""
        return ConnectorHealth(place=self._options.connect, connections=int(self._writer is not None), problem=self._problem)

    async def _exchange(self, framed: bytes, control_id: str) -> Outcome:
        clean = False
        try:
            try:
                async with asyncio.timeout(self._options.connect_timeout):
                    reader, writer = await self._connected()
            except TimeoutError:
                return Retry("no connection in time", "connect")
            except OSError as error:
                return Retry(f"no connection: {error.strerror or type(error).__name__}", "connect")
            try:
                async with asyncio.timeout(self._options.ack_timeout):
                    writer.write(framed)
                    await writer.drain()
                    ack = await self._answer(reader, control_id) if control_id else None
            except TimeoutError:
                return Retry("no answer in time", "ack-timeout")
            except OSError as error:
                return Retry(f"the connection broke: {error.strerror or type(error).__name__}", _BROKEN)
            if isinstance(ack, Retry):
                return ack
            clean = True
            return self._outcome(ack)
        finally:
            if not clean:  # also when this delivery is cancelled
                self._drop()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is not None and self._writer is not None:
            if not self._reader.at_eof() and not self._writer.is_closing():
                return self._reader, self._writer
            self._drop()
        host, port = read_address(self._options.connect)
        self._reader, self._writer = await asyncio.open_connection(host, port)
        self._decoder = Decoder(max_frame=_LARGEST_ANSWER)
        return self._reader, self._writer

    async def _answer(self, reader: asyncio.StreamReader, control_id: str) -> Ack | Retry:
        """The answer to this message, or why there will be none."""
        while True:
            data = await reader.read(_PACKET)
            if not data:
                return Retry("the receiver closed the connection without an answer", _BROKEN)
            for event in self._decoder.feed(data):
                if isinstance(event, Oversize):
                    return Retry("the answer is too large", "bad-ack")
                if not isinstance(event, Frame):
                    continue
                try:
                    ack = read_ack(event.data)
                except ParseError as error:
                    return Retry(f"the answer cannot be read: {error}", "bad-ack")
                if ack.control_id == control_id:
                    return ack

    def _outcome(self, ack: Ack | None) -> Outcome:
        if ack is None:
            return Delivered("no answer was asked for")
        decision = self._decisions[ack.code]
        if decision == "delivered":
            return Delivered(ack.code)
        said = ack.error_code if _CONDITION.fullmatch(ack.error_code) else ""  # else it may hold content
        condition = said or ack.code
        why = f"the receiver answered {ack.code}" + (f" with condition {said}" if said else "")
        return Retry(why, condition) if decision == "retry" else Park(condition, why)

    def _drop(self) -> asyncio.StreamWriter | None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
        return writer
