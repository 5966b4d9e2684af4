"""A TCP proxy that misbehaves: delay, trickle, silence (half-open), cut, reset, refuse; by hand or by a script of (when → what).

    async with FaultProxy(("127.0.0.1", 5672)) as proxy:
        ...                                    # clients connect to proxy.port
        proxy.now(SILENT)                      # from here on nothing passes, and nobody is told
        await proxy.play([At(2.0, RESET), At(2.5, WELL)])

With several targets it connects to the first that answers, as a load balancer before a cluster does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

_CHUNK = 65_536
_NO_LINGER = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN


@dataclass(frozen=True, slots=True)
class Fault:
    """How the network is. ``delay``: seconds each packet takes. ``trickle``: bytes a packet, 0 for as they come.

    ``passes``: False holds everything back in silence, which is a half-open connection for both ends. ``accepts``: False refuses
    new connections. ``ends``: what happens once to the connections there are: ``cut`` (FIN) or ``reset`` (RST).
    """

    delay: float = 0.0
    trickle: int = 0
    passes: bool = True
    accepts: bool = True
    ends: str = ""


WELL = Fault()
SILENT = Fault(passes=False)
CUT = Fault(ends="cut")
RESET = Fault(ends="reset")
AWAY = Fault(ends="reset", accepts=False)


@dataclass(frozen=True, slots=True)
class At:
    """So many seconds after the script began, the network becomes so."""

    seconds: float
    fault: Fault


class FaultProxy:
    """Listens on a port of its own on loopback until the block ends."""

    def __init__(self, *targets: tuple[str, int]) -> None:
        self._targets = targets
        self._fault = WELL
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0
        self.ended = 0  # connections that a fault cut or reset

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def now(self, fault: Fault) -> None:
        """The network is so from here on."""
        self._fault = fault
        if fault.ends:
            self.ended += len(self._writers) // 2
            for writer in tuple(self._writers):
                end_connection(writer, fault.ends)
        self._changed.set()
        self._changed = asyncio.Event()

    async def play(self, script: Sequence[At]) -> None:
        """Do what the script says, at its times."""
        start = asyncio.get_running_loop().time()
        for step in script:
            await asyncio.sleep(start + step.seconds - asyncio.get_running_loop().time())
            self.now(step.fault)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._join(reader, writer)
        finally:
            self._serving.discard(task)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if not self._fault.accepts:
            end_connection(writer, "reset")
            return
        if (far := await self._connect()) is None:
            return
        far_reader, far_writer = far
        self._writers |= {writer, far_writer}
        try:
            both = [asyncio.create_task(self._pass_on(*way)) for way in ((reader, far_writer), (far_reader, writer))]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in both:
                    each.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            self._writers -= {writer, far_writer}
            far_writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for host, port in self._targets:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(host, port)
        return None

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction, until its end."""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                while not self._fault.passes:
                    await self._changed.wait()
                await self._write(writer, data)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        fault = self._fault
        size = fault.trickle or len(data)
        for start in range(0, len(data), size):
            if fault.delay:
                await asyncio.sleep(fault.delay)
            writer.write(data[start : start + size])
            await writer.drain()


def end_connection(writer: asyncio.StreamWriter, how: str) -> None:
    """``reset`` (RST) or ``cut`` (FIN, after what was written)."""
    if how == "reset":
        with contextlib.suppress(OSError):
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        writer.transport.abort()
    else:
        writer.close()
