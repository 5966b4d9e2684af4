"""A RabbitMQ of our own: private ports on loopback, its own epmd, data, cookie and HOME; all of it ended by process id.

It uses the files of Debian's ``rabbitmq-server`` package, whose service need not run. In tests: the fixtures ``broker`` (one
for the session; nobody may break it) and ``own_broker`` (for tests that do). Elsewhere: ``running_broker()``, or

    python -m tests.support.broker            # prints the URL, runs until Ctrl-C

An existing broker is used instead by ``INTEROP_TEST_AMQP_URL`` (not by ``own_broker``); another version by
``INTEROP_TEST_RABBITMQ``, a folder with its ``rabbitmq-server`` and ``rabbitmqctl``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.needs import require

_HOME = Path(os.environ.get("INTEROP_TEST_RABBITMQ", "/usr/lib/rabbitmq/bin"))
_SERVER = _HOME / "rabbitmq-server"
_CONTROL = _HOME / "rabbitmqctl"
_START_SECONDS = 45  # a machine under load; a quiet one needs four
_CONFIG = """
listeners.tcp.local = 127.0.0.1:{port}
default_user = {user}
default_pass = {password}
log.console = false
log.file.level = warning
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 20MB
raft.wal_max_size_bytes = 33554432
max_message_size = 33554432
heartbeat = 10
net_ticktime = 8
cluster_partition_handling = pause_minority
"""
_TLS = """
listeners.ssl.local = 127.0.0.1:{port}
ssl_options.cacertfile = {authority}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
"""


def available() -> bool:
    """Whether this machine can start a broker."""
    return _SERVER.exists() and shutil.which("epmd") is not None and shutil.which("setpriv") is not None


class Broker:
    """One RabbitMQ node. ``start`` and ``kill`` may alternate: ports and data stay.

    ``beside``: a running node it may join. ``authority``: it listens for TLS too, to who has a certificate of that authority.
    """

    def __init__(self, folder: Path, beside: Broker | None = None, authority: Authority | None = None) -> None:
        self.folder = folder
        self.port, self.tls_port, self._epmd_port, self._dist_port = _free_ports(4)
        self._authority = authority
        self.user, self._password, self.cookie = "interop", secrets.token_hex(12), secrets.token_hex(16)
        self._has_epmd = beside is None
        if beside is not None:
            self._epmd_port, self._password, self.cookie = beside._epmd_port, beside._password, beside.cookie
        self.url = self.url_of(self)
        self.node = f"interop-{self.port}@localhost"
        self._epmd: subprocess.Popen[bytes] | None = None
        self._beam: subprocess.Popen[bytes] | None = None
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker")
        self._configure()

    def url_of(self, *nodes: Broker) -> str:
        """The URL of a cluster that it is one of."""
        return f"amqp://{self.user}:{self._password}@{','.join(f'127.0.0.1:{node.port}' for node in nodes)}/"

    def start(self) -> None:
        """Start, and return when it speaks AMQP."""
        if self._epmd is None and self._has_epmd:
            self._epmd = self._spawn(["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"], "epmd.out")
            _wait(lambda: _answers(self._epmd_port, b"", 0), self._epmd, 10, "epmd")
        self._beam = self._spawn([str(_SERVER)], "beam.out")
        _wait(lambda: _answers(self.port, b"AMQP\x00\x00\x09\x01", 1), self._beam, _START_SECONDS, f"RabbitMQ ({self.folder})")

    def kill(self) -> None:
        """As a power cut would end it."""
        beam, self._beam = self._beam, None
        if beam is not None:
            _end_group(beam, signal.SIGKILL)

    def freeze(self) -> None:
        """Let it stand still: the kernel still takes connections for it, and bytes."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        assert self._beam is not None
        os.killpg(self._beam.pid, which)

    def stop(self) -> None:
        """End everything that was started. Twice is harmless."""
        beam, self._beam = self._beam, None
        epmd, self._epmd = self._epmd, None
        if beam is not None:
            _end_group(beam, signal.SIGTERM)
        if epmd is not None:
            _end_group(epmd, signal.SIGTERM)
        self._starter.shutdown()

    def settle(self) -> None:
        """Write the names of its queues to disk. RabbitMQ 3.10 does so twice a second; a kill loses younger queues."""
        self.control("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def alarm(self, on: bool) -> None:
        """Set or clear the memory alarm, at which RabbitMQ stops reading from publishers."""
        self.control("set_vm_memory_high_watermark", *(("0.0000001",) if on else ("absolute", "512MB")))

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` and return what it prints."""
        done = subprocess.run(
            [str(_CONTROL), "-q", "-n", self.node, *arguments],
            env=self._environment, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def _configure(self) -> None:
        home, folder = self.folder / "home", self.folder
        home.mkdir(parents=True)
        cookie = home / ".erlang.cookie"
        cookie.write_text(self.cookie)
        cookie.chmod(0o400)
        text = _CONFIG.format(port=self.port, user=self.user, password=self._password)
        if self._authority is not None:
            certificate, key = self._authority.sign("broker")
            text += _TLS.format(port=self.tls_port, authority=self._authority.file, certificate=certificate, key=key)
        (folder / "rabbitmq.conf").write_text(text)
        (folder / "enabled_plugins").write_text("[].\n")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        self._environment = kept | {
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",  # Elixir's command line wants UTF-8
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_ALLOW_INPUT": "1",  # no shell between us and the Erlang machine
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_PID_FILE": str(folder / "beam.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -noinput",
        }

    def _spawn(self, command: list[str], output: str) -> subprocess.Popen[bytes]:
        # setpriv: the kernel ends it with us, even where we are killed; it replaces itself, so the process id is the command's.
        # "Us" is the thread that starts it, so one thread starts everything and lives until ``stop``.
        with (self.folder / output).open("ab") as log:
            return self._starter.submit(
                subprocess.Popen,
                ["setpriv", "--pdeathsig", "KILL", *command], env=self._environment, cwd=self.folder, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            ).result()  # fmt: skip


@contextlib.contextmanager
def running_broker(folder: Path | None = None, authority: Authority | None = None) -> Iterator[Broker]:
    """A broker while the block runs; without ``folder`` its data are thrown away. Raises RuntimeError where none can start."""
    if not available():
        raise RuntimeError("RabbitMQ is not installed: apt-get install rabbitmq-server")
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="interop-broker-", ignore_cleanup_errors=True)))
        broker = Broker(folder, authority=authority)
        stack.callback(broker.stop)
        broker.start()
        yield broker


# --- In tests ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """The URL of the session's broker. Tests that use it are marked ``rabbitmq``, which keeps them in one xdist worker."""
    if given := os.environ.get("INTEROP_TEST_AMQP_URL"):
        yield given
        return
    require(available(), "RabbitMQ (apt-get install rabbitmq-server)")
    with running_broker() as ours:
        yield ours.url


@pytest.fixture(scope="module")
def own_broker() -> Iterator[Broker]:
    """A broker that the module's tests may kill and alarm, each leaving it up and well."""
    require(available(), "RabbitMQ (apt-get install rabbitmq-server)")
    with running_broker() as ours:
        yield ours


# --- Processes and ports -------------------------------------------------------------------------------------------


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _answers(port: int, greeting: bytes, least: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as peer:
            peer.sendall(greeting)
            return least == 0 or len(peer.recv(8)) >= least
    except OSError:
        return False


def _wait(condition: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with {process.returncode} instead of starting")
        if time.monotonic() > until:
            raise RuntimeError(f"{what} did not start within {seconds} s")
        time.sleep(0.05)


def _end_group(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """End a process and its children; each is the leader of its own group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=15)


def main() -> None:
    """Run a broker until a signal."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt), running_broker() as ours:
        print(ours.url, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
