"""Tables, migrations by ``user_version``, and how a connection is opened and checked."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from interop_engine.core.errors import JournalBroken, JournalError
from interop_engine.journal import seals as sealed_with
from interop_engine.journal.sqlite import statements

OLDEST_SQLITE = (3, 51, 3)  # earlier ones can corrupt a WAL file: two connections that write and checkpoint at once
_BUSY_MILLISECONDS = 250  # only a foreign process can hold the lock, and the event loop waits
_CACHE_KIB = 65_536
_READER_CACHE_KIB = 8_192  # every commit of the writer empties it

_VERSION_1 = """
-- Content, once: a message's bytes, or the bytes several deliveries share. The digest is of the bytes before compression.
CREATE TABLE bodies (
  id INTEGER PRIMARY KEY, digest BLOB NOT NULL, size INTEGER NOT NULL, zipped INTEGER NOT NULL, data BLOB NOT NULL
) STRICT;

CREATE TABLE messages (
  seq INTEGER PRIMARY KEY,  -- order of arrival
  id TEXT NOT NULL UNIQUE, channel TEXT NOT NULL, state TEXT NOT NULL, received_at INTEGER NOT NULL,
  control_id TEXT NOT NULL, message_type TEXT NOT NULL, peer TEXT NOT NULL, media TEXT NOT NULL, digest TEXT NOT NULL,
  body INTEGER NOT NULL, size INTEGER NOT NULL, reply BLOB NOT NULL, lanes TEXT NOT NULL, headers TEXT NOT NULL,
  code TEXT NOT NULL, why TEXT NOT NULL, findings TEXT NOT NULL DEFAULT '[]', config TEXT NOT NULL,
  duplicate_key TEXT, replay_of TEXT, superseded_by TEXT, arrivals INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX messages_due ON messages (channel, seq) WHERE state = 'received';
CREATE INDEX messages_time ON messages (received_at);
CREATE INDEX messages_channel ON messages (channel, received_at);
CREATE INDEX messages_rare ON messages (state, received_at) WHERE state NOT IN ('received', 'transformed');
CREATE INDEX messages_control ON messages (control_id, received_at);

CREATE TABLE search_keys (
  kind TEXT NOT NULL, value TEXT NOT NULL, message INTEGER NOT NULL, PRIMARY KEY (kind, value, message)
) STRICT, WITHOUT ROWID;
CREATE INDEX search_keys_message ON search_keys (message);

-- Every digest seen under a key, so that a resend is known again although the number was used for something else since.
CREATE TABLE duplicates (
  channel TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, message INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (channel, key, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
  seq INTEGER PRIMARY KEY,  -- order of arrival in the destination's queue
  id TEXT NOT NULL UNIQUE, message INTEGER NOT NULL, channel TEXT NOT NULL, destination TEXT NOT NULL, state TEXT NOT NULL,
  lanes TEXT NOT NULL, body INTEGER NOT NULL, size INTEGER NOT NULL, digest TEXT NOT NULL, media TEXT NOT NULL,
  headers TEXT NOT NULL, created_at INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, due_at INTEGER,
  settled_at INTEGER, code TEXT NOT NULL DEFAULT '', why TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX deliveries_message ON deliveries (message);
CREATE INDEX deliveries_waiting ON deliveries (channel, destination, seq) WHERE state = 'waiting';
CREATE INDEX deliveries_parked ON deliveries (message) WHERE state = 'parked';

CREATE TABLE attempts (
  delivery INTEGER NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, outcome TEXT NOT NULL, code TEXT NOT NULL,
  why TEXT NOT NULL, PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;

-- What rows do not say by themselves: operators' actions, parking, superseding, repeated arrivals.
CREATE TABLE events (
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, what TEXT NOT NULL, message INTEGER NOT NULL, delivery INTEGER,
  detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_message ON events (message);

CREATE TABLE aliases (alias TEXT PRIMARY KEY, object TEXT NOT NULL, message INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE merged (retired TEXT PRIMARY KEY, survivor TEXT NOT NULL, message INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- What destinations were sent: all states that one message brought, in one row (see the module sentstate).
CREATE TABLE packs (id INTEGER PRIMARY KEY, states INTEGER NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
-- Where to find an object's state: key is a hash of destination and object. It covers the packs up to sent_indexed.
CREATE TABLE sent_index (key INTEGER PRIMARY KEY, pack INTEGER NOT NULL, older INTEGER) STRICT;
CREATE TABLE sent_indexed (pack INTEGER NOT NULL) STRICT;
INSERT INTO sent_indexed VALUES (0);

CREATE TABLE message_counts (
  channel TEXT NOT NULL, state TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (channel, state)
) STRICT, WITHOUT ROWID;
CREATE TABLE delivery_counts (
  channel TEXT NOT NULL, destination TEXT NOT NULL, state TEXT NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (channel, destination, state)
) STRICT, WITHOUT ROWID;
CREATE TABLE arrivals (channel TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE ledger (
  channel TEXT NOT NULL, path TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (channel, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE configs (config TEXT PRIMARY KEY, at INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
"""

_VERSION_2 = """
ALTER TABLE messages ADD COLUMN only_to TEXT NOT NULL DEFAULT '';  -- of a replay: the one destination it is for
ALTER TABLE messages ADD COLUMN through TEXT NOT NULL DEFAULT '';  -- of a replay: the configuration that maps it, '' for today's
ALTER TABLE deliveries ADD COLUMN pack INTEGER NOT NULL DEFAULT 0;  -- where what it brings its receiver is written; 0: nowhere
ALTER TABLE configs ADD COLUMN git_commit TEXT NOT NULL DEFAULT '';
CREATE TABLE out_of_force (delivery INTEGER PRIMARY KEY) STRICT;  -- discarded and pruned: what they brought does not count
CREATE INDEX messages_replays ON messages (replay_of) WHERE replay_of IS NOT NULL;
CREATE INDEX messages_type ON messages (message_type, received_at);
DROP INDEX messages_channel;
DROP INDEX messages_rare;
CREATE INDEX messages_channel ON messages (channel, received_at, message_type);
CREATE INDEX messages_rare ON messages (state, received_at, channel, message_type)
  WHERE state NOT IN ('received', 'transformed');

-- A replay has a body of its own, so that its message can be pruned without it.
CREATE TEMP TABLE own AS
  SELECT seq, body, (SELECT ifnull(max(id), 0) FROM bodies) + row_number() OVER (ORDER BY seq) AS copy
  FROM messages WHERE replay_of IS NOT NULL;
INSERT INTO bodies SELECT own.copy, b.digest, b.size, b.zipped, b.data FROM own JOIN bodies b ON b.id = own.body;
UPDATE messages SET body = own.copy FROM own WHERE own.seq = messages.seq;
DROP TABLE own;
"""

_VERSION_3 = """
-- Messages of other nodes whose senders are to be told: a new number whenever such a message's state changes, or a delivery's,
-- whatever changes it. What came over the exchange is known by its sender's id, what goes over it by its receiver.
CREATE TABLE reports (number INTEGER PRIMARY KEY AUTOINCREMENT, message INTEGER NOT NULL UNIQUE) STRICT;
CREATE TRIGGER report_new AFTER INSERT ON messages WHEN instr(NEW.headers, '"delivery-id":') BEGIN
  INSERT INTO reports (message) VALUES (NEW.seq);
END;
CREATE TRIGGER report_message AFTER UPDATE OF state ON messages
WHEN NEW.state <> 'transformed' AND instr(NEW.headers, '"delivery-id":') BEGIN
  DELETE FROM reports WHERE message = NEW.seq;
  INSERT INTO reports (message) SELECT NEW.seq WHERE NEW.state <> 'superseded';
END;
CREATE TRIGGER report_delivery AFTER UPDATE OF state ON deliveries
WHEN OLD.state <> NEW.state
  AND EXISTS (SELECT 1 FROM messages WHERE seq = NEW.message AND state <> 'superseded' AND instr(headers, '"delivery-id":')) BEGIN
  DELETE FROM reports WHERE message = NEW.message;
  INSERT INTO reports (message) VALUES (NEW.message);
END;
CREATE TRIGGER report_gone AFTER DELETE ON messages WHEN instr(OLD.headers, '"delivery-id":') BEGIN
  DELETE FROM reports WHERE message = OLD.seq;
END;

-- What receivers said of deliveries, and the deliveries of which no receiver has said its last word.
CREATE TABLE receipts (
  delivery INTEGER NOT NULL, channel TEXT NOT NULL, number INTEGER NOT NULL, message TEXT NOT NULL, state TEXT NOT NULL,
  code TEXT NOT NULL, taken_at INTEGER NOT NULL, steps TEXT NOT NULL, PRIMARY KEY (delivery, channel)
) STRICT, WITHOUT ROWID;
CREATE TABLE awaited (delivery INTEGER PRIMARY KEY, since INTEGER NOT NULL) STRICT;
CREATE INDEX awaited_since ON awaited (since);
CREATE TRIGGER await_receipt AFTER UPDATE OF state ON deliveries
WHEN NEW.state = 'delivered' AND instr(NEW.headers, '"receiver":')
  AND NOT EXISTS (SELECT 1 FROM receipts WHERE delivery = NEW.seq AND state <> 'accepted') BEGIN
  INSERT INTO awaited VALUES (NEW.seq, NEW.settled_at);
END;
CREATE TRIGGER receipts_gone AFTER DELETE ON deliveries WHEN instr(OLD.headers, '"receiver":') BEGIN
  DELETE FROM receipts WHERE delivery = OLD.seq;
  DELETE FROM awaited WHERE delivery = OLD.seq;
END;
"""

_VERSION_4 = """
CREATE TABLE seals (seal TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;  -- the keys it is encrypted with, by name and fingerprint
"""

_VERSION_5 = """
ALTER TABLE attempts ADD COLUMN took INTEGER NOT NULL DEFAULT 0;  -- microseconds
"""

_VERSION_6 = """
ALTER TABLE messages ADD COLUMN resend INTEGER NOT NULL DEFAULT 0;  -- of a replay: what its receivers have is sent again too
CREATE INDEX deliveries_holding ON deliveries (channel, destination, seq) WHERE state = 'parked' AND due_at IS NOT NULL;

-- Bytes of the bodies that each channel's messages and deliveries have.
CREATE TABLE stored (channel TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO stored SELECT of.channel, sum(length(b.data))
FROM (SELECT channel, body FROM messages UNION SELECT channel, body FROM deliveries) of JOIN bodies b ON b.id = of.body
GROUP BY of.channel;
"""

_VERSION_7 = """
ALTER TABLE sent_indexed ADD COLUMN swept INTEGER NOT NULL DEFAULT 0;  -- the pack last looked at, see the module sweeping

-- Of an open delivery, what its message is found by: so what waits, or is parked, is found in the order its messages came.
ALTER TABLE deliveries ADD COLUMN received_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN message_type TEXT NOT NULL DEFAULT '';
UPDATE deliveries SET received_at = m.received_at, message_type = m.message_type
FROM messages m WHERE m.seq = deliveries.message AND deliveries.state IN ('waiting', 'parked');
DROP INDEX deliveries_parked;
CREATE INDEX deliveries_open ON deliveries (state, received_at, message) WHERE state IN ('waiting', 'parked');
CREATE INDEX deliveries_open_channel ON deliveries (channel, state, received_at, message, message_type)
  WHERE state IN ('waiting', 'parked');
CREATE INDEX deliveries_open_type ON deliveries (message_type, state, received_at, message) WHERE state IN ('waiting', 'parked');
"""

_VERSION_8 = """
-- Of objects in sent_index whose two newest versions may both not arrive: the packs before those, back to one that has arrived.
CREATE TABLE sent_before (key INTEGER NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (key, pack)) STRICT, WITHOUT ROWID;

-- Of what was removed while it was being sent.
DELETE FROM attempts WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE seq = attempts.delivery);
"""

MIGRATIONS = (
    _VERSION_1,
    _VERSION_2,
    _VERSION_3,
    _VERSION_4,
    _VERSION_5,
    _VERSION_6,
    _VERSION_7,
    _VERSION_8,
)  # the n-th brings a file from user_version n to n + 1


class Guard:
    """A lock beside the file: two processes that wrote one journal would each lease what the other has."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._handle: int | None = None

    def take(self) -> None:
        """Raise JournalError where another process has the journal."""
        handle = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise JournalError(f"{self._path.name} is locked: another engine has this journal open.") from None
        self._handle = handle

    def give_back(self) -> None:
        """The file stays: removing it would let two processes lock two files of one name."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def rows(source: apsw.Connection | apsw.Cursor, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query. Their types are those of the tables above, which are STRICT."""
    return source.execute(query, values).fetchall()


def check_library() -> None:
    """Raise JournalError where SQLite is too old to be trusted with acknowledged messages."""
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise JournalError(f"SQLite {apsw.sqlite_lib_version()} can corrupt a journal; {needed} or later is needed.")


def connect_writer(path: Path) -> apsw.Connection:
    """The connection that writes: WAL and FULL, read back, and the newest schema."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))  # patients' data; SQLite gives its -wal the same mode
    connection = apsw.Connection(str(path), statementcachesize=200)
    connection.set_busy_timeout(_BUSY_MILLISECONDS)
    connection.pragma("auto_vacuum", "INCREMENTAL")  # of a new file; one of version 1 is rewritten when it is migrated
    _expect(connection, "journal_mode", "WAL", "wal")
    _expect(connection, "synchronous", "FULL", 2)
    connection.pragma("temp_store", "MEMORY")
    connection.pragma("cache_size", -_CACHE_KIB)
    connection.wal_autocheckpoint(0)
    _migrate(connection)
    return connection


def pages(connection: apsw.Connection) -> tuple[int, int, int]:
    """Pages of the file, how many of them are free, and bytes of one."""
    count, free, size = (int(connection.pragma(name)) for name in ("page_count", "freelist_count", "page_size"))
    return count, free, size


def connect_reader(path: Path) -> apsw.Connection:
    """A connection that cannot write. Raises JournalBroken for a file of something else, JournalError for another version's."""
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, statementcachesize=200)
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        connection.pragma("query_only", True)
        connection.pragma("cache_size", -_READER_CACHE_KIB)
        version = int(connection.pragma("user_version"))
    except apsw.Error as error:
        raise JournalBroken(f"The journal {path.name} cannot be opened: {error}") from None
    if version > len(MIGRATIONS):
        raise _newer(version)
    if version < len(MIGRATIONS):
        hint = f"the next start of the engine brings it to {len(MIGRATIONS)}"
        raise JournalError(f"The journal {path.name} has schema {version}, of an older engine: {hint}.")
    return connection


def _newer(version: int) -> JournalError:
    return JournalError(f"The journal has schema {version}, of a newer engine; this one knows {len(MIGRATIONS)}.")


def new_seals(connection: apsw.Connection, seals: Sequence[str]) -> tuple[str, ...]:
    """What a journal must keep before it is written with these keys; raises JournalError where they are not its own."""
    known = bool(rows(connection, statements.KNOWS_SEALS)[0][0])  # a copy may be of an engine that did not encrypt
    kept = [row[0] for row in rows(connection, statements.SEALS)] if known else []
    return sealed_with.new_seals(kept, seals, holds=bool(rows(connection, statements.HOLDS)[0][0]))


def check_integrity(connection: apsw.Connection) -> None:
    """Raise JournalBroken where ``quick_check`` finds a fault (it reads the whole file)."""
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except apsw.InterruptError:
        raise
    except apsw.Error as error:
        raise JournalBroken(f"The journal's integrity check failed: {error}") from None
    if found != ("ok",):
        raise JournalBroken(f"The journal's integrity check failed: {found[0] if found else 'no answer'}")


def _expect(connection: apsw.Connection, pragma: str, value: str, wanted: object) -> None:
    connection.pragma(pragma, value)
    if (got := connection.pragma(pragma)) != wanted:
        raise JournalError(f"SQLite does not do {pragma}={value} here (it says {got}).")


def _migrate(connection: apsw.Connection) -> None:
    version = int(connection.pragma("user_version"))
    if version > len(MIGRATIONS):
        raise _newer(version)
    if version == 1:
        connection.execute("VACUUM")  # from here on free pages can be given back: ``PRAGMA auto_vacuum`` takes effect
    for number in range(version, len(MIGRATIONS)):
        with connection:
            connection.execute(MIGRATIONS[number])
            connection.pragma("user_version", number + 1)
