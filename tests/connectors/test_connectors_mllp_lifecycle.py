"""The MLLP server as a whole: who may connect, how many, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket

import pytest
import structlog
from prometheus_client import generate_latest
from pydantic import ValidationError

from interop_engine.connectors import mllp_source
from interop_engine.connectors.addresses import networks, read_address
from interop_engine.connectors.events import PeerTurnedAway
from interop_engine.connectors.listener import Limits, Listener
from interop_engine.connectors.mllp_connection import MllpSourceOptions
from interop_engine.core import events as core_events
from interop_engine.core.crowds import Crowds
from interop_engine.hl7.framing import frame
from interop_engine.ops.metrics import Metrics
from tests.support.mllp import Channel, Peer, code_and_id, connected, listening, message, turns, until


async def test_addresses_that_may_not_connect() -> None:
    """A peer outside the allowed networks is closed unread; one inside is served."""
    channel = Channel()
    async with listening(channel, allow=["10.20.0.0/16"]) as source, connected(source) as peer:
        peer.writer.write(frame(message("A1")))
        assert await peer.ended()
    async with listening(channel, allow=["10.20.0.0/16", "127.0.0.1"]) as source, connected(source) as peer:
        assert code_and_id(await peer.ask(message("A2"))) == ("AA", "A2")
    assert [arrival.data for arrival in channel.arrivals] == [message("A2")]


async def test_a_peer_over_ipv6() -> None:
    """Its address stands in brackets, so that it can be told from its port."""
    channel = Channel()
    async with listening(channel, listen="[::1]:0", allow=["::1"]) as source:
        host, port = read_address(source.health().place)
        reader, writer = await asyncio.open_connection(host, port)
        assert code_and_id(await Peer(reader, writer).ask(message("A1"))) == ("AA", "A1")
        own = writer.get_extra_info("sockname")[1]
        writer.close()
        await until(lambda: source.health().connections == 0)
    assert [arrival.peer for arrival in channel.arrivals] == [f"[::1]:{own}"]


async def test_too_many_connections() -> None:
    """Beyond ``max_connections`` a peer is closed unread, and the health says how many there are."""
    async with listening(Channel(), max_connections="1") as source, connected(source) as first:
        assert code_and_id(await first.ask(message("A1"))) == ("AA", "A1")
        async with connected(source) as second:
            assert await second.ended()
        assert source.health().connections == 1
        assert code_and_id(await first.ask(message("A2"))) == ("AA", "A2")


async def test_who_is_turned_away_again_and_again_is_told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that loops, or a scanner, does not fill the log: a line with how often it was. The metric counts each."""
    now = [1_000.0]
    monkeypatch.setattr(core_events, "_crowds", Crowds(lambda: now[0]))
    metrics = Metrics()
    end = core_events.subscribe(metrics.note)
    with structlog.testing.capture_logs() as lines:
        async with listening(Channel(), allow=["10.20.0.0/16"]) as source:
            for _ in range(20):
                async with connected(source) as peer:
                    assert await peer.ended()
        now[0] += 60
        core_events.emit(core_events.EngineStopped("Test"))
    end()
    told = [(line["peer"].partition(":")[0], line.get("times")) for line in lines if line["event_type"] == "peer_turned_away"]
    assert told == [("127.0.0.1", None), ("127.0.0.1", 19)]
    counted = generate_latest(metrics._registry).decode()
    assert 'interop_engine_events_total{event="peer_turned_away",level="warning"} 20.0' in counted


async def test_who_connects_without_end_gets_no_more_turns_than_others() -> None:
    """A hundred wait to be taken, or turned away: whatever else the engine does has its turn after each of them."""
    happened: list[str] = []

    async def other_work() -> None:
        while True:
            await asyncio.sleep(0)
            happened.append("turn")

    end = core_events.subscribe(lambda event: happened.append("away") if isinstance(event, PeerTurnedAway) else None)
    listener = Listener("lab", Limits(networks=networks(["10.20.0.0/16"])), serve=lambda *_: asyncio.sleep(0))
    host, _, port = listener.bind("127.0.0.1", 0).rpartition(":")
    peers = [socket.create_connection((host, int(port))) for _ in range(100)]
    working = asyncio.create_task(other_work())
    listener.listen()
    await until(lambda: happened.count("away") == 100)
    working.cancel()
    await listener.close()
    end()
    for peer in peers:
        peer.close()
    assert not any(pair == ("away", "away") for pair in itertools.pairwise(happened))


