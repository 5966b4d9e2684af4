"""The command line on a site with a journal, with and without a running engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from interop_engine.cli.app import app
from interop_engine.connectors.http_server import HttpServer
from interop_engine.core.model import Park, digest, new_id
from interop_engine.journal import open_journal
from interop_engine.journal.base import Forward, Journal, MessageState, NewDelivery, NewMessage, Queue
from interop_engine.ops.api import Watch, application
from tests.support.observed import FakeEngine

SITE = 'site: Bệnh viện mẫu\nfacility: "24001"\njournal: {path: journal.db}\nstatus: {listen: "%s"}\n'


async def run(*arguments: str) -> tuple[int, str, str]:
    """A verb, in a thread: it runs an event loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


async def shown(*arguments: str) -> Any:
    """What a verb shows with --json."""
    code, stdout, stderr = await run(*arguments, "--json")
    assert (code, stderr) == (0, "")
    return json.loads(stdout)


def new(control_id: str, **more: Any) -> NewMessage:
    """A message of the channel lab."""
    data = f"MSH|^~\\&|LIS|BV|E|BV|20260302||ORU^R01|{control_id}|P|2.5\r".encode()
    values: dict[str, Any] = {
        "id": new_id(),
        "channel": "lab",
        "data": data,
        "media": "hl7v2",
        "received_at": datetime.now(UTC),
        "peer": "10.0.0.1:40000",
        "control_id": control_id,
        "message_type": "ORU^R01",
        "digest": digest(data),
        "lanes": (control_id,),
        "search": (("patient", "BN001"),),
    }
    return NewMessage(**{**values, **more})


async def fill(journal: Journal) -> dict[str, str]:
    """One message parked, one rejected, one whose delivery is parked; gives their ids and the delivery's."""
    parked = await journal.accept(new("C1"))
    await journal.park(await journal.lease(Queue("lab"), "test"), "204", "OBR-3 names no known order.", ["OBR-3: order-unknown"])
    rejected = await journal.accept(new("C2", state=MessageState.REJECTED, code="200", why="Not taken.", lanes=()))
    sent = await journal.accept(new("C3"))
    delivery = NewDelivery(new_id(), "hub", ("C3",), b'{"resourceType":"Bundle"}', "fhir")
    assert await journal.forward(await journal.lease(Queue("lab"), "test"), Forward(deliveries=(delivery,)))
    await journal.settle(await journal.lease(Queue("lab", "hub"), "test"), Park("fhir-422", "Not taken by the server."))
    return {"parked": parked.id, "rejected": rejected.id, "sent": sent.id, "delivery": delivery.id}


def with_channel(folder: Path) -> None:
    """Give a site a channel's file, as far as names are read of it."""
    (folder / "channels").mkdir()
    (folder / "channels" / "lab.yaml").write_text("channel: lab\ndeliver: [{name: hub}, {name: record}]\n")


def put_aside(folder: Path) -> list[Path]:
    """Journals that a restore put aside."""
    return list(folder.glob("*.before-*"))


@asynccontextmanager
async def engine(folder: Path) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """A running engine's journal and API, in this process; gives the API's URL and the ids in the journal."""
    journal = open_journal(folder / "journal.db")
    await journal.open()
    watch = Watch(FakeEngine(journal=journal))
    server = HttpServer(application(watch, "127.0.0.1"), "127.0.0.1", 0)
    await server.start()
    (folder / "engine.yaml").write_text(SITE % server.address)
    try:
        yield f"http://{server.address}", await fill(journal)
    finally:
        await server.stop()
        watch.close()
        await journal.close()
