"""A message over MLLP leaves only while its delivery is this node's."""

from __future__ import annotations

import pytest

from interop_engine.connectors.base import deliver_while
from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Delivered
from tests.support.mllp import Peer, message
from tests.support.mllp_receiver import ack, delivery, serving


async def test_a_message_does_not_leave_once_its_delivery_may_be_anothers() -> None:
    """Nor again, where a kept connection is found to be closed: meanwhile the node may have stood still."""
    got: list[bytes] = []

    async def serve(peer: Peer, _: int) -> None:
        data = await peer.answer()
        got.append(data)
        await peer.send(ack(data))
        got.append(await peer.answer())  # and closes without an answer

    answers = [True, True, False]
    deliver_while(lambda: answers.pop(0))
    async with serving(serve) as destination:
        assert await destination.deliver(delivery(message(1))) == Delivered("AA")
        with pytest.raises(UnknownItem):
            await destination.deliver(delivery(message(2)))
    assert (answers, got) == ([], [message(1), message(2)])
