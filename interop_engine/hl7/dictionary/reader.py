"""Reads the generated tables, each once and only when asked for (structures one by one)."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import msgspec

from interop_engine.hl7.dictionary.model import DatatypeDef, FieldDef, GroupDef, SegmentDef, SegmentRef


def structure(name: str) -> GroupDef | None:
    """The canonical tree of a message structure (``ORU_R01``); None where HL7 knows none of that name."""
    return _structure(name) if name in _raw("structures") else None


def structures() -> list[str]:
    """The names of all structures, sorted."""
    return sorted(_raw("structures"))


def segment(name: str) -> SegmentDef | None:
    """A segment's fields; None for a Z-segment or an unknown one."""
    return _segment(name) if name in _raw("segments") else None


def segments() -> list[str]:
    """The names of all segments, sorted."""
    return sorted(_raw("segments"))


def datatype(name: str) -> DatatypeDef | None:
    """A data type's components (none for a primitive); None where unknown. Withdrawn types are known too."""
    return _datatype(name) if name in _raw("datatypes") else None


def datatypes() -> list[str]:
    """The names of all data types, sorted."""
    return sorted(_raw("datatypes"))


def field_datatype(segment_name: str, number: int, version: str = "") -> str:
    """The data type of a field: the canonical one, or with a version the one as that version wrote it.

    A version that lacks the field is read by the nearest older one, else by the first that has it. Empty where unknown.
    """
    definition = segment(segment_name)
    found = definition.fields.get(number) if definition else None
    if found is None:
        return ""
    if not version or not found.types:
        return found.datatype
    wanted = _order(version)
    fitting = [written for since, written in found.types if _order(since) <= wanted]
    return fitting[-1] if fitting else found.types[0][1]


@lru_cache(maxsize=1024)  # bounded: what is asked for comes from messages
def structure_for(message_code: str, trigger_event: str, declared: str = "") -> str:
    """The structure of a message by MSH-9: declared in MSH-9.3, else HL7 table 0354, else a known one of that code.

    MSH-9.3 gives way where it is no structure (``ORU^R01``, ``ADT_A04``), is of another message code, or contradicts table
    0354 (an A40 declared as ADT_A01 is still a merge). Empty where nothing fits.
    """
    known = _raw("structures")
    code = message_code.strip().upper()
    event = trigger_event.strip().upper()
    written = declared.strip().upper().replace("^", "_").replace("-", "_").replace(" ", "")
    if not code and "_" in written:
        code, _, event = written.partition("_")
    by_event = _events().get(code, {}).get(event, "").split()
    if by_event:
        return written if written in by_event else by_event[0]
    if written in known and written.split("_")[0] == code:
        return written
    return _by_code(code, event)


def messages_like(kind: str) -> tuple[str, ...]:
    """The known messages that ``ADT^*`` stands for; ``ADT^A01`` stands for itself."""
    code, _, event = kind.partition("^")
    if event != "*":
        return (kind,)
    named = [each for each in _events().get(code, ()) if each != "*"]
    named += [structure.removeprefix(f"{code}_") for structure in _raw("structures") if structure.startswith(f"{code}_")]
    return tuple(f"{code}^{each}" for each in dict.fromkeys(named))


def _by_code(code: str, event: str) -> str:
    known = _raw("structures")
    if f"{code}_{event}" in known:
        return f"{code}_{event}"
    if code in known:
        return code
    every = _events().get(code, {}).get("*", "")
    return every if every in known else ""


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


# The columns of a field that are left out at a row's end (``compile``).
_EMPTY: tuple[Any, ...] = (0, "", "", "?", "", "", "")


@cache
def _raw(name: str) -> dict[str, msgspec.Raw]:
    data = files("interop_engine.hl7.dictionary").joinpath(f"data/{name}.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, msgspec.Raw])


@cache
def _events() -> dict[str, dict[str, str]]:
    return {code: msgspec.json.decode(raw) for code, raw in _raw("events").items()}


@cache
def _structure(name: str) -> GroupDef:
    return _group([name, "", *msgspec.json.decode(_raw("structures")[name])])


@cache
def _segment(name: str) -> SegmentDef:
    title, *rows = msgspec.json.decode(_raw("segments")[name])
    return SegmentDef(name, title, _fields(rows))


@cache
def _datatype(name: str) -> DatatypeDef:
    title, *rows = msgspec.json.decode(_raw("datatypes")[name])
    return DatatypeDef(name, title, _fields(rows))


def _group(node: list[Any]) -> GroupDef:
    name, required, repeats = _cardinality(node[0])
    children = tuple(SegmentRef(*_cardinality(child)) if isinstance(child, str) else _group(child) for child in node[2:])
    return GroupDef(name, required, repeats, children, tuple(node[1].split()))


def _cardinality(text: str) -> tuple[str, bool, bool]:
    """``NTE*`` → NTE, optional and repeating; ``+`` required and repeating, ``?`` optional, nothing: exactly one."""
    mark = text[-1]
    if mark in "?*+":
        return text[:-1], mark == "+", mark != "?"
    return text, True, False


def _fields(rows: list[list[Any]]) -> dict[int, FieldDef]:
    return {row[0]: _field(row) for row in rows}


def _field(row: list[Any]) -> FieldDef:
    number, name, type_, mark, table, aliases, types = (*row, *_EMPTY[len(row) :])
    pairs = types.split()
    written = tuple(zip(pairs[::2], pairs[1::2], strict=True))
    return FieldDef(number, name, type_, mark in ("*", "+"), mark in ("", "+"), table, tuple(aliases.split()), written)
