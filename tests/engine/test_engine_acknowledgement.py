"""When a sender is told what: ``ack: stored | transformed | delivered``, and both acknowledgements of enhanced mode."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interop_engine.core.events import SenderNotEntitled
from interop_engine.core.model import Arrival, Refused
from interop_engine.hl7.ack import AckError, acknowledge, read_ack
from interop_engine.hl7.framing import frame
from interop_engine.hl7.message import parse
from interop_engine.journal.base import DeliveryState, MessageState, Selection
from tests.support.heard import hearing
from tests.support.mllp import AT, Channel, Peer, code_and_id, listening, message, reply_to, until
from tests.support.node import Node, running
from tests.support.postgres import fresh_journal

ENGINE = 'site: Test\nfacility: "24001"\n'
CHANNEL = """\
channel: lab
source:
  mllp: {{listen: 127.0.0.1:0{source}}}
accept: [ORU^R01]
otherwise: reject
deliver:
  - name: his
    when: {when}
    mllp: {{connect: "{his}"}}
    retry: {{first: 50ms, up_to: 100ms}}
"""
ACKS = """\
  - name: acks
    mllp: {{connect: "{acks}"}}
    retry: {{first: 50ms, up_to: 100ms}}
"""
NOBODY = "127.0.0.1:1"


def site(
    folder: Path, source: str = "", *, his: str = NOBODY, acks: str = NOBODY, when: str = "PID-1 = '1'", journal: str = ""
) -> Path:
    """A channel that hands the original to a HIS; ``source`` is added to the options of its source."""
    (folder / "channels").mkdir(parents=True, exist_ok=True)
    text = CHANNEL + ACKS if "ack_to" in source else CHANNEL
    text = text.format(source=f", {source}" if source else "", his=his, acks=acks, when=when)
    (folder / "channels" / "lab.yaml").write_text(text, encoding="utf-8")
    (folder / "engine.yaml").write_text(ENGINE + (f"journal: {{postgres: {journal}}}\n" if journal else ""), encoding="utf-8")
    return folder


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def journal(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh journal in PostgreSQL, '' for one in a file."""
    return fresh_journal(request.getfixturevalue("postgres")) if request.param == "postgres" else ""


@contextlib.asynccontextmanager
async def sender(node: Node) -> AsyncIterator[Peer]:
    """A connection to the channel."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port("lab"))
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def enhanced(control_id: str, accept: str, application: str, event: str = "ORU^R01^ORU_R01") -> bytes:
    """A message with MSH-15 and MSH-16."""
    data = message(control_id).replace(b"|2.5.1\r", f"|2.5.1|||{accept}|{application}\r".encode())
    return data.replace(b"ORU^R01^ORU_R01", event.encode())


def refusing(arrival: Arrival) -> Refused:
    """A receiver that answers AE."""
    answer = reply_to(arrival)
    return Refused(answer.id, "207", "no", answer.reply.replace(b"MSA|AA", b"MSA|AE"))  # type: ignore[union-attr]


async def test_delivered_waits_for_the_receiver(tmp_path: Path, journal: str) -> None:
    """``ack: delivered``: nothing is said while the receiver works, then AA."""
    his = Channel()
    his.gate.clear()
    async with listening(his) as receiver:
        folder = site(tmp_path, "ack: delivered, ack_destinations: [his]", his=receiver.health().place, journal=journal)
        async with running(folder) as node, sender(node) as peer:
            await peer.send(frame(message("A1")))
            await his.entered.acquire()
            assert not peer.reader._buffer
            his.gate.set()
            assert code_and_id(await peer.answer()) == ("AA", "A1")


async def test_delivered_tells_that_the_receiver_refused(tmp_path: Path) -> None:
    """A delivery that parks is AE with a condition; the message is parked where an operator sees it."""
    async with listening(Channel(answer=refusing)) as receiver:
        folder = site(tmp_path, "ack: delivered", his=receiver.health().place)
        async with running(folder) as node, sender(node) as peer:
            answer = read_ack(await peer.ask(message("A1")))
            assert (answer.code, answer.control_id, answer.error_code) == ("AE", "A1", "207")
            (row,) = await node.runtime.journal.search(Selection(states=("delivery-parked",)))
            assert row.control_id == "A1"


async def test_delivered_hands_on_the_receivers_condition(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The sender hears the receiver's own condition (ERR-3), an operator its words as well; the log holds the former only."""

    def unknown(arrival: Arrival) -> Refused:
        error = AckError("PID^1^3", "204", text="BN00815 is unknown.")
        return Refused("1", "204", "", acknowledge(parse(arrival.data), "AE", control_id="1", at=AT, errors=(error,)))

    async with listening(Channel(answer=unknown)) as receiver:
        folder = site(tmp_path, "ack: delivered", his=receiver.health().place)
        async with running(folder) as node, sender(node) as peer:
            answer = read_ack(await peer.ask(message("A1")))
            assert (answer.code, answer.control_id, answer.error_code) == ("AE", "A1", "204")
            assert "BN00815" not in answer.text
            (row,) = await node.runtime.journal.search(Selection(states=("delivery-parked",)))
            (delivery,) = (await node.runtime.journal.show(row.id)).deliveries
    assert delivery.why == "the receiver answered AE with condition 204; it says: BN00815 is unknown."
    logged = "".join(capfd.readouterr())
    assert "delivery_parked" in logged
    assert "BN00815" not in logged


