"""Table 1 of the torture suite, what goes over one connection: each row by its name, with its answers and what is journaled.

An answer is (MSA-1, MSA-2); what is journaled is (taken or rejected, MSH-10), in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from interop_engine.hl7.framing import frame
from tests.support.mllp import message
from tests.support.torture import Told, tortured

M1, M2 = message("M1"), message("M2")
AA1, AA2 = ("AA", "M1"), ("AA", "M2")
TAKEN1, TAKEN2 = ("taken", "M1"), ("taken", "M2")


@dataclass(frozen=True)
class Row:
    """One row: what is sent (made when needed: some are large), heard and journaled, and options of the source."""

    name: str
    packets: Callable[[], list[bytes]]
    heard: list[Told]
    journaled: list[tuple[str, str]]
    options: str = ""


def row(
    name: str, *packets: bytes, heard: list[Told] | None = None, journaled: list[tuple[str, str]] | None = None, options: str = ""
) -> Row:
    """A row; without more, the first message is taken and answered AA."""
    heard = [AA1] if heard is None else heard
    if journaled is None:
        journaled = [("taken" if code == "AA" else "rejected", control_id) for code, control_id in heard]
    return Row(name, lambda: list(packets), heard, journaled, options)


def noted(text: str | bytes, **more: str) -> bytes:
    """The first message with a note of that text, framed whatever is in it."""
    raw = text if isinstance(text, bytes) else text.encode()
    return b"\x0b" + message("M1", **more) + b"NTE|1||" + raw + b"\r\x1c\r"


def charset(name: str, text: bytes) -> bytes:
    """The first message, declared to be in a character set, with that patient's name."""
    return frame(M1.replace(b"|2.5.1\r", b"|2.5.1||||||" + name.encode() + b"\r") + b"PID|1||||" + text + b"\r")


def asking(conditions: str, text: bytes) -> bytes:
    """The first message in enhanced mode, MSH-15 and 16 as given, with that patient's name."""
    return frame(M1.replace(b"|2.5.1\r", f"|2.5.1|||{conditions}\r".encode()) + b"PID|1||||" + text + b"\r")


def wide(data: bytes) -> bytes:
    """In UTF-16, with a byte order mark."""
    return ("\ufeff" + data.decode()).encode("utf-16-le")


