"""A node that takes results over MLLP and writes them down, and the oracle of the torture table.

The oracle reads what the peer was told and what the journal holds, and nothing of the engine's own opinion.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from interop_engine.hl7.ack import Ack, read_ack
from interop_engine.hl7.batch import split_batch
from interop_engine.hl7.framing import COMMITTED, NOT_COMMITTED
from interop_engine.journal.base import Selection
from tests.support.mllp import Peer
from tests.support.node import Node, running

ENGINE = 'site: Test\nfacility: "24001"\n'
CHANNEL = """\
channel: lab
source:
  mllp: {{listen: 127.0.0.1:0{source}}}
accept: [ORU^R01]
otherwise: reject
deliver:
  - name: out
    file: {{folder: out, send: original}}
"""

Told = tuple[str, str]
"""MSA-1 and MSA-2 of an answer."""


@dataclass
class Torture:
    """A node under torture, and what its peers were told so far."""

    node: Node
    told: list[Ack] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A connection to it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.node.port("lab"))
        try:
            yield Peer(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def converse(self, packets: Sequence[bytes], *, close: bool = True) -> list[Told]:
        """Send packets on a connection of their own, and hear everything until it ends: by us, unless ``close`` is False."""
        heard = []
        async with self.peer() as peer:
            with contextlib.suppress(ConnectionError):
                await peer.send(*packets)
                if close:
                    peer.writer.write_eof()
            while answer := await peer.answer():
                heard += self.hear(answer)
        return heard

    def hear(self, answer: bytes) -> list[Told]:
        """Note an answer, or each of a batch of them. A commit byte is heard by its number."""
        if answer in (COMMITTED, NOT_COMMITTED):
            return [(answer.hex(), "")]
        acks = [read_ack(part) for part in split_batch(answer)]
        self.told += acks
        return [(ack.code, ack.control_id) for ack in acks]

    async def journaled(self) -> list[tuple[str, str]]:
        """State and MSH-10 of every message the journal holds, in the order they came."""
        rows = await self.node.runtime.journal.search(Selection(limit=5_000))
        return [(_word(row.state), row.control_id) for row in reversed(rows)]

    async def lied(self) -> list[Told]:
        """What a peer was told and the journal does not know: an acceptance, or a refusal, of a message that is not there."""
        rows = await self.journaled()
        states = {("taken" if code in ("AA", "CA") else "rejected", control_id) for code, control_id in self._codes()}
        return sorted(states - set(rows))

    def _codes(self) -> list[Told]:
        return [(ack.code, ack.control_id) for ack in self.told]


def _word(state: str) -> str:
    return "rejected" if state == "rejected" else "taken"


@contextlib.asynccontextmanager
async def tortured(folder: Path, source: str = "") -> AsyncIterator[Torture]:
    """A node; ``source`` is added to the options of its source. At the end nothing it said may be a lie."""
    (folder / "channels").mkdir(parents=True, exist_ok=True)
    text = CHANNEL.format(source=f", {source}" if source else "")
    (folder / "channels" / "lab.yaml").write_text(text, encoding="utf-8")
    (folder / "engine.yaml").write_text(ENGINE, encoding="utf-8")
    async with running(folder) as node:
        torture = Torture(node)
        yield torture
        lies = await torture.lied()
        assert not lies, f"told, but not in the journal: {lies}"
