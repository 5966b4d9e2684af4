"""Compiles hl7apy's dictionaries of HL7 v2.1–2.8.2 into this package's data. Development time: ``./dev dictionaries``.

    python -m interop_engine.hl7.dictionary.compile

One tree a message structure, one definition a segment, field and data type: the newest version's, plus what only older ones
had. The output is deterministic and in the repository; a test compiles again and compares.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

from interop_engine.hl7.dictionary.tables import FAMILIES, FIELD_TYPES, MESSAGE_STRUCTURES, NO_TABLES
from interop_engine.hl7.dictionary.titles import DATATYPES, SEGMENTS
from interop_engine.hl7.dictionary.trees import merge, rows, tree

VERSIONS = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2")
DATA = Path(__file__).parent / "data"


def compiled() -> dict[str, str]:
    """The text of every data file, by its name."""
    books = {version: importlib.import_module(f"hl7apy.v{version.replace('.', '_')}") for version in VERSIONS}
    structures = _structures(books)
    return {
        "structures.json": _text(structures),
        "events.json": _text(_events(structures)),
        "segments.json": _text(_segments(books)),
        "datatypes.json": _text(_datatypes(books)),
    }


def main() -> None:
    """Write the data files."""
    DATA.mkdir(exist_ok=True)
    for name, text in compiled().items():
        (DATA / name).write_text(text, encoding="utf-8")
        print(f"{name}: {len(text):,} characters")


def _text(table: dict[str, Any]) -> str:
    """One key a line, so that a change of one definition is a change of one line."""
    lines = (f"{json.dumps(key)}:{json.dumps(table[key], separators=(',', ':'), ensure_ascii=False)}" for key in sorted(table))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _structures(books: dict[str, Any]) -> dict[str, Any]:
    events = _listed()
    found: dict[str, Any] = {}
    for version in reversed(VERSIONS):
        for name, reference in books[version].MESSAGES.items():
            if name != name.upper() or (name not in found and _only_an_event(name, version, events)):
                continue
            if name in found:
                merge(found[name], tree(name, reference))
            else:
                found[name] = tree(name, reference)
    return {name: rows(node) for name, node in found.items()}


def _only_an_event(name: str, version: str, events: dict[str, dict[str, list[str]]]) -> bool:
    """Whether 2.1 or 2.2 named a structure after an event that shares another's structure since (ADT_A08)."""
    code, _, event = name.partition("_")
    serving = events.get(code, {}).get(event, [])
    return version in ("2.1", "2.2") and bool(serving) and name not in serving


def _listed() -> dict[str, dict[str, list[str]]]:
    """Table 0354 by message code and event."""
    listed: dict[str, dict[str, list[str]]] = {}
    for line in MESSAGE_STRUCTURES.split("\n"):
        name, _, events = line.partition(": ")
        for event in events.split():
            listed.setdefault(name.split("_")[0], {}).setdefault(event, []).append(name)
    return listed


def _events(structures: dict[str, Any]) -> dict[str, Any]:
    listed = _listed()
    for code, events in listed.items():
        for event, names in events.items():
            missing = [name for name in names if name not in structures]
            if missing:
                raise ValueError(f"Table 0354 gives {code}^{event} structures that no version has: {missing}")
    return {code: {event: " ".join(names) for event, names in sorted(events.items())} for code, events in listed.items()}


def _segments(books: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, dict[int, list[tuple[str, Any, Any]]]] = {}
    for version in VERSIONS:
        for name, definition in books[version].SEGMENTS.items():
            if len(name) != 3 or len(definition) < 2:  # "any segment", and Z-segments
                continue
            fields = definition[1] if definition[0] == "sequence" else definition  # hl7apy forgets the word in 2.1's ORO
            for written, beside, cardinality, _ in fields:
                number = int(written.rpartition("_")[2])
                reference = books[version].FIELDS.get(written, beside)  # beside a withdrawn field stands its neighbour's
                found.setdefault(name, {}).setdefault(number, []).append((version, reference, cardinality))
    return {name: [SEGMENTS.get(name, ""), *_rows(name, fields)] for name, fields in found.items()}


def _datatypes(books: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, dict[int, list[tuple[str, Any, Any]]]] = {}
    primitives: set[str] = set()
    for version in VERSIONS:
        for name, struct in books[version].DATATYPES_STRUCTS.items():
            for written, reference, (minimum, _), _ in struct:
                number = int(written.rpartition("_")[2])
                once = (minimum, 1)  # a component never repeats, whatever hl7apy says of XPN.6
                found.setdefault(name, {}).setdefault(number, []).append((version, reference, once))
        primitives |= set(books[version].get_base_datatypes())
    table = {name: [DATATYPES.get(name, "withdrawn composite"), *_rows(name, parts)] for name, parts in found.items()}
    return table | {name: [DATATYPES.get(name, "withdrawn composite")] for name in primitives - {"WD"} if name not in found}


def _rows(owner: str, fields: dict[int, list[tuple[str, Any, Any]]]) -> list[list[Any]]:
    """The fields in order, each with a name of its own: where a version names two alike, an older name tells them apart."""
    rows: list[list[Any]] = []
    seen: set[str] = set()
    for number in sorted(fields):
        rows.append(_field(f"{owner}_{number}", number, fields[number], seen))
        seen.add(rows[-1][1])
    return rows


def _field(place: str, number: int, versions: list[tuple[str, Any, Any]], seen: set[str]) -> list[Any]:
    """One field or component over all versions, see ``model.FieldDef``; empty columns at the end are left out."""
    valued = [entry for entry in versions if str(entry[1][2]).upper() not in ("WD", "NONE")] or versions
    _, reference, (minimum, maximum) = valued[-1]
    names = list(dict.fromkeys(_name(entry[1][3]) for entry in reversed(valued)))
    name = next((name for name in names if name not in seen), f"{names[0]}_{number}")
    types: list[tuple[str, str]] = []
    for version, entry, _ in valued:
        if not types or types[-1][1] != entry[2]:
            types.append((version, str(entry[2])))
    written = str(reference[2])
    type_ = FIELD_TYPES.get(place, FAMILIES.get(written, written))
    mark = {(False, False): "?", (False, True): "*", (True, False): "", (True, True): "+"}[minimum > 0, maximum != 1]
    aliases = " ".join(other for other in names if other != name and other not in seen)
    history = " ".join(f"{version} {type_}" for version, type_ in types) if len(types) > 1 or types[0][1] != type_ else ""
    row = [number, name, type_, mark, _table(valued), aliases, history]
    while row[-1] == "" and len(row) > 4:
        row.pop()
    return row if row[3] != "?" or len(row) > 4 else row[:3]


def _name(written: str | None) -> str:
    return re.sub(r"(?<=[a-z])_s_", "s_", (written or "").lower().strip("_"))


def _table(versions: list[tuple[str, Any, Any]]) -> str:
    """The newest version's table; an older one's where the newest gives none."""
    for _, reference, _ in reversed(versions):
        digits = str(reference[4] or "").removeprefix("HL7")
        if digits and digits not in NO_TABLES:
            return digits
    return ""


if __name__ == "__main__":
    main()
