"""The HTTP server inside the engine's own event loop. Signals stay the engine's: uvicorn installs no handlers.

It serves the status API and HTTP sources. Who may not connect is closed unread, and who begins a request and does not go on is
closed after a while.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from interop_engine.connectors import events
from interop_engine.core.events import emit

Admit = Callable[[str], bool]
"""Whether the host of that address may connect."""

_GRACE = 2  # seconds that requests under way are given
_PATIENCE = 15.0  # seconds a peer has for the head of a request


class _Complaints(logging.Handler):
    """What uvicorn would write into the log as plain text: the kind of an error, as an event. Its words may be content."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] is not None:
            emit(events.RequestFailed(record.exc_info[0].__name__))


_complaints = logging.Logger("uvicorn", logging.WARNING)  # noqa: LOG001 - nobody else's, so it is in no hierarchy
_complaints.addHandler(_Complaints())


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class _Protocol(H11Protocol):
    """One connection. uvicorn bounds the time between requests only: a head that never ends is bounded here."""

    admit: Admit
    patience: float
    channel: str
    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = _complaints

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client is None or not self.admit(self.client[0]):
            transport.abort()
            return
        self._wait(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._unset()
        elif self._deadline is None and not self.transport.is_closing():
            self._wait(self.transport)

    def send_400_response(self, msg: str) -> None:
        peer = "{}:{}".format(*self.client) if self.client is not None else ""
        emit(events.RequestRefused(self.channel, peer, 400, "It is not HTTP."))
        super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset()
        super().connection_lost(exc)

    def _wait(self, transport: asyncio.Transport) -> None:
        self._deadline = self.loop.call_later(self.patience, transport.abort)

    def _unset(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _anyone(host: str) -> bool:
    del host
    return True


class HttpServer:
    """Serves one application on one address."""

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        admit: Admit = _anyone,
        channel: str = "",
    ) -> None:
        """``app`` is an ASGI application, of that channel if of any. Port 0 is any free port; ``address`` tells which."""
        told = {"admit": staticmethod(admit), "patience": _PATIENCE, "channel": channel}
        self._protocol = type("_Admitting", (_Protocol,), told)
        self._app = app
        self._tls = tls
        self._host, self._port = host, port
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.address = ""

    @property
    def connections(self) -> int:
        """How many are connected."""
        return len(self._server.server_state.connections) if self._server is not None else 0

    async def start(self) -> None:
        """Listen. Raises OSError where that is impossible (a port in use, a certificate that cannot be read)."""
        context = await asyncio.to_thread(self._tls) if self._tls is not None else None
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family)
        host, port = listener.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        server = self._server = _Server(self._config(context))
        # Not serve(): that takes over the process's signals.
        self._task = asyncio.create_task(server._serve([listener]), name="http server")  # noqa: SLF001
        up = asyncio.create_task(server.up.wait())
        await asyncio.wait({self._task, up}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()

    async def stop(self) -> None:
        """Answer what is under way, then close. Twice is harmless."""
        task, self._task = self._task, None
        if task is not None and self._server is not None:
            self._server.should_exit = True
            await task

    def _config(self, context: ssl.SSLContext | None) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            http=self._protocol,
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
            ssl_context_factory=(lambda *_: context) if context is not None else None,
        )