FRAMING = [
    row("one byte at a time", *(frame(M1)[i : i + 1] for i in range(len(frame(M1))))),
    row("two messages in one packet", frame(M1) + frame(M2), heard=[AA1, AA2]),
    row("1,000 pipelined", b"".join(frame(message(n)) for n in range(1000)), heard=[("AA", str(n)) for n in range(1000)]),
    row("1C without 0D, then 0B", b"\x0b" + M1 + b"\x1c" + frame(M2), heard=[("AE", "M1"), AA2]),
    row("1C and 0D in different packets", b"\x0b" + M1 + b"\x1c", b"\r"),
    row("1C then close", b"\x0b" + M1 + b"\x1c", heard=[]),
    row("no end block, close", b"\x0b" + M1, heard=[]),
    row("new 0B without end", b"\x0b" + M1 + frame(M2), heard=[("AE", "M1"), AA2]),
    row("no start block", M1 + b"\x1c\r", heard=[]),
    row("junk before, between", b"junk" + frame(M1) + b"more junk" + frame(M2), heard=[AA1, AA2]),
    row("CR LF keep-alives", b"\r\n\r\n" + frame(M1) + b"\r\n\r\n" + frame(M2) + b"\r\n", heard=[AA1, AA2]),
    row("empty frame", b"\x0b\x1c\r" + frame(M1)),
    row("several start blocks", b"\x0b\x0b\x0b" + M1 + b"\x1c\r"),
    row("frame in a frame", b"\x0b" + M1 + frame(M2) + b"NTE|1\r\x1c\r", heard=[("AE", "M1"), AA2]),
    row("bare 1C inside", noted("a\x1cb")),
    row("bare 0B inside", noted("a\x0bb")),
    row("NUL inside", noted("a\x00b")),
    row("limit", frame(M1), options=f"max_frame: {len(M1)}"),
    row("limit + 1", frame(M1), heard=[("AE", "M1")], options=f"max_frame: {len(M1) - 1}"),
    row("endless frame", b"\x0b" + M1 + b"x" * 200_000, heard=[("AE", "M1")], options="max_frame: 100KB"),
    row(
        "release-2 commit bytes",
        frame(M1) + b"\x0b\x06\x1c\r" + frame(M2),  # the 06 is the peer's, for our answer
        options="commit_bytes: true",
        heard=[("06", ""), AA1, ("06", ""), AA2],
        journaled=[TAKEN1, TAKEN2],
    ),
]
SYNTAX = [
    row("LF", frame(M1.replace(b"\r", b"\n"))),
    row("CRLF", frame(M1.replace(b"\r", b"\r\n"))),
    row("mixed line ends", frame(M1.replace(b"\r", b"\n", 1) + b"NTE|1\r\nNTE|2\r")),
    row("no final CR", frame(M1.rstrip(b"\r"))),
    row("BOM", frame(b"\xef\xbb\xbf" + M1)),
    row("UTF-16", frame(b"\xff\xfe" + M1.decode().encode("utf-16-le"))),
    row("Latin-1 declared UTF-8", charset("UNICODE UTF-8", b"M\xfcller"), heard=[("AE", "M1")]),
    row("no charset, UTF-8", noted("Nguyễn Văn An")),
    row("multibyte cut between packets", noted("ễ")[:-5], noted("ễ")[-5:]),
    row("odd delimiters", frame(M1.replace(b"|", b"#").replace(b"^~\\&", b"*@!%").replace(b"^", b"*"))),
    row("2.7 truncation character", frame(M1.replace(b"^~\\&|", b"^~\\&#|").replace(b"2.5.1", b"2.7"))),
    row("short MSH", frame(b"MSH|^~\\&|LIS\r"), heard=[("AE", "")], journaled=[("rejected", "")]),
    row("MSH and no more", frame(b"MSH"), heard=[("AR", "")]),
    row("no MSH-10", frame(message("")), heard=[("AE", "")]),
    row("10 kB MSH-10", frame(message("X" * 10_000)), heard=[("AA", "X" * 10_000)]),
    row("unknown version", frame(message("M1", version="9.9")), heard=[("AR", "M1")]),
    row("unknown event", frame(M1.replace(b"ORU^R01^ORU_R01", b"ZZZ^Z99")), heard=[("AR", "M1")]),
    row("unknown processing id", frame(M1.replace(b"|M1|P|", b"|M1|X|")), heard=[("AR", "M1")]),
    row("batch in a frame", frame(b"BHS|^~\\&|LIS\r" + M1 + M2 + b"BTS|2\r"), heard=[AA1, AA2]),
    row("batch in UTF-16", frame((M1 + M2).decode().encode("utf-16-le")), heard=[AA1, AA2]),
    row("batch in UTF-16 with its headers", frame(wide(b"BHS|^~\\&|LIS\r" + M1 + M2 + b"BTS|2\r")), heard=[AA1, AA2]),
    row("wrong batch count", frame(b"FHS|^~\\&\rBHS|^~\\&\r" + M1 + M2 + b"BTS|7\rFTS|9\r"), heard=[AA1, AA2]),
    row("escapes of control characters", noted("a\\X0D\\PID|9\\X1C\\\\X0D\\b")),
    row("an inbound ACK", frame(M1.replace(b"ORU^R01^ORU_R01", b"ACK") + b"MSA|AA|X1\r"), heard=[], journaled=[TAKEN1]),
    row(
        "an inbound ACK with a byte that is not valid",
        frame(M1.replace(b"ORU^R01^ORU_R01", b"ACK") + b"MSA|AE|X1|Stra\xdfe\r"),
        heard=[],
        journaled=[TAKEN1],
    ),
    row(
        "an inbound ACK without an end",
        b"\x0b" + M1.replace(b"ORU^R01^ORU_R01", b"ACK") + b"MSA|AA|X1\r" + frame(M2),
        heard=[AA2],
        journaled=[TAKEN1, TAKEN2],
    ),
    row("bad byte, MSH-15 AL", asking("AL|NE", b"M\xfcller"), heard=[("CE", "M1")]),
    row("bad byte, MSH-15 NE", asking("NE|NE", b"M\xfcller"), heard=[], journaled=[("rejected", "M1")]),
    row("no HL7, MSH-15 AL", frame(b"<a>" + asking("AL|NE", b"x")[1:-2]), heard=[("CR", "M1")]),
    row("XML with DOCTYPE", frame(b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'), heard=[("AR", "")]),
]
SIZE = [
    Row("20 MB OBX-5", lambda: [noted("x" * 20_000_000)], [AA1], [TAKEN1], "max_frame: 32MB"),
    Row("a million segments", lambda: [frame(M1 + b"NTE|1\r" * 1_000_000)], [AA1], [TAKEN1]),
    Row(
        "100,000 repetitions",
        lambda: [frame(M1 + b"PID|2||" + b"~".join(b"%d^^^A^MR" % n for n in range(100_000)) + b"\r")],
        [AA1],
        [TAKEN1],
    ),
]


@pytest.mark.parametrize("case", FRAMING + SYNTAX + SIZE, ids=lambda case: case.name.replace(" ", "-"))
async def test_row(case: Row, tmp_path: Path) -> None:
    """The row's answers, its messages in the journal, and nothing said that the journal does not know."""
    async with tortured(tmp_path, case.options) as torture:
        assert await torture.converse(case.packets()) == case.heard
        assert await torture.journaled() == case.journaled
