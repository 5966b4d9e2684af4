"""Three RabbitMQ nodes on one machine, one epmd and one cookie between them; a quorum of two goes on without the third."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.broker import Broker


@contextlib.contextmanager
def running_cluster(count: int = 3) -> Iterator[list[Broker]]:
    """The nodes, joined; queues made now have a replica on each."""
    with (
        tempfile.TemporaryDirectory(prefix="interop-cluster-", ignore_cleanup_errors=True) as name,
        contextlib.ExitStack() as stack,
    ):
        first: Broker | None = None
        nodes = []
        for number in range(count):
            node = Broker(Path(name) / str(number), beside=first)
            stack.callback(node.stop)
            node.start()
            if first is not None:
                for step in (("stop_app",), ("join_cluster", first.node), ("start_app",)):
                    node.control(*step)
            first = first or node
            nodes.append(node)
        yield nodes
