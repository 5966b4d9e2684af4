"""Tables, functions, migrations by number, and how a connection is opened and checked."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg

from interop_engine.core.errors import JournalError

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

# The n-th brings a schema from version n to n + 1.
MIGRATIONS: Final = ("tables.sql", "tables2.sql", "tables3.sql", "tables4.sql", "tables5.sql")
_FUNCTIONS: Final = ("lanes.sql", "changes.sql", "operators.sql")  # replaced as a whole after a migration
OLDEST_SERVER: Final = 130000

# All writers of one journal take turns; two journals in two schemas of one database do not.
TAKE_TURNS: Final = "SELECT pg_advisory_xact_lock(hashtext('interop-engine'), hashtext(current_schema()))"

# A peer that vanished without a word is noticed within half a minute, on both ends. A node that stops in the middle of a
# transaction holds up the others for ten seconds.
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


async def connect(url: str, *, listings: bool = False) -> Connection:
    """A connection that commits what it is told to, durably. Raises psycopg.Error, or JournalError for an unsafe server."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=0, **_NETWORK)
    try:
        await connection.execute(_SESSION if listings else _SESSION + _LOOK_UPS, prepare=False)  # several commands at once
        await _check_durable(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


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


async def migrate(connection: Connection) -> None:
    """Bring the schema to the newest version. Nodes that start together wait for each other."""
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
    """The URL without its credentials."""
    parts = urlsplit(url)
    host = f"{parts.hostname or 'localhost'}:{parts.port or 5432}"
    return f"{parts.scheme}://{host}{parts.path}"


def describe(error: psycopg.Error) -> str:
    """What PostgreSQL says, in one line; never the values of a row."""
    return error.diag.message_primary or str(error).strip().partition("\n")[0] or type(error).__name__
