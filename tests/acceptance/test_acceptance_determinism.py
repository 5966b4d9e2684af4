"""The same message gives the same ids and bytes: in another process, folder or order, with other line ends, at any time."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from interop_engine.config import loader
from interop_engine.engine.single import choose, map_message
from interop_engine.hl7.message import parse
from interop_engine.mapping.program import Program
from tests.support.corpus import ROOT, corpus, samples
from tests.support.node import make_site, running
from tests.support.process import COMMAND
from tests.support.texts import admission, merge, order, result

AT = datetime(2026, 3, 1, tzinfo=UTC)


def transform(files: Iterable[Path], folder: Path, seed: int, *, site: Path = ROOT) -> list[str]:
    """What a process of its own prints, its hashes seeded, in a folder of its own."""
    command = [*COMMAND, "transform", "--project", str(site), "--received-at", "2026-03-01T08:00:00+07:00", *map(str, files)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(seed)}
    done = subprocess.run(command, capture_output=True, cwd=folder, env=environment, check=False)
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("source", [samples, corpus], ids=["samples", "corpus"])
def test_bytes_depend_on_the_message_alone(tmp_path: Path, source: Any) -> None:
    """Two processes, two seeds, two folders, the messages forwards, then backwards, then all of them again: the same bytes."""
    files = source()
    once = transform(files, ROOT, 1)
    again = transform([*reversed(files), *files], tmp_path, 2)
    assert len(once) >= 10
    assert sorted(again) == sorted([*once, *once])
    assert again[len(once) :] == once


def test_bytes_do_not_depend_on_where_the_site_lies(tmp_path: Path) -> None:
    """The same site, copied to another folder."""
    copy = make_site(tmp_path / "site", engine=(ROOT / "engine.yaml").read_text(encoding="utf-8"))
    assert transform(samples(), tmp_path, 3, site=copy) == transform(samples(), ROOT, 3)


def test_without_a_time_of_receipt_the_message_s_own_counts(tmp_path: Path) -> None:
    """Nothing in a bundle reads a clock: MSH-7 stands for the time of receipt, which is not known here."""
    file = samples()[0]
    command = [*COMMAND, "transform", "--project", str(ROOT), str(file)]
    first, second = (subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout for _ in range(2))
    assert json.loads(first)["resourceType"] == "Bundle"
    assert first == second


@pytest.mark.parametrize("file", samples(), ids=lambda file: file.stem)
def test_line_ends_change_no_resource(file: Path) -> None:
    """CR, LF, CRLF: the same resources. Only the Provenance differs, since it names the digest of the bytes."""
    site = loader.load(ROOT, {})
    lines = [line for line in file.read_bytes().replace(b"\r", b"\n").split(b"\n") if line]
    made = []
    for end in (b"\r", b"\n", b"\r\n"):
        message = parse(end.join([*lines, b""]))
        program = choose(message, site.library.programs.values())
        assert isinstance(program, Program)
        made.append(map_message(message, program, site.scope, received_at=AT).bundle)
    resources = [_without_provenance(bundle) for bundle in made]
    assert resources[0] == resources[1] == resources[2]
    assert made[0] is None or made[0] != made[1]


def _without_provenance(bundle: dict[str, Any] | None) -> Sequence[Any]:
    entries = (bundle or {}).get("entry", ())
    return [entry for entry in entries if entry["resource"]["resourceType"] != "Provenance"]


async def test_two_nodes_make_the_same_of_the_same_day(tmp_path: Path) -> None:
    """Through sockets, journal and exchange, on two nodes that never met: equal but for the times at which they received it."""
    days = []
    for name in ("one", "two"):
        async with running(make_site(tmp_path / name)) as node:
            await node.send("patients", admission("P1", patient="BN001"), admission("P2", patient="BN009"))
            await node.send("patients", merge("P3", survivor="BN001", retired="BN009"))
            await node.settled()
            await node.send("orders", order("O1"))
            await node.settled()
            await node.send("lab-results", result("M1", patient="BN009"), result("M2", status="C", at="20261121093000+0700"))
            await node.settled()
            days.append([_untimed(bundle) for bundle in node.bundles("hub")])
    assert len(days[0]) == 6
    assert days[0] == days[1]


def _untimed(bundle: dict[str, Any]) -> str:
    """A bundle as text, without the time of receipt."""
    received = bundle.pop("timestamp")
    text = json.dumps(bundle)
    assert received in text
    return text.replace(received, "")
