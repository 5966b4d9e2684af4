"""``status``, ``channels``, ``messages``: what an operator looks at and does."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interop_engine.cli import output

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from datetime import tzinfo

    from interop_engine.cli.access import Api, Operator
    from interop_engine.journal.base import MessageRow, Selection

_STATES = {"parked": "bold red", "rejected": "red", "waiting": "yellow", "received": "yellow", "delivered": "green"}

Project = Annotated[Path, typer.Option("--project", metavar="DIR", help="The site's folder.")]
Url = Annotated[str | None, typer.Option("--url", help="The API of a running engine, such as http://127.0.0.1:8080.")]
Json = Annotated[bool, typer.Option("--json", help="Show JSON.")]
ChannelName = Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel's name.")]
Channel = Annotated[str | None, typer.Option(help="Only this channel.")]
State = Annotated[
    list[str] | None,
    typer.Option(help="Only in this state: received, parked, rejected, … delivery-parked, delivery-waiting. Repeatable."),
]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="From this time on: 2026-03-01T08:00, or 24h (ago).")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(status)
    group = typer.Typer(help="List, show, replay, retry and discard messages.", no_args_is_help=True)
    for verb in (list_, show, replay, retry, discard):
        group.command(verb.__name__.rstrip("_"))(verb)
    app.add_typer(group, name="messages")
    channels = typer.Typer(help="List, start and stop the channels of a running engine.", no_args_is_help=True)
    channels.command("list")(list_channels)
    channels.command("start")(start_channel)
    channels.command("stop")(stop_channel)
    app.add_typer(channels, name="channels")


def status(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="The API of a running engine.", show_default=False)] = None,
    *,
    project: Project = Path(),
    json: Json = False,
) -> None:
    """Show what a running engine does: what waits, what is parked, what is wrong. Ends with 1 if it is not ready."""
    found = asyncio.run(_status(url, project))
    if json:
        output.write_json(found)
    else:
        _show_status(found)
    if found["problems"]:
        raise typer.Exit(1)


def list_channels(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="The API of a running engine.", show_default=False)] = None,
    *,
    project: Project = Path(),
    json: Json = False,
) -> None:
    """List the channels of a running engine, each with its source and destinations."""
    found = asyncio.run(_status(url, project))["channels"]
    if json:
        output.write_json(found)
        return
    rows = [(each["name"], each["state"], _place(each["source"]), _targets(each), each["title"]) for each in found]
    output.table(("channel", "state", "source", "destinations", "title"), rows)


def start_channel(name: ChannelName, *, project: Project = Path(), url: Url = None) -> None:
    """Let a channel take messages in again; ends with 1 if it cannot."""
    _switch(name, "start", project, url)


def stop_channel(name: ChannelName, *, project: Project = Path(), url: Url = None) -> None:
    """Stop a channel's intake; what it has taken in goes on. It starts again with the engine."""
    _switch(name, "stop", project, url)


def _switch(name: str, action: str, project: Path, url: str | None) -> None:
    async def ask() -> dict[str, str]:
        async with _engine(url, project) as api:
            return await api.channel(name, action)

    found = asyncio.run(ask())
    output.write(f"{output.plain(found['channel'])}: {found['state']}")
    if found["problem"]:
        output.fail(found["problem"])


async def _status(url: str | None, project: Path) -> dict[str, Any]:
    async with _engine(url, project) as api:
        return await api.status()


@asynccontextmanager
async def _engine(url: str | None, project: Path) -> AsyncIterator[Api]:
    """The API of the engine at a URL, or of the one that runs in a folder."""
    from interop_engine.cli import access
    from interop_engine.core.errors import InteropError

    api = access.Api(url) if url else await access.running(place := access.find(project))
    if api is None:
        raise InteropError(f"No engine of this site answers at {place.options.status.listen}.")
    try:
        yield api
    finally:
        await api.close()


def _show_status(found: dict[str, Any]) -> None:
    output.write(f"{output.plain(found['site'])} ({found['facility']}), interop-engine {found['version']}")
    journal, exchange = found["journal"], found["exchange"]
    output.write(f"up for {output.span(found['uptime'])}, journal {_megabytes(journal['size'])}, exchange {_place(exchange)}")
    rows: list[tuple[Any, ...]] = []
    for each in found["channels"]:
        counts = (each["received"], each["accepted"], each["rejected"], each["filtered"], _rate(each))
        backlog = _backlog(each["backlog"], each["parked"])
        rows.append((each["name"], _state(each), *counts, *backlog, _time(each["last_received"])))
        for one in each["destinations"]:
            backlog = _backlog(one["backlog"], one["backlog"]["parked"])
            rows.append((f"  → {one['name']}", _health(one["health"]["problem"]), "", "", "", "", "", *backlog, ""))
    numbers = ("received", "accepted", "rejected", "filtered", "1/5/15 min", "waiting", "parked")
    output.table(("channel", "state", *numbers, "oldest", "last message"), rows, right=numbers)
    for problem in found["problems"]:
        output.remark("error", problem)


def _state(channel: dict[str, Any]) -> Any:
    return output.coloured(channel["state"], "green" if channel["state"] == "running" else "red")


def _health(problem: str) -> Any:
    return output.coloured(problem, "yellow") if problem else output.coloured("ok", "green")


def _rate(channel: dict[str, Any]) -> str:
    return "/".join(f"{channel['rates'][name]:.3g}" for name in ("minute", "five_minutes", "fifteen_minutes"))


def _backlog(backlog: dict[str, Any], parked: int) -> tuple[Any, ...]:
    return (backlog["waiting"], output.coloured(parked, "bold red" if parked else ""), output.span(backlog["age"]))


def _time(text: str | None) -> str:
    return text[:19].replace("T", " ") if text else ""


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _place(health: dict[str, Any]) -> str:
    place = health.get("place") or health.get("location") or ""
    return f"{place} ({health['problem']})" if health["problem"] else str(place)


def _targets(channel: dict[str, Any]) -> str:
    return ", ".join(f"{each['name']}: {_place(each['health'])}" for each in channel["destinations"])


# --- messages ------------------------------------------------------------------------------------------------------------


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
        since=_moment(since, "--since"),
        until=_moment(until, "--until"),
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

    chosen = Selection(channel=channel, states=tuple(state or ()), since=_moment(since, "--since"), limit=limit)
    if not messages and chosen == Selection(limit=limit):
        raise typer.BadParameter("name messages, or say which: --channel, --state, --since")

    async def replay_all() -> dict[str, str]:
        async with access.operating(project, url) as operator:
            ids = messages or await _oldest_first(operator, chosen)
            return {each: await operator.replay(each) for each in _progress(ids, "replaying")}

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
            for each in _progress(deliveries, "retrying"):
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
            for each in _progress(messages, "discarding"):
                await operator.discard(each, why)

    asyncio.run(discard_all())


def _progress(items: Sequence[str], what: str) -> Iterable[str]:
    """The items, with a bar on a terminal."""
    screen = output.console(err=True)
    if not screen.is_terminal or len(items) < 10:
        return items
    from rich.progress import track

    return track(items, description=what, console=screen)


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


_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _moment(text: str | None, option: str) -> datetime | None:
    """A time: ISO 8601 (of this machine's zone where it names none), or so long ago."""
    if text is None:
        return None
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise typer.BadParameter(f'"{text}" is no time; write 2026-03-01T08:00 or 24h', param_hint=option) from error
