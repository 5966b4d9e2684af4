"""Power, writes and syncs that are lost under the journal: what it said was done is done, and nothing is half done."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from interop_engine.journal.sqlite import writer
from tests.support.disk import RecordingDisk, Step, lose_power
from tests.support.journals import Store
from tests.support.lives import broken_promises, live
from tests.support.node import ROOT

_LIVES = 120
_LOSSES = 200
_LOSSES_CARELESS = 40


async def record(folder: Path, *, careless: bool = False) -> list[Step]:
    """Every step of the disk under so many lives, with what was told in between; checkpoints fall into them."""
    with RecordingDisk() as disk:
        async with Store("sqlite", folder / "journal.db").opened() as journal:
            if careless:
                journal._writer._connection.pragma("synchronous", "NORMAL")
            await live(journal, disk.mark, _LIVES)
    return disk.steps


async def losses(steps: list[Step], folder: Path, seeds: range) -> dict[int, list[str]]:
    """The promises broken by a power loss, by seed; none where there are none."""
    found = {}
    for seed in seeds:
        told = lose_power(steps, seed, folder / str(seed))
        if wrong := await broken_promises(folder / str(seed) / "journal.db", told):
            found[seed] = wrong
    return found


@pytest.fixture
def _checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Often enough that power is lost in the middle of some."""
    monkeypatch.setattr(writer, "_CHECKPOINT_PAGES", 150)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("_checkpoints")
async def test_power_loss(tmp_path: Path, scale: int, request: pytest.FixtureRequest) -> None:
    """200 power losses at random moments of receiving, forwarding and settling; each drops what was not synced, or a part."""
    first = int(request.config.getoption("first_seed"))
    steps = await record(tmp_path)
    assert sum(step.what == "sync" for step in steps if step.file == "journal.db") > 3, "checkpoints fell into it"
    assert await losses(steps, tmp_path / "lost", range(first, first + _LOSSES * scale)) == {}


@pytest.mark.faults
@pytest.mark.usefixtures("_checkpoints")
async def test_a_journal_that_does_not_sync_its_commits_is_found_out(tmp_path: Path) -> None:
    """Negative control: with ``synchronous=NORMAL``, which many engines run on, most power losses lose what was acknowledged."""
    found = await losses(await record(tmp_path, careless=True), tmp_path / "lost", range(_LOSSES_CARELESS))
    lost = [seed for seed, wrong in found.items() if any(note.startswith("accepted") for note in wrong)]
    assert len(lost) > _LOSSES_CARELESS // 4


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_sigkill_at_every_write_and_sync(tmp_path: Path) -> None:
    """From creating the journal to settling and closing: killed before or halfway through each change of the disk."""
    command = [sys.executable, "-m", "tests.support.lives", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    deaths = sorted(tmp_path.iterdir())
    assert len(deaths) > 100
    print(f"\n{len(deaths)} deaths")
    for folder in deaths:
        told = (folder / "told").read_text(encoding="ascii").splitlines()
        assert (folder.name, asyncio.run(broken_promises(folder / "journal.db", told))) == (folder.name, [])
