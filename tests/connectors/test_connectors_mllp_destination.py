"""The MLLP client against servers that behave as servers do."""

from __future__ import annotations

import asyncio
import socket

import pytest
from pydantic import ValidationError

from interop_engine.connectors.mllp_destination import MllpDestination, MllpDestinationOptions
from interop_engine.core.model import Delivered, Media, Outcome, Park, Retry
from interop_engine.hl7.ack import AckCode, AckError, acknowledge
from interop_engine.hl7.framing import frame
from interop_engine.hl7.message import parse
from tests.support.mllp import AT, Channel, Peer, listening, message, surroundings, turns
from tests.support.mllp_receiver import ack, answering, delivery, serving


async def test_one_connection_for_many_messages() -> None:
    """The connection is made by the first delivery and kept."""
    connections: list[int] = []

    async def serve(peer: Peer, number: int) -> None:
        connections.append(number)
        await answering(peer, number)

    async with serving(serve) as destination:
        assert destination.health().connections == 0
        for number in range(20):
            assert await destination.deliver(delivery(message(number))) == Delivered("AA")
        assert (connections, destination.health().connections) == ([0], 1)


async def test_one_message_in_flight() -> None:
    """Deliveries that are asked for at once go one after another."""
    async with serving(answering) as destination:
        outcomes = await asyncio.gather(*(destination.deliver(delivery(message(number))) for number in range(20)))
    assert outcomes == [Delivered("AA")] * 20


async def test_several_connections() -> None:
    """``concurrency`` messages are in flight at once, each on a connection of its own; the next waits for one of them."""
    came: asyncio.Semaphore = asyncio.Semaphore(0)
    gate = asyncio.Event()
    numbers: set[int] = set()

    async def serve(peer: Peer, number: int) -> None:
        while data := await peer.answer():
            numbers.add(number)
            came.release()
            await gate.wait()
            await peer.send(ack(data))

    async with serving(serve, concurrency=3) as destination:
        under_way = [asyncio.ensure_future(destination.deliver(delivery(message(number)))) for number in range(7)]
        for _ in range(3):
            await came.acquire()
        await turns(20)
        assert (came.locked(), destination.health().connections) == (True, 3)
        gate.set()
        assert await asyncio.gather(*under_way) == [Delivered("AA")] * 7
    assert numbers == {0, 1, 2}


@pytest.mark.parametrize(
    ("acks", "codes", "expected"),
    [
        ("accept", ("CA",), Delivered("CA")),
        ("application", ("CA", "AA"), Delivered("AA")),
        ("application", ("CA", "AE"), Park("AE", "the receiver answered AE")),
        ("application", ("CR",), Park("CR", "the receiver answered CR")),
        ("application", ("CA",), Retry("no answer in time; what came is its accept acknowledgement alone", "ack-timeout")),
    ],
)
async def test_a_receiver_in_enhanced_mode(acks: str, codes: tuple[AckCode, ...], expected: Outcome) -> None:
    """Its accept acknowledgement is enough, or the application's that follows it decides, as ``acks`` says."""
    body = message("A1").replace(b"|2.5.1\r", b"|2.5.1|||AL|AL\r")

    async def serve(peer: Peer, _: int) -> None:
        data = await peer.answer()
        for code in codes:
            await peer.send(ack(data, code))
        await peer.answer()

    async with serving(serve, acks=acks, ack_timeout="200ms") as destination:
        assert await destination.deliver(delivery(body)) == expected


async def test_a_receiver_of_release_2() -> None:
    """Commit bytes before the answer are passed over: the answer decides."""

    async def serve(peer: Peer, _: int) -> None:
        await peer.send(b"\x0b\x06\x1c\r" + ack(await peer.answer()))
        await peer.answer()

    async with serving(serve) as destination:
        assert await destination.deliver(delivery(message("A1"))) == Delivered("AA")


