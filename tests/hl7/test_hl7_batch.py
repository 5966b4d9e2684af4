"""Batches are split without losing a message, and answered once."""

from __future__ import annotations

import pytest

from interop_engine.hl7.batch import answer_batch, split_batch

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
