"""A listener: who may connect, and how many at a time. Sources that listen share it, and the options that say so."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from interop_engine.connectors import events
from interop_engine.connectors.addresses import Address, Network, NetworkText, allowed, networks, written
from interop_engine.connectors.options import Options
from interop_engine.connectors.tls import HANDSHAKE, TlsServer
from interop_engine.core.events import emit

_BACKLOG = 1_024
_NO_FILES = 1.0  # seconds until the next connection is taken where the process has no file descriptor for it


@dataclass(frozen=True, slots=True)
class Limits:
    """Who may connect: from which networks (without any, from all), and how many at a time, in all and from one address."""

    networks: tuple[Network, ...] = ()
    connections: int = 1_000
    of_one_address: int = 100


class Listening(Options):
    """The options of a source that others connect to."""

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
    max_connections: int = Field(1_000, gt=0, description="Connections at a time; more are closed.", examples=["200"])
    max_connections_per_address: int = Field(
        100, gt=0, description="Connections of one address at a time; more are closed.", examples=["10"]
    )

    @model_validator(mode="after")
    def _senders_show_certificates(self) -> Listening:
        if self.senders and (self.tls is None or not self.tls.client_ca):
            raise ValueError("senders are told apart by their certificates: add tls with client_ca")
        return self

    @property
    def limits(self) -> Limits:
        """Who may connect."""
        return Limits(networks(self.allow), self.max_connections, self.max_connections_per_address)

    def facilities(self, names: frozenset[str]) -> tuple[str, ...] | None:
        """The facilities that a certificate with these names may speak for; None: any."""
        if not self.senders:
            return None
        return tuple(facility for name in sorted(names) for facility in self.senders.get(name, ()))


class Listener:
    """Takes connections, and holds a task for each as long as it lasts."""

    def __init__(self, channel: str, limits: Limits, serve: Callable[[socket.socket, str], Coroutine[Any, Any, None]]) -> None:
        """``serve`` is given the socket of a connection and its peer's address; it ends with the connection."""
        self._channel, self._limits, self._serve = channel, limits, serve
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._peers: dict[asyncio.Task[None], str] = {}  # the task of each connection, and its peer's host
        self._hosts: Counter[str] = Counter()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """One for each connection, those in a handshake too."""
        return list(self._peers)

    def bind(self, host: str, port: int) -> str:
        """Take the address; nobody is let in yet. Says which port it is, for 0 is any. Raises OSError where it cannot be used."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = self._listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except socket.gaierror as error:
            raise OSError(error.errno, f"{written(host, port)}: {error.strerror}") from None
        except OSError as error:
            raise OSError(error.errno, f"{written(host, port)}: {os.strerror(error.errno or 0)}") from None
        listener.setblocking(False)
        return written(*listener.getsockname()[:2])

    def listen(self) -> None:
        """Let peers in."""
        assert self._listener is not None
        self._accepting = asyncio.create_task(self._accept(self._listener), name=f"{self._channel} listener")

    async def close(self) -> None:
        """Let no more in; the connections stay. Twice is harmless."""
        accepting, self._accepting = self._accepting, None
        if accepting is not None:
            accepting.cancel()
            await asyncio.wait([accepting])
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        """Take connections. Who may not connect is closed before a byte is read, TLS or not."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0)  # who connects without end gets no more turns than others: taking one that waits gives none
            try:
                sock, address = await loop.sock_accept(listener)
            except ConnectionError:  # gone before it was taken
                continue
            except OSError:
                await asyncio.sleep(_NO_FILES)
                continue
            host, port = address[:2]
            if why := self._unwelcome(host):
                emit(events.PeerTurnedAway(self._channel, written(host, port), why))
                sock.close()
                continue
            self._hosts[host] += 1
            task = asyncio.create_task(self._serve(sock, written(host, port)))
            self._peers[task] = host
            task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        host = self._peers.pop(task)
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]

    def _unwelcome(self, host: str) -> str:
        if not allowed(host, self._limits.networks):
            return "address not allowed"
        if self._hosts[host] >= self._limits.of_one_address:
            return "too many connections of its address"
        return "too many connections" if len(self._peers) >= self._limits.connections else ""


async def connect(sock: socket.socket, protocol: asyncio.Protocol, tls: ssl.SSLContext | None) -> asyncio.Transport:
    """Let a protocol serve a connection. Raises OSError where there is no TLS handshake in time."""
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, sock, ssl=tls, ssl_handshake_timeout=HANDSHAKE if tls else None
        )
    except BaseException:
        sock.close()
        raise
    return transport


def handshake_fault(error: OSError) -> str:
    """Why there was no TLS handshake, in words; ssl.SSLError, and a handshake that takes too long, are OSErrors too."""
    reason = str(getattr(error, "reason", "") or "").replace("_", " ").lower() or type(error).__name__
    return f"no TLS handshake: {reason}"
