"""The broker's alarms: it says why it stops reading publishers (memory, disk), and when it reads them again.

RabbitMQ, "Blocked Connection Notifications": ``connection.blocked`` with a reason, once something is published in an alarm;
``connection.unblocked`` when it ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aio_pika.abc import AbstractConnection

# The library announces that it understands both, reads both, and tells nobody: its methods for them are its own.
_BLOCKED = "_Connection__handle_connection_blocked"
_UNBLOCKED = "_Connection__handle_connection_unblocked"


def listen(connection: AbstractConnection, told: Callable[[str], None]) -> None:
    """Tell ``told`` the broker's reason when it stops reading this connection, and an empty text when it reads again."""
    transport = connection.transport
    if transport is None:
        return
    for name, reason in ((_BLOCKED, lambda frame: str(frame.reason or "an alarm")), (_UNBLOCKED, lambda _: "")):
        _wrap(transport.connection, name, reason, told)


def _wrap(connection: Any, name: str, reason: Callable[[Any], str], told: Callable[[str], None]) -> None:
    theirs: Callable[[Any], Awaitable[None]] = getattr(connection, name)

    async def ours(frame: Any) -> None:
        await theirs(frame)
        told(reason(frame))

    setattr(connection, name, ours)
