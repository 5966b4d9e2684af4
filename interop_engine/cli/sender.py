"""Sample messages of one sender, read and sorted by the mapping that takes them: what ``init --from`` drafts from."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from interop_engine.cli import output
from interop_engine.cli.inputs import read_messages
from interop_engine.engine import single
from interop_engine.engine.transform import Parked
from interop_engine.hl7 import dictionary
from interop_engine.mapping import survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from interop_engine.config.site import Site
    from interop_engine.hl7.message import Message
    from interop_engine.mapping.context import Scope, Unmapped
    from interop_engine.mapping.program import Program

_CHARSETS = ("UNICODE UTF-8", "windows-1258", "windows-1252")  # tried in this order where MSH-18 does not fit the bytes
_ENDS = ((b"\r\n", "CRLF"), (b"\n", "LF"), (b"\r", "CR"))


@dataclass(frozen=True, slots=True)
class Sample:
    """One message, and the file it came from."""

    label: str
    data: bytes
    message: Message

    @property
    def event(self) -> str:
        """MSH-9 as a channel accepts it: ``ORU^R01``."""
        return f"{self.message.message_code}^{self.message.trigger_event}"

    @property
    def structure(self) -> str:
        """Its message structure, empty where there is none."""
        message = self.message
        return dictionary.structure_for(message.message_code, message.trigger_event, message.structure_name)


@dataclass
class Kind:
    """The messages that one mapping takes: a built-in one (``program``), or one to be drafted for their structure."""

    structure: str
    program: Program | None
    samples: list[Sample] = field(default_factory=list)
    taken: list[Sample] = field(default_factory=list)  # those of the samples that would not park
    parked: Counter[str] = field(default_factory=Counter)  # code and reason, without content
    unread: tuple[survey.Populated, ...] = ()
    unmapped: Counter[Unmapped] = field(default_factory=Counter)

    @property
    def events(self) -> list[str]:
        """The events seen, sorted."""
        return sorted({sample.event for sample in self.samples})


@dataclass
class Sender:
    """What the samples say of their sender. ``charset``: the one that fits where MSH-18 does not, else empty."""

    name: str
    charset: str
    declared: tuple[str, ...]  # MSH-18 as written, each once
    ends: tuple[str, ...]  # LF, CR, CRLF: what stands at the end of segments in the files
    own_number: survey.OwnNumber | None
    kinds: list[Kind]
    messages: list[Message]


def read(files: Sequence[str], name: str, builtin: Site) -> Sender:
    """Read the files; what cannot be read, or has no structure, is said and left out. Ends with 1 if nothing is left."""
    given = [(one.label, one.data) for file in files for one in read_messages(file)]
    charset = _charset([data for _, data in given])
    samples = [sample for label, data in given if (sample := _sample(label, data, charset)) is not None]
    if not samples:
        output.fail("none of the files holds a message that can be read")
    messages = [sample.message for sample in samples]
    number = survey.own_number(messages)
    scope = replace(builtin.scope, authority=number.authority, identifier_type=number.type) if number else builtin.scope
    kinds = _kinds(samples, builtin)
    for kind in kinds:
        _examine(kind, scope)
    declared = tuple(dict.fromkeys(message.msh.raw(18) for message in messages))
    title = name or messages[0].sending_application or messages[0].sending_facility
    return Sender(slug(title), charset, declared, _ends(files), number, kinds, messages)


def slug(text: str) -> str:
    """A name as channels and files have it: small letters, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "sender"


def _sample(label: str, data: bytes, charset: str) -> Sample | None:
    message = single.read(data, charset=charset or None)
    if isinstance(message, Parked):
        output.remark("warning", f"{label} is left out: {message.code} {message.why}")
        return None
    sample = Sample(label, data, message)
    if not sample.structure:
        output.remark("warning", f"{label} is left out: no message structure is known for MSH-9")
        return None
    return sample


def _charset(given: Iterable[bytes]) -> str:
    """Empty where every message can be read by its own MSH-18; else the first character set in which all can be."""
    every = list(given)
    faulty = [data for data in every if isinstance(found := single.read(data), Parked) and found.code == "102"]
    if not faulty:
        return ""
    fits = (name for name in _CHARSETS if not any(isinstance(single.read(data, charset=name), Parked) for data in faulty))
    return next(fits, "")


def _ends(files: Sequence[str]) -> tuple[str, ...]:
    found = set()
    for file in files:
        data = b"" if file == "-" else Path(file).read_bytes()
        name = next((name for end, name in _ENDS if end in data), "")
        found.update([name] if name else [])
    return tuple(sorted(found))


def _kinds(samples: Sequence[Sample], builtin: Site) -> list[Kind]:
    kinds: dict[str, Kind] = {}
    for sample in samples:
        chosen = single.choose(sample.message, builtin.library.programs.values())
        program = None if isinstance(chosen, Parked) else chosen
        code, _, trigger = sample.event.partition("^")
        if program is None and dictionary.structure_for(code, trigger) != sample.structure:
            output.remark(
                "warning", f"{sample.label} is left out: MSH-9 names {sample.structure}, which is not that of {sample.event}"
            )
            continue
        name = program.name if program else sample.structure
        kinds.setdefault(name, Kind(sample.structure, program)).samples.append(sample)
    return list(kinds.values())


def _examine(kind: Kind, scope: Scope) -> None:
    """Map the samples by the built-in mapping: what it does not read, which codes it does not know, why it would park."""
    if kind.program is None:
        kind.unread = tuple(survey.populated(sample.message for sample in kind.samples))
        kind.taken = kind.samples
        return
    unread = []
    for sample in kind.samples:
        draft = kind.program.build(kind.program.identify(sample.message, scope))
        kind.unmapped.update(draft.unmapped)
        if draft.park is not None:
            kind.parked[f"{draft.park.code} {draft.park.why}"] += 1
        else:
            kind.taken.append(sample)
            unread.append(draft.unread)
    own = [[path for path in paths if not path.startswith(("Z", "?"))] for paths in unread]
    kind.unread = tuple(survey.described(own))
