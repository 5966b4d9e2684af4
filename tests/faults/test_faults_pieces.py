"""The engine dies between the pieces of a bundle: the next process sends all of them again, and the server has each once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from interop_engine.demo.fhir_server import Fault, FhirServer
from interop_engine.hl7.ack import read_ack
from interop_engine.hl7.framing import frame
from tests.support.process import engine, free_port
from tests.support.rig import make_site
from tests.support.texts import result

_LAB = """\
channel: lab-results
source: {{mllp: {{listen: "127.0.0.1:{port}"}}}}
accept: [ORU^R01]
otherwise: reject
patient: {{authority: BV24001, type: MR}}
mapping: oru_r01_lab
deliver:
  - name: record
    fhir: {{url: "{record}", {mode}}}
    retry: {{first: 100ms, up_to: 1s}}
"""


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("taken", [1, 3])
@pytest.mark.parametrize("mode", ["bundle: split", "bundle: split, entries: 1", "bundle: batch, entries: 1"])
async def test_a_kill_between_pieces_has_no_second_effect(tmp_path: Path, mode: str, taken: int) -> None:
    """SIGKILL after one or three pieces: afterwards the server holds every resource of the report, in one version each."""
    port = free_port()
    async with FhirServer(referential=True) as record:
        make_site(tmp_path, "embedded", {"lab-results": _LAB.format(port=port, record=record.url, mode=mode)})
        with engine(tmp_path, {}) as node:
            await _send(port, result("M1"))
            while sum(each.status in (200, 201) for each in record.log) < taken:  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0)
            record.fail(Fault("stall"))
            await record.until_stalled()
            node.kill()
            before = sum(len(record.store.all(kind)) for kind in record.store.types())
            record.release()
            await asyncio.to_thread(node.start)
            await asyncio.to_thread(node.settled)
        found = {kind: record.store.all(kind) for kind in record.store.types()}
    assert 0 < before < sum(map(len, found.values()))
    assert {kind: len(each) for kind, each in found.items()} == dict.fromkeys(
        ("DiagnosticReport", "Observation", "Patient", "Provenance", "ServiceRequest"), 1
    )
    assert {len(record.store.versions(kind, each["id"])) for kind, all_ in found.items() for each in all_} == {1}


async def _send(port: int, message: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(frame(message))
    assert read_ack((await reader.readuntil(b"\x1c\r"))[1:-2]).code == "AA"
    writer.close()
    await writer.wait_closed()
