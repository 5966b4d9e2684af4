"""The HTTP server inside the engine's own event loop. Signals stay the engine's: uvicorn installs no handlers."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from fastapi import FastAPI

_GRACE = 2  # seconds that requests under way are given


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class HttpServer:
    """Serves one application on one address."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        """Port 0 is any free port; ``address`` tells which."""
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=_GRACE
        )
        self._server = _Server(config)
        self._host, self._port = host, port
        self._task: asyncio.Task[None] | None = None
        self.address = ""

    async def start(self) -> None:
        """Listen. Raises OSError where that is impossible (a port in use)."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family)
        host, port = listener.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        # Not serve(): that takes over the process's signals.
        self._task = asyncio.create_task(self._server._serve([listener]), name="http server")  # noqa: SLF001
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({self._task, up}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()

    async def stop(self) -> None:
        """Answer what is under way, then close. Twice is harmless."""
        task, self._task = self._task, None
        if task is not None:
            self._server.should_exit = True
            await task
