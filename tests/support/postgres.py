"""A PostgreSQL of our own: private data and socket, a port on loopback, fsync on; ended by process id.

It uses the programs of Debian's ``postgresql`` package, whose service need not run. In tests: the fixtures ``postgres`` (one
server for the session; nobody may break it) and ``own_postgres`` (for tests that do). Elsewhere: ``running_postgres()``, or

    python -m tests.support.postgres          # prints the URL, runs until Ctrl-C

An existing server is used instead by ``INTEROP_TEST_POSTGRES_URL`` (not by ``own_postgres``).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.needs import require

_START_SECONDS = 45  # a machine under load; a quiet one needs one
_NEEDED = "PostgreSQL (apt-get install postgresql)"
_CONFIG = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{folder}'
port = {port}
max_connections = 100
fsync = on
shared_buffers = 64MB
max_wal_size = 256MB
autovacuum_naptime = 10s
logging_collector = off
log_min_messages = fatal
"""
_SCHEMA = f"test_{os.getpid()}"


def programs() -> Path | None:
    """The folder of the newest server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def available() -> bool:
    """Whether this machine can start a server."""
    return programs() is not None and shutil.which("setpriv") is not None


class Postgres:
    """One server. ``start`` and ``kill``, or ``vanish``, may alternate: port and data stay."""

    def __init__(self, folder: Path) -> None:
        home = programs()
        assert home is not None
        self._programs = home
        self._folder = folder
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="postgres")
        self._as_user = _other_user(folder) if os.geteuid() == 0 else []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._password = secrets.token_hex(12)
        self.url = f"postgresql://interop:{self._password}@127.0.0.1:{self.port}/postgres"
        self._create()

    def _create(self) -> None:
        secret = self._folder / "password"
        secret.write_text(self._password)
        secret.chmod(0o644)
        command = [
            str(self._programs / "initdb"), "-D", str(self._data), "-U", "interop", "--pwfile", str(secret),
            "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync",
        ]  # fmt: skip
        done = subprocess.run(
            [*self._as_user, *command], cwd=self._folder, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"initdb: {done.stdout}{done.stderr}")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(_CONFIG.format(folder=self._folder, port=self.port))

    def start(self) -> None:
        """Start, and return when it takes queries."""
        # setpriv: the kernel ends it with us, even where we are killed. "Us" is the thread that starts it.
        command = ["setpriv", "--pdeathsig", "QUIT", *self._as_user[1:], str(self._programs / "postgres"), "-D", str(self._data)]
        with (self._folder / "postgres.out").open("ab") as log:
            self._process = self._starter.submit(
                subprocess.Popen, command,
                cwd=self._folder, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            ).result()  # fmt: skip
        until = time.monotonic() + _START_SECONDS
        while subprocess.run(
            [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        ).returncode:
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended: {(self._folder / 'postgres.out').read_text()[-2000:]}")
            if time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start within {_START_SECONDS} s")
            time.sleep(0.05)

    def kill(self) -> None:
        """As a crash would end it: at once, without a checkpoint, the connections cut."""
        self._end(signal.SIGQUIT)

    def vanish(self) -> None:
        """SIGKILL of all its processes at once, as where the machine has no memory left: nobody ends a connection in order."""
        self.freeze()  # else the first would see the others die, and begin to recover
        others = [os.pidfd_open(child) for child in self._children()]
        self._signal(signal.SIGKILL)
        for each in others:  # until the last is gone they have the shared memory, and no new server starts
            select.select([each], [], [])
            os.close(each)
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP of all its processes: connections stay, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)  # from here on it starts no more
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, how: signal.Signals) -> None:
        """To all its processes: each of those that the first has started leads a group of its own."""
        assert self._process is not None
        for each in (*self._children(), self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, how)

    def _children(self) -> list[int]:
        assert self._process is not None
        first = self._process.pid
        return [int(each) for each in Path(f"/proc/{first}/task/{first}/children").read_text(encoding="ascii").split()]

    def stop(self) -> None:
        """End it; nobody needs its data any more. Twice is harmless."""
        self._end(signal.SIGQUIT)
        self._starter.shutdown()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)


def _other_user(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root."""
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server while the block runs; its data are thrown away. Raises RuntimeError where none can start."""
    if not available():
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="interop-postgres-", ignore_cleanup_errors=True) as name:
        server = Postgres(Path(name))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def fresh_journal(server: str, *, tables: bool = True) -> str:
    """The URL of an empty journal on a server, in a schema of its own. The schema of the one before is emptied and used again.

    Without ``tables`` they go too, for a journal of another version.
    """
    import psycopg  # an optional extra

    with psycopg.connect(server, autocommit=True) as connection:
        if not tables:
            connection.execute(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
        there = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (_SCHEMA,)).fetchall()
        emptied = [f"DELETE FROM {_SCHEMA}.{table};" for (table,) in there if table != "journal_schema"]
        connection.execute("".join(emptied) or "SELECT")
    separator = "&" if "?" in server else "?"
    return f"{server}{separator}options={quote(f'-csearch_path={_SCHEMA}')}"


# --- In tests ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of the session's server. Tests that use it are marked ``postgres``."""
    if given := os.environ.get("INTEROP_TEST_POSTGRES_URL"):
        yield given
        return
    require(available(), _NEEDED)
    with running_postgres() as ours:
        yield ours.url


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A server that the module's tests may kill, each leaving it up and well."""
    require(available(), _NEEDED)
    with running_postgres() as ours:
        yield ours


def main() -> None:
    """Run a server until a signal."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt), running_postgres() as ours:
        print(ours.url, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
