"""An HL7 v2 message in encoding rules 7 (``ER7``, the one with bars), split only as far as it is read.

Bytes become text and segments at once; fields when a segment is asked for one; components when a value is. What is malformed
stays: a line whose name is not a segment's is kept as a segment named ``???`` and listed in ``Message.oddities``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from interop_engine.core.diagnostics import Finding
from interop_engine.core.errors import ParseError
from interop_engine.hl7 import charset as charsets
from interop_engine.hl7.text import NONE, Delimiters, clean, escape, unescape

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["UNNAMED", "Delimiters", "Message", "Segment", "Value", "escape", "parse", "unescape"]

UNNAMED = "???"
"""The name of a segment that has none of its own."""

_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_SEGMENT_AFTER_LF = re.compile(r"\n+(?=[A-Z][A-Z0-9]{2}(?![A-Za-z0-9 ])|\r|\Z)")
_HEADERS = frozenset({"MSH", "FHS", "BHS"})  # their field 1 is the field separator itself
_MOST_SEGMENTS = 1_500_000  # a reader's own objects for them take some 600 bytes each
_MOST_ODDITIES = 20  # of a kind of remark; the count of all of them is in the last one
_ENCODING_CHARACTERS = 5
_ALONE = {"ORU": "R01", "ORM": "O01", "VXU": "V04", "DFT": "P03"}  # what MSH-9 means that names the code alone


class Value:
    """One repetition of a field (level 0), a component of one (1) or a sub-component (2)."""

    __slots__ = ("_parts", "delimiters", "level", "raw")

    def __init__(self, raw: str, delimiters: Delimiters, level: int = 0) -> None:
        self.raw = raw
        self.delimiters = delimiters
        self.level = level
        self._parts: list[str] | None = None

    def __repr__(self) -> str:
        return f"<Value of {len(self.raw)} characters, level {self.level}>"  # content is never shown

    @property
    def deleted(self) -> bool:
        """Whether the sender wrote ``""``: delete what you have (apart from empty: nothing said)."""
        return self.raw == '""'

    @property
    def text(self) -> str:
        """Unescaped text, of the first component's first sub-component where there are several."""
        raw, d, level = self.raw, self.delimiters, self.level
        if level == 0 and (separator := d.component) and separator in raw:
            raw = raw[: raw.index(separator)]
        if level < 2 and (separator := d.subcomponent) and separator in raw:
            raw = raw[: raw.index(separator)]
        return clean(raw, d) if raw else ""

    @property
    def whole(self) -> str:
        """Unescaped text of everything, stray separators kept: for ST, TX and FT."""
        return clean(self.raw, self.delimiters)

    @property
    def parts(self) -> list[str]:
        """Raw text of the next level's parts, in order."""
        if self._parts is None:
            d = self.delimiters
            separator = (d.component, d.subcomponent, "")[self.level]
            self._parts = self.raw.split(separator) if separator and separator in self.raw else [self.raw]
        return self._parts

    def component(self, n: int) -> Value | None:
        """Part ``n`` (from 1) one level down, None where it is empty. A primitive is its own first part."""
        parts = self.parts
        if not 0 < n <= len(parts) or not parts[n - 1]:
            return None
        return Value(parts[n - 1], self.delimiters, min(self.level + 1, 2))

    def get(self, n: int, m: int = 1) -> str:
        """Unescaped text of component ``n``, sub-component ``m``; '' where absent or ``""``."""
        parts = self._parts or self.parts
        if not 0 < n <= len(parts) or not (raw := parts[n - 1]):
            return ""
        d = self.delimiters
        if self.level == 0 and (separator := d.subcomponent) and separator in raw:
            below = raw.split(separator)
            raw = below[m - 1] if 0 < m <= len(below) else ""
        elif m != 1:
            return ""
        return clean(raw, d) if raw else ""


