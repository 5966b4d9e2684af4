"""The HTTP API of a running engine, as the verbs ask it. Apart from ``access``: a verb that reads a journal needs no client."""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn, Self

import httpx
import msgspec

from interop_engine.core.diagnostics import Mistake
from interop_engine.core.errors import ConfigError, InteropError, UnknownItem
from interop_engine.journal.base import MessageRow, Selection
from interop_engine.ops.paging import PAGE

_OPERATE = {"x-interop-engine": "operate"}
_MOMENT = httpx.Timeout(10.0, connect=1.0)  # seconds
_ANOTHER = "what answers there is something else"
_WHILE = httpx.Timeout(120.0, connect=1.0)  # what is under way is waited for


class _Mistakes(msgspec.Struct):
    mistakes: list[Mistake]


class _Problem(msgspec.Struct):
    problem: str


class Api:
    """The HTTP API of a running engine; to be closed, or ``async with``."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise InteropError(f'"{url}" is no URL; write http://127.0.0.1:8080.')
        verify = not url.startswith("http:")  # there is none to be verified, and reading all authorities takes a while
        self._client = httpx.AsyncClient(base_url=url, timeout=_MOMENT, trust_env=False, verify=verify)

    async def __aenter__(self) -> Self:
        """Connect when something is asked."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def status(self) -> dict[str, Any]:
        """The status, as JSON."""
        found: dict[str, Any] = (await self._ask("GET", "/status")).json()
        if "journal" not in found:
            raise self._no_engine(_ANOTHER)
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
        except httpx.TimeoutException:
            raise self._no_engine("nothing is answered in time") from None
        except httpx.HTTPError as error:
            raise self._no_engine(str(error) or "what answers is no HTTP server") from error
        if not answer.headers.get("content-type", "").startswith("application/json"):
            raise self._no_engine(_ANOTHER)
        if answer.is_error:
            self._refused(answer)
        return answer

    def _refused(self, answer: httpx.Response) -> NoReturn:
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            raise ConfigError(msgspec.json.decode(answer.content, type=_Mistakes).mistakes)
        try:
            problem = msgspec.json.decode(answer.content, type=_Problem).problem
        except msgspec.MsgspecError:
            raise self._no_engine(_ANOTHER) from None
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise UnknownItem(problem)
        raise InteropError(f"The engine answered {answer.status_code}: {problem}")

    def _no_engine(self, why: str) -> InteropError:
        return InteropError(f"No engine answers at {str(self._client.base_url).rstrip('/')}: {why}.")