async def test_past_the_deadline_a_resend_attaches(tmp_path: Path, journal: str) -> None:
    """Silence, then the same message again: it waits for the one under way, and the receiver gets one copy."""
    his = Channel()
    his.gate.clear()
    async with listening(his) as receiver:
        folder = site(tmp_path, "ack: delivered, ack_within: 300ms", his=receiver.health().place, journal=journal)
        async with running(folder) as node:
            async with sender(node) as peer:
                await peer.send(frame(message("A1")) + frame(message("A2")))
                assert await peer.ended()
            his.gate.set()
            async with sender(node) as peer:
                assert code_and_id(await peer.ask(message("A1"))) == ("AA", "A1")
            (row,) = await node.runtime.journal.search(Selection())
            assert (row.control_id, row.arrivals) == ("A1", 2)
    assert [arrival.data for arrival in his.arrivals] == [message("A1")]


async def test_a_restart_between_commit_and_answer(tmp_path: Path, journal: str) -> None:
    """An engine that stops while a sender waits has told no lie: the resend is answered, the receiver has one copy."""
    his = Channel()
    folder = site(tmp_path, "ack: delivered, ack_within: 200ms", journal=journal)
    async with running(folder) as node, sender(node) as peer:
        await peer.send(frame(message("A1")))
        assert await peer.ended()
    async with listening(his) as receiver:
        site(tmp_path, "ack: delivered", his=receiver.health().place, journal=journal)
        async with running(folder) as node, sender(node) as peer:
            assert code_and_id(await peer.ask(message("A1"))) == ("AA", "A1")
    assert [arrival.data for arrival in his.arrivals] == [message("A1")]


async def test_the_same_message_on_two_connections_at_once(tmp_path: Path) -> None:
    """Both wait for the one copy, and both are told."""
    his = Channel()
    his.gate.clear()
    async with listening(his) as receiver:
        folder = site(tmp_path, "ack: delivered", his=receiver.health().place)
        async with running(folder) as node, sender(node) as one, sender(node) as two:
            asked = [asyncio.ensure_future(peer.ask(message("A1"))) for peer in (one, two)]
            await his.entered.acquire()
            his.gate.set()
            assert [code_and_id(await each) for each in asked] == [("AA", "A1")] * 2
    assert len(his.arrivals) == 1


@pytest.mark.parametrize(("to", "state"), [("1", MessageState.TRANSFORMED), ("never", MessageState.FILTERED)])
async def test_transformed_waits_for_the_mapping_alone(tmp_path: Path, to: str, state: MessageState) -> None:
    """``ack: transformed``: AA though nobody can be reached, and also where the message goes nowhere."""
    async with running(site(tmp_path, "ack: transformed", when=f"PID-1 = '{to}'")) as node, sender(node) as peer:
        assert code_and_id(await peer.ask(message("A1"))) == ("AA", "A1")
        (row,) = await node.runtime.journal.search(Selection())
        assert row.state is state


async def test_transformed_tells_that_the_message_parked(tmp_path: Path) -> None:
    """What ``ack: stored`` finds out after its AA is an AE here, and parks all the same."""
    folder = site(tmp_path, "ack: transformed")
    channel = folder / "channels" / "lab.yaml"
    to_nobody = 'exchange: {to: "PID-2", kind: lab, send: original}\n    on_unknown: park\n'
    text = channel.read_text(encoding="utf-8").replace(f'mllp: {{connect: "{NOBODY}"}}\n', to_nobody, 1)
    channel.write_text(text, encoding="utf-8")
    async with running(folder) as node, sender(node) as peer:
        answer = read_ack(await peer.ask(message("A1")))
        assert (answer.code, answer.error_code) == ("AE", "207")
        (row,) = await node.runtime.journal.search(Selection())
        assert (row.state, row.code) == (MessageState.PARKED, "unknown-receiver")


async def test_original_mode_by_the_channel(tmp_path: Path) -> None:
    """``ack_mode: original`` for a sender that fills MSH-15 without meaning it: one AA."""
    async with running(site(tmp_path, "ack_mode: original")) as node, sender(node) as peer:
        await peer.send(frame(enhanced("A1", "NE", "NE")))
        assert code_and_id(await peer.answer()) == ("AA", "A1")
        peer.writer.write_eof()
        assert await peer.ended()


