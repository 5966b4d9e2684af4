"""``messages``: list, show, replay, retry, discard."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interop_engine.cli import output
from interop_engine.cli.inputs import moment

if TYPE_CHECKING:
    from datetime import tzinfo

    from interop_engine.cli.access import Operator
    from interop_engine.journal.base import MessageRow, Selection

_STATES = {"parked": "bold red", "rejected": "red", "waiting": "yellow", "received": "yellow", "delivered": "green"}

Project = Annotated[Path, typer.Option("--project", metavar="DIR", help="The site's folder.")]
Url = Annotated[str | None, typer.Option("--url", help="The API of a running engine, such as http://127.0.0.1:8080.")]
Json = Annotated[bool, typer.Option("--json", help="Show JSON.")]
Channel = Annotated[str | None, typer.Option(help="Only this channel.")]
State = Annotated[
    list[str] | None,
    typer.Option(help="Only in this state: received, parked, rejected, … delivery-parked, delivery-waiting. Repeatable."),
]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="From this time on: 2026-03-01T08:00, or 24h (ago).")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(help="List, show, replay, retry and discard messages.", no_args_is_help=True)
    for verb in (list_, show, replay, retry, discard):
        group.command(verb.__name__.rstrip("_"))(verb)
    app.add_typer(group, name="messages")


def list_(
    *,
    channel: Channel = None,
    state: State = None,
    since: Since = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to this time.")] = None,
    control_id: Annotated[str | None, typer.Option(help="Only with this MSH-10.")] = None,
    message_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only of this type: ORU^R01.")] = None,
    search: Annotated[list[str] | None, typer.Option(metavar="KIND=VALUE", help="patient=BN001, order=A17, accession=…")] = None,
    limit: Limit = 50,
    project: Project = Path(),
    url: Url = None,
    json: Json = False,
) -> None:
    """List messages, newest first."""
    from interop_engine.cli import access
    from interop_engine.journal.base import Selection

    selection = Selection(
        channel=channel,
        states=tuple(state or ()),
        since=moment(since, "--since"),
        until=moment(until, "--until"),
        control_id=control_id,
        message_type=message_type,
        search=tuple(_pair(text) for text in search or ()),
        limit=limit,
    )

    async def found() -> list[MessageRow]:
        async with access.reading(project, url) as reader:
            return await reader.search(selection)

    rows = asyncio.run(found())
    if json:
        output.write_json(rows)
        return
    zone = _zone(project, url)
    columns = ("id", "received", "channel", "type", "MSH-10", "state", "why", "deliveries")
    output.table(columns, [_line(row, zone) for row in rows])


def show(
    message: Annotated[str, typer.Argument(metavar="ID", help="The message's id.")],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Only the bytes as received.")] = False,
    delivery: Annotated[str | None, typer.Option(metavar="ID", help="Only the exact body of this delivery.")] = None,
    project: Project = Path(),
    url: Url = None,
    json: Json = False,
) -> None:
    """Show one message: where it is, its deliveries and findings. --raw and --delivery show content, from the journal only."""
    from interop_engine.cli import access

    if raw or delivery:
        if url:
            raise typer.BadParameter("content is shown from the journal only, not over HTTP", param_hint="--url")
        sys.stdout.buffer.write(asyncio.run(_content(project, message, delivery)))
        return

    async def found() -> MessageRow:
        async with access.reading(project, url) as reader:
            return await reader.show(message)

    row = asyncio.run(found())
    if json:
        output.write_json(row)
    else:
        _show_message(row, _zone(project, url))


async def _content(project: Path, message: str, delivery: str | None) -> bytes:
    from interop_engine.cli import access

    async with access.opened(access.find(project), readonly=True) as journal:
        return (await journal.body(delivery)).body if delivery else (await journal.content(message)).data


def replay(
    messages: Annotated[list[str] | None, typer.Argument(metavar="[ID]", help="Messages, by id.", show_default=False)] = None,
    *,
    channel: Channel = None,
    state: State = None,
    since: Since = None,
    limit: Limit = 1000,
    project: Project = Path(),
    url: Url = None,
    json: Json = False,
) -> None:
    """Receive messages again, oldest first, through the configuration of now: by id, or all of a channel, state or time."""
    from interop_engine.cli import access
    from interop_engine.journal.base import Selection

    chosen = Selection(channel=channel, states=tuple(state or ()), since=moment(since, "--since"), limit=limit)
    if not messages and chosen == Selection(limit=limit):
        raise typer.BadParameter("name messages, or say which: --channel, --state, --since")

    async def replay_all() -> dict[str, str]:
        async with access.operating(project, url) as operator:
            ids = messages or await _oldest_first(operator, chosen)
            return {each: await operator.replay(each) for each in output.tracked(ids, "replaying")}

    done = asyncio.run(replay_all())
    if json:
        output.write_json(done)
    else:
        output.table(("message", "replayed as"), list(done.items()))


async def _oldest_first(operator: Operator, selection: Selection) -> list[str]:
    return [row.id for row in reversed(await operator.search(selection))]


def retry(
    deliveries: Annotated[list[str], typer.Argument(metavar="ID", help="Deliveries, by id.")],
    *,
    project: Project = Path(),
    url: Url = None,
) -> None:
    """Make parked or waiting deliveries due now: the same ids, the same bytes."""
    from interop_engine.cli import access

    async def retry_all() -> None:
        async with access.operating(project, url) as operator:
            for each in output.tracked(deliveries, "retrying"):
                await operator.retry(each)

    asyncio.run(retry_all())


def discard(
    messages: Annotated[list[str], typer.Argument(metavar="ID", help="Messages, by id.")],
    *,
    why: Annotated[str, typer.Option(help="The reason; it is kept.")],
    project: Project = Path(),
    url: Url = None,
) -> None:
    """Give up parked messages, or what of their deliveries is parked or waiting, for a reason."""
    from interop_engine.cli import access

    if not why.strip():
        raise typer.BadParameter("a reason is needed", param_hint="--why")

    async def discard_all() -> None:
        async with access.operating(project, url) as operator:
            for each in output.tracked(messages, "discarding"):
                await operator.discard(each, why)

    asyncio.run(discard_all())


def _line(row: MessageRow, zone: tzinfo | None) -> tuple[Any, ...]:
    deliveries = ", ".join(f"{each.destination}: {' '.join(filter(None, (each.state, each.code)))}" for each in row.deliveries)
    state = output.coloured(row.state, _STATES.get(row.state, ""))
    return (
        row.id,
        output.local(row.received_at, zone),
        row.channel,
        row.message_type,
        row.control_id,
        state,
        row.code,
        deliveries,
    )


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
        ("replay of", row.replay_of),
        *((kind, value) for kind, value in row.search),
        *(("finding", finding) for finding in row.findings),
    ]
    output.table(("", ""), [fact for fact in facts if fact[1] not in ("", None)])
    if row.deliveries:
        columns = ("delivery", "destination", "state", "attempts", "due", "settled", "why")
        output.table(columns, [_delivery(each, zone) for each in row.deliveries], right=("attempts",))


def _delivery(row: Any, zone: tzinfo | None) -> tuple[Any, ...]:
    state = output.coloured(row.state, _STATES.get(row.state, ""))
    why = f"{row.code} {row.why}".strip()
    return (row.id, row.destination, state, row.attempts, output.local(row.due_at, zone), output.local(row.settled_at, zone), why)


def _zone(project: Path, url: str | None) -> tzinfo | None:
    """The site's own zone; this machine's where the site is somewhere else."""
    from interop_engine.cli import access

    return None if url else access.find(project).options.zone


def _pair(text: str) -> tuple[str, str]:
    kind, equals, value = text.partition("=")
    if not equals or not kind or not value:
        raise typer.BadParameter(f'"{text}" is not KIND=VALUE', param_hint="--search")
    return kind, value
