"""MLLP as a source: a TCP server that answers a message once it is committed, and stays silent where it is not."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from typing import Literal

from pydantic import Field, model_validator

from interop_engine.connectors import events
from interop_engine.connectors.addresses import Address, NetworkText, allowed, networks, read_address
from interop_engine.connectors.base import Acknowledging, ConnectorHealth, Surroundings
from interop_engine.connectors.mllp_connection import PACKET, Connection, PeerInfo
from interop_engine.connectors.tls import HANDSHAKE, TlsServer, peer_names
from interop_engine.core.events import emit
from interop_engine.core.model import Accept
from interop_engine.core.units import Duration, Size

_STOPPING = 8.0  # seconds that commits under way are given when the source stops
_BACKLOG = 1_024
_NO_FILES = 1.0  # seconds until the next connection is taken where the process has no file descriptor for it


class MllpSourceOptions(Acknowledging):
    """Listen for HL7 v2 over MLLP."""

    listen: Address = Field(description="Address and port to listen on.", examples=["0.0.0.0:2575"])
    tls: TlsServer | None = Field(None, description="TLS; without it everything goes in clear.")
    allow: tuple[NetworkText, ...] = Field(
        (), description="Networks that may connect; without any, every one may.", examples=[["10.20.0.0/16"]]
    )
    senders: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Which sending facilities (MSH-4) a client certificate may speak for, by its common or an alternative name."
        " Messages of others are rejected. Without any, every one.",
        examples=[{"lab.hospital.example": ["BV24001"]}],
    )
    max_frame: Size = Field(16_000_000, gt=0, description="The largest message.", examples=["16MB"])
    max_connections: int = Field(1_000, gt=0, description="Connections at a time; more are closed.", examples=["200"])
    max_connections_per_address: int = Field(
        100, gt=0, description="Connections of one address at a time; more are closed.", examples=["10"]
    )
    idle_timeout: Duration = Field(3_600.0, gt=0, description="Silence after which a connection is closed.", examples=["1h"])
    frame_timeout: Duration = Field(120.0, gt=0, description="Time a sender has for one message.", examples=["2m"])
    write_timeout: Duration = Field(30.0, gt=0, description="Time a sender has to read its answers.", examples=["30s"])
    frame_end: Literal["block", "pause"] = Field(
        "block",
        description="What ends a message: block, the end block; pause, an end block before silence or the next message,"
        " for character sets in which its bytes are letters (UTF-16, VPS).",
    )
    commit_bytes: bool = Field(
        False,
        description="MLLP release 2: each message is answered by a commit byte first, 06 where it is stored, 15 where it could"
        " not be.",
    )

    @model_validator(mode="after")
    def _senders_show_certificates(self) -> MllpSourceOptions:
        if self.senders and (self.tls is None or not self.tls.client_ca):
            raise ValueError("senders are told apart by their certificates: add tls with client_ca")
        return self


class MllpSource:
    """The server: one listener, its connections."""

    def __init__(self, options: MllpSourceOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._channel = surroundings.channel
        self._root = surroundings.root
        self._networks = networks(options.allow)
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._peers: dict[asyncio.Task[None], str] = {}  # the task of each connection, and its peer's host
        self._hosts: Counter[str] = Counter()
        self._handshakes: set[asyncio.Task[None]] = set()  # those of them that are not connected yet
        self._connections: set[Connection] = set()
        self._tls: ssl.SSLContext | None = None
        self._place = options.listen

    async def start(self, accept: Accept) -> None:
        """Listen. Raises OSError where the address or a file of the certificate cannot be used."""
        self._accept = accept
        if self._options.tls is not None:
            self._tls = await asyncio.to_thread(self._options.tls.context, self._root)
        host, port = read_address(self._options.listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = self._listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        listener.setblocking(False)
        self._place = "{}:{}".format(*listener.getsockname()[:2])
        self._accepting = asyncio.create_task(self._listen(listener), name=f"{self._channel} listener")

    async def stop(self) -> None:
        """Close the listener, drop half a frame in silence, answer what is under way, close. Twice is harmless.

        What is not answered in ``_STOPPING`` seconds is closed without an answer, and its sender sends it again.
        """
        accepting, self._accepting = self._accepting, None
        if accepting is not None:
            accepting.cancel()
            await asyncio.wait([accepting])
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for task in self._handshakes:
            task.cancel()
        for connection in self._connections:
            connection.stop_reading()
        if self._peers:
            _, late = await asyncio.wait(list(self._peers), timeout=_STOPPING)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def health(self) -> ConnectorHealth:
        """Where it listens, and how many are connected."""
        problem = "" if self._listener is not None else "not listening"
        return ConnectorHealth(place=self._place, connections=len(self._peers), problem=problem)

    async def _listen(self, listener: socket.socket) -> None:
        """Take connections. Who may not connect is closed before a byte is read, TLS or not."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except ConnectionError:  # gone before it was taken
                continue
            except OSError:
                await asyncio.sleep(_NO_FILES)
                continue
            host, port = address[:2]
            if why := self._unwelcome(host):
                emit(events.PeerTurnedAway(self._channel, f"{host}:{port}", why))
                sock.close()
                continue
            self._hosts[host] += 1
            task = asyncio.create_task(self._serve(sock, f"{host}:{port}"))
            self._peers[task] = host
            self._handshakes.add(task)
            task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        host = self._peers.pop(task)
        self._handshakes.discard(task)
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]

    def _unwelcome(self, host: str) -> str:
        if not allowed(host, self._networks):
            return "address not allowed"
        if self._hosts[host] >= self._options.max_connections_per_address:
            return "too many connections of its address"
        return "too many connections" if len(self._peers) >= self._options.max_connections else ""

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            reader, writer = await self._streams(sock)
        except OSError as error:  # ssl.SSLError and a handshake that takes too long are some
            emit(events.ConnectionDropped(self._channel, peer, f"no TLS handshake: {_reason(error)}"))
            return
        self._handshakes.discard(task)
        names = peer_names(writer.get_extra_info("peercert"))
        info = PeerInfo(peer, self._facilities(names), ", ".join(sorted(names)))
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
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE if self._tls else None
            )
        except BaseException:
            sock.close()
            raise
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def _facilities(self, names: frozenset[str]) -> tuple[str, ...] | None:
        if not self._options.senders:
            return None
        return tuple(facility for name in names for facility in self._options.senders.get(name, ()))


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", "") or "").replace("_", " ").lower() or type(error).__name__
