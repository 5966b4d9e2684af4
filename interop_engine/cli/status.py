"""``status`` and ``channels``: what a running engine does, and which of its channels take messages in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interop_engine.cli import output
from interop_engine.cli.options import Json, Node, Project, grouped
from interop_engine.cli.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interop_engine.cli.api import Api

Where = Annotated[str | None, typer.Argument(metavar="URL", help="The API of a running engine.", show_default=False)]
Destination = Annotated[
    str, typer.Option("--destination", metavar="NAME", help="Not the intake, but the deliveries to this destination.")
]
ChannelName = Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel's name.")]

_DONE = {
    "started": "started",
    "removed": "removed",
    "reopened": "reopened",
    "changed": "kept, with what changed in its file or mappings",
    "kept": "kept",
}


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(status)
    channels = Verbs(help="List, start, stop and reload the channels of a running engine.")
    channels.command("list")(list_channels)
    channels.command("start")(start_channel)
    channels.command("stop")(stop_channel)
    channels.command("reload")(reload_channels)
    app.add_typer(channels, name="channels")


def status(url: Where = None, *, project: Project = Path(), json: Json = False) -> None:
    """Show what a running engine does: what waits, what is parked, what is wrong. Ends with 1 if it is not ready.

    Where no engine runs, what its journal says of what waits and is parked.
    """
    from interop_engine.core.errors import InteropError

    try:
        found = asyncio.run(_status(Node(project, url)))
    except InteropError:
        if not url and not json:
            asyncio.run(_show_left(project))
        raise
    if json:
        output.write_json(found)
    else:
        _show_status(found)
    if found["problems"]:
        raise typer.Exit(1)


def list_channels(url: Where = None, *, project: Project = Path(), json: Json = False) -> None:
    """List the channels of a running engine, each with its source and destinations."""
    found = asyncio.run(_status(Node(project, url)))["channels"]
    if json:
        output.write_json(found)
        return
    rows = [(each["name"], each["state"], _place(each["source"]), _targets(each), each["title"]) for each in found]
    output.table(("channel", "state", "source", "destinations", "title"), rows, whole=("channel", "state"), seldom=("title",))
    for each in found:
        if each["problem"]:
            output.remark("error", f"{each['name']}: {each['problem']}")


@grouped
def start_channel(name: ChannelName, *, destination: Destination = "", node: Node) -> None:
    """Let a channel take messages in again; ends with 1 if it cannot. Or let it deliver to a destination again.

    A destination whose receiver is left alone is tried at once.
    """
    _switch(name, "start", node, destination)


@grouped
def stop_channel(name: ChannelName, *, destination: Destination = "", node: Node) -> None:
    """Stop a channel's intake; what it has taken in goes on. Or stop what it delivers to a destination: that waits.

    It starts again with the engine.
    """
    _switch(name, "stop", node, destination)


@grouped
def reload_channels(
    name: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="Only this one, opened anew even if nothing changed.", show_default=False)
    ] = "",
    *,
    node: Node,
    json: Json = False,
) -> None:
    """Let a running engine take the site as its folder has it now: all of it, or nothing and 1 where anything is wrong.

    What is configured as it was keeps its connections. With a name that channel alone is taken, closed and opened.
    """
    from interop_engine.core.errors import ConfigError

    try:
        done = asyncio.run(_reload(name, node))
    except ConfigError as error:
        output.show_mistakes(error.mistakes, node.project)
        output.fail("nothing has changed: the site has mistakes")
    if json:
        output.write_json(done)
        return
    rows = [(each, told) for what, told in _DONE.items() for each in done[what]]
    output.table(("channel", "what was done"), sorted(rows))
    output.write(f"configuration {done['config'][:12]}{', commit ' + done['commit'][:12] if done['commit'] else ''}")


async def _reload(name: str, node: Node) -> dict[str, Any]:
    async with _engine(node) as api:
        return await api.reload(name)


def _switch(name: str, action: str, node: Node, destination: str) -> None:
    async def ask() -> dict[str, str]:
        async with _engine(node) as api:
            return await api.channel(name, action, destination)

    found = asyncio.run(ask())
    which = f"{found['channel']} → {found['destination']}" if destination else found["channel"]
    output.write(f"{output.plain(which)}: {found['state']}")
    if not destination and found["problem"]:
        output.fail(found["problem"])


async def _status(node: Node) -> dict[str, Any]:
    async with _engine(node) as api:
        return await api.status()


@asynccontextmanager
async def _engine(node: Node) -> AsyncIterator[Api]:
    """The API of the engine at a URL, or of the one that runs in a folder."""
    from interop_engine.cli import access
    from interop_engine.cli.api import Api
    from interop_engine.core.errors import InteropError

    found = Api(node.url) if node.url else await access.running(place := access.find(node.project))
    if found is None:
        raise InteropError(f"No engine of this site answers at {place.options.status.listen}.")
    async with found as api:
        yield api


def _show_status(found: dict[str, Any]) -> None:
    output.write(f"{output.plain(found['site'])} ({found['facility']}), interop-engine {found['version']}")
    journal, exchange = found["journal"], found["exchange"]
    output.write(f"up for {output.span(found['uptime'])}, journal {_megabytes(journal['size'])}, exchange {_place(exchange)}")
    _show_channels(found)
    for each in found["channels"]:
        for name, of in ((each["name"], each), *((f"{each['name']} → {one['name']}", one) for one in each["destinations"])):
            health = of["source"] if of is each else of["health"]
            for warning in filter(None, (of["backlog"].get("over"), health.get("warning"))):
                output.remark("warning", f"{name}: {warning}")
    for waiting in exchange.get("waiting", ()):
        output.remark("warning", f"exchange: {waiting}")
    for problem in found["problems"]:
        output.remark("error", problem)


def _show_channels(found: dict[str, Any]) -> None:
    """A line a channel, with its destinations below it; on a narrow terminal without what is seldom looked for."""
    counted = ("received", "accepted", "rejected", "filtered")
    rows: list[tuple[Any, ...]] = []
    for each in found["channels"]:
        counts = (*(each[name] for name in counted), _rate(each))
        backlog = _backlog(each["backlog"], each["parked"])
        rows.append((each["name"], _state(each), *counts, *backlog, _time(each["last_received"], found["at"])))
        for one in each["destinations"]:
            backlog = _backlog(one["backlog"], one["backlog"]["parked"])
            rows.append((f"  → {one['name']}", _health(one["health"]["problem"]), *[""] * len(counts), *backlog, ""))
    numbers = (*counted, "1/5/15 min", "waiting", "parked")
    columns = ("channel", "state", *numbers, "oldest", "last message")
    seldom = ("1/5/15 min", "filtered", "accepted", "rejected", "received", "last message")
    output.table(columns, rows, right=numbers, whole=("channel", *numbers, "oldest", "last message"), seldom=seldom)


async def _show_left(project: Path) -> None:
    """What an engine that does not run has left to do."""
    from datetime import UTC, datetime

    from interop_engine.cli import access

    place = access.find(project)
    if isinstance(place.journal, Path) and not place.journal.exists():
        return
    async with access.opened(place, readonly=True) as journal:
        counts = await journal.counts()
    now = datetime.now(UTC)
    rows = [
        (
            f"{each.queue.channel} → {each.queue.destination}" if each.queue.destination else each.queue.channel,
            each.waiting,
            output.coloured(each.parked, "bold red" if each.parked else ""),
            output.span((now - each.oldest).total_seconds() if each.oldest else None),
        )
        for each in sorted(counts, key=lambda count: (count.queue.channel, count.queue.destination or ""))
        if each.waiting or each.parked
    ]
    if not rows:
        output.write("nothing waits, and nothing is parked")
        return
    output.table(("left to do", "waiting", "parked", "oldest"), rows, right=("waiting", "parked"))


def _state(channel: dict[str, Any]) -> Any:
    return output.coloured(channel["state"], "green" if channel["state"] == "running" else "red")


def _health(problem: str) -> Any:
    return output.coloured(problem, "yellow") if problem else output.coloured("ok", "green")


def _rate(channel: dict[str, Any]) -> str:
    return "/".join(f"{channel['rates'][name]:.3g}" for name in ("minute", "five_minutes", "fifteen_minutes"))


def _backlog(backlog: dict[str, Any], parked: int) -> tuple[Any, ...]:
    told = f"{parked} ({backlog['holding']} hold)" if backlog["holding"] else parked
    return (backlog["waiting"], output.coloured(told, "bold red" if parked else ""), output.span(backlog["age"]))


def _time(text: str | None, now: str) -> str:
    """To the second; of today without its day."""
    return "" if not text else text[11:19] if text[:10] == now[:10] else text[:19].replace("T", " ")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _place(health: dict[str, Any]) -> str:
    place = health.get("place") or health.get("location") or ""
    return f"{place} ({health['problem']})" if health["problem"] else str(place)


def _targets(channel: dict[str, Any]) -> str:
    return ", ".join(f"{each['name']}: {_place(each['health'])}" for each in channel["destinations"])
