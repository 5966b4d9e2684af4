"""Table 1 of the torture suite, what takes several connections, time, or a peer that does not play by the rules."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import socket
import struct
from pathlib import Path

import pytest

from interop_engine.connectors.events import FrameCut
from interop_engine.core.model import Accepted, Answer, Arrival, Unavailable
from interop_engine.engine.ingress import Ingress
from interop_engine.hl7.ack import acknowledge
from interop_engine.hl7.framing import frame
from interop_engine.hl7.message import parse
from tests.support.certificates import Authority
from tests.support.heard import hearing
from tests.support.mllp import AT, code_and_id, message, until
from tests.support.torture import Torture, tortured

M1 = message("M1")
CONDITIONS = ("", "AL", "NE", "ER", "SU")


async def test_cut_at_every_offset(tmp_path: Path) -> None:
    """A sender that vanishes after any byte of a frame but the last was told nothing, and nothing is kept of it."""
    async with tortured(tmp_path) as torture:
        data = frame(M1)
        for offset in range(len(data)):
            assert await torture.converse([data[:offset]]) == []
        assert await torture.journaled() == []
        assert await torture.converse([data]) == [("AA", "M1")]


@pytest.mark.parametrize("data", [b"\x0b" + M1, b"\x0b" + M1 + b"\x1c", frame(M1) + b"\x0bMSH"])
async def test_a_cut_frame_is_told(tmp_path: Path, data: bytes) -> None:
    """A frame that its connection's end cuts, before its end block or within it, is an event; a whole one is none."""
    async with tortured(tmp_path) as torture:
        with hearing(FrameCut) as heard:
            await torture.converse([data])
            await torture.converse([frame(M1)])
        (event,) = heard
        assert isinstance(event, FrameCut)
        assert (event.channel, event.count) == ("lab", len(data.rpartition(b"\x0b")[2]))


async def test_start_block_then_silence(tmp_path: Path) -> None:
    """The deadline of a frame closes it."""
    async with tortured(tmp_path, "frame_timeout: 100ms") as torture:
        assert await torture.converse([b"\x0bMSH"], close=False) == []
        assert await torture.journaled() == []


def expected(accept: str, application: str, *, good: bool) -> list[str]:
    """What HL7 v2 chapter 2 has a sender hear, written down again beside the engine's own way."""
    asked = {"": False, "AL": True, "NE": False, "ER": not good, "SU": good}
    if not accept and not application:
        return ["AA" if good else "AR"]
    if good:
        return ["CA"] * asked[accept] + ["AA"] * asked[application]
    return ["CR"] if asked[accept] else ["AR"] * asked[application]


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize(("accept", "application"), list(itertools.product(CONDITIONS, CONDITIONS)))
async def test_msh_15_and_msh_16(tmp_path: Path, accept: str, application: str, good: bool) -> None:
    """All 25, for a message that is taken and for one that is not: both acknowledgements, one, or none."""
    data = M1.replace(b"|2.5.1\r", f"|2.5.1|||{accept}|{application}\r".encode())
    data = data if good else data.replace(b"ORU^R01^ORU_R01", b"ADT^A01^ADT_A01")
    async with tortured(tmp_path) as torture:
        heard = []
        async with torture.peer() as peer:
            await peer.send(frame(data))
            peer.writer.write_eof()
            while answer := await peer.answer():
                heard += torture.hear(answer)
                assert parse(answer).control_id != "M1"
        assert heard == [(code, "M1") for code in expected(accept, application, good=good)]
        assert await torture.journaled() == [("taken" if good else "rejected", "M1")]


async def test_reset_after_commit_then_resend(tmp_path: Path) -> None:
    """A sender that never saw its answer sends again: the very same one, and one copy."""
    async with tortured(tmp_path) as torture:
        async with torture.peer() as peer:
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await peer.send(frame(M1))
            await torture.node.until(lambda: _is_there(torture, 1))
            raw = peer.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.writer.transport.abort()
        assert await torture.converse([frame(M1)]) == [("AA", "M1")]
        assert await torture.journaled() == [("taken", "M1")]


async def _is_there(torture: Torture, count: int) -> bool:
    return len(await torture.journaled()) == count


async def test_same_id_other_body(tmp_path: Path) -> None:
    """Control numbers get reset: both are taken."""
    async with tortured(tmp_path) as torture:
        assert await torture.converse([frame(M1), frame(message("M1", "PID|2\r"))]) == [("AA", "M1")] * 2
        assert await torture.journaled() == [("taken", "M1")] * 2


async def test_same_id_on_two_sockets_at_once(tmp_path: Path) -> None:
    """Both are answered, one copy is kept."""
    async with tortured(tmp_path) as torture:
        heard = await asyncio.gather(*(torture.converse([frame(M1)]) for _ in range(20)))
        assert heard == [[("AA", "M1")]] * 20
        assert await torture.journaled() == [("taken", "M1")]


async def test_half_close(tmp_path: Path) -> None:
    """A sender that has ended its side hears all its answers, then the end."""
    async with tortured(tmp_path) as torture, torture.peer() as peer:
        await peer.send(b"".join(frame(message(n)) for n in range(50)))
        peer.writer.write_eof()
        heard = [torture.hear(await peer.answer()) for _ in range(50)]
        assert heard == [[("AA", str(n))] for n in range(50)]
        assert await peer.ended()


