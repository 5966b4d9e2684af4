"""``messages``: list and show; what acts on them stands in ``acting``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interop_engine.cli import output
from interop_engine.cli.acting import discard, replay, retry
from interop_engine.cli.options import Json, Node, grouped
from interop_engine.cli.selection import Conditions, State, known_names
from interop_engine.cli.verbs import Verbs

if TYPE_CHECKING:
    from datetime import tzinfo

    from interop_engine.core.model import Receipt
    from interop_engine.journal.base import Attempt, DeliveryRow, MessageRow

_STATES = {"parked": "bold red", "rejected": "red", "waiting": "yellow", "received": "yellow", "delivered": "green"}

_ONE_LINE = 160  # columns

Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = Verbs(help="List, show, replay, retry and discard messages.")
    for verb in (list_, show, replay, retry, discard):
        group.command(verb.__name__.rstrip("_"))(verb)
    app.add_typer(group, name="messages")


@grouped
def list_(*, state: State = None, where: Conditions, limit: Limit = 50, node: Node, json: Json = False) -> None:
    """List messages, newest first."""
    from interop_engine.cli import access

    selection = where.selection(state, limit)

    async def found() -> list[MessageRow]:
        await known_names(node, selection)
        async with access.reading(node) as reader:
            return await reader.search(selection)

    rows = asyncio.run(found())
    if json:
        output.write_json(rows)
        return
    _list(rows, _zone(node))


@grouped
def show(
    message: Annotated[str, typer.Argument(metavar="ID", help="The message's id, a delivery's, or its sender's for it.")],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Only the bytes as received.")] = False,
    delivery: Annotated[str | None, typer.Option(metavar="ID", help="Only the exact body of this delivery.")] = None,
    attempts: Annotated[bool, typer.Option("--attempts", help="Every attempt to deliver it, with the receiver's words.")] = False,
    node: Node,
    json: Json = False,
) -> None:
    """Show one message: where it is, its deliveries and findings, and what operators did with it.

    --raw and --delivery show content, --attempts what receivers said, which may repeat it: from the journal only.
    """
    from interop_engine.cli import access
    from interop_engine.journal import finding

    if node.url and (raw or delivery or attempts):
        raise typer.BadParameter("content is shown from the journal only, not over HTTP", param_hint="--url")
    if raw or delivery:
        sys.stdout.buffer.write(asyncio.run(_content(node.project, message, delivery)))
        return
    if attempts:
        _show_attempts(asyncio.run(_attempts(node.project, message)), _zone(node), json=json)
        return

    async def found() -> MessageRow:
        async with access.reading(node) as reader:
            return await finding.show(reader, message)

    row = asyncio.run(found())
    if json:
        output.write_json(row)
    else:
        _show_message(row, _zone(node))


async def _content(project: Path, message: str, delivery: str | None) -> bytes:
    from interop_engine.cli import access
    from interop_engine.journal import finding

    async with access.opened(access.find(project), readonly=True) as journal:
        if delivery:
            return (await journal.body(delivery)).body
        return (await journal.content((await finding.show(journal, message)).id)).data


async def _attempts(project: Path, message: str) -> list[Attempt]:
    from interop_engine.cli import access
    from interop_engine.journal import finding

    async with access.opened(access.find(project), readonly=True) as journal:
        return await journal.attempts((await finding.show(journal, message)).id)


def _show_attempts(attempts: list[Attempt], zone: tzinfo | None, *, json: bool) -> None:
    if json:
        output.write_json(attempts)
        return
    at = _zoned("at", zone)
    rows = [
        (_with_why(each.delivery, each), each.number, output.clock(each.at, zone), f"{each.took:.3f} s", each.outcome)
        for each in attempts
    ]
    columns = ("delivery", "attempt", at, "took", "outcome")
    output.table(columns, rows, right=("attempt", "took"), whole=columns, seldom=("took", "attempt"))


def _list(rows: list[MessageRow], zone: tzinfo | None) -> None:
    """A line a message where there is room for it, else what it is, why, and its deliveries below its id."""
    if not rows:
        output.write("no messages")
        return
    wide = output.has_room(_ONE_LINE)
    received = _zoned("received", zone)
    columns = ("id", received, "channel", "type", "MSH-10", "state", "why", "deliveries") if wide else ("id", received, "state")
    output.table(columns, [_line(row, zone, wide=wide) for row in rows], whole=("id", received, "state"))


def _line(row: MessageRow, zone: tzinfo | None, *, wide: bool) -> tuple[Any, ...]:
    what = (row.channel, row.message_type, row.control_id)
    why = output.shortened(f"{row.code} {row.why}".strip())
    deliveries = [f"{each.destination}: {_progress(each)}" for each in row.deliveries]
    received, state = output.clock(row.received_at, zone), output.coloured(row.state, _STATES.get(row.state, ""))
    if wide:
        return (row.id, received, *what, state, why, ", ".join(deliveries))
    return (output.noted(row.id, [" ".join(what), *filter(None, [why]), *deliveries]), received, state)


def _progress(delivery: DeliveryRow) -> str:
    """Where a delivery is, in few words."""
    behind = f"behind {delivery.behind}" if delivery.behind else ""
    return " ".join(filter(None, (delivery.state, delivery.code, "(holds)" if delivery.holds else behind)))


def _show_message(row: MessageRow, zone: tzinfo | None) -> None:
    facts = [
        ("message", row.id),
        ("channel", row.channel),
        ("state", output.coloured(row.state, _STATES.get(row.state, ""))),
        ("why", f"{row.code} {row.why}".strip()),
        ("received", output.local(row.received_at, zone)),
        ("from", row.peer),
        ("type", row.message_type),
        ("MSH-10", row.control_id),
        ("size", f"{row.size} bytes"),
        ("arrivals", row.arrivals),
        ("config", f"{row.config} (commit {row.commit})" if row.commit else row.config),
        ("replay of", row.replay_of),
        ("replay for", row.only),
        ("replay through", row.through),
        ("replay sends again", "what was sent already, too" if row.resend else ""),
        *((kind, value) for kind, value in row.search),
        *(("finding", finding) for finding in row.findings),
    ]
    output.table(("", ""), [fact for fact in facts if fact[1] not in ("", None)])
    if row.deliveries:
        columns = ("delivery", "state", "attempts", _zoned("due or settled", zone))
        rows = [_delivery(each, zone) for each in row.deliveries]
        output.table(columns, rows, right=("attempts",), whole=columns, seldom=("attempts",))
    told = [_receipt(delivery, each, zone) for delivery in row.deliveries for each in delivery.receipts]
    if told:
        output.table(("delivery", "receiver", "took it", "state", "what became of it there"), told, whole=("delivery",))
    if row.history:
        columns = (_zoned("at", zone), "what was done", "delivery", "why, or what came of it")
        done = [(output.clock(each.at, zone), each.what, each.delivery, each.detail) for each in row.history]
        output.table(columns, done, whole=("delivery",))


def _delivery(row: DeliveryRow, zone: tzinfo | None) -> tuple[Any, ...]:
    """A delivery with its destination, and why it is where it is, below its id."""
    state = output.coloured(f"{row.state} (holds its lanes)" if row.holds else row.state, _STATES.get(row.state, ""))
    behind = [f"waits behind what is parked of {row.behind}"] if row.behind else []
    cell = output.noted(row.id, [f"→ {row.destination}", *(behind or filter(None, [f"{row.code} {row.why}".strip()]))])
    return (cell, state, row.attempts, output.clock(row.settled_at or row.due_at, zone))


def _with_why(what: str, row: Attempt) -> Any:
    return output.noted(what, filter(None, [f"{row.code} {row.why}".strip()]))


def _zoned(column: str, zone: tzinfo | None) -> str:
    """A column of times, with how far its clock is from UTC."""
    from datetime import UTC, datetime

    return f"{column} ({output.offset(zone, datetime.now(UTC))})"


def _receipt(delivery: DeliveryRow, receipt: Receipt, zone: tzinfo | None) -> tuple[Any, ...]:
    """What a receiver on the exchange says of a delivery: which of its channels took it when, and how each step ended."""
    state = output.coloured(f"{receipt.state} {receipt.code}".rstrip(), _STATES.get(receipt.state, ""))
    steps = (
        " ".join(filter(None, (f"{step.destination}:", step.state, output.local(step.at, zone), step.code, step.detail)))
        for step in receipt.steps
    )
    receiver = f"{delivery.headers.get('receiver', '')} ({receipt.channel})"
    return (delivery.id, receiver, output.local(receipt.taken_at, zone), state, "; ".join(steps))


def _zone(node: Node) -> tzinfo | None:
    """The site's own zone; this machine's where the site is somewhere else."""
    from interop_engine.cli import access

    return None if node.url else access.find(node.project).options.zone
