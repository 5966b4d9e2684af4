"""A channel behind which too much waits takes nothing more in until less does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from interop_engine.config import loader
from interop_engine.core.model import Accepted, Arrival, Unavailable
from interop_engine.engine import backlog
from interop_engine.engine.acknowledgement import Verdicts
from interop_engine.engine.ingress import Ingress
from interop_engine.engine.parsed import Parsed
from interop_engine.journal import open_journal
from interop_engine.journal.base import Forward, Journal
from tests.support.journals import DELIVERED, HUB, LAB, delivery, lease, settled
from tests.support.texts import result

_CHANNEL = """\
channel: lab
source: {mllp: {listen: "127.0.0.1:0"}}
accept: [ORU^R01]
otherwise: reject
waiting: {stop: 2}
deliver: [{name: hub, file: {folder: out, send: original}}]
"""


async def offered(ingress: Ingress, control_id: str) -> type:
    """What becomes of one more message."""
    arrival = Arrival(result(control_id), "hl7v2", datetime.now(UTC), "10.0.0.7:1")
    return type(await ingress.accept(arrival))


async def forward(journal: Journal) -> None:
    """The next message is mapped, for one destination."""
    assert await journal.forward(await lease(journal, LAB), Forward((delivery(lanes=()),)))


async def test_a_channel_stops_where_too_much_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To be mapped, or for one destination; nothing is kept of what is refused, and it goes on by itself."""
    monkeypatch.setattr(backlog, "_EVERY", 0.0)
    (tmp_path / "channels").mkdir()
    (tmp_path / "engine.yaml").write_text('site: Test\nfacility: "24001"\n')
    (tmp_path / "channels" / "lab.yaml").write_text(_CHANNEL)
    site = loader.load(tmp_path, {})
    (channel,) = site.channels
    journal = open_journal(tmp_path / "journal.db", reserve=0)
    await journal.open()

    def broken(error: Exception) -> None:
        raise AssertionError(error)

    ingress = Ingress(channel, journal, Parsed(), Verdicts(channel, journal), broken)
    assert [await offered(ingress, each) for each in ("M1", "M2", "M3")] == [Accepted, Accepted, Unavailable]
    await forward(journal)
    assert await offered(ingress, "M4") is Accepted
    await forward(journal)
    await forward(journal)
    assert await offered(ingress, "M5") is Unavailable  # three wait for the hub
    for _ in range(2):
        await settled(journal, DELIVERED, HUB)
    assert await offered(ingress, "M6") is Accepted
    assert await journal.totals() == {"lab": {"transformed": 3, "received": 1}}
    await journal.close()
