"""What of each value of the contract is sealed, and what it is bound to.

Left open is what the journal itself needs: ids, channels, destinations, states, times, sizes, codes, types of messages,
peers, and the headers ``OPEN_HEADERS``. All others of a message or delivery stand in one sealed header. It is bound to what must
not change of its row, the sealed content by its digest included, and so certifies that row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import msgspec

from interop_engine.core.errors import RowBroken
from interop_engine.core.model import Delivery, Known, Learned, Outcome, Park, Question, Received, Retry, Sent, digest
from interop_engine.journal import texts
from interop_engine.journal.base import Attempt, DeliveryRow, Forward, MessageRow, NewDelivery, NewMessage, Selection
from interop_engine.journal.keys import Keys
from interop_engine.journal.sealing import SEALED_TEXT, Sealing, is_sealed

OPEN_HEADERS: Final = ("delivery-id", "sender", "receiver")
_SEALED = "sealed"
_EDITED = "(not as it was written)"

_Row = TypeVar("_Row", NewMessage, Received)
_MessageHeaders = tuple[str, dict[str, str]]  # the id it was received under, its headers
_Content = tuple[str, str, bytes]  # whose, of which object, the content
_DeliveryHeaders = tuple[str, int, str, list[str], dict[str, str]]  # digest and size of its bytes, media, lanes, its headers
_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[_Content]).decode
_message_headers = msgspec.json.Decoder(_MessageHeaders).decode
_delivery_headers = msgspec.json.Decoder(_DeliveryHeaders).decode


class Records:
    """Seals what is written, opens what is read. Raises RowBroken for a row that was edited."""

    def __init__(self, keys: Keys) -> None:
        self._sealing = Sealing(keys)

    # --- messages -----------------------------------------------------------------------------------------------------

    def message(self, new: NewMessage, first: str = "") -> NewMessage:
        """A message to be committed; ``first``: of a replay, the id it was received under.

        What is bound to its seals must not be changed below, so it is made fit for a row here.
        """
        seal = self._sealing
        new = texts.shown(new)
        named = seal.name("digest", new.digest)
        sealed = replace(
            new,
            data=seal.content(new.data, "message", named),
            size=len(new.data),
            digest=named,
            control_id=seal.name("control", new.control_id),
            lanes=self._lanes(new.lanes),
            reply=seal.content(new.reply, "reply", named),
            duplicate_key=None if new.duplicate_key is None else seal.name("duplicate", new.duplicate_key),
            why=seal.text(new.why, "why", new.id),
            search=self._search(new.search),
        )
        told = _encode((first or new.id, dict(new.headers)))
        return replace(sealed, headers=self._sealed(new.headers, told, *_certified(sealed)))

    def reply(self, sealed: bytes, plain: NewMessage) -> bytes:
        """The reply of the first message with the content of ``plain``."""
        return self._sealing.open_content(sealed, "reply", self._sealing.name("digest", plain.digest))

    def received(self, got: Received) -> tuple[Received, str]:
        """A message as it was received, and the id it was received under: its own, or of a replay that of the first."""
        return self._open_row(got)

    def kept(self, kept: NewMessage) -> tuple[NewMessage, str]:
        """The same of a message as ``message`` gave it to be committed, without what it is searched by."""
        seal = self._sealing
        opened, first = self._open_row(kept)
        key = kept.duplicate_key
        return replace(
            opened,
            reply=seal.open_content(kept.reply, "reply", kept.digest),
            duplicate_key=None if key is None else seal.open_name("duplicate", key),
            why=self.open_text(kept.why, "why", kept.id),
        ), first

    def _open_row(self, got: _Row) -> tuple[_Row, str]:
        seal = self._sealing
        first, headers = _message_headers(self._opened(got.headers, *_certified(got)))
        if got.replay_of is None and first != got.id:
            raise RowBroken("A row of the journal is not as it was written: it is another message's.")
        opened = replace(
            got,
            data=seal.open_content(got.data, "message", got.digest),
            digest=seal.open_name("digest", got.digest),
            control_id=seal.open_name("control", got.control_id),
            lanes=tuple(seal.open_name("lane", lane) for lane in got.lanes),
            headers=headers,
        )
        return opened, first

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def forward(self, made: Forward, message: str) -> Forward:
        """What a transformation of a message made. Equal bodies stay equal, so that each is kept once.

        What is bound to its seals must not be changed below, see ``message``.
        """
        made = texts.forward(made, lambda name: name)
        bodies = {new.body: self._sealing.content(new.body, "delivery", message) for new in made.deliveries}
        contents = self._contents(each for new in made.deliveries for each in new.sent)
        return replace(
            made,
            deliveries=tuple(self._delivery(new, message, bodies[new.body], contents) for new in made.deliveries),
            learned=Learned(self._things(made.learned.aliases, "alias"), self._things(made.learned.merged, "thing")),
            why=self._sealing.text(made.why, "why", message),
            findings=self.findings(made.findings, message),
            ledger=tuple(self._sealing.name("ledger", path) for path in made.ledger),
            search=self._search(made.search),
        )

    def _delivery(self, new: NewDelivery, message: str, body: bytes, contents: Mapping[_Content, bytes]) -> NewDelivery:
        lanes = [texts.sound(lane) for lane in new.lanes]
        told = _encode((digest(new.body), len(new.body), new.media, lanes, dict(new.headers)))
        headers = self._sealed(new.headers, told, "delivery", new.id, message, new.destination, digest(body))
        sent = tuple(self._state(each, contents) for each in new.sent)
        return replace(new, lanes=self._lanes(lanes), body=body, headers=headers, sent=sent)

    def delivery(self, got: Delivery) -> Delivery:
        """A delivery as it was made."""
        told = self._opened(got.headers, "delivery", got.id, got.message_id, got.destination, digest(got.body))
        _, _, media, lanes, headers = _delivery_headers(told)
        if (media, self._lanes(lanes)) != (got.media, got.lanes):
            raise RowBroken("A row of the journal is not as it was written: its media or lanes were changed.")
        body = self._sealing.open_content(got.body, "delivery", got.message_id)
        return replace(got, lanes=tuple(lanes), body=body, headers=headers)

    def outcome(self, outcome: Outcome, message: str) -> Outcome:
        """How an attempt ended. What a receiver says of a failure may repeat what it was sent; of a success it is a code."""
        if isinstance(outcome, Park | Retry):
            return replace(outcome, why=self.why(outcome.why, message))
        return outcome

    def why(self, why: str, message: str) -> str:
        """A reason that stands with a message or its deliveries."""
        return self._sealing.text(why, "why", message)

    def findings(self, findings: Sequence[str], message: str) -> tuple[str, ...]:
        """What was found in a message."""
        return tuple(self._sealing.text(each, "finding", message) for each in findings)

    # --- what is known ------------------------------------------------------------------------------------------------

    def question(self, question: Question) -> Question:
        """A question, by the names things are kept under."""
        name = self._sealing.name
        return Question(
            tuple(name("alias", alias) for alias in question.aliases),
            tuple(name("thing", thing) for thing in question.objects),
            tuple(name("thing", thing) for thing in question.whole),
        )

    def known(self, known: Known, asked: Question, destinations: Sequence[str]) -> Known:
        """The answer. Its stamp is the journal's own."""
        name = self._sealing.open_name
        states = self.open_states(known.sent.values())
        answer = Known(
            known.stamp,
            {(each.destination, each.object): each for each in states},
            {name("alias", alias): name("thing", thing) for alias, thing in known.aliases.items()},
            {name("thing", retired): name("thing", into) for retired, into in known.merged.items()},
        )
        return texts.known(answer, asked, destinations, partial(self._sealing.kept, "thing"))

    def unread(self, unread: Mapping[tuple[str, str], int]) -> Mapping[tuple[str, str], int]:
        """The loss ledger."""
        return {(channel, self._sealing.open_name("ledger", path)): n for (channel, path), n in unread.items()}

    def states(self, sent: Sequence[Sent]) -> list[Sent]:
        """What one message brought its receivers."""
        contents = self._contents(sent)
        return [self._state(each, contents) for each in sent]

    def open_states(self, sent: Iterable[Sent]) -> list[Sent]:
        """The same, of any messages, as it was brought."""
        opened: dict[bytes, dict[tuple[str, str], bytes]] = {}
        return [self._open_state(each, opened) for each in sent]

    def _contents(self, sent: Iterable[Sent]) -> dict[_Content, bytes]:
        """Where each content is: those of all states together, kept once by the journal: alike as they are, a fifth of the room.

        In one of these an object is found by its name: where it has several versions, each further one stands in a further one.
        """
        versions: dict[tuple[str, str], dict[bytes, None]] = {}
        for each in sent:
            if each.content:
                versions.setdefault(self._content_key(each), {})[each.content] = None
        together: list[list[_Content]] = []
        for (destination, thing), contents in versions.items():
            for n, content in enumerate(contents):
                if n == len(together):
                    together.append([])
                together[n].append((destination, thing, content))
        sealed = ((self._sealing.content(_pack(each), "states"), each) for each in together)
        return {content: pack for pack, each in sealed for content in each}

    def _content_key(self, sent: Sent) -> tuple[str, str]:
        """What a state's content is found by: the names as they will be when they are opened, as UTF-8 can hold them."""
        return sent.destination, texts.sound(self._sealing.kept("thing", sent.object))

    def _state(self, sent: Sent, contents: Mapping[_Content, bytes]) -> Sent:
        name = self._sealing.name
        thing, known = name("thing", sent.object), name("digest", sent.digest)
        content = contents[(*self._content_key(sent), sent.content)] if sent.content else sent.content
        return Sent(sent.destination, thing, known, sent.version, sent.rank, content)

    def _open_state(self, sent: Sent, opened: dict[bytes, dict[tuple[str, str], bytes]]) -> Sent:
        name = self._sealing.open_name
        thing = name("thing", sent.object)
        content = sent.content
        if content:
            if content not in opened:
                packed = _unpack(self._sealing.open_content(content, "states"))
                opened[content] = {(destination, of): each for destination, of, each in packed}
            content = opened[content].get((sent.destination, texts.sound(thing)))
            if content is None:
                raise RowBroken("A row of the journal is not as it was written: a state is another message's.")
        return Sent(sent.destination, thing, name("digest", sent.digest), sent.version, sent.rank, content)

    # --- listings -----------------------------------------------------------------------------------------------------

    def selection(self, selection: Selection) -> Selection:
        """What to list, by the names it is kept under."""
        control, of = selection.control_id, selection.message_type
        return replace(
            selection,
            control_id=None if control is None else self._sealing.name("control", control),
            message_type=None if of is None else texts.name(of),
            search=self._search(selection.search),
        )

    def row(self, row: MessageRow) -> MessageRow:
        """A message as an operator sees it; what was edited is said to be, in its place, so that the rest can be seen."""
        return replace(
            row,
            control_id=self._readable_name("control", row.control_id),
            why=self._readable(row.why, "why", row.id),
            findings=tuple(self._readable(each, "finding", row.id) for each in row.findings),
            search=tuple(sorted((kind, self._readable_name(f"search {kind}", value)) for kind, value in row.search)),
            deliveries=tuple(self._delivery_row(each, row.id) for each in row.deliveries),
            history=tuple(replace(each, detail=self._readable(each.detail, "why", row.id)) for each in row.history),
        )

    def attempt(self, attempt: Attempt, message: str) -> Attempt:
        """An attempt to deliver what a message made."""
        return replace(attempt, why=self._readable(attempt.why, "why", message))

    def _delivery_row(self, row: DeliveryRow, message: str) -> DeliveryRow:
        opened = replace(row, why=self._readable(row.why, "why", message))
        try:
            told = _delivery_headers(self._opened(row.headers, "delivery", row.id, message, row.destination, row.digest))
        except RowBroken:
            return replace(opened, headers={name: row.headers[name] for name in OPEN_HEADERS if name in row.headers})
        return replace(opened, digest=told[0], size=told[1], headers=told[-1])

    def _readable(self, text: str, *bound: str) -> str:
        try:
            return self.open_text(text, *bound)
        except RowBroken:
            return _EDITED

    def _readable_name(self, kind: str, sealed: str) -> str:
        try:
            return self._sealing.open_name(kind, sealed)
        except RowBroken:
            return _EDITED

    # --- single values ------------------------------------------------------------------------------------------------

    def name(self, kind: str, name: str) -> str:
        """A name of a kind: digest, control, duplicate, lane, alias, thing, ledger, ``search`` and what it is searched by."""
        return self._sealing.name(kind, name)

    def open_name(self, kind: str, sealed: str) -> str:
        """The same as it was given."""
        return self._sealing.open_name(kind, sealed)

    def open_text(self, text: str, *bound: str) -> str:
        """A text with what is sealed in it; the journal's own words may stand around that."""
        return SEALED_TEXT.sub(lambda found: self._sealing.open_text(found[0], *bound), text)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _lanes(self, lanes: Sequence[str]) -> tuple[str, ...]:
        return tuple(self._sealing.name("lane", lane) for lane in lanes)

    def _search(self, search: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple((kind, self._sealing.name(f"search {kind}", value)) for kind, value in search)

    def _things(self, names: Mapping[str, str], kind: str) -> dict[str, str]:
        name = self._sealing.name
        return {name(kind, key): name("thing", thing) for key, thing in names.items()}

    def _sealed(self, headers: Mapping[str, str], told: bytes, *bound: str) -> dict[str, str]:
        kept = {name: headers[name] for name in OPEN_HEADERS if name in headers}
        return {**kept, _SEALED: self._sealing.text(told.decode(), *bound, *kept.values())}

    def _opened(self, headers: Mapping[str, str], *bound: str) -> bytes:
        kept = [headers[name] for name in OPEN_HEADERS if name in headers]
        sealed = headers.get(_SEALED, "")
        if not is_sealed(sealed):
            raise RowBroken("A row of the journal is not as it was written: its certificate is missing.")
        return self._sealing.open_text(sealed, *bound, *kept).encode()


def _certified(row: NewMessage | Received) -> tuple[str, ...]:
    """What must not change of a message's row, and is the same in its replays."""
    content = hashlib.sha256(row.data).hexdigest()
    return ("message", row.channel, row.media, row.peer, row.control_id, row.message_type, row.digest, content, *row.lanes)