class Segment:
    """One segment. ``number`` counts from 1 among those of its name, ``index`` from 0 among all of the message."""

    __slots__ = ("_fields", "delimiters", "index", "name", "number", "text")

    def __init__(self, name: str, index: int, number: int, text: str, delimiters: Delimiters) -> None:
        self.name = name
        self.index = index
        self.number = number
        self.text = text
        self.delimiters = delimiters
        self._fields: list[str] | None = None

    def __repr__(self) -> str:
        return f"<Segment {self.name}[{self.number}]>"

    @property
    def value_type(self) -> str:
        """What the values of an OBX are (OBX-2, ``NM``), also where it stands in small letters, or as a code with its system."""
        raw = self.raw(2)
        if raw.isalpha() and raw.isupper():
            return raw
        return (raw.partition(self.delimiters.component)[0] if self.delimiters.component else raw).strip().upper()

    @property
    def fields(self) -> list[str]:
        """Raw text by field number, escapes and repetitions as they stand; ``fields[0]`` is the name. Read only.

        A field of separators alone (``|^^^|``) is empty: chapter 2 lets a sender leave out separators that nothing follows.
        """
        found = self._fields
        if found is None:
            d = self.delimiters
            found = self.text.split(d.field)
            if self.name in _HEADERS:
                found.insert(1, d.field)
            elif f"{d.field}{d.component}" in self.text or f"{d.field}{d.repetition}" in self.text:
                nothing = f"{d.component}{d.repetition}{d.subcomponent}"
                found = [raw if raw[:1] not in nothing or raw.strip(nothing) else "" for raw in found]
            self._fields = found
        return found

    def raw(self, n: int) -> str:
        """Raw text of field ``n``, '' where absent."""
        fields = self._fields or self.fields
        return fields[n] if n < len(fields) else ""

    def repetitions(self, n: int) -> list[Value]:
        """All repetitions of field ``n`` in their positions (one left empty is a Value of ''), [] where it is empty."""
        fields = self._fields or self.fields
        if n >= len(fields) or not (raw := fields[n]):
            return []
        d = self.delimiters if n > 2 else self._delimiters(n)
        if not (separator := d.repetition) or separator not in raw:
            return [Value(raw, d)]
        return [Value(part, d) for part in raw.split(separator)]

    def value(self, n: int) -> Value | None:
        """The first repetition of field ``n``, None where that is empty."""
        fields = self._fields or self.fields
        if n >= len(fields) or not (raw := fields[n]):
            return None
        d = self.delimiters if n > 2 else self._delimiters(n)
        if (separator := d.repetition) and separator in raw:
            raw = raw[: raw.index(separator)]
        return Value(raw, d) if raw else None

    def _delimiters(self, n: int) -> Delimiters:
        return NONE if n <= 2 and self.name in _HEADERS else self.delimiters


class Message:
    """A message as received. Nothing in it changes; ``with_segments`` gives one that differs."""

    __slots__ = ("_by_name", "_headers", "charset", "delimiters", "oddities", "raw", "segments")

    def __init__(self, texts: Iterable[str], delimiters: Delimiters, raw: bytes = b"") -> None:
        self.delimiters = delimiters
        self.charset = delimiters.charset
        self.raw = raw
        self.segments: list[Segment] = []
        self._by_name: dict[str, list[Segment]] = {}
        self._headers: dict[tuple[int, int], str] = {}
        by_name, segments, separator = self._by_name, self.segments, delimiters.field
        for index, text in enumerate(texts):
            name = text[:3]
            if text[3:4] != separator and len(text) > 3:
                name = UNNAMED
            group = by_name.get(name)
            if group is None:
                if not _NAME.fullmatch(name):
                    name = UNNAMED
                group = by_name.setdefault(name, [])
            segment = Segment(name, index, len(group) + 1, text, delimiters)
            group.append(segment)
            segments.append(segment)
        self.oddities: tuple[Finding, ...] = _oddities(self)

    def __repr__(self) -> str:
        return f"<Message of {len(self.segments)} segments>"

    def first(self, name: str) -> Segment | None:
        """The first segment of that name."""
        found = self._by_name.get(name)
        return found[0] if found else None

    def all(self, name: str) -> list[Segment]:
        """All segments of that name, in order. Read only."""
        return self._by_name.get(name, [])

    @property
    def msh(self) -> Segment:
        """The header, always there."""
        return self.segments[0]

    @property
    def message_code(self) -> str:
        """MSH-9.1, such as ``ORU``."""
        return self._header(9)

    @property
    def trigger_event(self) -> str:
        """MSH-9.2, such as ``R01``. Old versions say it in EVN-1, or leave it out where the code has but one of any use."""
        if found := self._header(9, 2):
            return found
        told = evn.value(1) if (evn := self.first("EVN")) is not None else None
        return (told.text if told is not None else "") or _ALONE.get(self.message_code, "")

    @property
    def structure_name(self) -> str:
        """MSH-9.3, such as ``ORU_R01``."""
        return self._header(9, 3)

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self._header(10)

    @property
    def version(self) -> str:
        """MSH-12.1, such as ``2.5.1``."""
        return self._header(12)

    @property
    def processing_id(self) -> str:
        """MSH-11.1: P production, T training, D debugging."""
        return self._header(11)

    @property
    def sending_application(self) -> str:
        """MSH-3.1."""
        return self._header(3)

    @property
    def sending_facility(self) -> str:
        """MSH-4.1."""
        return self._header(4)

    def _header(self, field: int, component: int = 1) -> str:
        found = self._headers.get((field, component))
        if found is None:
            value = self.msh.value(field)
            found = self._headers[field, component] = value.get(component) if value else ""
        return found

    def with_segments(self, texts: Iterable[str]) -> Message:
        """The same message with other segments, the first still its MSH; ``raw`` remains what was received."""
        return Message(texts, self.delimiters, self.raw)

    def encode(self) -> bytes:
        """The message as bytes: segments end with CR. What was received, if that was well-formed."""
        return charsets.encode("".join([f"{segment.text}\r" for segment in self.segments]), self.charset)


