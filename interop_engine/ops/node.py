"""One node at work, with its status API: what ``interop-engine run`` runs."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from interop_engine.connectors.addresses import read_address
from interop_engine.connectors.http_server import HttpServer
from interop_engine.engine.runtime import Runtime
from interop_engine.ops.api import Watch, application

if TYPE_CHECKING:
    from interop_engine.config.site import Site


class Node:
    """The runtime, watched. The API is up before the first message and until the last one is settled."""

    def __init__(self, site: Site) -> None:
        self.runtime = Runtime(site)
        self._watch = Watch(self.runtime)
        host, port = read_address(site.options.status.listen)
        self._server = HttpServer(application(self._watch, host), host, port)

    @property
    def address(self) -> str:
        """Where the API listens, empty before the start."""
        return self._server.address

    async def start(self) -> None:
        """Start all of it. Raises OSError where the API cannot listen, JournalError where the journal cannot be opened."""
        try:
            await self._listen()
            await self.runtime.start()
        except BaseException:
            await self.stop()
            raise

    async def _listen(self) -> None:
        try:
            await self._server.start()
        except OSError as error:
            hint = ": another program has it, or an engine that runs already" if error.errno == errno.EADDRINUSE else ""
            raise OSError(error.errno, f"The status API cannot listen on {error.strerror}{hint}") from None

    async def stop(self) -> None:
        """Stop intake, finish what is under way, close. Twice is harmless."""
        await self.runtime.stop()
        await self._server.stop()
        self._watch.close()