@pytest.mark.parametrize("closes", [True, False])
async def test_what_came_instead_of_an_answer_is_told(closes: bool) -> None:
    """In time, or before the receiver closes: its people hear what is wrong with what it sent."""

    async def serve(peer: Peer, _: int) -> None:
        await peer.send(ack(await peer.answer())[:-1])
        if not closes:
            await peer.answer()

    async with serving(serve, ack_timeout="10s" if closes else "200ms") as destination:
        outcome = await destination.deliver(delivery(message("A123")))
    assert isinstance(outcome, Retry)
    why = "the receiver closed the connection without an answer" if closes else "no answer in time"
    assert outcome.why == f"{why}; what came is a frame that ends in 1C without 0D"


async def test_a_nak_of_release_2() -> None:
    """A receiver that could not store the message says so: nobody waits for an answer that will not come."""

    async def serve(peer: Peer, _: int) -> None:
        await peer.answer()
        await peer.send(b"\x0b\x15\x1c\r")
        await peer.answer()

    async with serving(serve, ack_timeout="10m") as destination:
        outcome = await destination.deliver(delivery(message("A1")))
        assert isinstance(outcome, Retry)
        assert (outcome.code, destination.health().connections) == ("nak", 0)


async def test_an_idle_connection_is_kept_alive() -> None:
    """The system asks for a peer that is silent, before a firewall forgets the connection."""
    async with serving(answering) as destination:
        await destination.deliver(delivery(message("A1")))
        (line,) = destination._lines
        assert line._writer is not None
        sock = line._writer.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 120


async def test_an_acknowledgement_is_sent_without_an_answer() -> None:
    """What is itself an acknowledgement is written, and nothing is waited for."""

    async def serve(peer: Peer, _: int) -> None:
        while await peer.answer():
            pass

    async with serving(serve) as destination:
        body = acknowledge(parse(message("A1")), "AA", control_id="1", at=AT)
        assert await destination.deliver(delivery(body)) == Delivered("no answer was asked for")


async def test_our_own_source() -> None:
    """Source and destination speak to each other."""
    channel = Channel()
    async with listening(channel) as source:
        destination = MllpDestination(MllpDestinationOptions(connect=source.health().place), surroundings())
        await destination.open()
        assert await destination.deliver(delivery(message("A1"))) == Delivered("AA")
        await destination.close()
    assert [arrival.data for arrival in channel.arrivals] == [message("A1")]


@pytest.mark.parametrize(
    ("code", "errors", "expected"),
    [
        ("AA", (), Delivered("AA")),
        ("CA", (), Delivered("CA")),
        ("AE", (), Park("AE", "the receiver answered AE")),
        (
            "AR",
            (AckError("MSH^1^9", "200"),),
            Park("200", "the receiver answered AR with condition 200; it says: Unsupported message type"),
        ),
        (
            "AE",
            (AckError("PID^1^3", "204", text="PID-3\x07 is\x1b unknown." + "x" * 999),),
            Park("204", "the receiver answered AE with condition 204; it says: PID-3 is unknown." + "x" * 183),
        ),
        ("CE", (), Park("CE", "the receiver answered CE")),
        ("CR", (), Park("CR", "the receiver answered CR")),
        ("AE", (AckError("PID", "Nguyễn Văn A"),), Park("AE", "the receiver answered AE")),
    ],
)
async def test_what_answers_mean(code: AckCode, errors: tuple[AckError, ...], expected: Outcome) -> None:
    """Accepted is delivered, refused parks with its condition of table 0357, and with what the receiver says of it.

    What may be content is never the code, which logs show; the words are cut, on one line, and for the journal only.
    """

    async def serve(peer: Peer, _: int) -> None:
        await peer.send(ack(await peer.answer(), code, *errors))
        await peer.answer()

    async with serving(serve) as destination:
        assert await destination.deliver(delivery(message("A1"))) == expected


