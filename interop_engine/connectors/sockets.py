"""What every connection that stays open is told about its socket."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_IDLE = 60  # seconds without a byte after which the peer is asked whether it is there: less than firewalls forget a connection in
_BETWEEN = 15  # seconds between two such questions
_MOST = 4  # of them without an answer end the connection


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Let the system notice that an idle peer is gone, and keep what stands in between from forgetting the connection."""
    sock = writer.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", _IDLE), ("TCP_KEEPINTVL", _BETWEEN), ("TCP_KEEPCNT", _MOST)):
        if (option := getattr(socket, name, None)) is not None:  # not every system has them
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
