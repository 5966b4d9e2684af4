"""HTTP as a source that asks: a URL is read at an interval, and what it gives is taken in.

Nothing is lost: the mark of how far we got is moved, and a message confirmed, only after the commit. What comes twice (after a
restart, or where a server keeps no marks) is known by its MSH-10 as a duplicate.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import httpx
from pydantic import Field, field_validator, model_validator

from interop_engine.connectors import events
from interop_engine.connectors.base import ConnectorHealth, Options, Surroundings
from interop_engine.connectors.http_source import HttpAuth
from interop_engine.connectors.inside_json import JsonPath, follow, message_bytes
from interop_engine.connectors.tls import TlsClient
from interop_engine.core.events import emit
from interop_engine.core.model import Accept, Arrival, Unavailable
from interop_engine.core.units import Duration, Size
from interop_engine.hl7.batch import split_batch


class PollMark(Options):
    """A server that says how far it got, and is asked for what came after that."""

    parameter: str = Field(description="The query parameter that asks for what came after a mark.", examples=["since"])
    path: JsonPath = Field(description="Where the reply says the next mark.", examples=["next"])
    file: str = Field(description="Where the mark is kept, from the site's folder.", examples=["var/lab.mark"])


class PollConfirm(Options):
    """A server that is told of each message that it was taken."""

    url: str = Field(description="The URL; {id} is the item's.", examples=["https://lis.example/messages/{id}/taken"])
    id: JsonPath = Field(description="Where an item says its id.", examples=["id"])
    method: Literal["POST", "PUT", "DELETE"] = Field("POST", description="How.")


class HttpPollerOptions(Options):
    """Read HL7 v2 from a URL at an interval."""

    url: str = Field(description="The URL that is read.", examples=["https://lis.example/outbox"])
    every: Duration = Field(10.0, gt=0, description="How long after a reading the next one begins.", examples=["10s"])
    items: JsonPath = Field(
        "",
        description="Where the list of items stands in a JSON reply; without it the reply is a message or a batch.",
        examples=["data[*]"],
    )
    hl7: JsonPath = Field(
        "", description="Where an item holds its message; without it the item is the message.", examples=["hl7"]
    )
    mark: PollMark | None = Field(None, description="How the server is asked for what is new.")
    confirm: PollConfirm | None = Field(None, description="How the server is told that a message was taken.")
    auth: HttpAuth | None = Field(None, description="What we show.", examples=[{"bearer": "${LIS_TOKEN}"}])
    tls: TlsClient | None = Field(None, description="TLS, where it needs more than the system's authorities.")
    timeout: Duration = Field(30.0, gt=0, description="The time for each step of a request.", examples=["30s"])
    max_body: Size = Field(16_000_000, gt=0, description="The largest reply.", examples=["16MB"])

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
            raise ValueError("not a URL; write https://HOST/PATH, credentials go under auth")
        return url

    @model_validator(mode="after")
    def _items_are_told_apart(self) -> HttpPollerOptions:
        if not self.items and (self.mark or self.confirm or self.hl7):
            raise ValueError("mark, confirm and hl7 are of JSON replies: add items")
        if self.confirm is not None and "{id}" not in self.confirm.url:
            raise ValueError("confirm.url has no {id}")
        if self.confirm is not None and _origin(self.confirm.url) != _origin(self.url):
            raise ValueError("confirm.url is of another server")
        return self


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


class PollFault(Exception):  # noqa: N818 - what is wrong with a reply, said to the operator
    """The server cannot be read, or its reply is not what the channel says."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One item of a reply; an ``id`` only where it is confirmed by it."""

    body: bytes
    id: str = ""