async def test_the_application_answers_later_on_the_same_connection(tmp_path: Path) -> None:
    """CA after the commit, AA once it is delivered; what comes in between is answered meanwhile."""
    his = Channel()
    his.gate.clear()
    async with listening(his) as receiver:
        folder = site(tmp_path, "ack: delivered", his=receiver.health().place)
        async with running(folder) as node, sender(node) as peer:
            assert code_and_id(await peer.ask(enhanced("A1", "AL", "AL"))) == ("CA", "A1")
            assert code_and_id(await peer.ask(enhanced("A2", "AL", "NE"))) == ("CA", "A2")
            his.gate.set()
            assert code_and_id(await peer.answer()) == ("AA", "A1")


async def test_application_acknowledgements_of_their_own_survive_a_restart(tmp_path: Path, journal: str) -> None:
    """``ack_to``: CA says that the other is owed; it is sent after a restart, once, and waits for no answer to itself."""
    source = "ack: delivered, ack_destinations: [his], ack_to: acks"
    folder = site(tmp_path, source, journal=journal)
    async with running(folder) as node, sender(node) as peer:
        for _ in range(2):  # a resend owes no second one
            assert code_and_id(await peer.ask(enhanced("A1", "AL", "AL"))) == ("CA", "A1")
        assert code_and_id(await peer.ask(enhanced("A2", "AL", "AL"))) == ("CA", "A2")
    his = Channel(answer=lambda arrival: refusing(arrival) if b"|A2|" in arrival.data else reply_to(arrival))
    lis = Channel()
    async with listening(his) as receiver, listening(lis) as asker:
        site(folder, source, his=receiver.health().place, acks=asker.health().place, journal=journal)
        async with running(folder) as node:
            await until(lambda: len(lis.arrivals) == 2)
            await node.settled()
    assert sorted(code_and_id(arrival.data) for arrival in lis.arrivals) == [("AA", "A1"), ("AE", "A2")]
    assert [arrival.data for arrival in his.arrivals] == [enhanced(name, "", "") for name in ("A1", "A2")]


@pytest.mark.parametrize(
    ("acks", "asked", "detail"),
    [("original", "|", "AA"), ("accept", "AL|NE", "CA"), ("application", "AL|AL", "AA"), ("sender", "NE|NE", "no answer")],
)
async def test_what_is_sent_on_asks_for_the_answer_that_is_waited_for(tmp_path: Path, acks: str, asked: str, detail: str) -> None:
    """A sender that wants no answer of ours (NE, NE) takes no proof from us: the next hop is asked, and answers.

    Every other byte stays, the journal keeps what was sent, and a resend of the message sends nothing else.
    """
    async with listening_node(tmp_path / "his") as receiver:
        folder = site(tmp_path / "lab", his=f"127.0.0.1:{receiver.port('lab')}")
        text = (folder / "channels" / "lab.yaml").read_text(encoding="utf-8")
        (folder / "channels" / "lab.yaml").write_text(text.replace('"}', f'", acks: {acks}}}'), encoding="utf-8")
        async with running(folder) as node, sender(node) as peer:
            await peer.send(frame(enhanced("A1", "NE", "NE")), frame(enhanced("A1", "NE", "NE")), frame(message("A2")))
            assert code_and_id(await peer.answer()) == ("AA", "A2")
            await node.settled()
            row = (await node.runtime.journal.search(Selection()))[-1]
            (delivery,) = (await node.runtime.journal.show(row.id)).deliveries
            body = (await node.runtime.journal.content(row.id)).data
        (_, taken) = await receiver.runtime.journal.search(Selection())
        sent = (await receiver.runtime.journal.content(taken.id)).data
    assert delivery.state is DeliveryState.DELIVERED
    assert delivery.why.startswith(detail)
    assert body == enhanced("A1", "NE", "NE")
    assert sent == body.replace(b"|NE|NE\r", f"|{asked}\r".encode())


@contextlib.asynccontextmanager
async def listening_node(folder: Path) -> AsyncIterator[Node]:
    """A node that takes results and has nobody to send them to."""
    async with running(site(folder, when="PID-1 = '2'")) as node:
        yield node


async def test_a_forged_facility(tmp_path: Path) -> None:
    """A peer whose certificate names other facilities is answered AR, and its message is no duplicate of the true one's.

    It is said whose certificate that was, and for whom it spoke.
    """
    async with running(site(tmp_path)) as node:
        channel = next(each for each in node.runtime.channels if each.name == "lab")
        forged = Arrival(message("A1"), "hl7v2", AT, "10.20.0.5:40000", facilities=("24002",), certificate="lab.example")
        with hearing(SenderNotEntitled) as heard:
            answer = await channel._ingress.accept(forged)
        assert isinstance(answer, Refused)
        assert (answer.code, read_ack(answer.reply).code) == ("103", "AR")
        assert heard == [SenderNotEntitled("lab", answer.id, "10.20.0.5:40000", "lab.example", "24001")]
        async with sender(node) as peer:
            assert code_and_id(await peer.ask(message("A1"))) == ("AA", "A1")
