"""Acknowledgements: HL7 v2 chapter 2, "Message processing protocol", MSA and ERR; tables 0008, 0155, 0357.

An ACK speaks its sender's version, delimiters and character set, with sender and receiver swapped. It is made of its
arguments alone, so the same arguments give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from interop_engine.core.errors import CharsetError, ParseError
from interop_engine.hl7 import charset as charsets
from interop_engine.hl7.message import Delimiters, Message, escape, parse

AckCode = Literal["AA", "AE", "AR", "CA", "CE", "CR"]
_CODES: dict[str, AckCode] = {"AA": "AA", "AE": "AE", "AR": "AR", "CA": "CA", "CE": "CE", "CR": "CR"}
_NO_MESSAGE = b"MSH|^~\\&|||||||||P|2.5\r"  # what an ACK is made from where nothing can be recovered
_HEADER_LIMIT = 65_536  # bytes within which a header is looked for in what is not HL7
_HEADER = re.compile(rb"MSH[^\r\n]*")
_NEXT = re.compile(rb"(?<=[\r\n])MSH")
_MSA = re.compile(rb"(?<=[\r\n])MSA[^\r\n]*")

# HL7 table 0357, the texts older versions carry beside the code
_CONDITIONS = {
    "0": "Message accepted",
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}


@dataclass(frozen=True, slots=True)
class AckError:
    """One ERR: ``location`` is ``PID^1^5`` (segment, its number, field…), ``code`` of table 0357. ``text`` holds no content."""

    location: str
    code: str
    severity: Literal["E", "W", "I"] = "E"
    text: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """An ACK as read: MSA-1, MSA-2, the best text it has, and its condition of table 0357 ('' if it says none)."""

    code: AckCode
    control_id: str
    text: str = ""
    error_code: str = ""


def acknowledge(
    message: Message | None,
    code: AckCode,
    *,
    control_id: str,
    at: datetime,
    errors: Sequence[AckError] = (),
    text: str = "",
    expected: int | None = None,
) -> bytes:
    """The ACK's bytes. ``control_id`` is the ACK's own MSH-10; ``text`` goes to MSA-3, ``expected`` (a sequence number) to MSA-4.

    Where the message could not be parsed, ``message`` is what can be recovered of it, or None.
    """
    source = message or parse(_NO_MESSAGE)
    version = _version(source.version)
    segments = [_header(source, control_id, at, version), _answer(source, code, errors, text, version, expected)]
    if version >= (2, 5):
        segments += [_error(error, source.delimiters) for error in errors]
    elif errors:
        segments.append(_old_errors(errors, source.delimiters))
    return charsets.encode("".join(f"{segment}\r" for segment in segments), source.charset, "replace")


def recover(raw: bytes) -> Message | None:
    """The header of what is not a readable message, and its MSA where it has one; None where there is no header to be seen.

    Bytes not valid in its character set are echoed as they stand.
    """
    head = raw[:_HEADER_LIMIT]
    if wide := charsets.wide_codec(raw):
        head = head.decode(wide, "replace").encode("utf-8", "replace")
    found = _HEADER.search(head)
    if found is None:
        return None
    own = head[found.end() :]
    if b"MSA" in own:
        own = _NEXT.split(own, maxsplit=1)[0]
    data = b"\r".join([found[0], *(_MSA.findall(own) if b"MSA" in own else ())])
    attempts = [(data.decode().encode(wide), None)] if wide else [(data, None), (data, "latin-1")]
    for attempt, charset in attempts:
        try:
            return parse(attempt, charset=charset)
        except ParseError:
            continue
    return None


def recover_control_id(raw: bytes) -> str:
    """MSH-10 of what is not a readable message, '' where there is none to be seen."""
    message = recover(raw)
    return message.control_id if message is not None else ""


def asking(data: bytes, accept: str, application: str) -> bytes:
    """The message, asking by MSH-15 and MSH-16 for these acknowledgements (both empty: original mode), else byte for byte."""
    header = recover(data)
    if header is None or (header.msh.raw(15), header.msh.raw(16)) == (accept, application):
        return data
    old = charsets.encode(header.msh.text, header.charset, "replace")
    if (start := data.find(old)) < 0:  # its character set has several ways to write a letter: its bytes are taken one by one
        found = _HEADER.search(data)
        assert found is not None
        start, old = found.start(), found[0]
        header = parse(old, charset="latin-1")
    separator = header.delimiters.field
    fields = header.msh.text.split(separator)  # fields[n] is field n + 1: the separator itself is field 1
    fields += [""] * (16 - len(fields))
    fields[14:16] = accept, application
    new = charsets.encode(separator.join(fields), header.charset)
    return data[:start] + new + data[start + len(old) :]


def read_ack(data: bytes) -> Ack:
    """What an acknowledgement says. Raises ParseError where it is none; bytes not valid in its character set do not matter."""
    try:
        message = parse(data)
    except CharsetError:
        message = parse(data, charset="latin-1")
    msa = message.first("MSA")
    if msa is None:
        raise ParseError("The answer has no MSA segment.")
    code, condition = _CODES.get(_field(msa.value(1))), msa.value(6)
    if code is None:
        raise ParseError("MSA-1 is not a code of HL7 table 0008.")
    text, error_code = _field(msa.value(3)), condition.get(1) if condition else ""
    if (err := message.first("ERR")) is not None:
        new, old = err.value(3), err.value(1)
        coded = (new.get(1) if new else "") or (old.get(4, 1) if old else "")
        error_code = coded or error_code
        text = text or _field(err.value(8)) or _field(err.value(7)) or (new.get(2) if new else "")
    return Ack(code, _field(msa.value(2)), text, error_code)


def is_ack(message: Message) -> bool:
    """Whether it is an acknowledgement or a response, which is never acknowledged itself."""
    return message.message_code in {"ACK", "MCF"} or message.first("MSA") is not None


def accept_mode(message: Message) -> Literal["original", "enhanced"]:
    """Enhanced where MSH-15 or MSH-16 is valued."""
    return "enhanced" if _field(message.msh.value(15)) or _field(message.msh.value(16)) else "original"


def wanted(message: Message, *, accepted: bool) -> bool:
    """Whether the immediate acknowledgement is asked for: MSH-15 in enhanced mode, always in original mode."""
    return accept_mode(message) == "original" or _asked(_field(message.msh.value(15)), accepted=accepted)


def wanted_later(message: Message, *, accepted: bool) -> bool:
    """Whether enhanced mode asks by MSH-16 for an application acknowledgement as a message of its own."""
    return accept_mode(message) == "enhanced" and _asked(_field(message.msh.value(16)), accepted=accepted)


def _asked(condition: str, *, accepted: bool) -> bool:
    """HL7 table 0155; what it does not hold counts as AL, nothing as NE."""
    return {"AL": True, "NE": False, "": False, "ER": not accepted, "SU": accepted}.get(condition, True)


def _field(value: object) -> str:
    return str(getattr(value, "text", ""))


def _version(text: str) -> tuple[int, ...]:
    """``2.5.1`` → (2, 5, 1); what cannot be read counts as 2.5."""
    parts = text.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() and len(part) < 4 for part in parts) else (2, 5)


def _header(source: Message, control_id: str, at: datetime, version: tuple[int, ...]) -> str:
    d, msh = source.delimiters, source.msh
    event = source.trigger_event
    kind = ["ACK"]
    if event and version > (2, 1):
        kind = ["ACK", escape(event, d)] if version < (2, 3, 1) else ["ACK", escape(event, d), "ACK"]
    fields = [
        *("MSH", d.encoding_characters, *(_echo(msh.raw(n), d) for n in (5, 6, 3, 4))),
        *(at.strftime("%Y%m%d%H%M%S%z"), "", d.component.join(kind), escape(control_id, d)),
        *(_echo(msh.raw(11), d) or "P", _echo(msh.raw(12), d) or "2.5"),
        *("", "", "", "", "", _echo(msh.raw(18), d)),
    ]
    return d.field.join(fields).rstrip(d.field)


def _answer(
    source: Message, code: AckCode, errors: Sequence[AckError], text: str, version: tuple[int, ...], expected: int | None
) -> str:
    d = source.delimiters
    fields = ["MSA", code, _echo(source.msh.raw(10), d), escape(text, d), "" if expected is None else str(expected)]
    if errors and version < (2, 5):
        first = errors[0]
        fields[3] = escape(text or first.text or _condition(first.code), d)
        if version >= (2, 2):
            fields += ["", _coded(first.code, d)]
    return d.field.join(fields).rstrip(d.field)


def _error(error: AckError, d: Delimiters) -> str:
    """ERR of 2.5 and later: location in ERR-2, code in ERR-3, severity in ERR-4, text for people in ERR-8."""
    fields = ["ERR", "", _location(error, d), _coded(error.code, d), error.severity, "", "", "", escape(error.text, d)]
    return d.field.join(fields).rstrip(d.field)


def _old_errors(errors: Sequence[AckError], d: Delimiters) -> str:
    """ERR before 2.5: repetitions of ERR-1, segment, number, field, and code as sub-components of the fourth component."""
    written = []
    for error in errors:
        place = [*(escape(part, d) for part in error.location.split("^")), "", "", ""][:3]
        code = d.subcomponent.join((error.code, escape(_condition(error.code), d), "HL70357")) if d.subcomponent else error.code
        written.append(d.component.join((*place, code)))
    return f"ERR{d.field}{d.repetition.join(written) if d.repetition else written[0]}"


def _location(error: AckError, d: Delimiters) -> str:
    return d.component.join(escape(part, d) for part in error.location.split("^"))


def _coded(code: str, d: Delimiters) -> str:
    return d.component.join((code, escape(_condition(code), d), "HL70357"))


def _condition(code: str) -> str:
    return _CONDITIONS.get(code, "")


_CONTROLS = frozenset(map(chr, (*range(32), 127)))


def _echo(raw: str, d: Delimiters) -> str:
    """A field of the sender's as it stands (delimiters and escapes are its own), control characters escaped."""
    if raw.isprintable():
        return raw
    return "".join(escape(c, d) if c in _CONTROLS else c for c in raw)
