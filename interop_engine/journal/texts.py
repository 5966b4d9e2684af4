"""Texts as a row can hold them.

What others send may hold half a surrogate pair (of a file name in another charset), a NUL, or be longer than an index takes. Each
function gives back what it is given where that is well, and its own results as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

from interop_engine.core.model import Delivered, Known, Learned, Outcome, Question, Receipt, Sent
from interop_engine.journal.base import Forward, NewDelivery, NewMessage

LONGEST: Final = 1_400  # bytes of a name in an index of PostgreSQL, whose rows take 2,704; sealed ones are kept below it
_SHOWN = 400  # bytes of a longer one that stand before its digest
_HALVES = re.compile("[\ud800-\udfff]")

Keep = Callable[[str], str]


def sound(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair is shown by its number."""
    if text.isascii() or _HALVES.search(text) is None:
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def plain(text: str) -> str:
    """Text as PostgreSQL can hold it: a NUL, which a sender may well put into a field, is shown as its picture too."""
    text = sound(text)
    return text.replace("\0", "\u2400") if "\0" in text else text


def name(text: str) -> str:
    """A name as an index of PostgreSQL can hold it: a longer one as its beginning and its digest, so that it is found again.

    A part after a tab is a name of its own, as it is looked up by.
    """
    text = plain(text)
    if len(text) * 4 <= LONGEST or len(text.encode()) <= LONGEST:
        return text
    return "\t".join(shortened(part) if len(part.encode()) > LONGEST else part for part in text.split("\t"))


def shortened(text: str) -> str:
    """The beginning and the digest of a long name."""
    data = text.encode("utf-8", "surrogatepass")
    return f"{data[:_SHOWN].decode('utf-8', 'ignore')}…{hashlib.sha256(data).hexdigest()}"


def shown(new: NewMessage) -> NewMessage:
    """A message whose texts can be kept, but for the names that an encrypted journal seals."""
    kind, texts = name(new.message_type), (new.peer, new.why, *new.headers, *new.headers.values())
    if kind == new.message_type and all(plain(text) == text for text in texts):
        return new
    headers = {plain(key): plain(value) for key, value in new.headers.items()}
    return replace(new, message_type=kind, peer=plain(new.peer), why=plain(new.why), headers=headers)


def message(new: NewMessage, keep: Keep) -> NewMessage:
    """A message as it can be kept; ``keep`` is done to its names."""
    names = (new.control_id, new.duplicate_key or "", *new.lanes, *(value for _, value in new.search))
    if all(keep(text) == text for text in names):
        return shown(new)
    return replace(
        shown(new),
        control_id=keep(new.control_id),
        duplicate_key=None if new.duplicate_key is None else keep(new.duplicate_key),
        lanes=tuple(keep(lane) for lane in new.lanes),
        search=tuple((kind, keep(value)) for kind, value in new.search),
    )


def forward(made: Forward, keep: Keep) -> Forward:
    """What a transformation made as it can be kept; ``keep`` is done to its names."""
    if _is_short_ascii(chain.from_iterable(_texts(made))):  # as nearly all are, and this is asked of every message
        return made
    return replace(
        made,
        deliveries=tuple(_delivery(new, keep) for new in made.deliveries),
        learned=Learned(_names(made.learned.aliases, keep), _names(made.learned.merged, keep)),
        why=plain(made.why),
        findings=tuple(map(plain, made.findings)),
        ledger=tuple(map(plain, made.ledger)),
        search=tuple((kind, keep(value)) for kind, value in made.search),
    )


def _texts(made: Forward) -> Iterator[Iterable[str]]:
    for names in (made.learned.aliases, made.learned.merged, *(new.headers for new in made.deliveries)):
        yield from (names.keys(), names.values())
    yield from ((made.why,), made.findings, made.ledger, [value for _, value in made.search])
    for new in made.deliveries:
        yield new.lanes
        yield from ((each.destination, each.object, each.version) for each in new.sent)


def _is_short_ascii(texts: Iterator[str]) -> bool:
    """Whether any adapter can keep each of these as it is."""
    return all(text.isascii() and len(text) <= LONGEST and "\0" not in text for text in texts)


def _delivery(new: NewDelivery, keep: Keep) -> NewDelivery:
    headers = {plain(key): plain(value) for key, value in new.headers.items()}
    sent = tuple(_state(each, keep) for each in new.sent)
    return replace(new, lanes=tuple(map(keep, new.lanes)), headers=headers, sent=sent)


def _state(sent: Sent, keep: Keep) -> Sent:
    return sent._replace(destination=name(sent.destination), object=keep(sent.object), version=plain(sent.version))


def _names(names: Mapping[str, str], keep: Keep) -> dict[str, str]:
    return {keep(key): keep(thing) for key, thing in names.items()}


def outcome(outcome: Outcome) -> Outcome:
    """How an attempt ended, in words that can be kept."""
    if isinstance(outcome, Delivered):
        return Delivered(plain(outcome.detail))
    return replace(outcome, why=plain(outcome.why), code=plain(outcome.code))


def receipt(receipt: Receipt) -> Receipt:
    """What a receiver says, as it can be kept."""
    steps = tuple(
        replace(
            step, destination=plain(step.destination), state=plain(step.state), code=plain(step.code), detail=plain(step.detail)
        )
        for step in receipt.steps
    )
    return replace(
        receipt,
        delivery=plain(receipt.delivery),
        channel=name(receipt.channel),
        message=plain(receipt.message),
        state=plain(receipt.state),
        code=plain(receipt.code),
        steps=steps,
    )


def question(question: Question, keep: Keep) -> Question:
    """What is asked, by the names that it is kept under."""
    return Question(tuple(map(keep, question.aliases)), tuple(map(keep, question.objects)), tuple(map(keep, question.whole)))


def known(answer: Known, question: Question, destinations: Sequence[str], keep: Keep) -> Known:
    """An answer by the names that were asked for, where ``keep`` (of destinations: ``name``) changed some of them."""
    asked = {kept: text for text in (*question.aliases, *question.objects, *question.whole) if (kept := keep(text)) != text}
    places = {kept: text for text in destinations if (kept := name(text)) != text}
    if not (asked or places):
        return answer

    def back(kept: str) -> str:
        first, tab, rest = kept.partition("\t")
        return f"{asked.get(first, first)}{tab}{rest}"

    states = [
        state._replace(destination=places.get(state.destination, state.destination), object=back(state.object))
        for state in answer.sent.values()
    ]
    return Known(
        answer.stamp,
        {(state.destination, state.object): state for state in states},
        {back(alias): back(thing) for alias, thing in answer.aliases.items()},
        {back(retired): back(into) for retired, into in answer.merged.items()},
    )
