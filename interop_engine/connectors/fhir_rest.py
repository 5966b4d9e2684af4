"""A FHIR R4 server as a destination: Bundles, sent the way that server can take them.

A timed-out request is unknown, and harmless to send again: each entry updates one resource of ours, and the bytes are the same.
What a reply means is in ``fhir_reply``, how a Bundle is cut in ``fhir_pieces``; what only several requests together show (a
server that is down, a message that fails alone, a Bundle of which half is taken) is here.
"""

from __future__ import annotations

from functools import partial
from typing import Self
from urllib.parse import urlsplit

import httpx
from pydantic import Field, field_validator, model_validator

from interop_engine.connectors.addresses import is_safe_url
from interop_engine.connectors.base import ConnectorHealth, Surroundings
from interop_engine.connectors.breaker import BreakerOptions
from interop_engine.connectors.events import DestinationBarred, DestinationDown
from interop_engine.connectors.fhir_auth import FhirAuth, TokenRefused, Tokens, TokenServerDown
from interop_engine.connectors.fhir_client import UNREACHED, FhirClient, FhirTimeouts, words
from interop_engine.connectors.fhir_pieces import NO_BUNDLE, Cut, Cutting, Piece, Write
from interop_engine.connectors.fhir_reply import (
    ALONE_UNANSWERED,
    Again,
    Barred,
    Reply,
    Verdict,
    judge,
    judge_alone,
    judge_batch,
)
from interop_engine.connectors.fhir_troubles import Progress, Troubles
from interop_engine.connectors.gate import Gate
from interop_engine.connectors.options import Options
from interop_engine.connectors.streak import Streak
from interop_engine.connectors.tls import TlsClient
from interop_engine.core.events import Event
from interop_engine.core.model import Delivered, Delivery, Outcome, Park, Retry
from interop_engine.core.units import Size

_NOT_THE_MESSAGE = (httpx.ConnectError, httpx.ConnectTimeout, TokenServerDown)  # what went wrong before it was sent
_TOLD = 3  # refused entries of a batch that are told


