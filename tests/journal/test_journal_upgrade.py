"""Journals of earlier engines: brought to the newest schema when they are opened, with everything in them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import apsw
import psycopg
import pytest

from interop_engine.core.errors import JournalError
from interop_engine.journal import codec, open_journal
from interop_engine.journal.base import MessageState
from interop_engine.journal.sqlite import schema
from tests.support.journals import HUB, START, lease
from tests.support.postgres import fresh_journal

_MESSAGE = """
INSERT INTO messages (id, channel, state, received_at, control_id, message_type, peer, media, digest, body, size, reply, lanes,
                      headers, code, why, config, replay_of)
VALUES (%s, 'lab', %s, %s, 'M1', 'ORU^R01', '10.0.0.7:1', 'hl7v2', '', 1, 5, {empty}, {none}, '{{}}', '', '', 'c1', %s)"""
_DELIVERY = """
INSERT INTO deliveries (id, message, channel, destination, state, lanes, body, size, digest, media, headers, created_at)
VALUES ('d1', 2, 'lab', 'hub', 'waiting', {none}, 2, 6, '', 'fhir', '{{}}', %s)"""
_WORK = "INSERT INTO work (channel, destination, seq, lanes, head, at) VALUES ('lab', 'hub', 1, '{}', true, 0)"
_BODY = "INSERT INTO bodies (digest, size, zipped, data) VALUES (%s, %s, %s, %s)"


def old_rows() -> list[tuple[str, tuple[object, ...]]]:
    """A parked message that was replayed, its replay (which shares its content), and a delivery that waits."""
    at = codec.micros(START)
    packer = codec.Packer()
    return [
        (_BODY, packer.body(b"MSH|1")),
        (_BODY, packer.body(b"bundle")),
        (_MESSAGE, ("m1", "superseded", at, None)),
        (_MESSAGE, ("m2", "transformed", at, "m1")),
        (_DELIVERY, (at,)),
    ]


def old_file(path: Path) -> None:
    """A journal of version 1."""
    connection = apsw.Connection(str(path))
    connection.execute(schema.MIGRATIONS[0])
    connection.pragma("user_version", 1)
    for query, values in old_rows():
        connection.execute(query.format(none="'[]'", empty="x''").replace("%s", "?"), values)
    connection.close()


def old_database(url: str) -> None:
    """The same in PostgreSQL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(files("interop_engine.journal.postgres").joinpath("tables.sql").read_text(), prepare=False)
        connection.execute("CREATE TABLE journal_schema (version integer NOT NULL)")
        connection.execute("INSERT INTO journal_schema VALUES (1)")
        for query, values in old_rows():
            connection.execute(query.format(none="'{}'", empty="''"), values)
        connection.execute(_WORK)


@pytest.mark.parametrize("adapter", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_a_journal_of_version_1_goes_on(adapter: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Messages, states and contents are there, what was due is due; a replay has a content of its own from then on."""
    if adapter == "sqlite":
        place: Path | str = tmp_path / "journal.db"
        old_file(tmp_path / "journal.db")
    else:
        place = fresh_journal(request.getfixturevalue("postgres"), tables=False)
        old_database(str(place))
    with pytest.raises(JournalError, match="schema 1"):
        await open_journal(place, readonly=True).open()
    for _ in range(2):
        journal = open_journal(place, reserve=0)
        await journal.open()
        row = await journal.show("m2")
        assert (row.state, row.replay_of, row.only, row.commit) == (MessageState.TRANSFORMED, "m1", "", "")
        assert (await journal.content("m1")).data == (await journal.content("m2")).data == b"MSH|1"
        held = await lease(journal, HUB)
        assert held.delivery is not None
        assert (held.delivery.id, held.delivery.body) == ("d1", b"bundle")
        await journal.close()
    journal = open_journal(place, reserve=0)
    await journal.open()
    assert await journal.stored() == {"lab": 16}
    assert await journal.prune() == 1
    assert await journal.stored() == {"lab": 11}
    assert (await journal.content("m2")).data == b"MSH|1"
    await journal.close()
