"""Delimiters and escape sequences: HL7 v2 chapter 2, "Message delimiters" and "Use of escape sequences in text fields"."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from interop_engine.hl7.charset import decode_hexadecimal

if TYPE_CHECKING:
    from collections.abc import Callable


class Delimiters(NamedTuple):
    r"""What MSH-1 and MSH-2 declare; '' where a sender declares none. ``charset`` is that of ``\Xhh\`` escapes."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""
    charset: str = "utf-8"

    @property
    def encoding_characters(self) -> str:
        """MSH-2 as it is written."""
        return self.component + self.repetition + self.escape + self.subcomponent + self.truncation


NONE = Delimiters("", "", "", "", "", "")
"""Delimiters of text in which nothing separates or escapes: MSH-1 and MSH-2 themselves."""

_MOST_LAYOUT = 99  # of blank lines or spaces one formatting command may ask for; more stands as it is written


def unescape(text: str, d: Delimiters) -> str:
    r"""Text with its escape sequences resolved.

    ``\F\ \S\ \T\ \R\ \E\ \P\`` give the delimiter, ``\Xhh..\`` bytes of the message's character set, ``\.br\`` and
    ``\.sp+n\`` line breaks, ``\.sk+n\`` spaces. Highlighting and the other formatting commands of FT say nothing about
    content and vanish. All else (``\Zxx\``, ``\Cxxyy\``, ``\Mxxyyzz\``, a backslash of a path) stands as it is written.
    """
    if not d.escape or d.escape not in text:
        return text
    pattern, replace = _unescaper(d)
    return pattern.sub(replace, text)


@lru_cache(maxsize=64)
def _unescaper(d: Delimiters) -> tuple[re.Pattern[str], Callable[[re.Match[str]], str]]:
    mark = re.escape(d.escape)
    pattern = re.compile(rf"{mark}([FSTREPHN]|[Xx](?:[0-9A-Fa-f]{{2}})+|\.[A-Za-z]{{2}}(?:[+-]?[0-9]{{1,3}})?){mark}")
    letters = _named(d) | {"H": "", "N": ""}

    def replace(match: re.Match[str]) -> str:
        body = match[1]
        if len(body) == 1:  # a sequence for a delimiter that was not declared stands as it is written
            return letters[body] if letters[body] or body in "HN" else match[0]
        if body[0] in "Xx":
            decoded = decode_hexadecimal(body[1:], d.charset)
            return match[0] if decoded is None else decoded
        layout = _layout(body[1:3].lower(), body[3:])
        return match[0] if layout is None else layout

    return pattern, replace


def _named(d: Delimiters) -> dict[str, str]:
    return {"F": d.field, "S": d.component, "T": d.subcomponent, "R": d.repetition, "E": d.escape, "P": d.truncation}


def _layout(command: str, amount: str) -> str | None:
    count = abs(int(amount)) if amount else 1
    if count > _MOST_LAYOUT:
        return None
    match command:
        case "br" | "ce":
            return "\n"
        case "sp":
            return "\n" * max(count, 1)
        case "sk":
            return " " * count
        case "fi" | "nf" | "in" | "ti":
            return ""
    return None


def escape(text: str, d: Delimiters) -> str:
    r"""Text as it may stand in a field: delimiters and control characters escaped. ``unescape`` gives it back.

    Where no escape character is declared, nothing can be escaped: delimiters and control characters become ``?``.
    """
    return _escaper(d)(text)


@lru_cache(maxsize=64)
def _escaper(d: Delimiters) -> Callable[[str], str]:
    codes = {ord(character): f"{d.escape}{name}{d.escape}" for name, character in _named(d).items() if character}
    codes |= {code: f"{d.escape}X{code:02X}{d.escape}" for code in (*range(32), 127)}
    codes[ord("\n")] = f"{d.escape}.br{d.escape}"
    if not d.escape:
        codes = dict.fromkeys(codes, "?")

    def replace(text: str) -> str:
        return text.translate(codes)

    return replace


def clean(raw: str, d: Delimiters) -> str:
    """The text of a value: unescaped, in Unicode normal form C, and '' for ``""``."""
    if raw == '""':
        return ""
    if (mark := d.escape) and mark in raw:
        raw = unescape(raw, d)
    return raw if raw.isascii() else unicodedata.normalize("NFC", raw)
