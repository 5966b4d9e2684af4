"""The death of the process loses nothing that was acknowledged, and delivers nothing twice.

The oracle is independent of the engine: what ``interop-engine send`` logged as answered, against the files the receiver has.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.support.node import PORTS, make_site
from tests.support.process import COMMAND, Engine, engine, free_port, until
from tests.support.texts import result

MESSAGES = 2_000
_ENGINE = 'site: Test\nfacility: "24001"\ntimezone: Asia/Ho_Chi_Minh\nstatus: {listen: "127.0.0.1:${STATUS_PORT}"}\n'


def write_messages(folder: Path) -> Path:
    """2,000 results of 50 patients, each of its own order, in one file."""
    path = folder / "messages.hl7"
    texts = [result(f"M{n:05}", patient=f"BN{n % 50:03}", order=f"A{n}", filler=f"F{n}") for n in range(MESSAGES)]
    path.write_bytes(b"".join(texts))
    return path


def answered(log: Path) -> list[str]:
    """The control ids that were answered AA, as the sender saw it."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    return [line["control_id"] for line in lines if line["code"] == "AA"]


def received(folder: Path) -> Counter[str]:
    """How often the receiver has each message: by the digest of its control id, which travels in the Provenance."""
    found: Counter[str] = Counter()
    for file in (folder / "to-hub").glob("*.json"):
        for entry in json.loads(file.read_bytes())["entry"]:
            for entity in entry["resource"].get("entity", ()):
                identifier = entity["what"]["identifier"]
                if identifier["system"].endswith("/control-digest"):
                    found[identifier["value"]] += 1
    return found


def digest(control_id: str) -> str:
    """As the engine writes it into the Provenance."""
    return hashlib.sha256(control_id.encode()).hexdigest()


def start_sending(port: int, messages: Path, log: Path) -> subprocess.Popen[bytes]:
    """``interop-engine send`` over 8 connections."""
    command = [*COMMAND, "send", f"127.0.0.1:{port}", str(messages), "--connections", "8", "--log", str(log), "--timeout", "10"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.faults
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(3))
def test_sigkill_while_messages_come_in(tmp_path: Path, seed: int) -> None:
    """Killed at a random moment under load: every AA arrives after the restart, once; a resend of all completes the rest."""
    folder, port = make_site(tmp_path / "site", engine=_ENGINE), free_port()
    messages, first, second = write_messages(tmp_path), tmp_path / "first.log", tmp_path / "second.log"
    moment = random.Random(seed).randrange(100, MESSAGES - 400)
    with engine(folder, {**PORTS, "LAB_PORT": str(port)}) as running:
        _kill_at(running, start_sending(port, messages, first), first, moment)
        running.start()
        running.settled()
        acknowledged, arrived = answered(first), received(folder)
        assert len(acknowledged) >= moment
        assert {digest(each) for each in acknowledged} <= arrived.keys()
        assert set(arrived.values()) == {1}
        assert start_sending(port, messages, second).wait(200) == 0
        running.settled()
        assert running.get("/health/ready")
    assert received(folder) == {digest(f"M{n:05}"): 1 for n in range(MESSAGES)}


def _kill_at(running: Engine, sender: subprocess.Popen[bytes], log: Path, moment: int) -> None:
    until(lambda: log.exists() and log.read_bytes().count(b"\n") >= moment, f"{moment} messages are answered", 120)
    running.kill()
    sender.wait(120)