class HttpPoller:
    """The client."""

    def __init__(self, options: HttpPollerOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._channel = surroundings.channel
        self._root = surroundings.root
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    async def start(self, accept: Accept) -> None:
        """Begin to read; a server that is down is not an error here. Raises OSError where a certificate cannot be used."""
        tls = self._options.tls or TlsClient.model_validate({})
        context = await asyncio.to_thread(tls.context, self._root)
        self._stopping.clear()
        self._task = asyncio.create_task(self._run(accept, context), name=f"{self._channel} poller")

    async def stop(self) -> None:
        """Stop after the message that is under way. Twice is harmless."""
        self._stopping.set()
        task, self._task = self._task, None
        if task is not None:
            await task

    def health(self) -> ConnectorHealth:
        """The URL, and why it could not be read the last time, if so."""
        parts = urlsplit(self._options.url)
        return ConnectorHealth(place=f"{parts.scheme}://{parts.netloc}{parts.path}", problem=self._problem)

    async def _run(self, accept: Accept, context: ssl.SSLContext) -> None:
        auth = self._options.auth
        headers = {"User-Agent": "interop-engine", **({"Authorization": auth.header} if auth is not None else {})}
        async with httpx.AsyncClient(
            verify=context, headers=headers, timeout=self._options.timeout, follow_redirects=False, trust_env=False
        ) as client:
            while not self._stopping.is_set():
                try:
                    await self._round(client, accept)
                    self._problem = ""
                except (PollFault, httpx.HTTPError, OSError) as error:
                    self._trouble(str(error) if isinstance(error, PollFault) else type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._options.every):
                        await self._stopping.wait()

    def _trouble(self, why: str) -> None:
        if why != self._problem:  # said once, not at every reading
            emit(events.SourceUnreadable(self._channel, self.health().place, why))
        self._problem = why

    async def _round(self, client: httpx.AsyncClient, accept: Accept) -> None:
        """One reading: every item is committed and confirmed in order, then the mark is moved."""
        reply = await self._read(client)
        if not reply.strip():
            return
        items, mark = self._items(reply)
        for item in items:
            if self._stopping.is_set() or not await self._take(item, accept):
                return  # from here on it is read again
            await self._confirm(client, item)
        if mark and self._options.mark is not None:
            await asyncio.to_thread(_keep, Path(self._root, self._options.mark.file), mark)

    async def _read(self, client: httpx.AsyncClient) -> bytes:
        parameters = await self._parameters()
        url = httpx.URL(self._options.url).copy_merge_params(parameters)
        body = bytearray()
        async with client.stream("GET", url) as response:
            if response.status_code not in (200, 204):
                raise PollFault(f"the server answered {response.status_code}")
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._options.max_body:
                    raise PollFault(f"the reply is larger than {self._options.max_body} bytes")
        return bytes(body)

    async def _parameters(self) -> Mapping[str, str]:
        mark = self._options.mark
        if mark is None:
            return {}
        try:
            kept = await asyncio.to_thread(Path(self._root, mark.file).read_text, encoding="utf-8")
        except FileNotFoundError:  # the first reading
            return {}
        return {mark.parameter: kept}

    def _items(self, reply: bytes) -> tuple[list[_Item], str]:
        """The items of a reply and the next mark. Raises PollFault where one cannot be told: none of them is taken then."""
        options = self._options
        if not options.items:
            return [_Item(reply)], ""
        try:
            document = json.loads(reply)
        except (ValueError, RecursionError):
            raise PollFault("the reply is not JSON") from None
        items = []
        for found in follow(document, options.items):
            body = _one(found, options.hl7)
            id_ = _one(found, options.confirm.id) if options.confirm is not None else ""
            if not body or (options.confirm is not None and not id_):
                raise PollFault(f"an item at {options.items} has no {'message' if not body else 'id'}")
            items.append(_Item(message_bytes(body), id_))
        return items, _one(document, options.mark.path) if options.mark is not None else ""

    async def _take(self, item: _Item, accept: Accept) -> bool:
        peer = urlsplit(self._options.url).netloc
        for message in split_batch(item.body):
            if isinstance(await accept(Arrival(message, "hl7v2", datetime.now(UTC), peer)), Unavailable):
                return False
        return True

    async def _confirm(self, client: httpx.AsyncClient, item: _Item) -> None:
        confirm = self._options.confirm
        if confirm is None:
            return
        response = await client.request(confirm.method, confirm.url.replace("{id}", quote(item.id, safe="")))
        if not response.is_success:
            raise PollFault(f"the server answered {response.status_code} to a confirmation")


def _one(value: Any, path: str) -> str:
    """The text, or number, that a path leads to; '' where that is nothing or several."""
    match follow(value, path):
        case [str() as text]:
            return text
        case [int() as number]:
            return str(number)
    return ""


def _keep(path: Path, mark: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(mark)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
