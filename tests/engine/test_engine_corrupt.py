"""A row of the journal that is not as it was written: what needs it parks, and everything else goes on."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from interop_engine.journal.base import Selection
from interop_engine.journal.sqlite import sentstate
from tests.support.node import make_site, running
from tests.support.texts import result


async def test_what_was_sent_of_an_object_parks_what_comes_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A faulty disk has changed what its receivers have: a correction parks, a result of somebody else goes on its way."""
    monkeypatch.setattr(sentstate, "_GENERATION", 1)  # what is indexed is read when it is asked for, and not at the start
    site = make_site(tmp_path)
    async with running(site) as node:
        await node.send("lab-results", result("M1", patient="BN1", filler="F1"))
        for number in range(10, 10 + sentstate._SLICES):
            await node.send("lab-results", result(f"M{number}", patient=f"BN{number}", filler=f"F{number}"))
        await node.settled()
    with apsw.Connection(str(site / "var" / "journal.db")) as connection:
        connection.execute("UPDATE packs SET data = x'00' WHERE id = (SELECT min(id) FROM packs)")
    connection.close()
    async with running(site) as node:
        corrected = result("M2", patient="BN1", filler="F1", status="C", value="6.10", at="20261121093000+0700")
        answers = await node.send("lab-results", corrected, result("M3", patient="BN2", filler="F2"))
        await node.settled()
        rows = await node.runtime.journal.search(Selection(channel="lab-results", limit=2))
        assert {answer.code for answer in answers} == {"AA"}
        assert not node.runtime.failed.is_set()
        assert [(row.control_id, row.state, row.code) for row in rows] == [
            ("M3", "transformed", ""),
            ("M2", "parked", "journal-corrupt"),
        ]
