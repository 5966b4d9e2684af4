"""The MLLP server over real sockets: an answer is a commit, silence is none."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from interop_engine.core.model import Accepted, Unavailable
from interop_engine.hl7 import batch
from interop_engine.hl7.framing import frame
from tests.support.mllp import Channel, code_and_id, connected, listening, message, reply_to, turns, until


async def test_a_message_is_committed_then_answered() -> None:
    """The bytes arrive as they were sent, and nothing is said before the commit."""
    channel = Channel()
    channel.gate.clear()
    async with listening(channel) as source, connected(source) as peer:
        await peer.send(frame(message("A1")))
        await channel.entered.acquire()
        assert not peer.reader._buffer
        channel.gate.set()
        assert code_and_id(await peer.answer()) == ("AA", "A1")
    (arrival,) = channel.arrivals
    assert (arrival.data, arrival.media, arrival.fault) == (message("A1"), "hl7v2", "")
    assert arrival.peer.startswith("127.0.0.1:")


async def test_a_sender_that_waits() -> None:
    """One message after another on one connection."""
    async with listening(Channel()) as source, connected(source) as peer:
        for number in range(50):
            assert code_and_id(await peer.ask(message(number))) == ("AA", str(number))


async def test_one_commit_at_a_time() -> None:
    """What a sender pipelines behind a message is committed after it, so that it can never get in front."""
    channel = Channel()
    channel.gate.clear()
    async with listening(channel) as source, connected(source) as peer:
        await peer.send(b"".join(frame(message(number)) for number in range(200)))
        await channel.entered.acquire()
        await turns(50)
        assert len(channel.arrivals) == 1
        channel.gate.set()
        assert [code_and_id(await peer.answer())[1] for _ in range(200)] == [str(number) for number in range(200)]


async def test_a_sender_that_never_waits_is_not_read() -> None:
    """Reading stops 64 messages ahead of the commits, so that memory is bounded; it goes on when they do."""
    channel = Channel()
    channel.gate.clear()
    async with listening(channel, idle_timeout="1h") as source, connected(source) as peer:
        await peer.send(b"".join(frame(message(number)) for number in range(200)))
        await channel.entered.acquire()
        (connection,) = source._connections
        await until(lambda: connection._count == 64)
        await turns(50)
        assert connection._count == 64
        channel.gate.set()
        assert [code_and_id(await peer.answer())[1] for _ in range(200)] == [str(number) for number in range(200)]


async def test_large_messages_wait_for_each_other() -> None:
    """Memory is bounded by bytes too: of three messages of 3 MB, one at a time is under way."""
    channel = Channel()
    channel.gate.clear()
    async with listening(channel) as source, connected(source) as peer:
        sending = asyncio.ensure_future(peer.send(*(frame(message(n, "x" * 3_000_000)) for n in range(3))))
        await channel.entered.acquire()
        await asyncio.wait([sending], timeout=0.2)
        assert len(channel.arrivals) == 1
        channel.gate.set()
        assert [code_and_id(await peer.answer())[1] for _ in range(3)] == ["0", "1", "2"]
        await sending


async def test_unavailable_is_silence() -> None:
    """What cannot be committed closes the connection without an ACK; what came behind it is not committed either."""
    channel = Channel(answer=lambda arrival: Unavailable("full") if b"|2|" in arrival.data else reply_to(arrival))
    async with listening(channel) as source, connected(source) as peer:
        await peer.send(b"".join(frame(message(number)) for number in range(1, 5)))
        assert code_and_id(await peer.answer()) == ("AA", "1")
        assert await peer.ended()
    assert [arrival.data for arrival in channel.arrivals] == [message(1), message(2)]


async def test_what_is_not_hl7_is_handed_over() -> None:
    """Anything framed arrives, to be journaled as rejected and answered AR."""
    channel = Channel()
    async with listening(channel) as source, connected(source) as peer:
        assert code_and_id(await peer.ask(b"<xml/>")) == ("AR", "")
        assert code_and_id(await peer.ask(message("A1"))) == ("AA", "A1")
    assert [arrival.data for arrival in channel.arrivals] == [b"<xml/>", message("A1")]


async def test_an_empty_reply_writes_nothing() -> None:
    """A message that wants no answer gets none, and the next one does."""
    channel = Channel(answer=lambda arrival: Accepted("1") if b"|A1|" in arrival.data else reply_to(arrival))
    async with listening(channel) as source, connected(source) as peer:
        await peer.send(frame(message("A1")))
        assert code_and_id(await peer.ask(message("A2"))) == ("AA", "A2")


async def test_an_endless_frame_is_told_and_closed() -> None:
    """A sender that goes on beyond the limit still reads why it was refused, then is closed."""
    async with listening(Channel(), max_frame="100KB") as source, connected(source) as peer:
        sending = asyncio.ensure_future(_endless(peer.writer))
        assert code_and_id(await peer.answer()) == ("AE", "A1")
        assert await peer.ended()
        sending.cancel()
        await asyncio.wait([sending])


async def _endless(writer: asyncio.StreamWriter) -> None:
    try:
        writer.write(b"\x0b" + message("A1"))
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()
            await asyncio.sleep(0)
    except ConnectionError:
        return


async def test_a_peer_that_never_reads() -> None:
    """Answers that are not read end the connection after ``write_timeout``; what was committed stays committed."""
    big = b"MSH|^~\\&|" + b"x" * 500_000 + b"\r"
    channel = Channel(answer=lambda _: Accepted("1", big))
    async with listening(channel, write_timeout="200ms") as source, connected(source) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(b"".join(frame(message(number)) for number in range(40)))
        await channel.entered.acquire()
        await until(lambda: source.health().connections == 0)
        assert channel.arrivals


@pytest.mark.parametrize("data", [b"\x0b", b"\x0b" + message("A1"), b"\x0b" + message("A1") + b"\x1c", message("A1") + b"\x1c\r"])
async def test_what_is_not_a_frame_is_not_taken(data: bytes) -> None:
    """No end block, half of one, no start block: nothing is committed, nothing is said."""
    channel = Channel()
    async with listening(channel) as source, connected(source) as peer:
        await peer.send(data)
        peer.writer.write_eof()
        assert await peer.ended()
    assert channel.arrivals == []


async def test_junk_and_keep_alives() -> None:
    """Bytes between frames do not disturb; a peer that sends nothing else is closed."""
    async with listening(Channel()) as source:
        async with connected(source) as peer:
            await peer.send(b"\r\n\r\n", b"hello")
            assert code_and_id(await peer.ask(message("A1"))) == ("AA", "A1")
        async with connected(source) as peer:
            await peer.send(b"x" * 70_000)
            assert await peer.ended()


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\x0bMSH|^~\\&|", b"\x0b"]
)
async def test_a_deadline_for_a_message(data: bytes) -> None:
    """Junk (HTTP, TLS) and a start block followed by silence are closed after ``frame_timeout``, unanswered."""
    channel = Channel()
    async with listening(channel, frame_timeout="50ms") as source, connected(source) as peer:
        await peer.send(data)
        assert await peer.ended()
    assert channel.arrivals == []


async def test_dripping_does_not_move_the_deadline() -> None:
    """A frame sent a byte at a time has the same deadline (slowloris)."""
    async with listening(Channel(), frame_timeout="100ms") as source, connected(source) as peer:
        await peer.send(b"\x0b")
        ended = asyncio.ensure_future(peer.ended())
        while not ended.done():
            peer.writer.write(b"x")
            await asyncio.wait([ended], timeout=0.01)
        assert await ended


async def test_idle() -> None:
    """Silence between messages is ended after ``idle_timeout``, keep-alives or not."""
    async with listening(Channel(), idle_timeout="100ms") as source, connected(source) as peer:
        assert code_and_id(await peer.ask(message("A1"))) == ("AA", "A1")
        assert await peer.ended()


async def test_a_batch_is_split_and_answered_once() -> None:
    """Each message of a batch is an arrival of its own; one answer holds all replies."""
    channel = Channel()
    header = b"BHS|^~\\&|LIS|24001|HIS|24001|||||B1\r"
    async with listening(channel) as source, connected(source) as peer:
        answer = await peer.ask(header + message("A1") + message("A2") + b"BTS|7\r")
        assert answer.startswith(b"BHS|^~\\&|HIS|24001|LIS|24001||||||B1\rMSH|")
        assert [line for line in answer.split(b"\r") if line[:3] in {b"MSA", b"BTS"}] == [b"MSA|AA|A1", b"MSA|AA|A2", b"BTS|2"]
    assert [arrival.data for arrival in channel.arrivals] == [message("A1"), message("A2")]


async def test_a_batch_of_too_many_messages_is_refused_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """One arrival with its fault and one answer; the connection goes on."""
    monkeypatch.setattr(batch, "MOST_MESSAGES", 2)
    channel = Channel()
    many = message("A1") + message("A2") + message("A3")
    async with listening(channel) as source, connected(source) as peer:
        await peer.ask(many)
        assert code_and_id(await peer.ask(message("A4"))) == ("AA", "A4")
    assert [(arrival.data, bool(arrival.fault)) for arrival in channel.arrivals] == [(many, True), (message("A4"), False)]


async def test_a_batch_is_all_or_silence() -> None:
    """Where one message of a batch cannot be committed, the batch is not answered."""
    channel = Channel(answer=lambda arrival: Unavailable("full") if b"|A2|" in arrival.data else reply_to(arrival))
    async with listening(channel) as source, connected(source) as peer:
        await peer.send(frame(b"BHS|^~\\&\r" + message("A1") + message("A2")))
        assert await peer.ended()


async def test_end_blocks_as_letters() -> None:
    """With ``frame_end: pause`` a frame whose letters are made of end blocks arrives whole, after a moment of silence."""
    reply = "MSH|^~\\&|\u1c0b\r".encode("utf-16-le")
    channel = Channel(answer=lambda _: Accepted("1", reply))
    data = "\ufeffMSH|^~\\&|\u0d1c\r".encode("utf-16-le")
    async with listening(channel, frame_end="pause") as source, connected(source) as peer:
        await peer.send(frame_anyhow(data))
        assert await peer.reader.readexactly(len(reply) + 3) == frame_anyhow(reply)
        await peer.send(frame_anyhow(data) + frame_anyhow(data))
        peer.writer.write_eof()
        assert await peer.reader.read() == frame_anyhow(reply) * 2
    assert [arrival.data for arrival in channel.arrivals] == [data] * 3


def frame_anyhow(data: bytes) -> bytes:
    """What our own encoder refuses."""
    return b"\x0b" + data + b"\x1c\r"


async def test_commit_bytes_of_what_cannot_be_committed() -> None:
    """MLLP release 2 has a word for it: 15, then the end; what was stored is 06 and its acknowledgement."""
    channel = Channel(answer=lambda arrival: Unavailable("full") if b"|A2|" in arrival.data else reply_to(arrival))
    async with listening(channel, commit_bytes=True) as source, connected(source) as peer:
        await peer.send(frame(message("A1")) + frame(message("A2")) + frame(message("A3")))
        assert await peer.answer() == b"\x06"
        assert code_and_id(await peer.answer()) == ("AA", "A1")
        assert await peer.answer() == b"\x15"
        assert await peer.ended()
    assert len(channel.arrivals) == 2


async def test_later_acknowledgements_of_a_peer_that_has_gone() -> None:
    """What enhanced mode says later is said while the connection lasts; a peer that reset it disturbs nobody."""
    gate = asyncio.Event()

    async def later() -> bytes:
        await gate.wait()
        return b"MSH|^~\\&|later\r"

    channel = Channel(answer=lambda _: Accepted("1", later=later))
    async with listening(channel) as source:
        async with connected(source) as gone, connected(source) as peer:
            for each in (gone, peer):
                await each.send(frame(message("A1")))
                await channel.entered.acquire()
            raw = gone.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.writer.transport.abort()
            gate.set()
            assert await peer.answer() == b"MSH|^~\\&|later\r"
        await until(lambda: source.health().connections == 0)