def parse(data: bytes, *, charset: str | None = None) -> Message:
    """Read one message; ``charset`` overrides MSH-18. Segments may end with CR, LF or CRLF, a BOM is skipped.

    Raises ParseError for what is not HL7 v2 or has more than 1,500,000 segments, and CharsetError for an unknown character set or
    a byte that is not valid in it.
    """
    codec = charsets.charset_of(data, charset)
    text = charsets.decode(data, codec)
    if "\n" in text:
        text = _line_ends(text)
    if not text.startswith("MSH"):
        text = text.lstrip("\ufeff \t\r")
    if text.count("\r") > _MOST_SEGMENTS:
        raise ParseError(f"The message has more than {_MOST_SEGMENTS} segments.")
    texts = [line for line in text.split("\r") if line]
    return Message(texts, _delimiters(texts, codec), data)


def _line_ends(text: str) -> str:
    """Every segment ended by CR. Where CR ends segments, an LF before what is no segment is content (a note's line break)."""
    if "\r" not in text:
        return text.replace("\n", "\r")
    return _SEGMENT_AFTER_LF.sub("\r", text.replace("\r\n", "\r"))


def _delimiters(texts: list[str], codec: str) -> Delimiters:
    if not texts or not texts[0].startswith("MSH"):
        raise ParseError("The message does not begin with MSH.")
    header = texts[0]
    separator = header[3:4]
    if not separator or separator.isalnum() or separator.isspace():
        raise ParseError("MSH-1 is not a field separator.")
    return _declared(separator, header[4 : 5 + _ENCODING_CHARACTERS].partition(separator)[0][:_ENCODING_CHARACTERS], codec)


@lru_cache(maxsize=64)
def _declared(separator: str, characters: str, codec: str) -> Delimiters:
    if not characters:
        raise ParseError("MSH-2 declares no encoding characters.")
    if characters[2:] == "&":  # a backslash lost on the way: nobody escapes with what all use for sub-components
        characters = f"{characters[:2]}\\&"
    if len(set(characters)) < len(characters) or any(c.isalnum() or c.isspace() for c in characters):
        raise ParseError("MSH-2 does not declare distinct encoding characters.")
    absent = [""] * (_ENCODING_CHARACTERS - len(characters))
    return Delimiters._make((separator, *characters, *absent, codec))


def _oddities(message: Message) -> tuple[Finding, ...]:
    found = [
        Finding("segment-name", f"Line {segment.index + 1} of the message has no segment name.", f"{UNNAMED}[{segment.number}]")
        for segment in message.all(UNNAMED)[:_MOST_ODDITIES]
    ]
    if (count := len(message.all(UNNAMED))) > _MOST_ODDITIES:
        found.append(Finding("segment-name", f"{count} lines of the message have no segment name."))
    if len(message.all("MSH")) > 1:
        found.append(Finding("second-header", "A second message header stands inside the message.", "MSH[2]"))
    if message.charset == "ascii" and (declared := message.msh.value(18)) and charsets.codec_of(declared.raw) is None:
        found.append(Finding("charset-unknown", "The declared character set is not known; every byte is ASCII.", "MSH[1]-18"))
    declared_as = message.msh.raw(2) if message.segments else ""
    if len(declared_as) > _ENCODING_CHARACTERS:
        found.append(Finding("encoding-characters", "MSH-2 is longer than five characters.", "MSH[1]-2"))
    elif declared_as[2:] == "&":
        found.append(Finding("encoding-characters", "MSH-2 lacks the escape character; & divides sub-components.", "MSH[1]-2"))
    return tuple(found)
