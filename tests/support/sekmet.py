"""A FHIR server that nobody here wrote: ``sekmet-fhir``, as a process of its own on loopback."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.support.needs import require
from tests.support.process import free_port

TOKEN = "hub-token"
"""What it wants as bearer token."""

_SETTINGS = """
base_url: http://127.0.0.1:{port}/fhir
host: 127.0.0.1
port: {port}
data_dir: {folder}/data
server_auth: {{types: [bearer], tokens: [{token}]}}
simulator: {{enabled: false}}
"""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The base URL of a server whose data are in ``folder``; ended with the block."""
    command = shutil.which("sekmet", path=str(Path(sys.executable).parent))
    require(command, "sekmet-fhir (pip install sekmet-fhir)")
    assert command is not None
    port = free_port()
    settings = folder / "settings.yaml"
    settings.write_text(_SETTINGS.format(port=port, folder=folder, token=TOKEN))
    serve = [command, "serve", "--config", str(settings), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "out.log").open("wb") as log:
        process = subprocess.Popen(serve, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    base = f"http://127.0.0.1:{port}/fhir"
    try:
        _wait(process, f"{base}/metadata")
        yield base
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + 60
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < until:
            assert process.poll() is None, "sekmet ended instead of starting"
            try:
                if client.get(url).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
    raise AssertionError("sekmet did not start within 60 s")
