"""What people type and keep: files of HL7 v2 messages (any line ends, batches, MLLP bytes around them), and times."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer

from interop_engine.hl7.batch import split_batch

_LINE_END = re.compile(rb"\r\n|\n")
_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AROUND = b"\x0b\x1c\r\n \t"


@dataclass(frozen=True, slots=True)
class Message:
    """One message with CR line ends, as it would go over the wire. ``label`` names its file, and its place in a batch."""

    label: str
    data: bytes


def read_bytes(file: str) -> bytes:
    """A file as it is (``-``: standard input). Raises OSError."""
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def read_messages(file: str) -> list[Message]:
    """The messages of a file (``-``: standard input). Raises OSError."""
    data = read_bytes(file)
    name = "stdin" if file == "-" else file
    if b"\x00" in data[:8]:  # UTF-16 or UTF-32: bytes are not characters here
        return [Message(name, data)]
    parts = [text + b"\r" for part in split_batch(data.strip(_AROUND)) if (text := _LINE_END.sub(b"\r", part).strip(_AROUND))]
    return [Message(name if len(parts) == 1 else f"{name}[{number}]", part) for number, part in enumerate(parts, 1)]


def moment(text: str | None, option: str) -> datetime | None:
    """A time: ISO 8601 (of this machine's zone where it names none), or so long ago."""
    if text is None:
        return None
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise typer.BadParameter(f'"{text}" is no time; write 2026-03-01T08:00 or 24h', param_hint=option) from error
