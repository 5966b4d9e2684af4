"""``run``: the engine as a process of its own, from its start to its end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread

import httpx
import pytest

SITE = {
    "engine.yaml": 'site: Bệnh viện mẫu\nfacility: "24001"\nstatus: {listen: 127.0.0.1:0}\n',
    "channels/patients.yaml": """channel: patients
source:
  mllp: {listen: 127.0.0.1:0}
accept: [ADT^A04]
otherwise: reject
patient: {authority: BV24001, type: MR}
mapping: adt
deliver:
  - name: folder
    file: {folder: out}
""",
    "mappings/adt.yaml": """mapping: adt
message: ADT_A01
resources:
  patient:
    resource: Patient
    key: PID-3 | own_number
    set: {identifier: PID-3, name: PID-5}
""",
    "message.hl7": "MSH|^~\\&|HIS|24001|E|24001|20260302080000||ADT^A04|C1|P|2.5\nPID|1||BN001^^^BV24001^MR||Nguyễn^Ánh\n",
}
PROGRAM = [sys.executable, "-c", "from interop_engine.cli import main; main()"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site on free ports."""
    for name, text in SITE.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


class Engine:
    """A running process; its stderr is read as it comes."""

    def __init__(self, site: Path, *arguments: str) -> None:
        self.process = subprocess.Popen([*PROGRAM, "run", site, *arguments], stderr=subprocess.PIPE, text=True)
        self._lines: Queue[str] = Queue()
        self.said: list[str] = []
        self._reader = Thread(target=self._read)
        self._reader.start()

    def close(self) -> None:
        """End the process, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.said.append(line)
                self._lines.put(line)
        self._lines.put("")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line from here on that matches; fails where the process ends before."""
        while line := self._lines.get(timeout=30):
            if found := re.search(pattern, line):
                return found
        pytest.fail(f"the engine ended and never said {pattern}")

    def up(self) -> str:
        """The URL of its API, once it listens."""
        return self.wait_for(r'"api_listens".*"place": "(http://[^"]+)"')[1]


@contextmanager
def running(site: Path, *arguments: str) -> Iterator[Engine]:
    """An engine that is ended in the end, whatever happens."""
    engine = Engine(site, *arguments)
    try:
        yield engine
    finally:
        engine.close()


