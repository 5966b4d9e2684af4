"""A connection to the broker that comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import aio_pika
import tenacity
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import (
    AMQPError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    IncompatibleProtocolError,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelAccessRefused

from interop_engine.core.events import emit
from interop_engine.exchange.events import ExchangeConnected, ExchangeLost
from interop_engine.exchange.rabbitmq.settings import Settings
from interop_engine.exchange.rabbitmq.topology import TopologyError

HEARTBEAT = 5  # seconds; the library takes a broker for dead after three of them, and three seconds
_ATTEMPT = 15.0  # seconds for connecting and declaring
_SWALLOWED = 1.0  # seconds after which a task is cancelled again: the library swallows a cancellation now and then
_PAUSE = tenacity.wait_random_exponential(multiplier=0.2, max=2)  # a broker that is back is used within ten seconds

# Everything the library may raise where a broker, the network or an operator did something.
BROKER_ERRORS = (AMQPError, OSError, TimeoutError, RuntimeError)

# The library logs frames, returned messages and its own reconnecting; frames hold patient data. What matters is an event of ours.
for _name in ("aio_pika", "aiormq", "pamqp"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class LinkLostError(ConnectionError):
    """The connection went away under an operation."""


class FilesError(RuntimeError):
    """A file of TLS cannot be used; its text may be shown."""


class Link:
    """Keeps one connection up. ``prepare`` declares what is needed on it; ``problem`` is empty while it can be used.

    Of a cluster it stays with one node as long as that serves, and takes the next in the address where it does not.
    """

    def __init__(
        self,
        settings: Settings,
        purpose: Literal["publish", "consume"],
        prepare: Callable[[AbstractConnection], Awaitable[None]],
        lost: Callable[[], Awaitable[None]],
    ) -> None:
        self.problem = "not connected yet"
        self._settings = settings
        self._address = settings.address
        self._node = 0  # which of the cluster's
        self._told: set[str] = set()  # what is wrong, since the last connection
        self._purpose = purpose
        self._prepare = prepare
        self._lost = lost
        self._up = asyncio.Event()
        self._gone = asyncio.Event()
        self._connection: AbstractConnection | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def connection(self) -> AbstractConnection | None:
        """The prepared connection, or None while there is none."""
        return self._connection if self._up.is_set() else None

    def start(self) -> None:
        """Start to connect, and to keep connected."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"exchange {self._purpose}")

    async def wait_up(self, seconds: float) -> bool:
        """Whether the connection is up, after at most ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._up.wait()
        return self._up.is_set()

    def drop(self, why: str) -> None:
        """Give the present connection up; a new one is made."""
        if self._up.is_set():
            self.problem = why
        self._gone.set()

    async def close(self) -> None:
        """End for good. Twice is harmless."""
        keeper, self._keeper = self._keeper, None
        while keeper is not None and not keeper.done():
            keeper.cancel()
            await asyncio.wait([keeper], timeout=_SWALLOWED)
        if keeper is not None:
            await asyncio.gather(keeper, return_exceptions=True)
        self.problem = "closed"

    async def _keep(self) -> None:
        try:
            while True:
                await self._connect()
                await self._gone.wait()
                self._told.add(self.problem)
                emit(ExchangeLost(self._address.locations[self._node], self._purpose, self.problem))
                await self._disconnect()
                self._next_node()
        finally:
            await self._disconnect()

    async def _connect(self) -> None:
        retrying = tenacity.AsyncRetrying(
            wait=_PAUSE, retry=tenacity.retry_if_exception_type(Exception), before_sleep=self._failed
        )
        async for attempt in retrying:
            with attempt:
                await self._attempt()
        self.problem = ""
        self._told.clear()
        self._up.set()  # where it was lost meanwhile, ``_gone`` is set already
        emit(ExchangeConnected(self._address.locations[self._node], self._purpose))

    async def _attempt(self) -> None:
        self._gone = asyncio.Event()
        try:
            async with asyncio.timeout(_ATTEMPT):
                with OnlyOurCancellation():
                    await self._open_and_prepare()
        except BaseException:
            await self._disconnect()
            raise

    async def _open_and_prepare(self) -> None:
        tls = self._settings.tls
        try:
            context = await asyncio.to_thread(tls) if tls is not None else None
        except OSError as error:
            raise FilesError(f"a certificate or key of TLS cannot be used ({_why(error)}): check says which") from None
        self._connection = connection = await aio_pika.connect(
            self._address.urls[self._node],
            timeout=_ATTEMPT / len(self._address.urls),  # a node that stands still still takes connections
            heartbeat=HEARTBEAT,
            client_properties={"connection_name": f"{self._settings.name} {self._purpose}"},
            ssl_context=context,
        )
        connection.close_callbacks.add(self._on_close(self._gone))
        await self._prepare(connection)

    def _on_close(self, gone: asyncio.Event) -> Callable[..., None]:
        def callback(_: Any, error: BaseException | None = None) -> None:
            if self._up.is_set() and not self.problem:
                self.problem = words(error) if error is not None else "the connection was lost"
            gone.set()

        return callback

    def _failed(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        problem = words(error) if error is not None else "not connected"
        if problem not in self._told:  # once, not at every attempt
            self._told.add(problem)
            emit(ExchangeLost(self._address.location, self._purpose, problem))
        self.problem = problem
        self._next_node()

    def _next_node(self) -> None:
        self._node = (self._node + 1) % len(self._address.urls)

    async def _disconnect(self) -> None:
        self._up.clear()
        connection, self._connection = self._connection, None
        await self._lost()
        if connection is not None:
            with contextlib.suppress(*BROKER_ERRORS):
                async with asyncio.timeout(2):
                    with OnlyOurCancellation():
                        await connection.close()


class OnlyOurCancellation:
    """Turn the CancelledError that the library raises for a closed connection into LinkLostError; let our own pass."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Look at what comes out."""
        if kind is None or not issubclass(kind, asyncio.CancelledError):
            return
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            raise LinkLostError("the connection was lost") from None


def words(error: BaseException) -> str:
    """What went wrong, for the operator, without what a URL or a message holds."""
    if isinstance(error.__cause__, ssl.SSLError):
        error = error.__cause__
    for kinds, said in _WORDS:
        if isinstance(error, kinds):
            return said
    if isinstance(error, TopologyError | FilesError):
        return str(error)
    if isinstance(error, ChannelAccessRefused | ChannelNotFoundEntity | ChannelPreconditionFailed):
        return f"the broker refuses: {error}"  # names of queues and exchanges only
    return f"the broker cannot be used ({type(error).__name__})"


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):  # its own text is of OpenSSL's insides
        return "it is no PEM, or the key is another's"
    return f"{Path(error.filename).name}: {error.strerror}" if error.filename else error.strerror or type(error).__name__


_WORDS: tuple[tuple[type[BaseException], str], ...] = (  # the narrow ones first
    (ProbableAuthenticationError, "the broker refuses the user or the password"),
    (IncompatibleProtocolError, "what answers there is not an AMQP 0-9-1 broker"),
    (ssl.SSLError, "TLS with the broker failed: check its certificate"),
    (TimeoutError, "the broker does not answer"),
    (ConnectionError, "the broker cannot be reached, or closed the connection"),
)
