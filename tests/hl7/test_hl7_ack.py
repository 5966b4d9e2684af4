"""Acknowledgements, byte for byte, and how those of others are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop_engine.core.errors import ParseError
from interop_engine.hl7.ack import (
    Ack,
    AckError,
    accept_mode,
    acknowledge,
    asking,
    is_ack,
    read_ack,
    recover,
    recover_control_id,
    wanted,
    wanted_later,
)
from interop_engine.hl7.message import Message, parse

AT = datetime(2024, 1, 31, 7, 5, 9, tzinfo=timezone(timedelta(hours=7)))
ERROR = AckError("MSH^1^9^1^1", "200", text="This channel takes no ADT.")


def message(version: str = "2.5.1", control_id: str = "Q1", more: str = "", encoding: str = "|^~\\&") -> Message:
    """An ADT whose ACK is asked for."""
    fields = ["LIS^1.2&x", "24001", "HIS", "Tỉnh", "20240131", "", "ADT^A08^ADT_A01", control_id, "P", version]
    line = encoding[0].join(("MSH" + encoding, *fields))
    return parse(f"{line.replace('^', encoding[1])}{more}\rPID|1\r".encode())


def lines(data: bytes) -> list[str]:
    """Its segments."""
    text = data.decode()
    assert text.endswith("\r")
    return text[:-1].split("\r")


GOLDEN = {
    "AA in 2.5.1": (
        acknowledge(message(), "AA", control_id="E1", at=AT),
        ["MSH|^~\\&|HIS|Tỉnh|LIS^1.2&x|24001|20240131070509+0700||ACK^A08^ACK|E1|P|2.5.1", "MSA|AA|Q1"],
    ),
    "AE in 2.5.1": (
        acknowledge(message(), "AE", control_id="E1", at=AT, errors=[ERROR, AckError("", "207", "W")], text="No."),
        [
            "MSH|^~\\&|HIS|Tỉnh|LIS^1.2&x|24001|20240131070509+0700||ACK^A08^ACK|E1|P|2.5.1",
            "MSA|AE|Q1|No.",
            "ERR||MSH^1^9^1^1|200^Unsupported message type^HL70357|E||||This channel takes no ADT.",
            "ERR|||207^Application internal error^HL70357|W",
        ],
    ),
    "AR in 2.3": (
        acknowledge(message("2.3"), "AR", control_id="E1", at=AT, errors=[ERROR]),
        [
            "MSH|^~\\&|HIS|Tỉnh|LIS^1.2&x|24001|20240131070509+0700||ACK^A08|E1|P|2.3",
            "MSA|AR|Q1|This channel takes no ADT.|||200^Unsupported message type^HL70357",
            "ERR|MSH^1^9^200&Unsupported message type&HL70357",
        ],
    ),
    "AE in 2.1": (
        acknowledge(message("2.1"), "AE", control_id="E1", at=AT, errors=[AckError("PID", "100")]),
        [
            "MSH|^~\\&|HIS|Tỉnh|LIS^1.2&x|24001|20240131070509+0700||ACK|E1|P|2.1",
            "MSA|AE|Q1|Segment sequence error",
            "ERR|PID^^^100&Segment sequence error&HL70357",
        ],
    ),
    "odd delimiters": (
        acknowledge(message(encoding="$%!?*"), "AE", control_id="E$1", at=AT, errors=[ERROR]),
        [
            "MSH$%!?*$HIS$Tỉnh$LIS%1.2&x$24001$20240131070509+0700$$ACK%A08%ACK$E?F?1$P$2.5.1",
            "MSA$AE$Q1",
            "ERR$$MSH%1%9%1%1$200%Unsupported message type%HL70357$E$$$$This channel takes no ADT.",
        ],
    ),
    "CE, with the character set said": (
        acknowledge(message(more="|||AL|NE||UNICODE UTF-8"), "CE", control_id="E1", at=AT),
        ["MSH|^~\\&|HIS|Tỉnh|LIS^1.2&x|24001|20240131070509+0700||ACK^A08^ACK|E1|P|2.5.1||||||UNICODE UTF-8", "MSA|CE|Q1"],
    ),
    "nothing to recover": (
        acknowledge(recover(b"GET / HTTP/1.1"), "AR", control_id="E1", at=AT.astimezone(UTC)),
        ["MSH|^~\\&|||||20240131000509+0000||ACK|E1|P|2.5", "MSA|AR"],
    ),
    "header recovered": (
        acknowledge(recover(b"\x01\x02MSH|^~\\&|A|B|C|D|||ORU^R01|77|T|2.4\nPID|\xff"), "AR", control_id="E1", at=AT),
        ["MSH|^~\\&|C|D|A|B|20240131070509+0700||ACK^R01^ACK|E1|T|2.4", "MSA|AR|77"],
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case: str) -> None:
    """An ACK speaks its sender's version, delimiters and character set, sender and receiver swapped."""
    data, expected = GOLDEN[case]
    assert lines(data) == expected