async def test_stop_in_the_middle_of_a_frame() -> None:
    """Half a message is dropped in silence; its sender still has it."""
    channel = Channel()
    async with listening(channel) as source, connected(source) as peer:
        assert code_and_id(await peer.ask(message("A1"))) == ("AA", "A1")
        await peer.send(b"\x0bMSH|^~\\&|LIS")
        await source.stop()
        assert await peer.ended()
        await source.stop()
    assert len(channel.arrivals) == 1


async def test_stop_in_the_middle_of_a_commit() -> None:
    """A commit under way is answered before the connection is closed."""
    channel = Channel()
    channel.gate.clear()
    async with listening(channel) as source, connected(source) as peer:
        await peer.send(frame(message("A1")))
        await channel.entered.acquire()
        stopping = asyncio.ensure_future(source.stop())
        await turns(5)
        assert not stopping.done()
        channel.gate.set()
        assert code_and_id(await peer.answer()) == ("AA", "A1")
        assert await peer.ended()
        await stopping
        assert source.health().problem == "not listening"


async def test_stop_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that does not end is left without an answer; stopping ends all the same."""
    monkeypatch.setattr(mllp_source, "_STOPPING", 0.05)
    channel = Channel()
    channel.gate.clear()
    async with listening(channel) as source, connected(source) as peer:
        await peer.send(frame(message("A1")))
        await channel.entered.acquire()
        await source.stop()
        assert await peer.ended()
        assert source.health().connections == 0


async def test_a_port_in_use() -> None:
    """Start says so."""
    async with listening(Channel()) as source:
        with pytest.raises(OSError, match="in use"):
            async with listening(Channel(), listen=source.health().place):
                pass


async def test_many_senders_at_once() -> None:
    """Connections do not disturb each other: each gets its own answers, in its own order."""
    channel = Channel()

    async def sender(name: int) -> list[tuple[str, str]]:
        async with connected(source) as peer:
            return [code_and_id(await peer.ask(message(f"{name}-{number}"))) for number in range(5)]

    async with listening(channel) as source:
        answers = await asyncio.gather(*(sender(name) for name in range(40)))
    assert answers == [[("AA", f"{name}-{number}") for number in range(5)] for name in range(40)]
    assert len(channel.arrivals) == 200


async def test_a_connection_for_each_message() -> None:
    """A sender that connects anew for each message leaves nothing behind."""
    async with listening(Channel()) as source:
        for number in range(200):
            async with connected(source) as peer:
                assert code_and_id(await peer.ask(message(number))) == ("AA", str(number))
        await until(lambda: source.health().connections == 0)


async def test_stopping_does_not_wait_for_idle_peers() -> None:
    """Open connections without a message under way are closed at once."""
    async with listening(Channel()) as source, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connected(source)) for _ in range(50)]
        await until(lambda: source.health().connections == 50)
        await source.stop()
        assert [await peer.ended() for peer in peers] == [True] * 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"ack": "whenever"},
        {"senders": {"lab": ["24001"]}},
        {"listen": "2575"},
        {"listen": "localhost:99999"},
        {"listen": "::1:2575"},
        {"allow": ["10.20.0.0/99"]},
        {"max_frame": "16 apples"},
        {"idle_timeout": "soon"},
        {"tls": "yes"},
    ],
)
def test_wrong_options(wrong: dict[str, object]) -> None:
    """Every option is checked before anything listens."""
    with pytest.raises(ValidationError):
        MllpSourceOptions.model_validate({"listen": "0.0.0.0:2575", **wrong})
