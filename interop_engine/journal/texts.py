"""Texts as a row can hold them.

What others send may hold half a surrogate pair (of a file name in another charset), a NUL, or be longer than an index takes. Each
function gives back what it is given where that is well, and its own results as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from interop_engine.core.model import Known, Question
from interop_engine.journal.base import NewMessage

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


def known(answer: Known, question: Question, keep: Keep) -> Known:
    """An answer by the names that were asked for, where ``keep`` changed some of them."""
    asked = {kept: text for text in (*question.aliases, *question.objects, *question.whole) if (kept := keep(text)) != text}
    if not asked:
        return answer

    def back(kept: str) -> str:
        first, tab, rest = kept.partition("\t")
        return f"{asked.get(first, first)}{tab}{rest}"

    states = [state._replace(object=back(state.object)) for state in answer.sent.values()]
    return Known(
        answer.stamp,
        {(state.destination, state.object): state for state in states},
        {back(alias): back(thing) for alias, thing in answer.aliases.items()},
        {back(retired): back(into) for retired, into in answer.merged.items()},
    )
