"""The simulated hospital system: frames out, acknowledgements in, over real TCP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from interop_engine.demo import messages
from interop_engine.demo.messages import Stamp
from interop_engine.demo.people import ANH
from interop_engine.demo.systems import HospitalSystem, NoAnswer
from interop_engine.hl7.ack import acknowledge
from interop_engine.hl7.framing import Decoder, Frame, frame
from interop_engine.hl7.message import parse

MESSAGE = messages.admission("A04", ANH, Stamp("T-1", "202603020700"))


class Engine:
    """Answers each frame with ``answers``' next; an empty one closes the connection."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.received: list[bytes] = []
        self.connections = 0
        self.tasks: list[asyncio.Task[None] | None] = []

    async def __aenter__(self) -> int:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await asyncio.gather(*(task for task in self.tasks if task))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.tasks.append(asyncio.current_task())
        decoder = Decoder(max_frame=100_000)
        while received := await reader.read(65_536):
            for event in decoder.feed(received):
                assert isinstance(event, Frame)
                self.received.append(event.data)
                answer = self.answers.pop(0)
                writer.write(answer)
                if not answer:
                    break
            else:
                continue
            break
        writer.close()
        await writer.wait_closed()


def ack(code: str = "AA") -> bytes:
    """A framed acknowledgement of MESSAGE."""
    return frame(acknowledge(parse(MESSAGE), code, control_id="1", at=datetime(2026, 3, 2, tzinfo=UTC)))  # type: ignore[arg-type]


async def test_send() -> None:
    """A message goes out framed on one connection, and each answer is written down."""
    engine = Engine(ack(), ack("AE"))
    async with engine as port, HospitalSystem("HIS", port) as system:
        first, second = await system.send(MESSAGE), await system.send(MESSAGE)
    assert engine.received == [MESSAGE, MESSAGE]
    assert engine.connections == 1
    assert [first.code, second.code] == ["AA", "AE"]
    assert first.ack is not None
    assert first.ack.control_id == "T-1"
    assert system.sent == [first, second]


async def test_answer_that_is_no_ack() -> None:
    """What is answered is kept, whatever it is."""
    async with Engine(frame(b"hello")) as port, HospitalSystem("HIS", port) as system:
        sent = await system.send(MESSAGE)
    assert (sent.answer, sent.ack, sent.code) == (b"hello", None, "")


async def test_closed_connection() -> None:
    """A connection closed in silence is no answer; the next message opens another."""
    engine = Engine(b"", ack())
    async with engine as port, HospitalSystem("HIS", port) as system:
        with pytest.raises(NoAnswer, match="HIS got no answer"):
            await system.send(MESSAGE)
        assert (await system.send(MESSAGE)).code == "AA"
    assert engine.connections == 2


async def test_nobody_answers_in_time() -> None:
    """A peer that stays silent is given up."""
    async with Engine(b" ") as port, HospitalSystem("HIS", port, timeout=0.05) as system:
        with pytest.raises(NoAnswer):
            await system.send(MESSAGE)


async def test_nobody_listens() -> None:
    """A refused connection is no answer either."""
    async with Engine() as port:
        pass
    with pytest.raises(NoAnswer):
        await HospitalSystem("HIS", port).send(MESSAGE)