async def test_a_peer_that_never_reads(tmp_path: Path) -> None:
    """It is closed after ``write_timeout``; others are served meanwhile, and what was committed stays."""
    async with tortured(tmp_path, "write_timeout: 300ms") as torture, torture.peer() as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        raw = peer.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        name = "X" * 20_000  # each answer holds it
        sending = asyncio.ensure_future(peer.send(*(frame(message(f"{n}{name}")) for n in range(300))))
        assert await torture.converse([frame(M1)]) == [("AA", "M1")]
        source = next(each for each in torture.node.runtime.channels if each.name == "lab")
        await until(lambda: source.source_health.connections == 0)
        sending.cancel()
        await asyncio.wait([sending])


async def test_stop_in_the_middle_of_a_frame_and_of_commits(tmp_path: Path) -> None:
    """SIGTERM under load: every answer is a commit, half a frame is forgotten, and what was not answered may come again."""
    async with tortured(tmp_path) as torture, torture.peer() as busy, torture.peer() as slow:
        await slow.send(b"\x0bMSH|^~\\&|LIS")
        await busy.send(b"".join(frame(message(n)) for n in range(500)))
        heard = torture.hear(await busy.answer())
        stopping = asyncio.ensure_future(
            next(each for each in torture.node.runtime.channels if each.name == "lab").close_source()
        )
        while answer := await busy.answer():
            heard += torture.hear(answer)
        await stopping
        assert await slow.ended()
        assert heard == [("AA", str(n)) for n in range(len(heard))]
        assert (await torture.journaled())[: len(heard)] == [("taken", str(n)) for n in range(len(heard))]


@pytest.mark.parametrize("data", [frame(M1), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["plain-text", "an-HTTP-GET"])
async def test_to_the_tls_port(tmp_path: Path, data: bytes) -> None:
    """Closed, nothing journaled."""
    certificate, key = Authority(tmp_path / "tls").sign("engine")
    async with tortured(tmp_path, f"tls: {{certificate: {certificate}, key: {key}}}") as torture:
        assert await torture.converse([data], close=False) == []
        assert await torture.journaled() == []


async def test_a_thousand_reconnects(tmp_path: Path) -> None:
    """A connection for each message leaves nothing behind: no file descriptor, no task, and each has its answer."""
    async with tortured(tmp_path) as torture:
        await torture.converse([frame(M1)])
        before, tasks = _descriptors(), len(asyncio.all_tasks())
        for n in range(20):
            names = [f"{n}-{m}" for m in range(50)]
            heard = await asyncio.gather(*(torture.converse([frame(message(name))]) for name in names))
            assert heard == [[("AA", name)] for name in names]
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        assert _descriptors() <= before + 2


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_an_endless_frame_takes_no_memory(tmp_path: Path) -> None:
    """However much is sent into one frame, it is cut off at the limit, and the process has not grown by more than that."""
    async with tortured(tmp_path, "max_frame: 1MB") as torture:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sent = 0
        async with torture.peer() as peer:
            with contextlib.suppress(ConnectionError):
                await peer.send(b"\x0b" + M1)
                while True:
                    await peer.send(b"x" * 1_000_000)
                    sent += 1_000_000
        assert sent > 1_000_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes
        assert await torture.journaled() == [("rejected", "M1")]


async def test_idle_connections_of_one_address(tmp_path: Path) -> None:
    """Beyond the limit of an address its connections are closed; those it has are served."""
    async with tortured(tmp_path, "max_connections_per_address: 20") as torture, torture.peer() as first:
        port = torture.node.port("lab")
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        ended = [asyncio.ensure_future(reader.read(1)) for reader, _ in streams]
        await until(lambda: sum(each.done() for each in ended) == 181)
        assert code_and_id(await first.ask(M1)) == ("AA", "M1")
        for task, (_, writer) in zip(ended, streams, strict=True):
            task.cancel()
            writer.close()


async def test_what_follows_a_message_that_cannot_be_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipelining sender keeps its order: nothing behind that message is taken, the connection ends, all come again."""
    accept, full = Ingress.accept, [True]

    async def once_full(self: Ingress, arrival: Arrival) -> Answer:
        if b"|2|" in arrival.data and full:
            full.pop()
            return Unavailable("the disk is full")
        return await accept(self, arrival)

    monkeypatch.setattr(Ingress, "accept", once_full)
    async with tortured(tmp_path) as torture:
        data = b"".join(frame(message(n)) for n in range(1, 6))
        assert await torture.converse([data]) == [("AA", "1")]
        assert await torture.converse([data]) == [("AA", str(n)) for n in range(1, 6)]
        assert await torture.journaled() == [("taken", str(n)) for n in range(1, 6)]


async def test_the_oracle_finds_a_liar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: an engine that acknowledges before its commit, and then has none, is found out."""

    async def lying(self: Ingress, arrival: Arrival) -> Answer:
        return Accepted("1", acknowledge(parse(arrival.data), "AA", control_id="1", at=AT))

    monkeypatch.setattr(Ingress, "accept", lying)
    with pytest.raises(AssertionError, match="M1"):
        await _converse_once(tmp_path)


async def _converse_once(folder: Path) -> None:
    async with tortured(folder) as torture:
        assert await torture.converse([frame(M1)]) == [("AA", "M1")]