def test_the_same_arguments_give_the_same_bytes() -> None:
    """The ACK stored with the row is the one a duplicate gets."""
    assert acknowledge(message(), "AA", control_id="E1", at=AT) == acknowledge(message(), "AA", control_id="E1", at=AT)


def test_bytes_outside_the_charset_come_back_as_they_were() -> None:
    """Where the message is not valid in its character set, the sender's own names are echoed byte for byte."""
    raw = b"MSH|^~\\&|M\xfcller|B|C|D|||ADT^A01|7|P|2.5\rPID|1"
    assert acknowledge(recover(raw), "AE", control_id="E1", at=AT).split(b"|")[4] == b"M\xfcller"


@pytest.mark.parametrize("control", ["\x0b", "\x1c", "\x00", "\x1b", "\x7f"])
def test_control_characters_are_echoed_escaped(control: str) -> None:
    """A control id cannot break out of its frame, nor out of a log line, and still comes back as it was."""
    data = acknowledge(message(control_id=f"Q{control}1"), "AA", control_id="E1", at=AT)
    assert control.encode() not in data
    assert read_ack(data).control_id == f"Q{control}1"


def test_an_escaped_control_id_is_echoed_as_written() -> None:
    """MSA-2 is MSH-10, its escapes untouched."""
    assert "MSA|AA|Q\\T\\1" in lines(acknowledge(message(control_id="Q\\T\\1"), "AA", control_id="E1", at=AT))


def test_a_long_control_id() -> None:
    """Ten kilobytes of MSH-10 come back whole, and can be recovered."""
    long = "Q" * 10_000
    assert read_ack(acknowledge(message(control_id=long), "AA", control_id="E1", at=AT)).control_id == long
    assert recover_control_id(message(control_id=long).raw + b"\xff") == long


@given(st.binary(max_size=200))
def test_anything_can_be_refused(raw: bytes) -> None:
    """Whatever the bytes, an AR can be made that can be read and framed."""
    for attempt in (raw, b"MSH|^~\\&|" + raw, b"MSH" + raw):
        data = acknowledge(recover(attempt), "AR", control_id="E1", at=AT)
        assert read_ack(data).code == "AR"
        assert b"\x0b" not in data
        assert b"\x1c" not in data


def test_an_error_text_that_the_charset_lacks() -> None:
    """The ACK is sent all the same."""
    source = parse(b"MSH|^~\\&|A|B|C|D|||ADT^A01|7|P|2.5||||||8859/1\r")
    assert acknowledge(source, "AE", control_id="E1", at=AT, text="lỗi").endswith(b"MSA|AE|7|l?i\r")


@pytest.mark.parametrize("raw", [b"", b"PID|1", b"MSH", b"MSH|"])
def test_nothing_to_recover(raw: bytes) -> None:
    """No header, no control id."""
    assert (recover(raw), recover_control_id(raw)) == (None, "")


@pytest.mark.parametrize("case", [name for name in GOLDEN if name != "nothing to recover"])
def test_our_own_are_read(case: str) -> None:
    """Code, control id and condition come back whatever the version and delimiters."""
    ack = read_ack(GOLDEN[case][0])
    errors = {"AE in 2.5.1": "200", "AR in 2.3": "200", "AE in 2.1": "100", "odd delimiters": "200"}
    assert f"MSA|{ack.code}|" in GOLDEN[case][0].decode().replace("$", "|")
    assert (ack.control_id, ack.error_code) == ("77" if case == "header recovered" else "Q1", errors.get(case, ""))


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ("MSA|AA|7", Ack("AA", "7")),
        ("MSA|AE|7|bad|||207^x", Ack("AE", "7", "bad", "207")),
        ("MSA|AR|7\rERR|PID^1^5^101&x", Ack("AR", "7", "", "101")),
        ("MSA|AR|7\rERR|||103^y|E|||detail|for people", Ack("AR", "7", "for people", "103")),
        ("MSA|AR|7\rERR|||103^y|E", Ack("AR", "7", "y", "103")),
    ],
)
def test_foreign_acks(segments: str, expected: Ack) -> None:
    """Error code and text from wherever the version puts them."""
    assert read_ack(f"MSH|^~\\&|||||||ACK|1|P|2.5\r{segments}\r".encode()) == expected


