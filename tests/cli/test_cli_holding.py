"""What an operator sees of a parked delivery that others wait behind."""

from __future__ import annotations

from pathlib import Path

from interop_engine.core.model import Park
from interop_engine.journal import open_journal
from interop_engine.journal.base import HELD
from tests.support.journals import HUB, delivery, forwarded, lease
from tests.support.operating import SITE, run, shown


async def test_who_waits_behind_whom_is_said(tmp_path: Path) -> None:
    """In the listing and in each message: the parked one holds its lanes, and the one behind names it."""
    (tmp_path / "engine.yaml").write_text(SITE % "127.0.0.1:9")
    journal = open_journal(tmp_path / "journal.db")
    await journal.open()
    first, second, other = [await forwarded(journal, delivery(lanes=(lane,))) for lane in ("a", "a", "b")]
    await journal.settle(await lease(journal, HUB), Park("fhir-422", "status is required"), due_at=HELD, took=0.25)
    await journal.close()
    folder = str(tmp_path)
    rows = {row["id"]: row["deliveries"][0] for row in await shown("messages", "list", "--project", folder)}
    assert [(rows[each]["holds"], rows[each]["behind"]) for each in (first, second, other)] == [
        (True, ""),
        (False, first),
        (False, ""),
    ]
    _, text, _ = await run("messages", "list", "--project", folder)
    assert "hub: parked fhir-422 (holds)" in text
    assert f"hub: waiting behind {first}" in text
    assert "(holds its lanes)" in (await run("messages", "show", first, "--project", folder))[1]
    assert f"waits behind what is parked of {first}" in (await run("messages", "show", second, "--project", folder))[1]
    assert "0.250 s" in (await run("messages", "show", first, "--attempts", "--project", folder))[1]
