"""One message through one mapping, with nothing around it: what ``transform``, ``explain`` and ``test`` show. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from interop_engine.core.errors import CharsetError, ParseError
from interop_engine.core.model import NOTHING_KNOWN, Known, Park, Received, Resource, digest
from interop_engine.engine.relay import unmade
from interop_engine.engine.results import share_of
from interop_engine.engine.transform import Parked, fault_of, invalid, make_bundle, origin_of
from interop_engine.fhir import bundle as bundles
from interop_engine.hl7.message import Message, parse
from interop_engine.mapping.outbound.corrections import Correction
from interop_engine.mapping.outbound.program import Envelope

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from interop_engine.config.site import ChannelConfig
    from interop_engine.core.diagnostics import Finding
    from interop_engine.mapping.context import Scope
    from interop_engine.mapping.outbound.compiler import Outbound
    from interop_engine.mapping.program import Program

DESTINATION = "here"
"""The destination whose state a ``known`` file describes."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What came of a message: a bundle, or the reason why it would park. ``stale``: objects left out as older."""

    mapping: str
    bundle: Resource | None
    parked: Parked | None = None
    findings: tuple[Finding, ...] = ()
    unread: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Formed:
    """What a mapping with ``to:`` makes: a message, or the reason why there would be none."""

    mapping: str
    body: bytes
    parked: Parked | None = None
    findings: tuple[Finding, ...] = ()


def form(data: bytes, outbound: Outbound, scope: Scope, envelope: Envelope | None = None) -> Formed:
    """A message of a bundle, or of an original, by the very steps that production takes."""
    if isinstance(outbound, Correction):
        message = read(data)
        if isinstance(message, Parked):
            return Formed(outbound.name, b"", message)
        try:
            body, findings = outbound.apply(message, scope)
        except CharsetError as error:
            return Formed(outbound.name, b"", Parked("102", str(error)))
        return Formed(outbound.name, body, None, findings)
    content = read_bundle(data)
    if isinstance(content, Parked):
        return Formed(outbound.name, b"", content, content.findings)
    made = outbound.make(content, scope.naming, envelope or Envelope(digest(data)))
    return Formed(outbound.name, made.body, unmade(made, outbound), made.findings)


def read_bundle(data: bytes) -> Resource | Parked:
    """The bundle, or why it would be refused."""
    try:
        content = bundles.decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        return Parked("invalid-bundle", f"It is not a FHIR resource in JSON: {type(error).__name__}")
    return invalid(content) or content


def read(data: bytes, channel: ChannelConfig | None = None, *, charset: str | None = None) -> Message | Parked:
    """The message, as a channel reads it and its dialect puts it right, or why it would be rejected."""
    try:
        return parse(data, charset=charset) if channel is None else channel.read(data)
    except CharsetError as error:
        return Parked("102", str(error))
    except ParseError as error:
        return Parked("100", str(error))


def choose(message: Message, programs: Iterable[Program]) -> Program | Parked:
    """The one mapping that fits a message."""
    fitting = [program for program in programs if program.fits(message)]
    event = f"{message.message_code}^{message.trigger_event}"
    if not fitting:
        return Parked("200", f"No mapping fits {event}.")
    if len(fitting) > 1:
        names = ", ".join(program.name for program in fitting)
        return Parked("200", f"Several mappings fit {event}: {names}. Name one.")
    return fitting[0]


def map_message(
    message: Message, program: Program, scope: Scope, *, received_at: datetime, known: Known = NOTHING_KNOWN, config: str = ""
) -> Mapped:
    """The very steps that production takes, for one destination."""
    received = Received(
        id="",
        channel="",
        data=message.raw,
        media="hl7v2",
        received_at=received_at,
        peer="",
        control_id=message.control_id,
        message_type=f"{message.message_code}^{message.trigger_event}",
        digest=digest(message.raw),
        lanes=(),
    )
    draft = program.build(program.identify(message, scope), known)
    if (parked := fault_of(draft, known, program)) is not None:
        return Mapped(program.name, None, Parked(parked.code, parked.why), draft.findings, draft.unread)
    share = share_of(draft.resources, known, DESTINATION, scope)
    if isinstance(share, Park):
        return Mapped(program.name, None, Parked(share.code, share.why), draft.findings, draft.unread)
    if not share.resources:
        return Mapped(program.name, None, None, draft.findings, draft.unread, share.stale)
    bundle = make_bundle(share.resources, received, origin_of(received, message, program, scope, config or program.digest), scope)
    return Mapped(program.name, bundle, invalid(bundle, lexical=False), draft.findings, draft.unread, share.stale)
