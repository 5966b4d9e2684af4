"""The engine and its command line as processes of their own, as a hospital runs them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "interop_engine")
_ROOT = Path(__file__).resolve().parent.parent.parent
_DEADLINE = 60.0


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], what: str, seconds: float = _DEADLINE) -> Any:
    """Wait for a condition and return what it gave; fails with ``what`` after the deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"Waited {seconds:.0f} seconds in vain until {what}.")


class Engine:
    """``interop-engine run`` on a site; its status API tells when it is ready and when all is settled."""

    def __init__(
        self, folder: Path, environment: dict[str, str], *options: str, command: Sequence[str] = COMMAND, log: str = "engine.log"
    ) -> None:
        """``log``: the file in the folder that takes what it says; nodes that share a site have one each."""
        self._folder = folder
        self._log = folder / log
        self._command = command
        self._options = options
        self._environment = {**os.environ, **environment}
        self._status = f"http://127.0.0.1:{environment['STATUS_PORT']}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it takes messages in."""
        with self._log.open("ab") as log:
            command = [*self._command, "run", str(self._folder), *self._options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment, cwd=_ROOT)
        until(self._ready, "the engine is ready")

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it stands still, and its connections stay. So does a virtual machine that is paused."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it stood. Harmless where it does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def memory(self) -> int:
        """Bytes of memory that it has in use (RSS)."""
        fields = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """SIGTERM, and the exit code; a frozen one goes on first. Harmless where it does not run."""
        if self._process is None or not self.running:
            return 0
        self.thaw()
        self._process.terminate()
        return self._process.wait(30)

    def verb(self, *arguments: str) -> int:
        """Run a verb of the command line on its site; returns the exit code."""
        command = [*COMMAND, *arguments, "--project", str(self._folder)]
        return subprocess.run(command, stdout=subprocess.DEVNULL, env=self._environment, cwd=_ROOT, check=False).returncode

    def settled(self) -> None:
        """Wait until nothing is due any more."""
        until(lambda: not any(each["waiting"] for each in self._backlogs()), "nothing waits any more", 120)

    def get(self, path: str) -> Any:
        """JSON of the status API; raises OSError while it does not answer so."""
        return json.loads(self.text(path))

    def text(self, path: str) -> str:
        """What the status API answers, as text; raises OSError as ``get`` does."""
        with urllib.request.urlopen(self._status + path, timeout=20) as answer:
            return str(answer.read(), "utf-8")

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(self._log.read_text(encoding="utf-8"))
        with contextlib.suppress(OSError):  # not listening yet, or not ready: 503
            return self.get("/health/ready") is not None
        return False

    def _backlogs(self) -> Iterator[dict[str, Any]]:
        for channel in self.get("/status")["channels"]:
            yield channel["backlog"]
            for destination in channel["destinations"]:
                yield destination["backlog"]


@contextlib.contextmanager
def engine(folder: Path, environment: dict[str, str], *options: str) -> Iterator[Engine]:
    """A running engine, stopped at the end; ``options`` of ``interop-engine run``."""
    found = Engine(folder, {"STATUS_PORT": str(free_port()), **environment}, *options)
    found.start()
    try:
        yield found
    finally:
        found.stop()
