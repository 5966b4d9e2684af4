"""Where the pure step runs: in the engine's own process, or in processes beside it, so that a node uses more than one core.

The engine's process keeps all that waits: sockets, journal, exchange. The processes beside it are forked before any thread
starts, so that they have the very site the engine runs and nothing of it is loaded twice (after a reload, each loads it). Such a
process holds no other file, ends when its socket closes, and is asked twice a message: what must be known (it keeps the prepared
message), and then for the result, which may ask once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Collection
from multiprocessing.context import ForkContext, SpawnContext
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from interop_engine.config.loader import load
from interop_engine.connectors.aside import Aside
from interop_engine.core import events
from interop_engine.core.garbage import collect_seldom
from interop_engine.core.model import Known, Question, Received
from interop_engine.engine import relay
from interop_engine.engine.transform import Parked, Prepared, prepare, transform
from interop_engine.journal.base import Forward

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig, Site
    from interop_engine.hl7.message import Message

Result = Parked | Forward
_Step = Prepared | relay.Waiting  # both say what is to be asked, of which destinations
Ask = Callable[[Question, tuple[str, ...]], Awaitable[Known]]
_Context = ForkContext | SpawnContext
_HEADER = struct.Struct("!I")
_BEGINNING = 120.0  # seconds that a process is given to load its site
_ENDING = 2.0  # seconds that a process is given to end by itself


class _Ready(msgspec.Struct, tag=True):
    """Asked whether the process can work; answered once it can."""


class _First(msgspec.Struct, tag=True):
    """Asked what must be known of a message."""

    received: Received
    channel: str


class _Second(msgspec.Struct, tag=True):
    """Asked for the result, with what is known."""

    known: Known
    channel: str


class _Forget(msgspec.Struct, tag=True):
    """The engine gave up between the two."""


class _Asks(msgspec.Struct, tag=True):
    """Answered: this must be known, of these destinations."""

    question: Question
    destinations: tuple[str, ...]


class _Parks(msgspec.Struct, tag=True):
    """Answered: the message parks."""

    parked: Parked


class _Forwards(msgspec.Struct, tag=True):
    """Answered: this is sent."""

    forward: Forward


_Request = _Ready | _First | _Second | _Forget
_Answer = _Ready | _Asks | _Parks | _Forwards
_encode = msgspec.msgpack.Encoder().encode  # with the decoders a quarter of pickle's time, which is felt at 50 kB a message
_requests = msgspec.msgpack.Decoder(tuple[int, _Request])
_answers = msgspec.msgpack.Decoder(tuple[int, _Answer])


class Transformer(Protocol):
    """Makes the result of a message; asks in between what is known."""

    async def run(self, received: Received, channel: ChannelConfig, message: Message | None, ask: Ask) -> Result:
        """The result. ``message``: the same, parsed already, where it is at hand."""


class Inside:
    """In the engine's own process."""

    def __init__(self) -> None:
        self._aside = Aside()

    async def run(self, received: Received, channel: ChannelConfig, message: Message | None, ask: Ask) -> Result:
        """Both steps, here."""
        size = len(received.data)
        step = await self._aside.do(size, _first, received, channel, message)
        while isinstance(step, _Step):
            known = await ask(step.question, step.destinations)
            step = await self._aside.do(size, _second, step, known, channel)
        return step


def _first(received: Received, channel: ChannelConfig, message: Message | None) -> Result | _Step:
    try:
        return relay.begin(received, channel) if received.media == "fhir" else prepare(received, channel, message)
    except Exception as error:  # noqa: BLE001 - a fault of our own parks one message, it does not stop the channel
        return _internal(error)


def _second(step: _Step, known: Known, channel: ChannelConfig) -> Result | _Step:
    try:
        return relay.go_on(step, known, channel) if isinstance(step, relay.Waiting) else transform(step, known, channel)
    except Exception as error:  # noqa: BLE001 - as above
        return _internal(error)


def _internal(error: Exception) -> Parked:
    return Parked("internal", f"The engine failed at this message: {type(error).__name__}. This is a fault of the engine.")


class Beside:
    """In processes beside the engine's; where they die, in the engine's own.

    Each process knows one site: a reload starts others for the new one, and those of the old one end when no channel needs them.
    """

    def __init__(self, site: Site, processes: int) -> None:
        self._site = site
        self._processes = processes
        self._workers: dict[str, list[_Worker]] = {}  # by the digest of their site
        self._turn = itertools.count()
        self._inside = Inside()

    async def start(self) -> None:
        """Fork. To be called before the process has threads."""
        await self._begin(self._site, multiprocessing.get_context("fork"), _serve, self._site)

    async def add(self, site: Site) -> None:
        """Have processes for another site too. Raises ConnectionError where they cannot read it.

        They are no forks, because the engine has threads by now: each starts as Python does and loads the site from its folder.
        """
        if site.digest not in self._workers:
            await self._begin(site, multiprocessing.get_context("spawn"), _load_and_serve, str(site.root), site.digest)

    async def keep(self, digests: Collection[str]) -> None:
        """End the processes of every other site."""
        for digest in self._workers.keys() - set(digests):
            for worker in self._workers.pop(digest):
                await worker.stop()

    async def stop(self) -> None:
        """End the processes. Twice is harmless."""
        await self.keep(())

    async def run(self, received: Received, channel: ChannelConfig, message: Message | None, ask: Ask) -> Result:
        """Both steps, in one of the processes; once more in the engine's own where that process dies meanwhile."""
        alive = [worker for worker in self._workers.get(channel.site, ()) if worker.alive]
        if alive:
            with contextlib.suppress(ConnectionError):
                return await alive[next(self._turn) % len(alive)].run(received, channel.name, ask)
        return await self._inside.run(received, channel, message, ask)

    async def _begin(self, site: Site, how: _Context, serve: Callable[..., None], *what: object) -> None:
        workers = self._workers[site.digest] = []
        for number in range(self._processes):
            ours, theirs = socket.socketpair()
            process = how.Process(target=serve, args=(theirs, *what), name=f"transform-{number}", daemon=True)
            process.start()
            theirs.close()
            workers.append(await _Worker.connect(process, ours))
        try:
            for worker in workers:
                await worker.ready()
        except BaseException:
            await self.keep(self._workers.keys() - {site.digest})
            raise