class FhirRestOptions(Options):
    """Send Bundles to a FHIR R4 server."""

    url: str = Field(description="The server's base URL.", examples=["https://hub.example/fhir", "${HUB_FHIR_URL}"])
    auth: FhirAuth | None = Field(None, description="How the server knows us; nothing where it does not ask.")
    tls: TlsClient | None = Field(
        None, description="Certificates, where the system's are not enough; a token server is met with the same."
    )
    bundle: Cut = Field(
        "transaction",
        description="transaction: all or nothing, at once. split: for a server with a limit, or that wants what is referred to"
        " first; each piece is a transaction, settled before the next. batch: the server takes or refuses each entry by itself.",
        examples=["split"],
    )
    entries: int = Field(
        0,
        ge=0,
        description="Of split and batch: the most entries of one request, 0 for any number. split with 1 puts each resource by"
        " itself (PUT Type/id), for a server without transactions.",
        examples=[8],
    )
    write: Write = Field(
        "put",
        description="put: resources are written by our ids. conditional: for a server that gives out its own ids, by an"
        " identifier (PUT Type?identifier=…): that of keys, else our URL of the resource, which travels as one more identifier.",
        examples=["conditional"],
    )
    keys: dict[str, str] = Field(
        default_factory=dict,
        description="Of conditional: by resource type, the system of the identifier that is its key, to find what others wrote;"
        " * stands for any characters. Never a national number: those are mistyped and reissued.",
        examples=[{"Patient": "https://hie.example.vn/facility/*/mrn"}],
    )
    concurrency: int = Field(4, ge=1, le=64, description="Requests in flight, each of another lane.")
    timeouts: FhirTimeouts = Field(default_factory=FhirTimeouts, description="How long each step may take.")
    breaker: BreakerOptions = Field(default_factory=BreakerOptions, description="When a silent server is left alone.")
    max_reply: Size = Field(16_000_000, gt=0, description="The largest reply that is read.", examples=["16MB"])

    @field_validator("url")
    @classmethod
    def _is_base(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            port_is_a_number = parts.port is None or parts.port > 0
        except ValueError:
            port_is_a_number = False
        if not port_is_a_number or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not a base URL; write https://HOST/PATH")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("a base URL has no user, password, query or fragment; credentials go under auth")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _way_is_safe(self) -> Self:
        if self.auth is not None and not is_safe_url(self.url):
            raise ValueError("a token over plain http can be read by anyone on the way; use https")
        if self.tls is not None and not self.url.startswith("https:"):
            raise ValueError("tls is for an https:// URL")
        return self

    @model_validator(mode="after")
    def _modes_fit(self) -> Self:
        if self.bundle == "transaction" and self.entries:
            raise ValueError("entries limits the requests of bundle: split or batch; a transaction goes as a whole")
        if self.bundle == "batch" and self.write == "conditional":
            raise ValueError(
                "in a batch no entry can refer to another that has no id yet; write: conditional needs another bundle:"
            )
        if self.keys and self.write == "put":
            raise ValueError("keys are for write: conditional; what is put is known by our ids")
        return self


class FhirRestDestination:
    """The client."""

    def __init__(self, options: FhirRestOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._cutting = Cutting(options.bundle, options.entries, options.write, options.keys)
        self._client = FhirClient(
            options.url,
            Tokens(options.auth, surroundings.root),
            options.tls or TlsClient(ca_file="", server_name="", certificate="", key=""),
            options.timeouts,
            surroundings,
            connections=options.concurrency,
            max_reply=options.max_reply,
        )
        self._breaker = options.breaker.breaker()
        self.gate = Gate(self._breaker, surroundings.channel, surroundings.name)
        self._troubles = Troubles()
        self._streak = Streak()
        self._bar = ""  # the code of the refusal that the breaker is open for, empty for another reason
        self._flying = 0

    async def open(self) -> None:
        """Make the pool; the first delivery connects. Raises OSError where a file of ``tls`` cannot be used."""
        await self._client.open()

    async def close(self) -> None:
        """Close; twice is harmless."""
        await self._client.close()

    def health(self) -> ConnectorHealth:
        """Why nothing is taken, and since when, where that is so."""
        return ConnectorHealth(
            place=self._options.url,
            connections=self._flying,
            problem=self._streak.problem(self.gate.problem),
            details=self._streak.details(self.gate.problem),
            warning=self._client.warning,
        )

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Send every piece that the server has not taken, until one is not taken."""
        pieces = self._cutting.pieces(delivery.body) if delivery.media == "fhir" else NO_BUNDLE
        if isinstance(pieces, Park):
            return pieces
        progress = self._troubles.of(delivery.id)
        requests, last = 0, Delivered()
        while progress.done < len(pieces):
            send = partial(self._counted, delivery.id, pieces[progress.done], progress)
            outcome = await self.gate.attempt(send, self._left_alone)
            if isinstance(outcome, Park):
                self._troubles.settled(delivery.id)
            if not isinstance(outcome, Delivered):
                return outcome
            progress.next_piece()
            requests, last = requests + 1, outcome
        return self._settle(delivery.id, progress, pieces, requests, last)

    def _settle(
        self, delivery: str, progress: Progress, pieces: tuple[Piece, ...], requests: int, last: Delivered
    ) -> Delivered | Park:
        entries = sum(len(piece.names) for piece in pieces)
        if progress.refused:
            self._troubles.settled(delivery)
            told = "; ".join(f"{name}: {park.why}" for name, park in list(progress.refused.items())[:_TOLD])
            code = next(iter(progress.refused.values())).code
            return Park(code, f"{len(progress.refused)} of {entries} entries were refused, the others taken: {told}")
        self._troubles.passed(delivery)
        return last if len(pieces) == 1 else Delivered(f"{entries} entries in {len(pieces)} pieces, {requests} of them now")

    async def _counted(self, delivery: str, piece: Piece, progress: Progress) -> Outcome:
        self._troubles.keep(delivery, progress)
        self._flying += 1
        try:
            return await self._attempt(delivery, piece, progress)
        finally:
            self._flying -= 1

    async def _attempt(self, delivery: str, piece: Piece, progress: Progress) -> Outcome:
        asked = [number for number in range(len(piece.names)) if number not in progress.taken]
        method, body = ("PUT", piece.body) if piece.path else ("POST", piece.only(asked))
        try:
            reply = await self._client.send(method, piece.path, body, delivery)
        except httpx.PoolTimeout:
            return Retry("no connection was free", "pool", counts=False, sent=False)
        except TokenRefused as refused:
            return self._barred(Barred(words(refused), "token-refused", alone=0), progress)
        except UNREACHED as error:
            alone = 0 if isinstance(error, _NOT_THE_MESSAGE) else ALONE_UNANSWERED
            return self._again(Again(words(error), "network", alone=alone, down=True), progress)
        return self._judged(self._read(reply, piece, asked, progress), progress)

    def _read(self, reply: Reply, piece: Piece, asked: list[int], progress: Progress) -> Verdict:
        """The verdict on a request; of a batch, what is left of it to do."""
        if piece.path:
            return judge_alone(reply)
        if self._cutting.cut != "batch":
            return judge(reply, len(asked))
        verdicts = judge_batch(reply, len(asked))
        if not isinstance(verdicts, list):
            return verdicts
        for number, verdict in zip(asked, verdicts, strict=True):
            if isinstance(verdict, Park):
                progress.refused[piece.names[number]] = verdict
            if isinstance(verdict, Park | Delivered):
                progress.taken.add(number)
        waiting = (verdict for verdict in verdicts if isinstance(verdict, Again))
        return next(waiting, Delivered(f"{reply.status}, {len(asked)} entries"))

    def _judged(self, verdict: Verdict, progress: Progress) -> Outcome:
        match verdict:
            case Barred():
                return self._barred(verdict, progress)
            case Again():
                return self._again(verdict, progress)
        self._breaker.success()
        self._streak.ended()
        return verdict

    def _barred(self, verdict: Barred, progress: Progress) -> Outcome:
        """Refused. Where others pass meanwhile it is the message that is; where nothing ever passed, it is we, at once."""
        self._streak.failed(_shown(verdict.why), progress.delivery if verdict.alone else None)
        tally = self._troubles.failed(progress, verdict.code)
        if verdict.alone and tally.alone >= verdict.alone:
            return self._its_own_fault(verdict, tally.times)
        if not tally.between:
            at_once = not verdict.alone or not self._troubles.passes
            self._failed(_shown(verdict.why), bar=verdict.code, at_once=at_once)
        return Retry(verdict.why, verdict.code, counts=False, nth=tally.alone)

    def _again(self, verdict: Again, progress: Progress) -> Outcome:
        its_own = verdict.alone or verdict.limit is not None
        self._streak.failed(_shown(verdict.why), progress.delivery if its_own else None)
        if verdict.down or verdict.hold:
            self._failed(_shown(verdict.why), at_once=verdict.hold, seconds=verdict.after or 0.0)
        else:
            self._breaker.success()
        nth = 1 if verdict.down else 0  # where the server is away the gate waits, and no delivery's own backoff grows by it
        if verdict.limit is None and not verdict.alone:
            return Retry(verdict.why, verdict.code, after=verdict.after, nth=nth)
        tally = self._troubles.failed(progress, verdict.code)
        if (verdict.limit is not None and tally.times > verdict.limit) or (verdict.alone and tally.alone >= verdict.alone):
            return self._its_own_fault(verdict, tally.times)
        return Retry(verdict.why, verdict.code, after=verdict.after, nth=tally.times if verdict.limit is not None else nth)

    def _its_own_fault(self, verdict: Again | Barred, times: int) -> Park:
        self._streak.ended()
        return Park(verdict.code, f"{verdict.why} ({times} times)")

    def _failed(self, why: str, *, at_once: bool, seconds: float = 0.0, bar: str = "") -> None:
        """Tell the breaker. ``bar``: the code of a refusal, which a person must end."""
        if at_once:
            self._breaker.trip(why, seconds)
        else:
            self._breaker.failure(why)
        if self._breaker.problem == why:
            self._bar = bar

    def _left_alone(self, channel: str, destination: str) -> Event:
        """What is told of a server that is left alone: whether a person must act."""
        return DestinationBarred(channel, destination, self._bar) if self._bar else DestinationDown(channel, destination)


def _shown(why: str) -> str:
    """What the status page may show of a reply: its status, and nothing of what the server wrote."""
    return why.partition(";")[0]
