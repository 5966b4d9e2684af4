"""The HTTP API: health, status, metrics, and what an operator does with parked messages. No content of a message is shown.

It listens on loopback by default. Requests are refused whose ``Host`` is another name (a page in a browser that was pointed
here by DNS rebinding); what changes something also needs to come from this machine and to carry a header that no HTML form
can send.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from interop_engine.core import events
from interop_engine.core.errors import ConfigError, JournalError, UnknownItem
from interop_engine.journal import finding
from interop_engine.journal.base import STATES, MessageRow, Selection
from interop_engine.ops.metrics import CONTENT_TYPE, Metrics
from interop_engine.ops.paging import PAGE
from interop_engine.ops.rates import Arrivals
from interop_engine.ops.status import Status, observe, problems

if TYPE_CHECKING:
    from interop_engine.ops.status import Observed

OPERATE_HEADER = "x-interop-engine"  # its value must be "operate"
_MAX_BODY = 10_000  # bytes of a request; a reason is the longest thing that is sent


class _Replay(msgspec.Struct, forbid_unknown_fields=True):
    to: str = ""
    mapping: Literal["now", "then"] = "now"
    resend: bool = False
    once: bool = False


class _Discard(msgspec.Struct, forbid_unknown_fields=True):
    why: str
    to: str = ""
    code: str = ""
    waiting: bool = False


class Watch:
    """Watches one running engine: keeps what can only be known by watching. ``close`` when the engine stops."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        self.metrics = Metrics()
        self._arrivals = Arrivals()
        self._started_at = datetime.now(UTC)
        self._ends = [events.subscribe(self.metrics.note), events.subscribe(self._arrivals.note)]

    async def status(self) -> Status:
        """The snapshot, now."""
        return await observe(self.observed, self._arrivals, self._started_at)

    def close(self) -> None:
        """Stop watching. Twice is harmless."""
        ends, self._ends = self._ends, []
        for end in ends:
            end()


def application(watch: Watch, host: str) -> FastAPI:
    """The API over one engine; ``host`` is the address it listens on."""
    api = FastAPI(title="interop-engine", docs_url=None, redoc_url=None, openapi_url=None)
    _guard(api, host)
    _reading(api, watch)
    _messages(api, watch)
    _operating(api, watch)
    _steering(api, watch)
    return api


def _guard(api: FastAPI, host: str) -> None:
    @api.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        if not _is_ours(request.headers.get("host", ""), host):
            return _problem(421, "This host name is not served here.")
        if request.method not in ("GET", "HEAD"):
            if not _is_local(request):
                return _problem(403, "Only from the machine that the engine runs on.")
            if request.headers.get(OPERATE_HEADER) != "operate":
                return _problem(403, f"The header {OPERATE_HEADER}: operate is missing.")
            if "transfer-encoding" in request.headers:  # which does not say how large it is
                return _problem(411, "The request needs a Content-Length.")
            if int(request.headers.get("content-length") or 0) > _MAX_BODY:
                return _problem(413, "The request is too large.")
        response = await go_on(request)
        response.headers["cache-control"] = "no-store"
        response.headers["x-content-type-options"] = "nosniff"
        return response

    @api.exception_handler(UnknownItem)
    async def unknown(_request: Request, error: UnknownItem) -> Response:
        return _problem(404, str(error))

    @api.exception_handler(JournalError)
    async def broken(_request: Request, error: JournalError) -> Response:
        return _problem(503, str(error))


def _reading(api: FastAPI, watch: Watch) -> None:
    @api.get("/health/live")
    async def live() -> Response:
        """200 while the process answers."""
        return _json({"live": True})

    @api.get("/health/ready")
    async def ready() -> Response:
        """200 while messages can be taken in, else 503; `problems` says why."""
        reasons = await problems(watch.observed)
        return _json({"ready": not reasons, "problems": reasons}, 503 if reasons else 200)

    @api.get("/status")
    async def status() -> Response:
        """The engine as `interop-engine status` shows it: channels, counts, rates, what waits, what is parked."""
        return _json(await watch.status())

    @api.get("/metrics")
    async def metrics() -> Response:
        """Everything for Prometheus, in its text format."""
        return PlainTextResponse(watch.metrics.exposition(await watch.status()), media_type=CONTENT_TYPE)


def _messages(api: FastAPI, watch: Watch) -> None:
    @api.get("/messages")
    async def messages(request: Request) -> Response:
        """Messages, newest first, by `channel`, `states`, `since`, `until`, `control_id`, `message_type`, `search`.

        `limit`: at most so many, 1 to 1000, 50 without it; `before`: those behind this id, the last of the page before. 400 where
        one of them is not so, or a time has no offset.
        """
        try:
            selection = _selection(request)
        except ValueError as error:
            return _problem(400, str(error))
        return _json([_without_patient(row) for row in await watch.observed.journal.search(selection)])

    @api.get("/messages/{message_id}")
    async def message(message_id: str) -> Response:
        """One message, its deliveries and what was done with it, without content; by its id, a delivery's, or its sender's."""
        return _json(_without_patient(await finding.show(watch.observed.journal, message_id)))


