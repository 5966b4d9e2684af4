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
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import httpx
from pydantic import Field, field_validator, model_validator

from interop_engine.connectors import events
from interop_engine.connectors.aside import Aside
from interop_engine.connectors.base import ConnectorHealth, Surroundings
from interop_engine.connectors.fhir_reply import LONGEST_WAIT, read_retry_after
from interop_engine.connectors.http_source import HttpAuth
from interop_engine.connectors.inside_json import JsonPath, follow, message_bytes, read_json
from interop_engine.connectors.options import Options
from interop_engine.connectors.renewed_tls import RenewedTls
from interop_engine.connectors.tls import TlsClient
from interop_engine.core.events import emit
from interop_engine.core.model import Accept, Arrival, Unavailable
from interop_engine.core.retry import Backoff
from interop_engine.core.units import Duration, Size
from interop_engine.hl7.batch import messages_of

_LONGEST_PAUSE = 300.0  # seconds after which a server in trouble is asked again
_STEPS = 10  # times ``timeout`` in which a whole reply has come
_GONE = (404, 410)  # to a confirmation: it was taken from there already


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
    timeout: Duration = Field(
        30.0, gt=0, description="The time for each step of a request; for a whole reply ten times that.", examples=["30s"]
    )
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
    """The server cannot be read, or its reply is not what the channel says. ``after``: seconds that it asked to be left alone."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


@dataclass(frozen=True, slots=True)
class _Item:
    """One item of a reply; an ``id`` only where it is confirmed by it, a ``fault`` where it holds no message."""

    messages: list[bytes]
    id: str = ""
    fault: str = ""


class HttpPoller:
    """The client."""

    def __init__(self, options: HttpPollerOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._channel = surroundings.channel
        self._surroundings = surroundings
        self._tls: RenewedTls | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._problem = ""
        self._aside = Aside()

    async def start(self, accept: Accept) -> None:
        """Begin to read; a server that is down is not an error here. Raises OSError where a certificate cannot be used."""
        tls = self._options.tls or TlsClient.model_validate({})
        self._tls = await asyncio.to_thread(RenewedTls, tls, self._surroundings)
        self._stopping.clear()
        self._task = asyncio.create_task(self._run(accept, self._tls), name=f"{self._channel} poller")

    async def stop(self) -> None:
        """Stop after the message that is under way. Twice is harmless."""
        self._stopping.set()
        task, self._task = self._task, None
        if task is not None:
            await task

    def health(self) -> ConnectorHealth:
        """The URL, and why it could not be read the last time, if so."""
        parts = urlsplit(self._options.url)
        warning = self._tls.problem if self._tls is not None else ""
        return ConnectorHealth(f"{parts.scheme}://{parts.netloc}{parts.path}", problem=self._problem, warning=warning)

    async def _run(self, accept: Accept, context: ssl.SSLContext) -> None:
        auth = self._options.auth
        # A few bytes can unpack to gigabytes, before anybody can count them.
        headers = {
            "User-Agent": "interop-engine",
            "Accept-Encoding": "identity",
            **({"Authorization": auth.header} if auth is not None else {}),
        }
        async with httpx.AsyncClient(
            verify=context, headers=headers, timeout=self._options.timeout, follow_redirects=False, trust_env=False
        ) as client:
            failures = 0
            while not self._stopping.is_set():
                pause = self._options.every
                try:
                    more = await self._round(client, accept)
                    self._problem, failures, pause = "", 0, 0.0 if more else pause
                except (PollFault, httpx.HTTPError, OSError) as error:
                    self._trouble(str(error) if isinstance(error, PollFault) else type(error).__name__)
                    failures += 1
                    pause = pause_after(error, failures, pause)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()

    def _trouble(self, why: str) -> None:
        if why != self._problem:  # said once, not at every reading
            emit(events.SourceUnreadable(self._channel, self.health().place, why))
        self._problem = why

    async def _round(self, client: httpx.AsyncClient, accept: Accept) -> bool:
        """One reading: every item is committed and confirmed in order, then the mark is moved. True where there may be more.

        An item that cannot be confirmed holds up no other: it comes again, and is known then. It is said, and the mark stays.
        """
        before = await self._mark()
        reply = await self._unless_stopped(self._read(client, before))
        if reply is None or not reply.strip():
            return False
        items, mark = await self._aside.do(len(reply), _items, reply, self._options)
        fault: PollFault | None = None
        for item in items:
            if self._stopping.is_set() or not await self._take(item, accept):
                return False  # from here on it is read again
            try:
                await self._confirm(client, item)
            except PollFault as error:
                fault = error
        if fault is not None:
            raise fault
        if mark and self._options.mark is not None:
            await asyncio.to_thread(_keep, Path(self._surroundings.root, self._options.mark.file), mark)
        return bool(items and mark and mark != before)

    async def _unless_stopped(self, reading: Coroutine[Any, Any, bytes]) -> bytes | None:
        """What is read; None where the source stops meanwhile: of what was not read to its end nothing is taken."""
        task, stopping = asyncio.create_task(reading), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for each in (task, stopping):
                each.cancel()
            await asyncio.wait({task, stopping})

    async def _read(self, client: httpx.AsyncClient, mark: str) -> bytes:
        parameters = {self._options.mark.parameter: mark} if self._options.mark is not None and mark else {}
        url = httpx.URL(self._options.url).copy_merge_params(parameters)
        async with client.stream("GET", url) as response:
            if response.status_code not in (200, 204):
                raise PollFault(f"the server answered {response.status_code}", _asked(response))
            if response.headers.get("content-type", "").startswith("text/html"):
                raise PollFault("the server answered with a page for people (a login?)")
            if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise PollFault("the reply has a Content-Encoding that was not asked for")
            return await self._body(response)

    async def _body(self, response: httpx.Response) -> bytes:
        """As it comes: of what is packed nobody knows how large it is."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._options.timeout * _STEPS):
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > self._options.max_body:
                        raise PollFault(f"the reply is larger than {self._options.max_body} bytes")
        except TimeoutError:
            raise PollFault("the reply did not come to its end in time") from None
        return bytes(body)

    async def _mark(self) -> str:
        """The mark of how far we got; nothing before the first."""
        if self._options.mark is None:
            return ""
        try:
            return await asyncio.to_thread(Path(self._surroundings.root, self._options.mark.file).read_text, encoding="utf-8")
        except FileNotFoundError:
            return ""

    async def _take(self, item: _Item, accept: Accept) -> bool:
        peer = urlsplit(self._options.url).netloc
        for message in item.messages:
            if isinstance(await accept(Arrival(message, "hl7v2", datetime.now(UTC), peer, fault=item.fault)), Unavailable):
                return False
        return True

    async def _confirm(self, client: httpx.AsyncClient, item: _Item) -> None:
        confirm = self._options.confirm
        if confirm is None:
            return
        if not item.id:
            raise PollFault(f"an item at {self._options.items} has no id to confirm it by")
        async with client.stream(confirm.method, confirm.url.replace("{id}", quote(item.id, safe=""))) as response:
            if not response.is_success and response.status_code not in _GONE:
                raise PollFault(f"the server answered {response.status_code} to a confirmation", _asked(response))
            await self._body(response)  # else the connection could not be used again


