"""TLS whose files a site renews while the engine runs: who connects from then on meets the renewed certificate."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from interop_engine.connectors.base import Surroundings
from interop_engine.connectors.events import CertificateNotTaken, CertificateTaken
from interop_engine.connectors.tls import TlsPeer, TlsServer, faults, files
from interop_engine.core.events import emit

_Look = tuple[tuple[int, int, int, int] | None, ...]  # of each file what changes with it; None where it is not there


class RenewedTls(ssl.SSLContext):
    """What connections are wrapped in: each in the context of the files as they are when it begins.

    Files that cannot be used (one of a pair written, the other not yet) leave the context before them in use. That is told once,
    and they are tried again when they have changed. Safe in threads: some clients wrap in one.
    """

    def __new__(cls, options: TlsServer | TlsPeer, surroundings: Surroundings) -> Self:
        """Itself it holds no certificate, and lets nobody through."""
        del surroundings
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER if isinstance(options, TlsServer) else ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, options: TlsServer | TlsPeer, surroundings: Surroundings) -> None:
        """Raises OSError (ssl.SSLError too) where a file cannot be used."""
        self._options = options
        self._surroundings = surroundings
        self._files = [Path(surroundings.root, name) for name in files(options)]
        self._problem = ""
        self._looking = threading.Lock()
        self._seen = self._look()
        self._context = options.context(surroundings.root)

    @property
    def problem(self) -> str:
        """Why the files as they are now cannot be used; empty while they are."""
        self._current()
        return self._problem

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See ``ssl.SSLContext``."""
        return self._current().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """See ``ssl.SSLContext``."""
        self._current().set_alpn_protocols(alpn_protocols)

    def _current(self) -> ssl.SSLContext:
        """The context of the files as they are, or of how they were when they could be used."""
        with self._looking:
            seen = self._look()  # before they are read: what is written meanwhile differs from it
            if seen != self._seen:
                self._seen = seen
                self._read()
            return self._context

    def _read(self) -> None:
        options, root = self._options, self._surroundings.root
        place = (self._surroundings.channel, self._surroundings.name)
        try:
            self._context = options.context(root)
        except OSError as error:
            found = (fault.message for fault in faults(options, root, datetime.now(UTC)) if fault.is_unusable)
            why = next(found, type(error).__name__)
            if why != self._problem:
                emit(CertificateNotTaken(*place, why))
            self._problem = why
        else:
            self._problem = ""
            emit(CertificateTaken(*place))

    def _look(self) -> _Look:
        return tuple(map(_of_file, self._files))


def _of_file(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns  # the last with its permissions, too