async def test_a_destination_may_see_it_otherwise() -> None:
    """``answers`` says what a code means at this receiver; what it leaves out stays as usual."""

    async def serve(peer: Peer, _: int) -> None:
        for code, text in ((b"AE|A1", b"AE|A1|NGUYEN"), (b"AR", b"AR")):
            await peer.send(ack(await peer.answer(), code.decode()[:2]).replace(code, text))  # type: ignore[arg-type]
        await peer.answer()

    async with serving(serve, answers={"AE": "retry"}) as destination:
        assert await destination.deliver(delivery(message("A1"))) == Retry("the receiver answered AE; it says: NGUYEN", "AE")
        assert destination.health().details["alone"].startswith("the receiver answered AE (1 in a row, since ")  # no content
        assert await destination.deliver(delivery(message("A2"))) == Park("AR", "the receiver answered AR")


async def test_stale_answers_are_skipped() -> None:
    """A server that sends the answers of all earlier messages again is understood: only a matching MSA-2 counts."""

    async def serve(peer: Peer, _: int) -> None:
        seen: list[bytes] = []
        while data := await peer.answer():
            stale = b"".join(ack(earlier, "AE") for earlier in seen)
            seen.append(data)
            await peer.send(stale + ack(data))

    async with serving(serve) as destination:
        for number in range(5):
            assert await destination.deliver(delivery(message(number))) == Delivered("AA")


async def test_an_answer_in_pieces() -> None:
    """Packets of one byte, keep-alives between, no CR before the end block."""

    async def serve(peer: Peer, _: int) -> None:
        data = b"\r\n" + ack(await peer.answer())[:-3] + b"\x1c\r"
        await peer.send(*(data[i : i + 1] for i in range(len(data))))
        await peer.answer()

    async with serving(serve) as destination:
        assert await destination.deliver(delivery(message("A1"))) == Delivered("AA")


async def test_a_late_answer_is_never_the_next_ones() -> None:
    """After a timeout the socket is closed before anything is sent again: the late answer dies with it."""
    gate = asyncio.Event()

    async def serve(peer: Peer, number: int) -> None:
        data = await peer.answer()
        if number == 0:
            await gate.wait()
            await peer.send(ack(data))
        else:
            await peer.send(ack(data, "AE"))
            await peer.answer()

    async with serving(serve, ack_timeout="50ms") as destination:
        assert await destination.deliver(delivery(message("A1"))) == Retry("no answer in time", "ack-timeout")
        health = destination.health()
        assert (health.connections, health.details["alone"].partition(" (")[0]) == (0, "no answer in time")
        gate.set()
        assert await destination.deliver(delivery(message("A1"))) == Park("AE", "the receiver answered AE")
        assert destination.health().problem == ""


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"", "connection"),
        (b"\x0bMSH|^~\\&", "connection"),
        (frame(b"OK"), "bad-ack"),
        (frame(message("A1")), "bad-ack"),
        (b"\x0b" + b"x" * 1_100_000, "bad-ack"),
        (ack(message("other")), "connection"),
    ],
)
async def test_answers_that_are_none(reply: bytes, code: str) -> None:
    """No answer, half of one, one that is no ACK, a huge one, another message's: the outcome is Retry, on a new connection."""

    async def serve(peer: Peer, number: int) -> None:
        data = await peer.answer()
        await peer.send(reply if number == 0 else ack(data))

    async with serving(serve) as destination:
        outcome = await destination.deliver(delivery(message("A1")))
        assert isinstance(outcome, Retry)
        assert outcome.code == code
        assert await destination.deliver(delivery(message("A1"))) == Delivered("AA")


