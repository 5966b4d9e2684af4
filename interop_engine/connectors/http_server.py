"""The HTTP server inside the engine's own event loop. Signals stay the engine's: uvicorn installs no handlers.

It serves the status API and HTTP sources. uvicorn speaks HTTP, the connections are a ``Listener``'s: who may not connect is
closed before a byte is read, TLS or not. Who begins a request and does not go on is closed after a while.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from interop_engine.connectors import events
from interop_engine.connectors.addresses import written
from interop_engine.connectors.listener import Limits, Listener, connect, handshake_fault
from interop_engine.connectors.tls import peer_names
from interop_engine.core.events import emit

_GRACE = 2  # seconds that requests under way are given
_PATIENCE = 15.0  # seconds a peer has for the head of a request, and to read on in an answer
_HEAD = 65_536  # bytes of the head of a request, at most
_CHUNKS = 1_000  # of one packet that may be of any size
_SMALL = 16  # bytes
CERTIFICATE = "certificate"
"""The key in a request's state of the names in its peer's certificate."""


class _Complaints(logging.Handler):
    """What uvicorn would write into the log as plain text: the kind of an error, as an event. Its words may be content."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] not in (None, asyncio.CancelledError):  # which is a stop of ours
            emit(events.RequestFailed(record.exc_info[0].__name__))


_complaints = logging.Logger("uvicorn", logging.WARNING)  # noqa: LOG001 - nobody else's, so it is in no hierarchy
_complaints.addHandler(_Complaints())
logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)  # the server's own words, for people: of a stop, say


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class _Reading(h11.Connection):
    """Refuses a body in chunks that are smaller than what frames them: a packet of such took a second from everybody else."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, _HEAD)
        self._chunks = self._bytes = 0  # of the packet that is read

    def receive_data(self, data: bytes) -> None:
        self._chunks = self._bytes = 0
        super().receive_data(data)

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._chunks += 1
            self._bytes += len(event.data)
            if self._chunks > _CHUNKS and self._bytes < self._chunks * _SMALL:
                raise h11.RemoteProtocolError("Its chunks are too small.")
        return event


class _Protocol(H11Protocol):
    """One connection.

    uvicorn bounds the time between requests only: a head that never ends is bounded here, and so is an answer that nobody
    reads. A peer that has ended its side after a whole request is answered, which uvicorn alone would not.
    """

    def __init__(self, server: _Server, channel: str) -> None:
        super().__init__(server.config, server.server_state, {})
        self.conn = _Reading()
        self.logger = _complaints
        self.gone = asyncio.Event()
        self._channel = channel
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._ended = False  # the peer sends no more

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {CERTIFICATE: peer_names(transport.get_extra_info("peercert"))}
        self._wait(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._unset()
        elif self._deadline is None and not self.transport.is_closing():
            self._wait(self.transport)

    def eof_received(self) -> bool:  # type: ignore[override]
        cycle = self.cycle
        self._ended = cycle is not None and not cycle.more_body and not cycle.response_complete
        return self._ended and self.scheme == "http"  # TLS cannot end one side alone

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which begins with the next request, where one was sent ahead
        if self._ended and self.cycle.response_complete:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(_PATIENCE, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_on()

    def send_400_response(self, msg: str) -> None:
        peer = written(*self.client) if self.client is not None else ""
        emit(events.RequestRefused(self._channel, peer, 400, "It is not HTTP."))
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # it is answered already
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset()
        self._read_on()
        super().connection_lost(exc)
        self.gone.set()

    def _wait(self, transport: asyncio.Transport) -> None:
        self._deadline = self.loop.call_later(_PATIENCE, transport.abort)

    def _read_on(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _unset(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class HttpServer:
    """Serves one application on one address."""

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        channel: str = "",
    ) -> None:
        """``app`` is an ASGI application, of that channel if of any. Port 0 is any free port; ``address`` tells which."""
        self._app = app
        self._tls = tls
        self._host, self._port = host, port
        self._channel = channel
        self._listener = Listener(channel, limits or Limits(), self._serve)
        self._server = _Server(self._config())
        self._task: asyncio.Task[None] | None = None
        self.address = ""

    @property
    def connections(self) -> int:
        """How many are connected."""
        return len(self._listener.tasks)

    async def start(self) -> None:
        """Listen. Raises OSError where that is impossible (a port in use)."""
        self.address = self._listener.bind(self._host, self._port)
        # Not serve(): that takes over the process's signals. No sockets: the connections are the listener's.
        self._task = asyncio.create_task(self._server._serve([]), name="http server")  # noqa: SLF001
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({self._task, up}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        self._listener.listen()

    async def stop(self) -> None:
        """Answer what is under way, then close. Twice is harmless."""
        await self._listener.close()
        task, self._task = self._task, None
        if task is not None:
            self._server.should_exit = True
            await task
        for connection in (connections := self._listener.tasks):
            connection.cancel()
        if connections:
            await asyncio.wait(connections)

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        protocol = _Protocol(self._server, self._channel)
        try:
            transport = await connect(sock, protocol, self._tls)
        except OSError as error:
            emit(events.ConnectionDropped(self._channel, peer, handshake_fault(error)))
            return
        try:
            await protocol.gone.wait()
        finally:
            if not protocol.gone.is_set():
                transport.abort()

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            http="h11",
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
