"""An expression as tokens."""

from __future__ import annotations

import re
from typing import NamedTuple

from interop_engine.mapping.syntax import SyntaxProblem

_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<text>'(?:[^']|'')*')"
    r"|(?P<segment>[A-Z][A-Z0-9]{2}(?![A-Za-z0-9_]))"
    r"|(?P<word>[a-z][A-Za-z0-9_]*(?:-[a-z0-9_]+)*)"
    r"|(?P<number>\d+(?:\.\d+)*)"
    r"|(?P<sign>\?\?|->|!=|<=|>=|[|()\[\],=<>.-])"
)


class Token(NamedTuple):
    """A piece of text with its kind; columns count from 0."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """The tokens of a text, without spaces, an end after the last. Raises SyntaxProblem."""
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise SyntaxProblem(f"{text[position]!r} is not part of the language", position, _hint_for(text[position]))
        kind = match.lastgroup or ""
        if kind != "space":
            found.append(Token(kind, match.group(), position, match.end()))
        position = match.end()
    found.append(Token("end", "", len(text), len(text)))
    return found


def _hint_for(character: str) -> str:
    if character == "'":
        return "the text is not closed; a quote inside a text is written twice"
    if character == '"':
        return "texts inside an expression stand in single quotes"
    if character.isupper():
        return "a segment has three characters, then -field: PID-3.1"
    return ""
