"""Ingress: what a source hands over is committed to the journal, and only then answered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from interop_engine.connectors.aside import Aside
from interop_engine.core import events
from interop_engine.core.errors import ItemRefused, JournalBroken, JournalError
from interop_engine.core.model import Accepted, Answer, Arrival, Refused, Unavailable
from interop_engine.engine.acknowledgement import Acknowledgements, acknowledging
from interop_engine.engine.backlog import Backlog
from interop_engine.engine.parcels import bundle_row, delivery, delivery_key, sent_again
from interop_engine.engine.reception import receive
from interop_engine.engine.sequence import place
from interop_engine.journal.base import MessageState

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig
    from interop_engine.engine.acknowledgement import Verdicts
    from interop_engine.engine.parsed import Parsed
    from interop_engine.engine.reception import Reception
    from interop_engine.engine.sequence import Place
    from interop_engine.engine.workers import Broken
    from interop_engine.journal.base import Journal, NewMessage, Stored

_LONGEST_NAME = 100  # characters of a facility's name that are logged


class Ingress:
    """The ``accept`` of one channel. It never raises; what cannot be committed is Unavailable, and the sender tries again."""

    def __init__(self, channel: ChannelConfig, journal: Journal, parsed: Parsed, verdicts: Verdicts, broken: Broken) -> None:
        """``parsed`` is given each message that is to be transformed. ``broken``: see ``Workers``."""
        self._channel = channel
        self._acknowledgements = Acknowledgements(channel, journal, verdicts)
        self._journal = journal
        self._parsed = parsed
        self._broken = broken
        self._aside = Aside()
        self._backlog = Backlog(channel, journal)

    async def accept(self, arrival: Arrival) -> Answer:
        """Commit, then answer. What the journal cannot hold as it is, is kept as rejected: it would be refused for ever."""
        try:
            if why := await self._backlog.refusal():
                return self._unavailable(why)
            try:
                return await self._take(arrival)
            except ItemRefused as error:
                return await self._take(replace(arrival, fault=f"The journal cannot hold it: {error}"))
        except JournalError as error:
            return self._refused(error)

    async def _take(self, arrival: Arrival) -> Answer:
        standing = await self._place(arrival)
        reception = await self._read(arrival, standing) if arrival.media == "hl7v2" else None
        row = reception.row if reception is not None else bundle_row(arrival, self._channel)
        message = reception.message if reception is not None else None
        if message is not None and row.state is MessageState.RECEIVED:
            self._parsed.put(row.id, message)
        try:
            stored = await self._journal.accept(row)
            if stored.duplicate:
                self._parsed.take(row.id)
                await self._keep_delivery(arrival, row, stored.id)
            answer = self._answer(arrival, row, stored, reception)
            if isinstance(answer, Refused) or message is None or row.code == "ack":
                return answer
            return await self._acknowledgements.complete(answer, message)
        except JournalError:
            self._parsed.take(row.id)
            raise

    async def _keep_delivery(self, arrival: Arrival, row: NewMessage, first: str) -> None:
        """Of a message that came by another delivery: keep this one too, else its sender waits for what became of it."""
        if (this := delivery(arrival.headers)) and delivery((await self._journal.content(first)).headers) != this:
            await self._journal.accept(sent_again(row, delivery_key(arrival, self._channel), first))

    def _refused(self, error: JournalError) -> Unavailable:
        if isinstance(error, JournalBroken):
            self._broken(error)
        return self._unavailable(str(error))

    def _unavailable(self, why: str) -> Unavailable:
        events.emit(events.IntakeRefused(self._channel.name, why))
        return Unavailable(why)

    async def _place(self, arrival: Arrival) -> Place | None:
        if not acknowledging(self._channel).sequence_numbers or arrival.fault:
            return None
        return await place(arrival.data, self._channel.name, self._journal)

    async def _read(self, arrival: Arrival, standing: Place | None) -> Reception:
        if arrival.headers:  # what an exchange hands over, side by side, keeps its order here
            return receive(arrival, self._channel, standing)
        return await self._aside.do(len(arrival.data), receive, arrival, self._channel, standing)

    def _answer(self, arrival: Arrival, row: NewMessage, stored: Stored, reception: Reception | None) -> Accepted | Refused:
        if row.state is MessageState.REJECTED and not stored.duplicate:
            peer = "" if arrival.private else arrival.peer
            events.emit(events.MessageRejected(self._channel.name, stored.id, row.code, peer))
            if reception is not None and reception.message is not None and reception.forged:
                facility = reception.message.sending_facility[:_LONGEST_NAME]
                events.emit(events.SenderNotEntitled(self._channel.name, stored.id, peer, arrival.certificate, facility))
            return Refused(stored.id, row.code, row.why, stored.reply)
        events.emit(events.MessageAccepted(self._channel.name, stored.id, stored.duplicate))
        return Accepted(stored.id, stored.reply, stored.duplicate)
