"""An oracle of nothing dropped, which shares no line with the parser and the mappings that are on trial.

It splits the bytes of a message itself, takes every populated leaf, and looks for it in the bundle: as it stands, or as what a
date, a number, a coded value or an authority becomes. Tables and names of coding systems are data, read from the shipped files.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import unquote

import yaml

_SEGMENT = re.compile(rb"[\r\n]+")
_WORD = re.compile(r"[^\W_]+")
_SHORT = 3  # characters up to which a text must stand alone: "M" is part of nearly any text
_DAY = 8  # digits of a day
_OURS = frozenset({"Provenance"})  # says where a bundle comes from: the message's fields are not to be found there


@dataclass(frozen=True, slots=True)
class Leaf:
    """A populated sub-component, or what of a field has no parts."""

    segment: str
    number: int  # among those of its name, from 1, as are the parts
    field: int
    repetition: int
    component: int
    subcomponent: int
    text: str

    @property
    def place(self) -> str:
        """Field, component and sub-component: ``PID-5.1.2``."""
        return f"{self.segment}-{self.field}.{self.component}.{self.subcomponent}"


def leaves(data: bytes) -> Iterator[Leaf]:
    """Every populated leaf of a message, but for the header, which is the engine's own. A ``""`` is an order, no value."""
    header, *lines = [line for line in _SEGMENT.split(data[data.index(b"MSH") :]) if line]
    bar, characters = chr(header[3]), header[4:8].decode("latin-1")
    component, repetition, escape, sub = (*characters.partition(bar)[0], "", "", "", "")[:4]
    counts: dict[str, int] = {}
    for line in lines:
        name, *fields = _decoded(line, header).split(bar)
        counts[name] = number = counts.get(name, 0) + 1
        for at, text in enumerate(fields, 1):
            for again, value in enumerate(_split(text, repetition), 1):
                for part, raw in enumerate(_split(value, component), 1):
                    for below, piece in enumerate(_split(raw, sub), 1):
                        plain = _plain(piece, escape, (bar, component, sub, repetition)).strip()
                        if plain and plain != '""':
                            yield Leaf(name, number, at, again, part, below, plain)


def without(data: bytes, leaf: Leaf) -> bytes:
    """The message with one leaf left empty."""
    start = data.index(b"MSH")
    bar, characters = data[start + 3 : start + 4], data[start + 4 : start + 8].partition(data[start + 3 : start + 4])[0]
    component, repetition, _, sub = [characters[n : n + 1] for n in range(4)]
    lines = [line for line in _SEGMENT.split(data[start:]) if line]
    at = [n for n, line in enumerate(lines) if line.split(bar)[0].decode("latin-1") == leaf.segment][leaf.number - 1]
    steps = ((bar, leaf.field), (repetition, leaf.repetition - 1), (component, leaf.component - 1), (sub, leaf.subcomponent - 1))
    lines[at] = _emptied(lines[at], steps)
    return b"\r".join(lines)


def _emptied(text: bytes, steps: Sequence[tuple[bytes, int]]) -> bytes:
    if not steps:
        return b""
    (separator, number), *below = steps
    parts = text.split(separator) if separator else [text]
    parts[number] = _emptied(parts[number], below)
    return separator.join(parts)


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else [text]


