"""Batches are split without losing a message, and answered once."""

from __future__ import annotations

import pytest

from interop_engine.hl7.batch import MOST_MESSAGES, answer_batch, messages_of, split_batch

A = b"MSH|^~\\&|A|1\rPID|1\r"
B = b"MSH|^~\\&|B|2\rPID|2\rNTE|1||MSH is said here\r"
FHS = b"FHS|^~\\&|SA|SF|RA|RF|20240101||file||F1\r"
BHS = b"BHS|^~\\&|SA|SF|RA|RF|20240101||batch||B1\r"


@pytest.mark.parametrize(
    "data",
    [
        FHS + BHS + A + B + b"BTS|2\rFTS|1\r",
        BHS + A + B + b"BTS|99\r",
        BHS + A + B,
        A + B,
        b"\r\n" + BHS + A + B,
    ],
)
def test_every_message_is_found(data: bytes) -> None:
    """With or without file and batch headers, whatever the trailer's count says."""
    assert split_batch(data) == [A, B]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_line_ends_of_files(ending: bytes) -> None:
    """LF and CRLF separate as CR does; each message keeps its bytes."""
    data = (BHS + A + B).replace(b"\r", ending)
    assert split_batch(data) == [A.replace(b"\r", ending), B.replace(b"\r", ending)]


@pytest.mark.parametrize("data", [A, b"", b"junk", BHS + b"BTS|0\r", b"MSHX|1\r" + A[3:]])
def test_one_or_none_stays_as_it_is(data: bytes) -> None:
    """A single message keeps every byte; what holds none is handed on to be refused."""
    assert split_batch(data) == [data]


def test_the_answer_to_a_batch() -> None:
    """One answer: headers swapped, referring to the batch's and the file's control ids, with true counts."""
    (answer,) = answer_batch(FHS + BHS + A + B, [b"MSH|1\rMSA|AA\r", b"MSH|2\rMSA|AE\r"])
    assert answer.split(b"\r") == [
        b"FHS|^~\\&|RA|RF|SA|SF||||||F1",
        b"BHS|^~\\&|RA|RF|SA|SF||||||B1",
        *(b"MSH|1", b"MSA|AA", b"MSH|2", b"MSA|AE", b"BTS|2", b"FTS|1", b""),
    ]


def test_messages_without_a_batch_header_are_answered_one_by_one() -> None:
    """There is no header to answer."""
    assert answer_batch(A + B, [b"1", b"2"]) == [b"1", b"2"]
    assert answer_batch(BHS + A, []) == []
    assert answer_batch(b"BHS\r" + A + B + b"FHS", [b"1", b"2"]) == [b"1", b"2"]


WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("codec", WIDE)
def test_a_batch_of_wide_characters(codec: str, mark: str) -> None:
    """In UTF-16 and UTF-32 every message is found, with its own bytes, and the batch is answered in its own characters."""
    name = "MSH|^~\\&|Nguyễn 𝔐|2\rPID|2\r"
    assert split_batch((mark + A.decode() + name).encode(codec)) == [A.decode().encode(codec), name.encode(codec)]
    batch = (mark + BHS.decode() + A.decode() + name + "BTS|2\r").encode(codec)
    assert split_batch(batch) == [A.decode().encode(codec), name.encode(codec)]
    (answer,) = answer_batch(batch, ["MSH|1\r".encode(codec)] * 2)
    assert answer.decode(codec) == "BHS|^~\\&|RA|RF|SA|SF||||||B1\rMSH|1\rMSH|1\rBTS|2\r"


@pytest.mark.parametrize("codec", WIDE)
def test_what_is_no_character_stays_with_its_message(codec: str) -> None:
    """Half of a pair in one message, half a character at the end of another: each keeps its bytes, to be judged by itself."""
    parts = [part.encode(codec, "surrogatepass") for part in (A.decode(), "MSH|\ud800\r", B.decode())]
    assert split_batch(b"".join(parts) + b"\x00") == [*parts[:2], parts[2] + b"\x00"]
    beyond = "MSH|1\rMSH|2\r".encode(codec) + b"\xff" * 4
    assert b"".join(split_batch(beyond)) == beyond


def test_letters_that_hold_the_bytes_of_a_header() -> None:
    """U+0D00 U+534D U+7C48 have the bytes of a line end and MSH| between them: they are letters all the same."""
    data = "MSH|^~\\&|A|1\rNTE|1||\u0d00\u534d\u7c48\rNTE|2||MSH\r".encode("utf-16-be")
    assert b"\r\x00SM" in data
    assert split_batch(data) == [data]


def test_a_byte_order_mark_before_the_first_message() -> None:
    """It hides no message."""
    assert split_batch(b"\xef\xbb\xbf" + A + B) == [A, B]


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (b"\x0b" + A + b"\x1c\r", [A]),
        (b"\r\n\x0b\x0b" + A + b"\x1c\r\n", [A]),
        (b"\x0b" + A, [A]),
        (b"\x0b" + A + b"\x1c", [A]),
        (b"\x0b" + A + b"\x1c\r\x0b" + B + b"\x1c\r", [A, B]),
        (b"\x0b" + A + b"\x1c\r\r\n\x0b" + BHS + B + A + b"BTS|2\r\x1c\r", [A, B, A]),
        (b"\x0b" + A.decode().encode("utf-16-le") + b"\x1c\r", [A.decode().encode("utf-16-le")]),
        (b"\x0b\x1c\r", [b"\x0b\x1c\r"]),
        (A + b"NTE|1||\x0b\x1c\r", [A + b"NTE|1||\x0b\x1c\r"]),
    ],
)
def test_frames_around_messages_are_taken_off(data: bytes, messages: list[bytes]) -> None:
    """A file or a body as it was cut from a wire holds the messages in its frames; what begins with none is left as it is."""
    assert split_batch(data) == messages


def test_the_answer_to_a_batch_in_a_frame() -> None:
    """It is answered as the batch it is."""
    (answer,) = answer_batch(b"\x0b" + BHS + A + B + b"\x1c\r", [b"1\r", b"2\r"])
    assert answer.startswith(b"BHS|")


@pytest.mark.parametrize("codec", ["ascii", "utf-16-le", "utf-32-be"])
def test_a_batch_of_more_messages_than_are_split_is_one_that_is_refused(codec: str) -> None:
    """Whatever its bytes: looking at millions of headers would hold up all others. What is refused already stays as it is."""
    header = "MSH|\r".encode(codec)
    assert messages_of(header * MOST_MESSAGES) == ([header] * MOST_MESSAGES, "")
    large = header * (MOST_MESSAGES + 1)
    messages, fault = messages_of(large)
    assert (messages, fault) == ([large], "The batch has more than 100,000 messages.")
    assert messages_of(A + B, "it was cut off") == ([A + B], "it was cut off")
