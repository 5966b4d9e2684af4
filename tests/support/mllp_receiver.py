"""An MLLP destination connected to a receiver that does as a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from interop_engine.connectors.mllp_destination import MllpDestination, MllpDestinationOptions
from interop_engine.core.model import Delivery, Media
from interop_engine.hl7.ack import AckCode, AckError, acknowledge
from interop_engine.hl7.framing import frame
from interop_engine.hl7.message import parse
from tests.support.mllp import AT, Peer, surroundings

Serve = Callable[[Peer, int], Awaitable[None]]


def delivery(body: bytes, media: Media = "hl7v2", *, id_: str = "d1") -> Delivery:
    """A delivery of these bytes."""
    return Delivery(id_, "m1", "lab", "his", (), body, media)


def ack(data: bytes, code: AckCode = "AA", *errors: AckError) -> bytes:
    """A framed answer to a message."""
    return frame(acknowledge(parse(data), code, control_id="1", at=AT, errors=errors))


@contextlib.asynccontextmanager
async def serving(serve: Serve, **options: Any) -> AsyncIterator[MllpDestination]:
    """A destination connected to a server that treats each connection (counted from 0) as ``serve`` does."""
    count = 0

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        try:
            await serve(Peer(reader, writer), count - 1)
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    place = "{}:{}".format(*server.sockets[0].getsockname())
    destination = MllpDestination(MllpDestinationOptions.model_validate({"connect": place, **options}), surroundings())
    await destination.open()
    try:
        yield destination
    finally:
        await destination.close()
        await destination.close()
        server.close()


async def answering(peer: Peer, _: int) -> None:
    """Answer AA to everything."""
    while data := await peer.answer():
        await peer.send(ack(data))