def pause_after(error: Exception, failures: int, every: float) -> float:
    """Seconds until a server in trouble is asked again: longer with each failure in a row, and as long as it asked for."""
    asked = error.after if isinstance(error, PollFault) else 0.0
    return max(every, asked, Backoff(every, max(every, _LONGEST_PAUSE)).delay(failures))


def _asked(response: httpx.Response) -> float:
    """Seconds that the server asked to be left alone (RFC 9110, Retry-After), an hour at most."""
    return min(read_retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC)) or 0.0, LONGEST_WAIT)


def _items(reply: bytes, options: HttpPollerOptions) -> tuple[list[_Item], str]:
    """The items of a reply and the next mark. Raises PollFault for what is no JSON, or too much of it.

    An item without a message is taken as one with a fault: it is kept as rejected, and holds up no other.
    """
    if not options.items:
        return [_item(reply)], ""
    try:
        document = read_json(reply)
    except ValueError as error:
        raise PollFault(f"the reply cannot be read: {error}") from None
    items = []
    for found in follow(document, options.items):
        body = _one(found, options.hl7)
        id_ = _one(found, options.confirm.id) if options.confirm is not None else ""
        if body:
            items.append(_item(message_bytes(body), id_))
        else:
            fault = f"The item has no message at {options.hl7 or 'its place'}."
            items.append(_Item([json.dumps(found).encode()], id_, fault))
    return items, _one(document, options.mark.path) if options.mark is not None else ""


def _item(body: bytes, id_: str = "") -> _Item:
    messages, fault = messages_of(body)
    return _Item(messages, id_, fault)


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
