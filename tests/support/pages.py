"""Pages of the documentation that are run: their commands, their changes to files, and the answers they show.

In a page, a ``console`` block holds commands after ``$`` with what they answer, ``# ends with 1`` after one that fails. In an
answer ``…`` stands for any text of a line, alone on a line for any lines; spaces do not count. A ``diff`` block changes a file.
``ID`` is the id of the one message that is parked. A command with ``&`` at its end is the engine, waited for until it is ready.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from typer.testing import CliRunner

from interop_engine.cli.app import app
from tests.support.process import COMMAND, free_port, until

ROOT = Path(__file__).resolve().parent.parent.parent
_BLOCKS = re.compile(r"^```(console|diff)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_EXIT = re.compile(r"\s+# ends with (\d+)$")
_MLLP, _STATUS = "2575", "8080"  # the ports of a new site, which a test has to itself by other numbers


class Page:
    """One reader who does what a page says, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._here = folder
        self._ports = {_MLLP: str(free_port()), _STATUS: str(free_port())}
        self._engine: subprocess.Popen[bytes] | None = None

    def follow(self, page: Path, *, only: str = "", without: str = "") -> None:
        """Do all that a page says, or the part under a heading, or all but that; fails at the first answer that is another."""
        parts = re.split(r"(?m)^##+ ", page.read_text(encoding="utf-8"))
        chosen = (part for part in parts if (not only or part.startswith(only)) and not (without and part.startswith(without)))
        for kind, text in _BLOCKS.findall("\n".join(chosen)):
            if kind == "diff":
                self._change(text)
                continue
            for entry in re.split(r"(?m)^\$ ", text)[1:]:
                command, _, answer = entry.partition("\n")
                self.run(command, answer)

    def run(self, command: str, answer: str = "…") -> None:
        """One command, held to the answer that the page shows."""
        expected = int(found[1]) if (found := _EXIT.search(command)) else 0
        command = self._own(_EXIT.sub("", command))
        if command.startswith("cd "):
            self._here /= command.removeprefix("cd ")
            return
        if command.endswith("&"):
            self._start(command.rstrip("& "))
            return
        if " ID" in command:
            command = command.replace(" ID", f" {self._parked()}")
        code, said = self._answer(command)
        assert code == expected, f"{command}\n{said}"
        assert _pattern(self._own(answer)).fullmatch(_plain(said)), f"{command}\n{said}"
        if " init " in command and self._engine is None:
            self._settle()

    def _answer(self, command: str) -> tuple[int, str]:
        """How a command ends, and what it says: first what it remarks, then what it gives."""
        program, *arguments = shlex.split(command)
        with contextlib.chdir(self._here):
            if program == "interop-engine":
                result = CliRunner().invoke(app, arguments)
                return result.exit_code, f"{result.stderr}{result.stdout}"
            done = subprocess.run([program, *arguments], capture_output=True, check=False)
            return done.returncode, f"{done.stderr.decode()}{done.stdout.decode()}"

    def stop(self) -> None:
        """End the engine, if one was started."""
        if self._engine is not None:
            self._engine.send_signal(signal.SIGTERM)
            self._engine.wait(30)

    def _start(self, command: str) -> None:
        with (self._here / "engine.log").open("ab") as log:
            arguments = shlex.split(command)[1:]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._engine = subprocess.Popen([*COMMAND, *arguments], stdout=log, stderr=log, cwd=self._here, env=environment)
        until(self._ready, "the engine is ready")

    def _ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self._ports[_STATUS]}/health/ready"):
            return True
        return False

    def _parked(self) -> str:
        (row,) = json.loads(self._answer("interop-engine messages list --state parked --json")[1])
        return str(row["id"])

    def _change(self, text: str) -> None:
        name, *lines = text.splitlines()
        path = self._here / name.removeprefix("--- ")
        old, new = ("\n".join(line[1:] for line in lines if line.startswith(mark)) for mark in "-+")
        content = path.read_text(encoding="utf-8")
        assert f"{old}\n" in content, text
        path.write_text(content.replace(f"{old}\n", f"{new}\n"), encoding="utf-8")

    def _own(self, text: str) -> str:
        return re.sub(r"\b(2575|8080)\b", lambda found: self._ports[found[1]], text)

    def _settle(self) -> None:
        """Give a new site the ports of this test."""
        for path in self._here.rglob("*.yaml"):
            if path.name == "engine.yaml" or path.parent.name == "channels":
                path.write_text(self._own(path.read_text(encoding="utf-8")), encoding="utf-8")


def _pattern(answer: str) -> re.Pattern[str]:
    return re.compile("".join(_line(" ".join(line.split())) for line in answer.splitlines() if line.strip()), re.DOTALL)


def _line(line: str) -> str:
    if line == "…":
        return r"(?:[^\n]*\n)*?"
    return "[^\n]*".join(re.escape(part.strip()) for part in line.split("…")) + "\n"


def _plain(said: str) -> str:
    """Without blank lines and repeated spaces."""
    return "".join(f"{' '.join(line.split())}\n" for line in said.splitlines() if line.strip())


@contextlib.contextmanager
def reader(folder: Path) -> Iterator[Page]:
    """A reader in an empty folder."""
    page = Page(folder)
    try:
        yield page
    finally:
        page.stop()
