"""What a sender is told once more is known of its message than that it is stored.

Original mode: with ``ack: transformed`` or ``delivered`` the one acknowledgement waits for the verdict. Enhanced mode: the accept
acknowledgement says that the message is stored; the application's comes with the verdict, on the same connection or, with
``ack_to``, as a message of its own: journaled before the first is sent, so that it is owed whatever ends in between, and carried
like any other delivery (HL7 v2 chapter 2, "Message processing protocol", enhanced mode).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from interop_engine.connectors.base import Acknowledging
from interop_engine.core.errors import JournalError
from interop_engine.core.model import Accepted, Answer, Delivered, Outcome, Refused, Retry, Unavailable, digest, made_at, new_id
from interop_engine.hl7 import ack
from interop_engine.journal.base import DeliveryState, Forward, MessageRow, MessageState, NewDelivery, NewMessage

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig
    from interop_engine.connectors.base import ConnectorHealth, Destination
    from interop_engine.core.model import Delivery, Received
    from interop_engine.hl7.message import Message
    from interop_engine.journal.base import Journal

ANSWERS = "acknowledges"
"""The header of an acknowledgement in the journal: the id of the message it answers."""

_INTERNAL = "207"  # of HL7 table 0357: application internal error
_LOOK = 0.5  # seconds between looks at the journal: another node may do the work, and tells nobody
_FAILED = frozenset({DeliveryState.PARKED, DeliveryState.DISCARDED})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a message. ``code`` is of HL7 table 0357; ``why`` holds no content."""

    accepted: bool
    code: str = ""
    why: str = ""


def acknowledging(channel: ChannelConfig) -> Acknowledging:
    """How a channel's source acknowledges."""
    return channel.source if isinstance(channel.source, Acknowledging) else Acknowledging()


