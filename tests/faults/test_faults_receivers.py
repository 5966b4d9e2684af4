"""Receivers and networks that fail, stall, vanish or lose answers: what was acknowledged arrives, as one, in order."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.load import Log
from tests.support.proxy import AWAY, RESET, SILENT, WELL, At, Fault, FaultProxy
from tests.support.receivers import Inbox, Verdict, fhir_receiver, judge, judge_record, longest_pause, mllp_receiver
from tests.support.rig import KEPT, recovery, rig

MESSAGES = 2_000
_TROUBLES = ("500", "503", "429", "stall", "reset", "lost")


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_a_fhir_server_in_trouble(tmp_path: Path, scale: int) -> None:
    """For three quarters of the time 3 of 100 answers are 500, 503, 429, a stall, a reset or silence after the commit."""
    async with rig(tmp_path / "site") as node:
        node.record.troubles, node.record.part = _TROUBLES, 0.03
        sending = asyncio.create_task(node.senders.send(0, MESSAGES * scale))
        await node.recorded(MESSAGES * scale * 3 // 4)
        node.record.part = 0.0
        recovered = time.monotonic()
        await sending
        await node.arrived(300)
        assert set(node.record.made) == set(_TROUBLES)
        assert node.record.inbox.pause_after(recovered) < recovery()
        assert len(node.record.inbox.arrivals) > MESSAGES * scale  # some came twice, as the same
        assert node.verdicts() == (KEPT, KEPT)
        assert await node.checked()


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_an_mllp_receiver_that_loses_its_acknowledgements(tmp_path: Path, scale: int) -> None:
    """Of every fifty messages it takes, it answers one with a reset: it gets it again, the same bytes, before the next."""
    async with rig(tmp_path / "site") as node:
        node.his.loses = 0.02
        await node.senders.send(0, MESSAGES * scale)
        await node.arrived(300)
        assert len(node.his.inbox.arrivals) > MESSAGES * scale
        assert node.verdicts() == (KEPT, KEPT)
        assert await node.checked()


_SCRIPTS = {
    "slow": [At(0.0, Fault(delay=0.02, trickle=700)), At(4.0, WELL)],
    "silent": [At(1.0, SILENT), At(4.0, RESET), At(4.0, WELL)],
    "cut": [At(at / 2, Fault(ends=("cut", "reset")[at % 2])) for at in range(8)],
    "away": [At(1.0, AWAY), At(4.0, WELL)],
}


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("network", _SCRIPTS)
async def test_a_network_in_trouble_on_the_way_in(tmp_path: Path, network: str, scale: int) -> None:
    """Between the senders and the engine everything is slow, silent, cut or away: senders send again, and it stays one copy."""
    async with rig(tmp_path / "site", rate=100) as node, FaultProxy(("127.0.0.1", node.senders.port)) as proxy:
        node.senders.port, node.senders.timeout = proxy.port, 2.0
        sending = asyncio.create_task(node.senders.send(0, 600 * scale))
        await node.acknowledged(20)
        await proxy.play(_SCRIPTS[network])
        well = time.monotonic()
        await sending
        await node.arrived()
        assert node.senders.log.pause_after(well) < recovery()
        assert len(node.senders.log.acknowledged) == 600 * scale
        assert node.verdicts() == (KEPT, KEPT)


async def test_the_oracle_sees_each_fault() -> None:
    """Negative control of the oracle: a lost, a doubled, a late and an unknown message are each counted, and nothing else."""
    async with mllp_receiver() as receiver, fhir_receiver() as record:
        senders = _log_of({"BN1": ["M1", "M2", "M3"], "BN2": ["M4"]})
        for control, data in (("M2", b"2"), ("M1", b"1"), ("M1", b"1"), ("M4", b"4"), ("M4", b"other"), ("M9", b"9")):
            receiver.inbox.note(control, data)
        verdict = judge(senders, receiver.inbox)
        assert verdict == Verdict(lost=1, duplicated=1, inverted=1, unknown=1, late=2)
        assert judge_record(senders, record).lost == 4


def test_the_oracle_sees_a_patient_who_waits() -> None:
    """Between two arrivals, and from the last until now where something of him is acknowledged and has not come."""
    senders = _log_of({"BN1": ["M1", "M2"], "BN2": ["M3"]})
    inbox = Inbox([("M1", ""), ("M3", ""), ("M2", "")], [1.0, 2.0, 5.0], {"M1": 0, "M3": 1, "M2": 2})
    assert longest_pause(senders, inbox, 0.5) == 4.0
    del inbox.first["M3"]
    assert longest_pause(senders, inbox, 0.5) > 4.0


def _log_of(sent: dict[str, list[str]]) -> Log:
    log = Log()
    for patient, controls in sent.items():
        log.sent[patient] = controls
        log.acknowledged |= dict.fromkeys(controls, 0.0)
    return log