@pytest.mark.parametrize("data", [b"", b"OK", b"MSH|^~\\&|\rPID|1\r", b"MSH|^~\\&|\rMSA|OK|7\r"])
def test_what_is_no_ack(data: bytes) -> None:
    """No MSA, or none with a code of table 0008: a ParseError."""
    with pytest.raises(ParseError):
        read_ack(data)


def test_is_ack() -> None:
    """ACKs and responses are never acknowledged."""
    assert is_ack(parse(acknowledge(message(), "AA", control_id="E1", at=AT)))
    assert is_ack(parse(b"MSH|^~\\&|||||||RSP^K22|1|P|2.5\rMSA|AA|7\r"))
    assert not is_ack(message())


ASKED = {"AL": (True, True), "NE": (False, False), "ER": (False, True), "SU": (True, False), "": (False, False)}


@pytest.mark.parametrize(("accept", "application"), list(product(ASKED, ASKED)))
def test_modes(accept: str, application: str) -> None:
    """All 25 combinations of MSH-15 and MSH-16: enhanced where one is valued, then each decides about its own answer."""
    source = message(more=f"|||{accept}|{application}")
    if not accept and not application:
        assert accept_mode(source) == "original"
        assert [wanted(source, accepted=ok) for ok in (True, False)] == [True, True]
        assert [wanted_later(source, accepted=ok) for ok in (True, False)] == [False, False]
        return
    assert accept_mode(source) == "enhanced"
    assert tuple(wanted(source, accepted=ok) for ok in (True, False)) == ASKED[accept]
    assert tuple(wanted_later(source, accepted=ok) for ok in (True, False)) == ASKED[application]


@pytest.mark.parametrize(
    ("header", "accept", "application", "asked"),
    [
        ("MSH|^~\\&|A|B|C|D|1||ORU^R01|7|P|2.5|||NE|NE||8859/1", "", "", "MSH|^~\\&|A|B|C|D|1||ORU^R01|7|P|2.5||||||8859/1"),
        (
            "MSH|^~\\&|A|B|C|D|1||ORU^R01|7|P|2.5|||NE|NE||8859/1",
            "AL",
            "NE",
            "MSH|^~\\&|A|B|C|D|1||ORU^R01|7|P|2.5|||AL|NE||8859/1",
        ),
        ("MSH|^~\\&|A|B|C|D|1||ORU^R01|7|P|2.5", "AL", "AL", "MSH|^~\\&|A|B|C|D|1||ORU^R01|7|P|2.5|||AL|AL"),
        ("MSH|^~\\&|A|B|C|D|1||ORU^R01|7|P|2.5||", "", "", "MSH|^~\\&|A|B|C|D|1||ORU^R01|7|P|2.5||"),
        ("MSH#*@!%#A#B#C#D#1##ORU*R01#7#P#2.5###ER", "", "", "MSH#*@!%#A#B#C#D#1##ORU*R01#7#P#2.5####"),
        (
            "MSH|^~\\&|Nguyễn|B|C|D|1||ORU^R01|7|P|2.5|||SU|AL||UNICODE UTF-8",
            "AL",
            "NE",
            "MSH|^~\\&|Nguyễn|B|C|D|1||ORU^R01|7|P|2.5|||AL|NE||UNICODE UTF-8",
        ),
    ],
)
@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16"])
def test_asking_changes_two_fields_only(header: str, accept: str, application: str, asked: str, ending: str, codec: str) -> None:
    """MSH-15 and MSH-16 say what is wanted; every other byte of the message is the one it was."""
    rest = f"{ending}PID|1||NE|NE{ending}NTE|1||Ánh MSH|^~{ending}"
    assert asking((header + rest).encode(codec), accept, application) == (asked + rest).encode(codec)


@pytest.mark.parametrize(
    "name",
    [b"Nguy\xea\xec", "\u00ea\u0301".encode("cp1258"), "能|".encode("shift_jis")[:-1], b"\xff\xfe", "ソ能".encode("shift_jis")],
)
@pytest.mark.parametrize("charset", [b"WINDOWS-1258", b"SHIFT JIS", b"UNICODE UTF-8", b"8859/1"])
def test_asking_leaves_letters_as_they_were_written(name: bytes, charset: bytes) -> None:
    """Where a letter has several ways to be written, or its bytes are no letter, or hold a separator's: they stay."""
    data = b"MSH|^~\\&|" + name + b"|B|C|D|1||ORU^R01|7|P|2.5|||NE|NE||" + charset + b"\rPID|1||" + name + b"\r"
    assert asking(data, "", "") == data.replace(b"|NE|NE|", b"|||")
