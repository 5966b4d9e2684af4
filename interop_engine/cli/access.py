"""How the operating verbs reach a node: its journal for reading, its HTTP API (or, where no engine runs, its journal) for acting.

A journal may be read while an engine writes it. Only one process may write it, so what changes something goes through the
engine while one runs.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from interop_engine.core.errors import ConfigError, InteropError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interop_engine.cli.api import Api
    from interop_engine.cli.options import Node
    from interop_engine.config.schema import SiteOptions
    from interop_engine.journal.base import Journal, MessageRow, Selection


class Reader(Protocol):
    """What is needed to list and show."""

    async def search(self, selection: Selection) -> list[MessageRow]:
        """List messages, newest first."""
        ...

    async def show(self, message_id: str) -> MessageRow:
        """One message with its deliveries, by its id or that of a delivery."""
        ...


class Operator(Reader, Protocol):
    """What is needed to act."""

    async def replay(
        self, message_id: str, *, only: str = "", then: bool = False, resend: bool = False, once: bool = False
    ) -> str:
        """Receive a message again, see ``Journal.replay``; returns the new id."""
        ...

    async def discard(self, message_id: str, why: str, *, to: str = "", code: str = "", waiting: bool = False) -> None:
        """Give up what is parked of a message, see ``Journal.discard``."""
        ...

    async def retry(self, delivery_id: str) -> str | None:
        """Make a delivery due now; the id of its message's replay where it was overtaken."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A node's folder and its ``engine.yaml``."""

    directory: Path
    options: SiteOptions

    @property
    def journal(self) -> Path | str:
        """The journal's file, or its database."""
        return self.options.journal.place(self.directory)


def find(directory: Path) -> Place:
    """The node in a folder; its channels and mappings may have mistakes. Raises ConfigError."""
    from interop_engine.config.reading import read
    from interop_engine.config.schema import SiteOptions

    path = directory / "engine.yaml"
    if not path.is_file():
        raise InteropError(f"{path} is not there: name a site's folder (--project) or an engine's URL.")
    file = read(directory, path, os.environ)
    options = file.parse(SiteOptions, file.data)
    if options is None or file.mistakes:
        raise ConfigError(file.mistakes)
    return Place(directory, options)


async def running(place: Place) -> Api | None:
    """The API of the engine that has this place's journal, None where none answers.

    By its journal it is known: its ``engine.yaml`` may have been edited since it was started, and another program, or another
    site's engine, may have the port.
    """
    from interop_engine.cli.api import Api
    from interop_engine.journal import location

    listen = place.options.status.listen.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")  # noqa: S104 - not bound
    api = Api(f"http://{listen}")
    try:
        status = await api.status()
        if status["journal"]["location"] == location(place.journal):
            return api
    except (InteropError, ValueError, AttributeError, KeyError, TypeError):
        pass
    await api.close()
    return None


async def names(node: Node) -> dict[str, set[str]]:
    """Channels and their destinations: of the engine at a URL, else of a site's files and its journal."""
    if node.url:
        from interop_engine.cli.api import Api

        async with Api(node.url) as api:
            channels = (await api.status())["channels"]
        return {channel["name"]: {each["name"] for each in channel["destinations"]} for channel in channels}
    from interop_engine.config.reading import read

    found: dict[str, set[str]] = {}
    for path in sorted((node.project / "channels").glob("*.yaml")):
        data = read(node.project, path, os.environ).data
        deliver = data.get("deliver") or ()
        found[str(data.get("channel"))] = {str(each.get("name")) for each in deliver if isinstance(each, dict)}
    async with opened(find(node.project), readonly=True) as journal:
        for count in await journal.counts():
            known = found.setdefault(count.queue.channel, set())
            if count.queue.destination is not None:
                known.add(count.queue.destination)
    return found


@asynccontextmanager
async def reading(node: Node) -> AsyncIterator[Reader]:
    """Read from the journal in a folder, or from the engine at a URL."""
    if node.url:
        from interop_engine.cli.api import Api

        async with Api(node.url) as api:
            yield api
        return
    async with opened(find(node.project), readonly=True) as journal:
        yield journal


@asynccontextmanager
async def operating(node: Node) -> AsyncIterator[Operator]:
    """Act through the engine at a URL, else through the one that runs in a folder, else on its journal."""
    from interop_engine.cli.api import Api

    if node.url:
        async with Api(node.url) as api:
            yield api
        return
    place = find(node.project)
    async with await running(place) or opened(place, readonly=False) as operator:
        yield operator


@asynccontextmanager
async def opened(place: Place, *, readonly: bool) -> AsyncIterator[Journal]:
    """The journal of a place."""
    from interop_engine.cli.logs import Level, events_only
    from interop_engine.journal import open_journal

    if isinstance(place.journal, Path) and not place.journal.exists():
        raise InteropError(f"There is no journal at {place.journal} yet.")
    journal = open_journal(place.journal, readonly=readonly, keys=place.options.journal.keys(place.directory))
    with events_only(Level.WARNING):
        await journal.open()
        try:
            yield journal
        finally:
            await journal.close()
