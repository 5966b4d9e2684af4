"""Tables, functions, migrations by number, and how a connection is opened and checked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from interop_engine.core.errors import JournalError
from interop_engine.journal.postgres import columns

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

# The n-th brings a schema from version n to n + 1.
MIGRATIONS: Final = (
    "tables.sql",
    "tables2.sql",
    "tables3.sql",
    "tables4.sql",
    "tables5.sql",
    "tables6.sql",
    "tables7.sql",
    "tables8.sql",
    "tables9.sql",
)
_FUNCTIONS: Final = ("lanes.sql", "changes.sql", "operators.sql")  # replaced as a whole after a migration
OLDEST_SERVER: Final = 130000
_LIMITS_TURNS: Final = 170000

# All writers of one journal take turns; two journals in two schemas of one database do not.
TAKE_TURNS: Final = "SELECT pg_advisory_xact_lock(hashtext('interop-engine'), hashtext(current_schema()))"

# A peer that vanished without a word is noticed within half a minute, on both ends. A node that stops in the middle of its turn
# is noticed by the others' hearts; the server's own limits are for when there is no other.
_NETWORK: Final[dict[str, Any]] = {
    "connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000,
}  # fmt: skip
_SESSION: Final = """
SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '30s'; SET jit = off;
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') <> 'remote_apply';
"""
# Everything but listings finds rows by their keys: planned once, and rightly so while the statistics are not up to date.
_LOOK_UPS: Final = """
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan;
"""

_WANTED: Final = {
    "synchronous_commit": ("on", "remote_apply"),
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "server_encoding": ("UTF8",),
}
_SETTINGS: Final = "SELECT name, setting FROM pg_settings WHERE name = ANY (%s)"


class NoAnswer(psycopg.OperationalError):
    """The server did not answer in time: it is frozen, or something between us and it swallows what we say."""


async def connect(url: str, *, listings: bool = False, name: str = "") -> Connection:
    """A connection that commits what it is told to, durably. Raises psycopg.Error, or JournalError for an unsafe server.

    ``name``: what the server's administrator, and the other nodes, see it by.
    """
    shown = f"interop-engine {name}".rstrip()
    connection = await psycopg.AsyncConnection.connect(
        url, autocommit=True, prepare_threshold=0, application_name=shown, **_NETWORK
    )
    columns.register(connection)
    try:
        with within(connection, _NETWORK["connect_timeout"]):
            await connection.execute(_SESSION if listings else _SESSION + _LOOK_UPS, prepare=False)  # several commands at once
            await _check_durable(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


@contextlib.contextmanager
def within(connection: Connection, seconds: float) -> Iterator[None]:
    """Raise NoAnswer where the block takes longer; the connection is of no use then.

    Its socket is shut down under it: whoever waits for the server sees that at once. Cancelling him instead would ask the same
    silent server to cancel.
    """
    late = False

    def shut_down() -> None:
        nonlocal late
        late = True
        with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)

    timer = asyncio.get_running_loop().call_later(seconds, shut_down)
    try:
        yield
    except (psycopg.Error, OSError):
        if late:
            raise NoAnswer(f"no answer within {seconds:g} seconds") from None
        raise
    finally:
        timer.cancel()


async def _check_durable(connection: Connection) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise JournalError(f"PostgreSQL {connection.info.server_version // 10_000} is too old; 13 or later is needed.")
    rows = await (await connection.execute(_SETTINGS, ([*_WANTED, "transaction_read_only"],))).fetchall()
    settings: dict[str, str] = dict(rows)
    for name, values in _WANTED.items():
        if settings[name] not in values:
            raise JournalError(f"PostgreSQL has {name} = {settings[name]}; a journal needs {' or '.join(values)}.")
    if settings["transaction_read_only"] != "off":
        raise psycopg.OperationalError("the server takes no writes: it is a standby, or was told so")


async def limit_turns(connection: Connection) -> None:
    """Have the server itself end what takes longer than any group, where it can (PostgreSQL 17)."""
    if connection.info.server_version >= _LIMITS_TURNS:
        await connection.execute("SET transaction_timeout = '60s'")


async def migrate(connection: Connection) -> None:
    """Bring the schema to the newest version. Nodes that start together wait for each other."""
    with within(connection, _NETWORK["connect_timeout"]):
        if await _version(connection) == len(MIGRATIONS):
            return
    async with connection.transaction():
        await connection.execute(TAKE_TURNS)
        version = await _version(connection)
        if version > len(MIGRATIONS):
            raise JournalError(f"The journal has schema {version}, of a newer engine; this one knows {len(MIGRATIONS)}.")
        if version == 0:
            await connection.execute("CREATE TABLE journal_schema (version integer NOT NULL)")
            await connection.execute("INSERT INTO journal_schema VALUES (0)")
        if version < len(MIGRATIONS):
            for name in (*MIGRATIONS[version:], *_FUNCTIONS):
                await connection.execute(_text(name), prepare=False)  # several commands at once
            await connection.execute("UPDATE journal_schema SET version = %s", (len(MIGRATIONS),))


async def check_version(connection: Connection) -> None:
    """Raise JournalError where this engine cannot read the schema."""
    if (version := await _version(connection)) != len(MIGRATIONS):
        raise JournalError(f"The journal has schema {version}; this engine reads {len(MIGRATIONS)}.")


async def _version(connection: Connection) -> int:
    there = await (await connection.execute("SELECT to_regclass('journal_schema') IS NOT NULL")).fetchone()
    if not there or not there[0]:
        return 0
    row = await (await connection.execute("SELECT version FROM journal_schema")).fetchone()
    return int(row[0]) if row else 0


def _text(name: str) -> Any:  # ours, and so a literal in all but type
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def place(url: str) -> str:
    """The URL without its credentials; of several hosts all."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "postgresql://"  # what cannot be read might hold a password anywhere
    hosts, ports = (str(parts.get(key) or "").split(",") for key in ("host", "port"))
    if len(ports) < len(hosts):
        ports = ports[:1] * len(hosts)
    places = [f"{host or 'localhost'}:{port or 5432}" for host, port in zip(hosts, ports, strict=False)]
    return f"postgresql://{','.join(places)}/{parts.get('dbname') or ''}"


def describe(error: Exception) -> str:
    """What PostgreSQL or the network says, in one line; never the values of a row."""
    if isinstance(error, OSError):
        return str(error) or type(error).__name__
    if not isinstance(error, psycopg.Error):
        return type(error).__name__  # what else it says may be a value
    return error.diag.message_primary or str(error).strip().partition("\n")[0] or type(error).__name__
