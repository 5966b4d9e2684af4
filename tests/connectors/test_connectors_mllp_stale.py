"""What a receiver sends beside its answers is no answer to a message that it has not been sent yet."""

from __future__ import annotations

import asyncio
import socket
import struct

from interop_engine.core.model import Delivered
from tests.support.mllp import Peer, message, turns
from tests.support.mllp_receiver import ack, delivery, serving


async def test_a_second_answer_is_none_to_the_next_message_of_that_name() -> None:
    """A sender that writes an order's number into MSH-10 sends several of one name, and a receiver answers one of them twice."""
    came = asyncio.Event()

    async def serve(peer: Peer, _: int) -> None:
        data = await peer.answer()
        await peer.send(ack(data))
        await came.wait()
        await peer.send(ack(data, "AE"))
        while data := await peer.answer():
            await peer.send(ack(data))

    async with serving(serve) as destination:
        assert await destination.deliver(delivery(message("A17"))) == Delivered("AA")
        came.set()
        await turns(50)
        assert await destination.deliver(delivery(message("A17"))) == Delivered("AA")
        assert destination.health().connections == 1


async def test_a_connection_that_was_reset_meanwhile_is_made_anew() -> None:
    """It is no failure: nothing was sent on it."""
    gone = asyncio.Event()
    connections: list[int] = []

    async def serve(peer: Peer, number: int) -> None:
        connections.append(number)
        await peer.send(ack(await peer.answer()))
        if number == 0:
            await gone.wait()
            sock = peer.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it is reset, not ended
            peer.writer.transport.abort()

    async with serving(serve) as destination:
        assert await destination.deliver(delivery(message("A1"))) == Delivered("AA")
        gone.set()
        await turns(50)
        assert await destination.deliver(delivery(message("A2"))) == Delivered("AA")
    assert connections == [0, 1]


async def test_half_a_frame_that_came_meanwhile_is_read_on() -> None:
    """Its end is no answer either; the answer behind it is."""
    came = asyncio.Event()

    async def serve(peer: Peer, _: int) -> None:
        data = await peer.answer()
        stale = ack(data, "AE")
        await peer.send(ack(data))
        await came.wait()
        await peer.send(stale[:30])
        data = await peer.answer()
        await peer.send(stale[30:] + ack(data))
        await peer.answer()

    async with serving(serve) as destination:
        assert await destination.deliver(delivery(message("A1"))) == Delivered("AA")
        came.set()
        await turns(50)
        assert await destination.deliver(delivery(message("A2"))) == Delivered("AA")