def program(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Another verb, as a process."""
    return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)


def mllp_address(url: str) -> str:
    """Where the running channel listens."""
    status = httpx.get(f"{url}/status", trust_env=False).json()
    return str(status["channels"][0]["source"]["place"])


def test_a_message_goes_in_over_mllp_and_comes_out_as_a_bundle(site: Path) -> None:
    """Send gets AA, the bundle is in the destination's folder, status counts it; SIGTERM ends the engine with 0."""
    with running(site) as engine:
        url = engine.up()
        sent = program("send", mllp_address(url), site / "message.hl7", "--json")
        assert (sent.returncode, json.loads(sent.stdout)["codes"]) == (0, {"AA": 1})
        assert httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200
        engine.process.send_signal(signal.SIGTERM)
        assert engine.process.wait(timeout=30) == 0
    listed = program("messages", "list", "--project", site, "--json")
    (row,) = json.loads(listed.stdout)
    assert (row["state"], row["control_id"], row["deliveries"][0]["destination"]) == ("transformed", "C1", "folder")
    bundle = program("messages", "show", row["id"], "--delivery", row["deliveries"][0]["id"], "--project", site)
    assert json.loads(bundle.stdout)["entry"][0]["resource"]["resourceType"] == "Patient"


def test_the_log_is_one_json_object_a_line(site: Path) -> None:
    """From the first to the last, in a pipe: what collects it need not know a second form."""
    with running(site) as engine:
        engine.up()
        engine.process.send_signal(signal.SIGTERM)
        last = json.loads(engine.wait_for("engine_stopped").string)
        assert (engine.process.wait(timeout=30), last["level"]) == (0, "info")
    assert [line for line in engine.said if not line.startswith("{")] == []


def test_a_second_engine_on_one_journal_refuses_to_start(site: Path) -> None:
    """Two processes that wrote one journal would each deliver what the other does: 1, and a reason."""
    with running(site) as engine:
        engine.up()
        second = program("run", site)
    assert second.returncode == 1
    told = json.loads(second.stderr.splitlines()[-1])
    assert (told["level"], told["event"]) == ("error", "The engine cannot start.")
    assert "locked" in told["why"]


def test_an_address_in_use_is_told_as_an_error(site: Path) -> None:
    """Of a channel, which a person must free, with the address, also by ``channels list``; the engine runs on for the others."""
    channel = site / "channels/patients.yaml"
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = "{}:{}".format(*other.getsockname())
        channel.write_text(SITE["channels/patients.yaml"].replace("127.0.0.1:0", address), encoding="utf-8")
        with running(site) as engine:
            told = json.loads(engine.wait_for("channel_failed").string)
            listed = program("channels", "list", engine.up())
    why = f"The source cannot start: {address}: Address already in use"
    assert (told["level"], told["why"]) == ("error", why)
    assert f"error: patients: {why}" in listed.stderr


def test_where_the_api_has_no_address_it_is_said_which_and_why(site: Path) -> None:
    """Most often it is an engine that runs already; 1, in one line."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = "{}:{}".format(*other.getsockname())
        (site / "engine.yaml").write_text(SITE["engine.yaml"].replace("127.0.0.1:0", address), encoding="utf-8")
        refused = program("run", site)
    told = json.loads(refused.stderr.splitlines()[-1])
    assert (refused.returncode, told["event"]) == (1, "The engine cannot start.")
    assert told["why"].startswith(f"The status API cannot listen on {address}: Address already in use: another program has it")


def test_a_site_with_mistakes_is_refused(site: Path) -> None:
    """Run refuses what check refuses."""
    (site / "channels/patients.yaml").write_text(SITE["channels/patients.yaml"].replace("mapping: adt", "mapping: adtt"))
    refused = program("run", site)
    assert refused.returncode == 1
    assert "patients.yaml:7:10: C111" in refused.stderr


def test_a_changed_site_is_taken_while_watching(site: Path) -> None:
    """--watch: a mistake is shown and the old site runs on; a good change is taken, in the same process."""
    channel = site / "channels/patients.yaml"
    with running(site, "--watch") as engine:
        url = engine.up()
        channel.write_text(SITE["channels/patients.yaml"].replace("otherwise: reject", "otherwise: perhaps"))
        engine.wait_for("the one from before runs on")
        assert httpx.get(f"{url}/health/live", trust_env=False).status_code == 200
        channel.write_text(SITE["channels/patients.yaml"].replace("channel: patients", "channel: registrations"))
        engine.wait_for("the changed site is running")
        status = httpx.get(f"{url}/status", trust_env=False).json()
        assert [each["name"] for each in status["channels"]] == ["registrations"]
        engine.process.send_signal(signal.SIGINT)
        assert engine.process.wait(timeout=30) == 0


def test_a_reload_is_checked_first_and_says_what_it_did(site: Path) -> None:
    """Mistakes are shown as check shows them, and 1; a good change is taken, what is as it was is kept."""
    channel = site / "channels/patients.yaml"
    with running(site) as engine:
        url = engine.up()
        channel.write_text(SITE["channels/patients.yaml"].replace("mapping: adt", "mapping: adtt"))
        refused = program("channels", "reload", "--project", site, "--url", url)
        assert refused.returncode == 1
        assert "patients.yaml:7:10: C111" in refused.stderr
        assert "nothing has changed" in refused.stderr
        channel.write_text(SITE["channels/patients.yaml"] + "training: take\n")
        done = json.loads(program("channels", "reload", "--url", url, "--json").stdout)
        assert (done["changed"], done["kept"], done["reopened"]) == (["patients"], [], [])
        shown = program("channels", "reload", "patients", "--url", url)
        assert re.search(r"^ *patients +reopened *$", shown.stdout, re.MULTILINE)
        assert program("channels", "reload", "nobody", "--url", url).stderr == "error: There is no channel nobody.\n"