class _Worker:
    """One process, as the engine sees it."""

    def __init__(self, process: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.alive = True
        self._serving = False
        self._process = process
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[_Answer]] = {}
        self._listening = asyncio.create_task(self._listen(), name=process.name)

    @classmethod
    async def connect(cls, process: Any, ours: socket.socket) -> _Worker:
        """Take the engine's end of the socket pair."""
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(process, reader, writer)

    async def ready(self) -> None:
        """Wait until it can work. Raises ConnectionError where it ends instead, or takes too long."""
        try:
            async with asyncio.timeout(_BEGINNING):
                await self._request(next(self._numbers), _Ready())
        except TimeoutError:
            raise ConnectionError("the process does not begin") from None
        self._serving = True

    async def run(self, received: Received, channel: str, ask: Ask) -> Result:
        """Both steps. Raises ConnectionError where the process died."""
        number = next(self._numbers)
        answer = await self._request(number, _First(received, channel))
        while isinstance(answer, _Asks):
            try:
                known = await ask(answer.question, answer.destinations)
            except BaseException:
                self._send(number, _Forget())
                raise
            answer = await self._request(number, _Second(known, channel))
        if isinstance(answer, _Parks):
            return answer.parked
        assert isinstance(answer, _Forwards)
        return answer.forward

    async def stop(self) -> None:
        """Close the socket, at which the process ends."""
        self.alive = False
        self._writer.close()
        self._listening.cancel()
        await asyncio.to_thread(self._process.join, _ENDING)
        if self._process.is_alive():
            self._process.kill()
            await asyncio.to_thread(self._process.join)

    async def _request(self, number: int, what: _Request) -> _Answer:
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._send(number, what)
            return await future
        finally:
            self._waiting.pop(number, None)

    def _send(self, number: int, what: _Request) -> None:
        if not self.alive:
            raise ConnectionError("the process has ended")
        self._writer.write(_framed(number, what))

    async def _listen(self) -> None:
        try:
            while True:
                (size,) = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
                number, answer = _answers.decode(await self._reader.readexactly(size))
                if (future := self._waiting.get(number)) is not None and not future.done():
                    future.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._died()

    def _died(self) -> None:
        self.alive = False
        if self._serving:
            events.emit(events.TransformProcessDied(self._process.name))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("the process has ended"))


def _framed(number: int, what: _Request | _Answer) -> bytes:
    data = _encode((number, what))
    return _HEADER.pack(len(data)) + data


# --- In the process beside ------------------------------------------------------------------------------------------------


def _load_and_serve(sock: socket.socket, root: str, digest: str) -> None:
    """As ``_serve``, in a process that knows nothing yet. It ends where the site is not the one that is meant any more."""
    site = load(root)
    if site.digest == digest:
        _serve(sock, site)


def _serve(sock: socket.socket, site: Site) -> None:
    """Answer until the engine closes the socket. Signals are the engine's to obey: it then closes the socket."""
    signal.set_wakeup_fd(-1)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    _close_all_but(sock.fileno())
    collect_seldom(forked=True)
    channels = {channel.name: channel for channel in site.channels}
    prepared: dict[int, _Step] = {}
    with sock, sock.makefile("rb") as incoming, contextlib.suppress(ConnectionError):
        while header := incoming.read(_HEADER.size):
            number, what = _requests.decode(incoming.read(*_HEADER.unpack(header)))
            if (answer := _answered(number, what, channels, prepared)) is None:
                continue
            try:
                framed = _framed(number, answer)
            except UnicodeEncodeError as error:  # a site's own function may make half a character
                prepared.pop(number, None)
                framed = _framed(number, _Parks(_internal(error)))
            sock.sendall(framed)


def _answered(number: int, what: _Request, channels: dict[str, ChannelConfig], prepared: dict[int, _Step]) -> _Answer | None:
    match what:
        case _Ready():
            return what
        case _First(received, channel):
            step = _first(received, channels[channel], None)
        case _Second(known, channel):
            step = _second(prepared.pop(number), known, channels[channel])
        case _Forget():
            prepared.pop(number, None)
            return None
    if isinstance(step, _Step):
        prepared[number] = step
        return _Asks(step.question, step.destinations)
    return _Parks(step) if isinstance(step, Parked) else _Forwards(step)


def _close_all_but(kept: int) -> None:
    """A listening socket or the journal's lock held here would outlive the engine."""
    highest = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, kept)
    os.closerange(kept + 1, highest)
