"""MLLP framing: the same events whatever the packets' borders, and memory that stays flat."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interop_engine.core.errors import FramingError
from interop_engine.hl7.charset import encode
from interop_engine.hl7.framing import Cut, Decoder, Frame, FramingEvent, Junk, Oversize, frame

A, B = b"MSH|^~\\&|A\rPID|1\r", b"MSH|^~\\&|B\rPID|2\r"
UNENDED = "A new frame began before this one had ended."


def decode(*packets: bytes, max_frame: int = 1000, careful: bool = False) -> list[FramingEvent]:
    """All events of a stream that came in these packets."""
    decoder = Decoder(max_frame=max_frame, careful=careful)
    found = [event for packet in packets for event in decoder.feed(packet)]
    return found + decoder.close()


def frames(events: list[FramingEvent]) -> list[Frame]:
    """The frames among them."""
    return [event for event in events if isinstance(event, Frame)]


TORTURE = {
    "two in one packet": (frame(A) + frame(B), [Frame(A), Frame(B)]),
    "keep-alives": (b"\r\n\r\n" + frame(A) + b"\r\n\x00 " + frame(B) + b"\n", [Frame(A), Frame(B)]),
    "empty frames": (frame(b"") + frame(A) + frame(b""), [Frame(A)]),
    "junk before and between": (b"hello" + frame(A) + b"xyz" + frame(B), [Frame(A), Frame(B)]),
    "no start block": (A + b"\x1c\r" + frame(B), [Frame(B)]),
    "no end block": (b"\x0b" + A, []),
    "1C then the end": (b"\x0b" + A + b"\x1c", []),
    "1C without 0D, then 0B": (b"\x0b" + A + b"\x1c" + frame(B), [Frame(A + b"\x1c", UNENDED), Frame(B)]),
    "new 0B without an end": (b"\x0b" + A + frame(B), [Frame(A, UNENDED), Frame(B)]),
    "start blocks before a frame": (b"\x0b\x0b\r\n\x0b" + frame(A) + b"\x0b \x0b" + B + b"\x1c\r", [Frame(A), Frame(B)]),
    "start block twice": (b"\x0b" + frame(A), [Frame(A)]),
    "frame in a frame": (b"\x0b" + A + frame(B) + b"\x1c\r", [Frame(A, UNENDED), Frame(B)]),
    "bare 1C, 0B and NUL inside": (
        b"\x0bMSH|a\x1cb\x0bc\x00d\x1c\x1c\r",
        [Frame(b"MSH|a\x1cb\x0bc\x00d\x1c")],
    ),
    "no CR before the end block": (frame(A[:-1]), [Frame(A[:-1])]),
    "not HL7": (frame(b"{}"), [Frame(b"{}")]),
}


@pytest.mark.parametrize("case", TORTURE)
def test_torture(case: str) -> None:
    """What is in a frame comes out, what is in none does not, and an unended frame is told."""
    data, expected = TORTURE[case]
    assert frames(decode(data)) == expected


@pytest.mark.parametrize("case", TORTURE)
def test_one_byte_at_a_time(case: str) -> None:
    """Packets of one byte change nothing."""
    data, expected = TORTURE[case]
    assert frames(decode(*(data[i : i + 1] for i in range(len(data))))) == expected


@pytest.mark.parametrize("case", TORTURE)
def test_cut_at_every_offset(case: str) -> None:
    """Wherever a packet ends, the frames are the same."""
    data, expected = TORTURE[case]
    for cut in range(len(data) + 1):
        assert frames(decode(data[:cut], data[cut:])) == expected


pieces = st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\x1c\r", b"MSH|", b"\x0bMSH|", b"A", b"\n", b"\x00", frame(A)])


@given(st.lists(pieces, max_size=20).map(b"".join), st.data())
def test_packets_never_matter(data: bytes, draw: st.DataObject) -> None:
    """Any bytes cut anyhow: the same frames, faults included, the same number of junk bytes, and no exception."""
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    whole, cut = decode(data), decode(*(data[a:b] for a, b in pairwise([0, *cuts, len(data)])))
    assert frames(cut) == frames(whole)
    assert sum(e.count for e in cut if isinstance(e, Junk)) == sum(e.count for e in whole if isinstance(e, Junk))


@given(st.lists(st.binary(min_size=1, max_size=50).filter(lambda b: b"\x0b" not in b and b"\x1c" not in b), max_size=6))
def test_what_is_framed_comes_out(messages: list[bytes]) -> None:
    """Encoder and decoder agree."""
    assert decode(b"".join(map(frame, messages))) == [Frame(data) for data in messages]


def test_junk_is_counted_without_keep_alives() -> None:
    """Only bytes that mean something are junk."""
    assert decode(b"\r\nGET / HTTP\r\n" + frame(A)) == [Junk(8), Frame(A)]


def test_the_limit_and_one_more() -> None:
    """A frame of exactly ``max_frame`` bytes passes; one more is Oversize, and nothing after it is read."""
    assert decode(frame(b"x" * 1000)) == [Frame(b"x" * 1000)]
    (event,) = decode(frame(b"x" * 1001) + frame(A))
    assert isinstance(event, Oversize)
    assert (event.limit, event.head[:1001]) == (1000, b"x" * 1001)


def test_the_limit_one_byte_at_a_time() -> None:
    """The limit holds whatever the packets, and is known as soon as it is passed."""
    data = frame(b"x" * 1000)
    assert decode(*(data[i : i + 1] for i in range(len(data)))) == [Frame(b"x" * 1000)]
    (event,) = decode(b"\x0b", *[b"x"] * 1003)
    assert isinstance(event, Oversize)


def test_an_endless_frame_keeps_memory_flat() -> None:
    """Beyond the limit nothing is kept but the head that was handed over."""
    decoder = Decoder(max_frame=100_000)
    events = decoder.feed(b"\x0b")
    for _ in range(1000):
        events += decoder.feed(b"x" * 10_000)
    (event,) = events
    assert isinstance(event, Oversize)
    assert len(event.head) <= 65_536
    assert len(decoder._buffer) == 0


def test_time_grows_with_length_only() -> None:
    """A large frame fed byte by byte, and many frames in one packet, cost linear time."""

    def seconds(size: int) -> float:
        decoder = Decoder(max_frame=size)
        data = frame(b"x" * size)
        begun = time.process_time()
        for i in range(len(data)):
            decoder.feed(data[i : i + 1])
        many = Decoder(max_frame=100).feed(frame(b"MSH") * (size // 4))
        assert len(many) == size // 4
        return time.process_time() - begun

    assert min(seconds(300_000) for _ in range(2)) < 40 * max(min(seconds(30_000) for _ in range(2)), 0.005)


def test_a_million_frames_that_hold_nothing_are_passed_over_at_once() -> None:
    """Whoever sends nothing but them takes no more time from others than one who sends letters; what follows is read."""
    nothing = frame(b"") + b"\r\n" + frame(b"") + b"\x00"

    def seconds(data: bytes) -> float:
        begun = time.process_time()
        assert frames(decode(data)) == [Frame(A)]
        return time.process_time() - begun

    count = 100_000
    assert seconds(nothing * count + frame(A)) < 0.2
    assert frames(decode(frame(b"").join([b""] * 9) + b"\x0b\x1cA\x1c\r" + frame(b"") + frame(B))) == [Frame(b"\x1cA"), Frame(B)]


def test_no_more_frames_begin_in_one_than_anybody_means() -> None:
    """A thousand without an end are told each; what is left is kept as one, with a fault: four bytes never cost a message."""
    data = b"\x0b" + (A + b"\x0b") * 999 + A + b"\x1c\r" + frame(B)
    assert frames(decode(data, max_frame=1_000_000)) == [*[Frame(A, UNENDED)] * 999, Frame(A), Frame(B)]
    data = b"\x0b" + b"MSH\x0b" * 200_000 + A + b"\x1c\r" + frame(B)
    *told, rest, last = frames(decode(data, max_frame=1_000_000))
    assert (set(told), len(told), last) == ({Frame(b"MSH", UNENDED)}, 1_000, Frame(B))
    assert rest.data == b"MSH\x0b" * 199_000 + A
    assert rest.fault.startswith("More than 1000 frames began")


LETTER = "MSH|\u0d1c\u0b0d\u1c0b|x".encode("utf-16-le")  # holds 1C 0D, 0D 0B and 0B 1C as letters


def test_letters_made_of_end_blocks() -> None:
    """With ``careful``, 1C 0D ends a frame only before 0B, the end of the stream, or a pause."""
    data = b"\x0b" + LETTER + b"\x1c\r"
    assert decode(data + data, careful=True) == [Frame(LETTER), Frame(LETTER)]
    decoder = Decoder(max_frame=1000, careful=True)
    assert decoder.feed(data) == []
    assert decoder.pause() == [Frame(LETTER)]
    assert decoder.feed(data[:9]) + decoder.pause() + decoder.feed(data[9:]) + decoder.close() == [Frame(LETTER)]


def test_a_letter_of_vps_before_the_end_of_a_segment() -> None:
    """VPS writes Ẫ as 0x1C: at the end of a segment it looks like an end block, and is none."""
    data = encode("MSH|^~\\&|\rPID|1||||TRẦN MẪ\rPV1|1\r", "vps")
    assert b"\x1c\r" in data
    assert decode(b"\x0b" + data + b"\x1c\r", careful=True) == [Frame(data)]
    assert decode(b"\x0b" + data + b"\x1c\r") != [Frame(data)]


def test_a_pause_means_nothing_to_the_usual_decoder() -> None:
    """Without ``careful`` a frame is only ended by its end block."""
    decoder = Decoder(max_frame=1000)
    assert decoder.feed(b"\x0b" + A) + decoder.pause() == []
    assert decoder.inside


@pytest.mark.parametrize("data", [b"a\x0bb", b"a\x1cb", b"\x1c\r"])
def test_what_cannot_be_framed(data: bytes) -> None:
    """Content that would break out of its frame is refused."""
    with pytest.raises(FramingError):
        frame(data)


@pytest.mark.parametrize(("data", "count"), [(b"\x0b", 0), (b"\x0bMSH|", 4), (frame(A) + b"\x0b" + B + b"\x1c", len(B) + 1)])
def test_a_frame_that_the_end_of_the_stream_cuts_is_told(data: bytes, count: int) -> None:
    """How many bytes of it had come; outside a frame the end is nothing."""
    assert decode(data)[-1] == Cut(count)
    assert not [event for event in decode(frame(A) + b"\r\n") if isinstance(event, Cut)]
