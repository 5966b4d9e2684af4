"""Three RabbitMQ nodes on one machine, one epmd and one cookie between them; a quorum of two goes on without the third."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.broker import Broker


@dataclass(frozen=True)
class Cluster:
    """The nodes, joined; queues made now have a replica on each."""

    nodes: Sequence[Broker]

    @property
    def url(self) -> str:
        """Of all of them."""
        return self.nodes[0].url_of(*self.nodes)

    def cut_off(self, node: Broker) -> None:
        """Part a node from the others, whose clients reach it still: it does not know their word any more, nor they its."""
        self._words(node, dict.fromkeys(self._others(node), "parted"))
        node.control("eval", f"[erlang:disconnect_node(Each) || Each <- [{','.join(self._others(node))}]].")

    def bring_back(self, node: Broker) -> None:
        """Let it find the others again."""
        self._words(node, dict.fromkeys(self._others(node), node.cookie))

    def _others(self, node: Broker) -> list[str]:
        return [f"'{each.node}'" for each in self.nodes if each is not node]

    def _words(self, node: Broker, words: dict[str, str]) -> None:
        node.control("eval", ", ".join(f"erlang:set_cookie({other}, '{word}')" for other, word in words.items()) + ".")


@contextlib.contextmanager
def running_cluster(count: int = 3) -> Iterator[Cluster]:
    """A cluster while the block runs."""
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
        yield Cluster(nodes)
