"""MLLP as a source: a TCP server that answers a message once it is committed, and stays silent where it is not."""

from __future__ import annotations

import asyncio
import socket

from interop_engine.connectors import events
from interop_engine.connectors.addresses import read_address
from interop_engine.connectors.base import ConnectorHealth, Surroundings
from interop_engine.connectors.listener import Listener, connect, handshake_fault
from interop_engine.connectors.mllp_connection import PACKET, Connection, MllpSourceOptions, PeerInfo
from interop_engine.connectors.renewed_tls import RenewedTls
from interop_engine.connectors.tls import peer_names
from interop_engine.core.events import emit
from interop_engine.core.model import Accept

_STOPPING = 8.0  # seconds that commits under way are given when the source stops


class MllpSource:
    """The server: one listener, its connections."""

    def __init__(self, options: MllpSourceOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._channel = surroundings.channel
        self._surroundings = surroundings
        self._listener: Listener | None = None
        self._handshakes: set[asyncio.Task[None]] = set()  # those that are not connected yet
        self._connections: set[Connection] = set()
        self._tls: RenewedTls | None = None
        self._place = options.listen

    async def start(self, accept: Accept) -> None:
        """Listen. Raises OSError where the address or a file of the certificate cannot be used."""
        self._accept = accept
        if self._options.tls is not None:
            self._tls = await asyncio.to_thread(RenewedTls, self._options.tls, self._surroundings)
        listener = Listener(self._channel, self._options.limits, self._serve)
        self._place = listener.bind(*read_address(self._options.listen))
        listener.listen()
        self._listener = listener

    async def stop(self) -> None:
        """Close the listener, drop half a frame in silence, answer what is under way, close. Twice is harmless.

        What is not answered in ``_STOPPING`` seconds is closed without an answer, and its sender sends it again.
        """
        listener, self._listener = self._listener, None
        if listener is None:
            return
        await listener.close()
        for task in self._handshakes:
            task.cancel()
        for connection in self._connections:
            connection.stop_reading()
        if tasks := listener.tasks:
            _, late = await asyncio.wait(tasks, timeout=_STOPPING)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def health(self) -> ConnectorHealth:
        """Where it listens, and how many are connected."""
        if self._listener is None:
            return ConnectorHealth(place=self._place, problem="not listening")
        warning = self._tls.problem if self._tls is not None else ""
        return ConnectorHealth(place=self._place, connections=len(self._listener.tasks), warning=warning)

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handshakes.add(task)
        try:
            reader, writer = await self._streams(sock)
        except OSError as error:
            emit(events.ConnectionDropped(self._channel, peer, handshake_fault(error)))
            return
        finally:
            self._handshakes.discard(task)
        names = peer_names(writer.get_extra_info("peercert"))
        info = PeerInfo(peer, self._options.facilities(names), ", ".join(sorted(names)))
        connection = Connection(self._options, self._channel, info, self._accept, reader, writer)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def _streams(self, sock: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=PACKET, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport = await connect(sock, protocol, self._tls)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