class Verdicts:
    """What came of the messages of one channel, as far as its acknowledgements wait for it."""

    def __init__(self, channel: ChannelConfig, journal: Journal) -> None:
        self._options = acknowledging(channel)
        self._journal = journal
        self._waiting: dict[str, list[asyncio.Event]] = {}

    def moved(self, message_id: str) -> None:
        """Something became of a message in this process."""
        for event in self._waiting.get(message_id, ()):
            event.set()

    async def now(self, message_id: str) -> Verdict | None:
        """The verdict; None while there is none. Raises JournalError."""
        if self._options.ack == "stored":
            return Verdict(accepted=True)
        row = await self._journal.show(message_id)
        if row.state is MessageState.RECEIVED:
            return None
        if row.state is MessageState.FILTERED:
            return Verdict(accepted=True)
        if row.state is not MessageState.TRANSFORMED:
            return Verdict(accepted=False, code=_condition(row.code), why=row.why or "The message could not be processed.")
        return self._delivered(row) if self._options.ack == "delivered" else Verdict(accepted=True)

    async def within(self, message_id: str, seconds: float) -> Verdict | None:
        """The verdict as soon as there is one; None where there is none in time."""
        with contextlib.suppress(TimeoutError), self._told(message_id) as event:
            async with asyncio.timeout(seconds):
                while True:
                    event.clear()
                    with contextlib.suppress(JournalError):
                        if (verdict := await self.now(message_id)) is not None:
                            return verdict
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK):
                            await event.wait()
        return None

    def _delivered(self, row: MessageRow) -> Verdict | None:
        named = self._options.ack_destinations
        awaited = [each for each in row.deliveries if not named or each.destination in named]
        failed = [_condition(each.code) for each in awaited if each.state in _FAILED]
        if failed:  # of several, one that says more than that it failed
            code = next((code for code in failed if code != _INTERNAL), _INTERNAL)
            return Verdict(accepted=False, code=code, why="A receiver did not take the message.")
        return None if any(each.state is DeliveryState.WAITING for each in awaited) else Verdict(accepted=True)

    @contextlib.contextmanager
    def _told(self, message_id: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        waiting = self._waiting.setdefault(message_id, [])
        waiting.append(event)
        try:
            yield event
        finally:
            waiting.remove(event)
            if not waiting:
                del self._waiting[message_id]


class Acknowledgements:
    """Completes the answer to a message that was committed."""

    def __init__(self, channel: ChannelConfig, journal: Journal, verdicts: Verdicts) -> None:
        self._channel = channel
        self._options = acknowledging(channel)
        self._journal = journal
        self._verdicts = verdicts

    async def complete(self, answer: Accepted, message: Message) -> Answer:
        """What is said now, and what later. Raises JournalError where a later acknowledgement cannot be committed."""
        if self._options.ack_mode == "original" or ack.accept_mode(message) == "original":
            return answer if self._options.ack == "stored" else await self._waited(answer, message)
        if not any(ack.wanted_later(message, accepted=accepted) for accepted in (True, False)):
            return answer
        if self._options.ack_to:
            await self._journal.accept(self._owed(answer.id, message))
            return answer
        return replace(answer, later=partial(self._later, answer.id, message))

    async def _waited(self, answer: Accepted, message: Message) -> Answer:
        verdict = await self._verdicts.within(answer.id, self._options.ack_within)
        if verdict is None:
            return Unavailable(f"the message was not {self._options.ack} in time")
        if verdict.accepted:
            return answer
        return Refused(answer.id, verdict.code, verdict.why, application_reply(self._channel, message, answer.id, verdict))

    async def _later(self, message_id: str, message: Message) -> bytes:
        verdict = await self._verdicts.within(message_id, self._options.ack_within)
        if verdict is None or not ack.wanted_later(message, accepted=verdict.accepted):
            return b""
        return application_reply(self._channel, message, message_id, verdict)

    def _owed(self, message_id: str, message: Message) -> NewMessage:
        """The acknowledgement as the journal holds it. A resend of its message makes the same one, which is then a duplicate."""
        body = application_reply(self._channel, message, message_id, Verdict(accepted=True))
        return NewMessage(
            id=new_id(),
            channel=self._channel.name,
            data=body,
            media="hl7v2",
            received_at=datetime.now(UTC),
            peer="",
            control_id=_control_id(message_id),
            message_type=f"ACK^{message.trigger_event}",
            digest=digest(body),
            duplicate_key=f"{self._channel.name}|{ANSWERS}|{message_id}",
            headers={ANSWERS: message_id},
            config=self._channel.site,
        )


def forward(received: Received, channel: ChannelConfig) -> Forward | None:
    """An acknowledgement of ours to where they go; None for every other message."""
    if ANSWERS not in received.headers:
        return None
    headers = {ANSWERS: received.headers[ANSWERS]}
    to = acknowledging(channel).ack_to
    if not to:
        return Forward(code="not-owed", why="The channel sends no acknowledgements of its own any more.")
    return Forward((NewDelivery(new_id(), to, (), received.data, "hl7v2", headers),))


class AnsweringDestination:
    """A destination that application acknowledgements go to: each waits there until the verdict on its message is known."""

    def __init__(self, inner: Destination, channel: ChannelConfig, journal: Journal, verdicts: Verdicts) -> None:
        self._inner = inner
        self.gate = inner.gate
        self._channel = channel
        self._journal = journal
        self._verdicts = verdicts

    async def open(self) -> None:
        """See ``Destination``."""
        await self._inner.open()

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Deliver; an acknowledgement as the verdict has it, where its message asked for that one."""
        message_id = delivery.headers.get(ANSWERS)
        if message_id is None:
            return await self._inner.deliver(delivery)
        verdict = await self._verdicts.now(message_id)
        if verdict is None:
            return Retry("what came of the message is not known yet", "pending", counts=False, sent=False)
        message = self._channel.read((await self._journal.content(message_id)).data)
        if not ack.wanted_later(message, accepted=verdict.accepted):
            return Delivered("not asked for")
        if not verdict.accepted:
            delivery = replace(delivery, body=application_reply(self._channel, message, message_id, verdict))
        return await self._inner.deliver(delivery)

    async def close(self) -> None:
        """See ``Destination``."""
        await self._inner.close()

    def health(self) -> ConnectorHealth:
        """See ``Destination``."""
        return self._inner.health()


def application_reply(channel: ChannelConfig, message: Message, message_id: str, verdict: Verdict) -> bytes:
    """The application acknowledgement of a message: the same bytes for the same verdict, whenever it is made."""
    errors = () if verdict.accepted else (ack.AckError("", verdict.code, "E", verdict.why),)
    return ack.acknowledge(
        message,
        "AA" if verdict.accepted else "AE",
        control_id=_control_id(message_id),
        at=made_at(message_id).astimezone(channel.zone),
        errors=errors,
    )


def _control_id(message_id: str) -> str:
    """MSH-10 takes 20 characters until 2.7; another one than the accept acknowledgement's, which begins as the id does."""
    return message_id.replace("-", "")[-20:]


def _condition(code: str) -> str:
    return code if len(code) == 3 and code.isdecimal() else _INTERNAL
