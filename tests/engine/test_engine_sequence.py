"""The sequence number protocol (HL7 v2 chapter 2): what is expected is said, and outlives a restart."""

from __future__ import annotations

from pathlib import Path

from interop_engine.hl7.framing import frame
from interop_engine.hl7.message import parse
from interop_engine.journal.base import Selection
from tests.support.mllp import message
from tests.support.torture import Torture, tortured

SOURCE = "sequence_numbers: true"


def numbered(number: object, control_id: str = "", sender: str = "LIS") -> bytes:
    """A result with MSH-13."""
    data = message(control_id or f"M{number}").replace(b"|2.5.1\r", f"|2.5.1|{number}\r".encode())
    return data.replace(b"|LIS|", f"|{sender}|".encode())


async def said(torture: Torture, *messages: bytes) -> list[str]:
    """MSA-1 and MSA-4 of each answer."""
    heard = []
    async with torture.peer() as peer:
        for data in messages:
            await peer.send(frame(data))
            msa = parse(await peer.answer()).first("MSA")
            assert msa is not None
            heard.append(f"{msa.raw(1)} {msa.raw(4)}".strip())
    return heard


async def test_a_link_starts_and_goes_on(tmp_path: Path) -> None:
    """0 asks what is expected (-1: whatever comes), each next number is taken, and each sender has a sequence of its own."""
    async with tortured(tmp_path, SOURCE) as torture:
        assert await said(torture, numbered(0), numbered(7), numbered(8), numbered(0, "again")) == ["AA -1", "AA", "AA", "AA 9"]
        assert await said(torture, numbered(0, "other", "RIS")) == ["AA -1"]
        rows = await torture.node.runtime.journal.search(Selection(search=(("sequence", "LIS|24001"),)))
        assert [row.control_id for row in rows] == ["M8", "M7"]


async def test_out_of_sequence(tmp_path: Path) -> None:
    """A gap, a step back and a missing number are AE with what is expected, and are not taken; the expected one then is."""
    async with tortured(tmp_path, SOURCE) as torture:
        heard = await said(torture, numbered(5), numbered(7), numbered(3), numbered(""), numbered("x"), numbered(6))
        assert heard == ["AA", "AE 6", "AE 6", "AE 6", "AE 6", "AA"]
        assert [state for state, _ in await torture.journaled()] == ["taken", *["rejected"] * 4, "taken"]


async def test_the_last_one_again(tmp_path: Path) -> None:
    """A resend whose answer was lost is answered as before; under another MSH-10 it is kept, and goes nowhere."""
    async with tortured(tmp_path, SOURCE) as torture:
        assert await said(torture, numbered(1), numbered(1), numbered(1, "other"), numbered(2)) == ["AA"] * 4
        states = [(row.control_id, row.code) for row in await torture.node.runtime.journal.search(Selection())]
        assert states == [("M2", ""), ("other", "sequence-again"), ("M1", "")]


async def test_a_restart(tmp_path: Path) -> None:
    """The number stands in the journal."""
    async with tortured(tmp_path, SOURCE) as torture:
        assert await said(torture, numbered(1), numbered(2)) == ["AA", "AA"]
    async with tortured(tmp_path, SOURCE) as torture:
        assert await said(torture, numbered(4), numbered(0), numbered(3)) == ["AE 3", "AA 3", "AA"]


async def test_resynchronizing(tmp_path: Path) -> None:
    """-1: the next number counts, whatever it is."""
    async with tortured(tmp_path, SOURCE) as torture:
        heard = await said(torture, numbered(8), numbered(-1), numbered(0), numbered(1), numbered(2))
        assert heard == ["AA", "AA -1", "AA -1", "AA", "AA"]


async def test_what_is_rejected_for_another_reason_counts(tmp_path: Path) -> None:
    """A message of the right number that the channel does not take was received: its sender goes on with the next."""
    other = numbered(2).replace(b"ORU^R01^ORU_R01", b"ADT^A01^ADT_A01")
    async with tortured(tmp_path, SOURCE) as torture:
        assert await said(torture, numbered(1), other, numbered(3)) == ["AA", "AR", "AA"]


async def test_a_replay_does_not_count(tmp_path: Path) -> None:
    """An operator's replay of an older message leaves the sequence where it is."""
    async with tortured(tmp_path, SOURCE) as torture:
        assert await said(torture, numbered(1), numbered(2)) == ["AA", "AA"]
        oldest = (await torture.node.runtime.journal.search(Selection()))[-1]
        await torture.node.settled()
        await torture.node.runtime.journal.replay(oldest.id)
        assert await said(torture, numbered(3)) == ["AA"]