def _operating(api: FastAPI, watch: Watch) -> None:
    @api.post("/messages/{message_id}/replay")
    async def replay(message_id: str, request: Request) -> Response:
        """Receive a message again; gives the new id. `{"to": "hub", "mapping": "then", "once": true}`, all of it optional.

        `to`: for this destination alone; `mapping`: of `now`, or of `then`, when it was received; `resend`: also what its
        receivers have been sent; `once`: unless it was already.
        """
        try:
            how = msgspec.json.decode(await request.body() or b"{}", type=_Replay)
        except msgspec.DecodeError as error:
            return _problem(400, str(error))
        config, then = watch.observed.site.digest, how.mapping == "then"
        made = await watch.observed.journal.replay(
            message_id, config=config, only=how.to, then=then, resend=how.resend, once=how.once
        )
        return _json({"id": made})

    @api.post("/messages/{message_id}/discard")
    async def discard(message_id: str, request: Request) -> Response:
        """Give up what is parked of a message, for a reason: `{"why": "…"}`. 404 where nothing of it is.

        `"to": "hub"`: only of this destination; `"code": "…"`: only what parked for it; `"waiting": true`: what waits, too.
        """
        try:
            how = msgspec.json.decode(await request.body() or b"{}", type=_Discard)
        except msgspec.DecodeError as error:
            return _problem(400, str(error))
        if not (why := how.why.strip()):
            return _problem(400, 'A reason is needed: {"why": "…"}.')
        await watch.observed.journal.discard(message_id, why, to=how.to, code=how.code, waiting=how.waiting)
        return _json({"id": message_id})

    @api.post("/deliveries/{delivery_id}/retry")
    async def retry(delivery_id: str) -> Response:
        """Make a parked or waiting delivery due now; `replay` is the id of its message's replay where it was overtaken."""
        return _json({"id": delivery_id, "replay": await watch.observed.journal.retry(delivery_id)})


def _steering(api: FastAPI, watch: Watch) -> None:
    @api.post("/channels/{name}/{action}")
    async def channel(name: str, action: str) -> Response:
        """`start` or `stop` a channel's intake; what it has taken in goes on. `reload`: as `/reload`, for this channel alone."""
        if action == "reload":
            return await _reload(watch.observed, name)
        if action not in ("start", "stop"):
            return _problem(404, "A channel can start, stop and reload.")
        async with watch.observed.steering:
            found = next((each for each in watch.observed.channels if each.name == name), None)
            if found is None:
                return _problem(404, f"There is no channel {name}.")
            # A channel that failed or runs is left as it is where that is what is asked for.
            if action == "start" and found.state != "running":
                await found.open_source()
            if action == "stop" and found.state != "stopped":
                await found.close_source()
            return _json({"channel": name, "state": found.state, "problem": found.problem})

    @api.post("/channels/{name}/destinations/{destination}/{action}")
    async def destination(name: str, destination: str, action: str) -> Response:
        """`start` or `stop` the deliveries to one destination until the engine's next start; the channel takes messages in.

        To `start` one whose receiver is left alone asks that receiver at once.
        """
        if action not in ("start", "stop"):
            return _problem(404, "A destination can start and stop.")
        async with watch.observed.steering:
            found = next((each for each in watch.observed.channels if each.name == name), None)
            if found is None:
                return _problem(404, f"There is no channel {name}.")
            (found.start_destination if action == "start" else found.stop_destination)(destination)
            problem = found.destination_healths[destination].problem
            state = "running" if action == "start" else "stopped"
            return _json({"channel": name, "destination": destination, "state": state, "problem": problem})

    @api.post("/reload")
    async def reload() -> Response:
        """Take the site as its folder has it now: 409 with a `problem`, or 422 with `mistakes` too, and nothing has changed."""
        return await _reload(watch.observed, "")


async def _reload(observed: Observed, only: str) -> Response:
    """Not ended halfway by a client that goes away."""
    try:
        done = await asyncio.shield(observed.reload(only))
    except ConfigError as error:
        return _json({"problem": "The site has mistakes.", "mistakes": error.mistakes}, 422)
    except OSError as error:
        return _problem(409, f"The site cannot be read: {error.filename or ''} {error.strerror or error}")
    return _json(done, 409 if done.problem else 200)


def _selection(request: Request) -> Selection:
    """What to list. Raises ValueError where that is not said as it should be."""
    selection = msgspec.convert(_query(request), Selection, strict=False)
    if not 1 <= selection.limit <= PAGE:
        raise ValueError(f"limit is 1 to {PAGE}; for more ask again with before: the last id of the page before.")
    if unknown := set(selection.states).difference(STATES):
        raise ValueError(f"There is no state {', '.join(sorted(unknown))}; there are {', '.join(STATES)}.")
    if any(each is not None and each.tzinfo is None for each in (selection.since, selection.until)):
        raise ValueError("since and until need an offset: 2026-03-01T08:00:00+07:00, with %2B for the plus sign.")
    return selection


def _query(request: Request) -> dict[str, Any]:
    """The query string as a ``Selection``; a search is ``search=patient:BN001``, and what may be repeated is a list."""
    query: dict[str, Any] = dict(request.query_params)
    for several in ("states", "search"):
        if several in query:
            query[several] = request.query_params.getlist(several)
    if "search" in query:
        query["search"] = [text.partition(":")[::2] for text in query["search"]]
    return query


def _without_patient(row: MessageRow) -> MessageRow:
    """The row without its search keys (patient and order numbers), and without receivers' own words, which may repeat content.

    Findings name places only, and the codes of deliveries say what happened. The words stay in the journal.
    """
    deliveries = tuple(dataclasses.replace(delivery, why="") for delivery in row.deliveries)
    return dataclasses.replace(row, search=(), deliveries=deliveries)


def _is_ours(header: str, host: str) -> bool:
    """Whether a Host header is an address, localhost, or the name that is listened on: no name a stranger could own."""
    name = header.rpartition(":")[0] if header.rpartition(":")[2].isdigit() and not header.endswith("]") else header
    name = name.strip("[]").lower()
    if name in ("localhost", host.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_local(request: Request) -> bool:
    return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _problem(status: int, message: str) -> Response:
    return _json({"problem": message}, status)
