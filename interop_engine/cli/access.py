"""How the operating verbs reach a node: its journal for reading, its HTTP API (or, where no engine runs, its journal) for acting.

A journal may be read while an engine writes it. Only one process may write it, so what changes something goes through the
engine while one runs.
"""

from __future__ import annotations

import dataclasses
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import msgspec

from interop_engine.core.diagnostics import Mistake
from interop_engine.core.errors import ConfigError, InteropError, UnknownItem
from interop_engine.journal.base import MessageRow, Selection
from interop_engine.ops.paging import PAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interop_engine.config.schema import SiteOptions
    from interop_engine.journal.base import Journal

_OPERATE = {"x-interop-engine": "operate"}
_MOMENT = httpx.Timeout(10.0, connect=1.0)  # seconds
_WHILE = httpx.Timeout(120.0, connect=1.0)  # what is under way is waited for


class Reader(Protocol):
    """What is needed to list and show."""

    async def search(self, selection: Selection) -> list[MessageRow]:
        """List messages, newest first."""
        ...

    async def show(self, message_id: str) -> MessageRow:
        """One message with its deliveries."""
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


class _Mistakes(msgspec.Struct):
    mistakes: list[Mistake]


class Api:
    """The HTTP API of a running engine."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=_MOMENT, trust_env=False)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def status(self) -> dict[str, Any]:
        """The status, as JSON."""
        found: dict[str, Any] = (await self._ask("GET", "/status")).json()
        return found

    async def search(self, selection: Selection) -> list[MessageRow]:
        """List messages, newest first; more than the engine gives at once come a page at a time."""
        rows: list[MessageRow] = []
        while len(rows) < selection.limit:
            limit = min(selection.limit - len(rows), PAGE)
            rows += (page := await self._page(dataclasses.replace(selection, limit=limit)))
            if len(page) < limit:
                break
            selection = dataclasses.replace(selection, before=page[-1].id)
        return rows

    async def _page(self, selection: Selection) -> list[MessageRow]:
        query = {name: value for name, value in msgspec.to_builtins(selection).items() if value not in (None, [], "")}
        query["search"] = [f"{kind}:{value}" for kind, value in selection.search]
        answer = await self._ask("GET", "/messages", params=query)
        return msgspec.json.decode(answer.content, type=list[MessageRow])

    async def show(self, message_id: str) -> MessageRow:
        """One message with its deliveries."""
        return msgspec.json.decode((await self._ask("GET", f"/messages/{message_id}")).content, type=MessageRow)

    async def replay(
        self, message_id: str, *, only: str = "", then: bool = False, resend: bool = False, once: bool = False
    ) -> str:
        """Receive a message again; returns the new id."""
        how = {"to": only, "mapping": "then" if then else "now", "resend": resend, "once": once}
        return str((await self._ask("POST", f"/messages/{message_id}/replay", json=how)).json()["id"])

    async def discard(self, message_id: str, why: str, *, to: str = "", code: str = "", waiting: bool = False) -> None:
        """Give up what is parked of a message."""
        how = {"why": why, "to": to, "code": code, "waiting": waiting}
        await self._ask("POST", f"/messages/{message_id}/discard", json=how)

    async def retry(self, delivery_id: str) -> str | None:
        """Make a delivery due now; the id of its message's replay where it was overtaken."""
        made: str | None = (await self._ask("POST", f"/deliveries/{delivery_id}/retry")).json()["replay"]
        return made

    async def channel(self, name: str, action: str, destination: str = "") -> dict[str, str]:
        """Start or stop a channel's intake, or the deliveries to one destination; its name, state and problem."""
        what = f"{name}/destinations/{destination}" if destination else name
        found: dict[str, str] = (await self._ask("POST", f"/channels/{what}/{action}")).json()
        return found

    async def reload(self, name: str = "") -> dict[str, Any]:
        """Take the site anew, or of it one channel; what was done. Raises ConfigError with the mistakes found."""
        path = f"/channels/{name}/reload" if name else "/reload"
        found: dict[str, Any] = (await self._ask("POST", path, timeout=_WHILE)).json()
        return found

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = _OPERATE if method == "POST" else {}
        try:
            answer = await self._client.request(method, path, headers=headers, **more)
        except httpx.HTTPError as error:
            raise InteropError(f"No engine answers at {self._client.base_url}: {error}") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise UnknownItem(_problem(answer))
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            raise ConfigError(msgspec.json.decode(answer.content, type=_Mistakes).mistakes)
        if answer.is_error:
            raise InteropError(f"The engine answered {answer.status_code}: {_problem(answer)}")
        return answer


def _problem(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["problem"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


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


async def names(directory: Path, url: str | None) -> dict[str, set[str]]:
    """Channels and their destinations: of the engine at ``url``, else of a site's files and its journal."""
    if url:
        api = Api(url)
        try:
            channels = (await api.status())["channels"]
        finally:
            await api.close()
        return {channel["name"]: {each["name"] for each in channel["destinations"]} for channel in channels}
    from interop_engine.config.reading import read

    found: dict[str, set[str]] = {}
    for path in sorted((directory / "channels").glob("*.yaml")):
        data = read(directory, path, os.environ).data
        deliver = data.get("deliver") or ()
        found[str(data.get("channel"))] = {str(each.get("name")) for each in deliver if isinstance(each, dict)}
    async with opened(find(directory), readonly=True) as journal:
        for count in await journal.counts():
            known = found.setdefault(count.queue.channel, set())
            if count.queue.destination is not None:
                known.add(count.queue.destination)
    return found


@asynccontextmanager
async def reading(directory: Path, url: str | None) -> AsyncIterator[Reader]:
    """Read from the journal in a folder, or from the engine at ``url``."""
    if url:
        api = Api(url)
        try:
            yield api
        finally:
            await api.close()
        return
    async with opened(find(directory), readonly=True) as journal:
        yield journal


@asynccontextmanager
async def operating(directory: Path, url: str | None) -> AsyncIterator[Operator]:
    """Act through the engine at ``url``, else through the one that runs in a folder, else on its journal."""
    place = None if url else find(directory)
    api = Api(url) if url else await running(place) if place else None
    if api is not None:
        try:
            yield api
        finally:
            await api.close()
    elif place is not None:
        async with opened(place, readonly=False) as journal:
            yield journal


@asynccontextmanager
async def opened(place: Place, *, readonly: bool) -> AsyncIterator[Journal]:
    """The journal of a place."""
    from interop_engine.journal import open_journal

    if isinstance(place.journal, Path) and not place.journal.exists():
        raise InteropError(f"There is no journal at {place.journal} yet.")
    journal = open_journal(place.journal, readonly=readonly, keys=place.options.journal.keys(place.directory))
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()