async def test_a_connection_that_ended_while_idle() -> None:
    """Where the receiver closed after its answer, the next delivery connects anew and does not fail."""
    closed = asyncio.Event()

    async def serve(peer: Peer, number: int) -> None:
        await peer.send(ack(await peer.answer()))
        if number == 0:
            peer.writer.close()
            await peer.writer.wait_closed()
            closed.set()

    async with serving(serve) as destination:
        assert await destination.deliver(delivery(message("A1"))) == Delivered("AA")
        await closed.wait()
        (line,) = destination._lines
        assert line._reader is not None
        assert await line._reader.read() == b""
        assert await destination.deliver(delivery(message("A2"))) == Delivered("AA")


async def test_a_connection_that_ends_when_the_next_message_comes() -> None:
    """Where a kept connection breaks before any answer, the same bytes go once more, on a new one, at once."""
    received: list[tuple[int, bytes]] = []

    async def serve(peer: Peer, number: int) -> None:
        data = await peer.answer()
        received.append((number, data))
        await peer.send(ack(data))
        received.append((number, await peer.answer()))

    async with serving(serve) as destination:
        assert await destination.deliver(delivery(message("A1"))) == Delivered("AA")
        assert await destination.deliver(delivery(message("A2"))) == Delivered("AA")
    assert received[:3] == [(0, message("A1")), (0, message("A2")), (1, message("A2"))]


async def test_nobody_there() -> None:
    """A receiver that is down is Retry, and the health says so."""
    destination = MllpDestination(MllpDestinationOptions(connect="127.0.0.1:1"), surroundings())
    await destination.open()
    outcome = await destination.deliver(delivery(message("A1")))
    assert isinstance(outcome, Retry)
    assert outcome.code == "connect"
    assert destination.health().problem.startswith(f"{outcome.why} (1 in a row, since ")


async def test_a_cancelled_delivery_closes_the_socket() -> None:
    """A delivery that is cancelled leaves no connection on which its answer could still come."""
    received = asyncio.Event()

    async def serve(peer: Peer, _: int) -> None:
        await peer.answer()
        received.set()
        assert await peer.answer() == b""

    async with serving(serve) as destination:
        under_way = asyncio.ensure_future(destination.deliver(delivery(message("A1"))))
        await received.wait()
        under_way.cancel()
        with pytest.raises(asyncio.CancelledError):
            await under_way
        assert destination.health().connections == 0


@pytest.mark.parametrize(
    ("body", "media", "code"),
    [
        (b"{}", "fhir", "not-hl7v2"),
        (b"PID|1", "hl7v2", "102"),
        (message(""), "hl7v2", "101"),
        (message("A1", "NTE|1||a\x0bb\r"), "hl7v2", "framing"),
        (message("A1", "NTE|1||a\x1cb\r"), "hl7v2", "framing"),
    ],
)
async def test_what_cannot_be_sent_parks(body: bytes, media: Media, code: str) -> None:
    """FHIR, no HL7, no control id, content that would break its frame: nothing is sent."""
    destination = MllpDestination(MllpDestinationOptions(connect="127.0.0.1:1"), surroundings())
    await destination.open()
    outcome = await destination.deliver(delivery(body, media))
    assert isinstance(outcome, Park)
    assert outcome.code == code


async def test_a_message_that_asks_for_no_answer() -> None:
    """Enhanced mode with NE and NE, with ``acks: sender``: written is delivered."""
    body = message("A1").replace(b"|2.5.1\r", b"|2.5.1|||NE|NE\r")

    async def serve(peer: Peer, _: int) -> None:
        while await peer.answer():
            pass

    async with serving(serve, acks="sender") as destination:
        assert await destination.deliver(delivery(body)) == Delivered("no answer was asked for")


@pytest.mark.parametrize("wrong", [{"connect": "his"}, {"answers": {"XX": "park"}}, {"answers": {"AE": "shrug"}}, {"host": "x"}])
def test_wrong_options(wrong: dict[str, object]) -> None:
    """Options are checked before anything connects."""
    with pytest.raises(ValidationError):
        MllpDestinationOptions.model_validate({"connect": "127.0.0.1:2575", **wrong})