def _decoded(line: bytes, header: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        assert b"8859" in header or b"1252" in header or b"1258" in header
        return line.decode("latin-1")


def _plain(text: str, escape: str, delimiters: tuple[str, ...]) -> str:
    """Without escape sequences: those of delimiters resolved, those of layout a space."""
    if not escape or escape not in text:
        return text
    mark = re.escape(escape)
    for letter, delimiter in zip("FSTR", delimiters, strict=True):
        text = text.replace(f"{escape}{letter}{escape}", delimiter)
    text = re.sub(rf"{mark}\.[a-z]{{2}}[+-]?\d*{mark}", " ", text)
    text = re.sub(rf"{mark}[HN]{mark}", "", text)
    return text.replace(f"{escape}E{escape}", escape)


# --- What a bundle holds ----------------------------------------------------------------------------------------------


@dataclass
class Held:
    """Everything a bundle says, to look leaves up in."""

    texts: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    numbers: set[Decimal] = field(default_factory=set)
    digits: set[str] = field(default_factory=set)
    all: str = ""

    @classmethod
    def of(cls, bundle: Mapping[str, Any]) -> Held:
        """What the resources of a bundle say."""
        held = cls()
        for entry in bundle["entry"]:
            if entry["resource"]["resourceType"] not in _OURS:
                held._take(entry["resource"])
        held.all = "\n".join(held.texts)
        return held

    def _take(self, value: Any, name: str = "") -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                self._take(inner, key)
        elif isinstance(value, list | tuple):
            for inner in value:
                self._take(inner, name)
        elif isinstance(value, bool):
            self.texts.add(str(value).lower())
        elif isinstance(value, int | Decimal):
            self.numbers.add(Decimal(value))
        elif isinstance(value, str):
            self._text(value)
            if name == "data":
                self._text(_opened(value))

    def _text(self, text: str) -> None:
        text = _even(unquote(text))
        self.texts.add(text)
        self.words.update(_WORD.findall(text.casefold()))
        self.digits.add(re.sub(r"\D", "", text))

    def holds(self, leaf: str) -> bool:
        """Whether a leaf is there: its text, its number, its date, or an image of its code."""
        text = _even(leaf)
        return self._says(text) or self._counts(text) or self._dates(text) or any(self._says(i) for i in images(text))

    def _says(self, text: str) -> bool:
        if text in self.texts:
            return True
        if len(text) > _SHORT:
            return text in self.all or text.casefold() in self.all.casefold()
        return set(_WORD.findall(text.casefold())) <= self.words

    def _counts(self, text: str) -> bool:
        try:
            return Decimal(text.lstrip("+<>=")) in self.numbers
        except InvalidOperation:
            return False

    def _dates(self, text: str) -> bool:
        text = re.sub(r"^(\d{4}(?:0[1-9]|1[0-2])?)(?:00){1,2}$", r"\1", text)  # 19800000: month and day are not known
        stamp = re.fullmatch(r"(\d{4,14})(\.\d+)?([+-]\d{4})?", text)
        if stamp is None:
            return False
        digits = stamp[1][:12].rstrip("0") if len(stamp[1]) > _DAY else stamp[1]
        return any(held.startswith(digits) for held in self.digits)


def _even(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _opened(data: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8", "replace") + "\n" + data
    except (binascii.Error, ValueError):
        return data


# --- Images -----------------------------------------------------------------------------------------------------------


# What the shipped tables do not list: HL7 tables 0201 and 0202, ISO 639-2 and its shorter form.
_URNS = {"ISO": "oid", "UUID": "uuid", "GUID": "uuid", "DNS": "dns"}  # HL7 table 0301
_WORDS = {"Internet": "email", "NET": "email", "PH": "phone", "CP": "mobile", "FX": "fax", "eng": "en", "ara": "ar", "vie": "vi"}


@cache
def _shipped(name: str) -> Any:
    return yaml.safe_load(resources.files("interop_engine.mapping.tables").joinpath(name).read_text("utf-8"))


@cache
def images(text: str) -> frozenset[str]:
    """What a code, a coding system or an authority may become, by the shipped tables: codes of any table that has it."""
    tables = (*_shipped("codes.yaml").values(), *_shipped("concepts.yaml").values())
    found = {target.rpartition("#")[2] for table in tables if (target := table["codes"].get(text))}
    found |= {_WORDS[text]} if text in _WORDS else set()
    found |= {f"urn:{_URNS[text]}:"} if text in _URNS else set()
    found |= {uri for name, uri in _shipped("coding-systems.yaml").items() if name.casefold() == text.casefold()}
    for profile in ("naming-vncore.yaml", "naming-moh2021.yaml"):
        names = _shipped(profile)
        key = names["aliases"].get(text, text)
        found |= {uri for name, uri in names["systems"].items() if name in (key, names["types"].get(text, ""))}
    if table := re.fullmatch(r"(?:HL7)?(\d{4})", text):
        found.add(f"http://terminology.hl7.org/CodeSystem/v2-{table[1]}")
    return frozenset(found)
