"""``init --from``: a mapping, a channel and a dialect drafted from sample messages of a sender.

No value of a message is written but codes that a table or concept map does not know: what is written goes into a repository.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interop_engine.cli import output
from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import GroupDef
from interop_engine.mapping import proposal, survey
from interop_engine.mapping.program import load as load_mappings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from interop_engine.cli.sender import Kind, Sender
    from interop_engine.config.site import Site
    from interop_engine.mapping.proposal import Proposal
    from interop_engine.mapping.survey import Populated

_PATIENT = {  # what a Patient takes, where the message says it
    "identifier": ("PID-3",),
    "name": ("PID-5",),
    "telecom": ("PID-13", "PID-14"),
    "gender": ("PID-8",),
    "birthDate": ("PID-7",),
    "address": ("PID-11",),
}
_COLUMN = 46  # where remarks begin
_FIRST_PORT = 2575  # IANA's for HL7 v2 over MLLP
_LISTEN = re.compile(r"listen:\s*[\"']?[^\s\"',}]*:(\d+)")


@dataclass(frozen=True, slots=True)
class Drafted:
    """The files of a draft, name → text; which mapping takes which messages; what to say of it."""

    texts: Mapping[str, str]
    mappings: Mapping[str, Kind]
    remarks: tuple[str, ...]


def draft(sender: Sender, builtin: Site, directory: Path, needed: Mapping[str, str]) -> Drafted:
    """What to write beside the built-in mappings; ``needed``: the texts of those, name → text."""
    drafting = _Drafting(sender, builtin, needed)
    own = survey.own_segments(sender.messages)
    texts: dict[str, str] = {}
    mappings: dict[str, Kind] = {}
    remarks: list[str] = []
    for kind in sender.kinds:
        name, text = drafting.mapping(kind)
        if name:
            mappings[name] = kind
            texts |= {f"mappings/{name}.yaml": text} if text else {}
            remarks += _remarks(kind, name, drafted=bool(text))
        else:
            events = ", ".join(kind.events)
            remarks.append(
                f"{events}: no mapping is drafted, for {kind.structure} has no patient (PID); the channel leaves it out"
            )
    if not mappings:
        output.fail("no mapping can be drafted for any of the messages", "; ".join(remarks))
    texts |= {f"mappings/dialects/{sender.name}.yaml": _dialect(sender, own)} if own else {}
    if worklist := _worklist(sender):
        texts[f"mappings/terminology/{sender.name}-unmapped.txt"] = worklist
    texts[f"channels/{sender.name}.yaml"] = _channel(sender, mappings, dialect=bool(own), port=_free_port(directory))
    return Drafted(texts, mappings, tuple(remarks))


def _remarks(kind: Kind, name: str, *, drafted: bool) -> Iterator[str]:
    events = ", ".join(kind.events)
    if drafted:
        yield f"{events}: {name}, with {output.count(len(kind.unread), 'field')} that nothing reads yet"
    elif kind.taken:
        yield f"{events}: {name} reads every populated field; it needs nothing of its own"
    for why, number in kind.parked.items():
        yield f"{events}: {number} of {output.count(len(kind.samples), 'message')} would park: {why}"


# --- mappings ------------------------------------------------------------------------------------------------------------


class _Drafting:
    """The mappings of one sender."""

    def __init__(self, sender: Sender, builtin: Site, needed: Mapping[str, str]) -> None:
        self._sender = sender
        self._naming = builtin.scope.naming
        self._needed = needed
        self._knowledge = proposal.Knowledge.of(builtin.library.programs.values())

    def mapping(self, kind: Kind) -> tuple[str, str]:
        """Its name and text: no text where the built-in one does as it is, no name where none can be drafted."""
        if kind.program is not None and not kind.unread:
            return kind.program.name, ""
        stem = kind.program.name if kind.program else kind.structure.lower()
        name = f"{self._sender.name.replace('-', '_')}_{stem}"
        return (name, self._changed(name, kind)) if kind.program else self._new(name, kind)

    def _changed(self, name: str, kind: Kind) -> str:
        """A mapping that extends the built-in one: all of it is proposals."""
        assert kind.program is not None
        found = proposal.propose(kind.unread, kind.program, self._needed, self._naming, self._knowledge)
        resources = ["resources:"] if found else []
        for resource in dict.fromkeys(each.resource for each in found):
            resources += [f"  {resource}:", "    set:", *_proposed(found, resource, kind)]
        head = (
            "# What the built-in mapping reads needs no line here. A proposal is taken over by removing its #.",
            f"mapping: {name}",
            f"extends: {kind.program.name}",
        )
        return _text(self._sender, kind, head, _left(kind, found), resources)

    def _new(self, name: str, kind: Kind) -> tuple[str, str]:
        """The patient of a structure for which there is no built-in mapping, and proposals."""
        each = _group_of(dictionary.structure(kind.structure), "PID")
        if each is None:
            return "", ""
        there = {one.path for one in kind.unread}
        taken = {element: said for element, paths in _PATIENT.items() if (said := [path for path in paths if path in there])}
        set_ = [f"      {element}: {paths[0] if len(paths) == 1 else _flow(paths)}" for element, paths in taken.items()]
        head = [f"mapping: {name}", f"message: {kind.structure}"]
        group = [f"    each: {each}"] if each else []
        patient = ["resources:", "  patient:", "    resource: Patient", *group, "    key: PID-3 | own_number", "    set:", *set_]
        base = "\n".join([*head, *patient])
        program = load_mappings({"mappings/base.yaml": base}, self._naming).programs[name]
        read = {path for paths in taken.values() for path in paths}
        kind.unread = tuple(one for one in kind.unread if one.path not in read)
        found = proposal.propose(kind.unread, program, {"mappings/base.yaml": base}, self._naming, self._knowledge)
        body = [*patient, *_proposed(found, "patient", kind)]
        return name, _text(self._sender, kind, head, _left(kind, found), body)


def _text(sender: Sender, kind: Kind, head: Sequence[str], left: Sequence[str], resources: Sequence[str]) -> str:
    first = f"# Drafted from {output.count(len(kind.samples), 'message')} of {sender.name}: {', '.join(kind.events)}."
    return "\n".join([first, *head, *left, *resources]) + "\n"


def _proposed(found: Sequence[Proposal], resource: str, kind: Kind) -> list[str]:
    return [_line(f"      # {each.element}: {each.rule}", each.populated, kind) for each in found if each.resource == resource]


def _left(kind: Kind, found: Sequence[Proposal]) -> list[str]:
    placed = {each.populated for each in found}
    left = [each for each in kind.unread if each not in placed]
    if not left:
        return []
    why = "# Populated, and nothing reads them: map them, or say here that nobody needs them. The loss ledger counts them."
    return [why, "# ignore:", *(_line(f"#   - {each.path}", each, kind) for each in left)]


def _line(text: str, of: Populated, kind: Kind) -> str:
    about = ", ".join(part for part in (of.name, of.datatype) if part) or "not in the standard"
    return f"{text.ljust(_COLUMN)} # {about}; in {of.messages} of {len(kind.samples)}"


def _flow(items: Sequence[str]) -> str:
    return f"[{', '.join(items)}]"


def _group_of(group: GroupDef | None, segment: str) -> str | None:
    """The path of the first group that holds a segment, '' for the message itself; None where no group does."""
    if group is None:
        return None
    if group.holds(segment):
        return ""
    for child in group.groups():
        if (below := _group_of(child, segment)) is not None:
            return f"{child.name}.{below}" if below else child.name
    return None


# --- test cases ------------------------------------------------------------------------------------------------------------


def cases(sender: Sender, drafted: Drafted) -> dict[str, bytes]:
    """The messages as test cases of the mappings that take them; those that would park are left out, to be looked at first."""
    found: dict[str, bytes] = {}
    for name, kind in drafted.mappings.items():
        lines = [f"cases_for: {name}", f"channel: {sender.name}", "cases:"]
        for number, sample in enumerate(kind.taken, 1):
            stem = f"{sender.name}-{name}-{number}"
            lines += [
                f"  - name: {sample.event} of {sender.name}, {number}",
                f"    input: samples/{stem}.hl7",
                f"    golden: golden/{stem}.json",
            ]
            found[f"mappings/cases/samples/{stem}.hl7"] = sample.data
        if kind.taken:
            found[f"mappings/cases/{sender.name}-{name}.yaml"] = "\n".join([*lines, ""]).encode()
    return found


# --- the rest ------------------------------------------------------------------------------------------------------------


def _dialect(sender: Sender, own: Mapping[str, Mapping[int, survey.OwnField]]) -> str:
    count = len(sender.messages)
    lines = [
        f"# The segments of its own that {sender.name} sends. Types are guessed from {output.count(count, 'message')}: give each",
        "# field its name, and a mapping reads it as ZXX-name or ZXX-1.",
        f"dialect: {sender.name}",
        "segments:",
    ]
    for segment, fields in own.items():
        lines.append(f"  {segment}:")
        for number, field in fields.items():
            repeats = ", repeats: true" if field.repeats else ""
            text = f"    {number}: {{name: field_{number}, type: {field.datatype}{repeats}}}"
            lines.append(f"{text.ljust(_COLUMN)} # in {field.messages} of {count}")
    return "\n".join(
        [*lines, "# lens:", "#   - PID-3 := PID-2 when not exists(PID-3)      # puts a field right before anything is read", ""]
    )


def _worklist(sender: Sender) -> str:
    """The codes without a target, as rows to be completed; empty for none."""
    rows = sorted({(code.map, code.system, code.code) for kind in sender.kinds for code in kind.unmapped})
    if not rows:
        return ""
    lines = [
        f"# Codes of {sender.name} without a target yet. This file is read by nobody: complete a row, and move it to its table",
        "# (mappings/tables/NAME.yaml) or concept map (mappings/terminology/NAME.csv). First column: its name.",
        "table_or_map,source_system,source_code,target_system,target_code,target_display,valid_from,valid_to",
    ]
    return "\n".join([*lines, *(f"{_cell(name)},{_cell(system)},{_cell(code)},,,,," for name, system, code in rows), ""])


def _cell(text: str) -> str:
    text = output.plain(text)
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"') else text


def _channel(sender: Sender, mappings: Mapping[str, Kind], *, dialect: bool, port: int) -> str:
    count, number = len(sender.messages), sender.own_number
    events = sorted({event for kind in mappings.values() for event in kind.events})
    names = list(mappings)
    patient = (
        f"patient: {{authority: {_quoted(number.authority)}, type: {_quoted(number.type)}}}"
        if number
        else "# patient: {authority: …, type: MR}"
    )
    why = (
        f"guessed from PID-3: {number.messages} times in {output.count(count, 'message')}. Is it the hospital's own number?"
        if number
        else "no PID-3 looks like the hospital's own number: name its authority and type"
    )
    lines = [
        f"# Drafted from {output.count(count, 'message')}. After a change: interop-engine check.",
        f"channel: {sender.name}",
        f"title: What {sender.name} sends, as FHIR bundles in a folder",
        "source:",
        _beside(f"  mllp: {{listen: 127.0.0.1:{port}}}", "0.0.0.0 for other machines, with allow: [10.20.0.0/16]"),
        *_charset(sender),
        *_line_ends(sender),
        *([f"dialect: {sender.name}"] if dialect else []),
        _beside(f"accept: {_flow(events)}", "the events seen, and no others"),
        _beside("otherwise: reject", "AR; ignore would say AA and keep the message as filtered"),
        _beside(patient, why),
        f"mapping: {names[0] if len(names) == 1 else _flow(names)}",
        "deliver:",
        "  - name: folder",
        "    file: {folder: var/out}",
    ]
    return "\n".join([*lines, ""])


def _charset(sender: Sender) -> list[str]:
    said = ", ".join(output.plain(text) or "nothing" for text in sender.declared)
    if not sender.charset:
        return [f"# MSH-18 says {said}: every message can be read by that{' (nothing is UTF-8)' if 'nothing' in said else ''}."]
    return [_beside(f"charset: {sender.charset}", f"guessed: MSH-18 says {said}, which does not fit the bytes")]


def _line_ends(sender: Sender) -> list[str]:
    if sender.ends in ((), ("CR",)):
        return []
    return [
        f"# The files end segments with {' and '.join(sender.ends)}. On the wire HL7 v2 has CR; the engine reads LF and CRLF too."
    ]


def _beside(text: str, remark: str) -> str:
    return f"{text.ljust(_COLUMN - 1)} # {remark}"


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z][\w.-]*", text) else "'" + output.plain(text).replace("'", "''") + "'"


def _free_port(directory: Path) -> int:
    used = {
        int(port)
        for path in (directory / "channels").glob("*.yaml")
        for port in _LISTEN.findall(path.read_text(encoding="utf-8"))
    }
    return next(port for port in range(_FIRST_PORT, 65536) if port not in used)
