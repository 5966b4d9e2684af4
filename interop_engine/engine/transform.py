"""From a message to what each destination is sent. Pure: the verbs ``transform``, ``explain`` and ``test`` call it too.

It runs in two steps, because the journal must be asked in between: ``prepare`` reads the message and says what it needs
to know; ``transform`` maps, reconciles, validates and routes with the answer, or says what it needs to know besides. Run again
with a newer answer, it gives the newer result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from interop_engine.connectors.exchange import VIA
from interop_engine.core.diagnostics import Finding
from interop_engine.core.errors import CharsetError, ParseError
from interop_engine.core.model import Known, Learned, Media, Park, Question, Received, Resource, Sent, digest, new_id
from interop_engine.engine.parcels import goes_round, way
from interop_engine.engine.reconcile import Share, Writing, merge_fault
from interop_engine.engine.results import kept, share_of, still_to_ask
from interop_engine.engine.routing import Address, route
from interop_engine.fhir import bundle as bundles
from interop_engine.fhir import schema
from interop_engine.fhir.identity import provenance_id
from interop_engine.hl7.message import Message, parse
from interop_engine.journal.base import Forward, NewDelivery
from interop_engine.mapping.convert.base import tidy
from interop_engine.terminology import worklist

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig
    from interop_engine.mapping.context import Scope
    from interop_engine.mapping.program import Draft, Plan, Program

_MOST_ISSUES = 5  # of an invalid bundle that are told


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message read and identified, waiting for what is known. ``addresses``: where it goes, if there is something to send.

    ``question``: what the journal is to be asked.
    """

    received: Received
    message: Message
    program: Program | None  # None where only originals are sent
    plan: Plan | None
    addresses: tuple[Address, ...]
    question: Question = field(default_factory=Question)

    @property
    def destinations(self) -> tuple[str, ...]:
        """The names under which destinations' states are kept: an exchange destination has one a receiver."""
        return tuple(address.state for address in self.addresses if not address.original)


@dataclass(frozen=True, slots=True)
class Parked:
    """The message parks."""

    code: str
    why: str
    findings: tuple[Finding, ...] = ()


def prepare(received: Received, channel: ChannelConfig, message: Message | None = None) -> Prepared | Parked | Forward:
    """Read (unless the message is given), filter, choose the mapping, identify.

    A Forward means that there is nothing to send, and says why.
    """
    try:
        message = message or channel.read(received.data)
    except ParseError as error:
        return Parked("100", str(error))
    if channel.filter is not None and not channel.filter(message, channel.scope):
        return Forward(code="filter", why="The channel's filter leaves it out.")
    addresses = route(message, channel)
    if isinstance(addresses, Park):
        return Parked(addresses.code, addresses.why)
    if not addresses:
        return Forward(code="no-destination", why="No destination of the channel wants it.")
    if any("receiver" in address.headers for address in addresses) and (why := goes_round(received.headers)):
        return Parked("loop", why)
    if all(address.original for address in addresses):
        return Prepared(received, message, None, None, addresses)
    program = channel.program_for(message)
    if program is None:
        return Parked("200", f"No mapping of this channel fits {received.message_type}.")
    plan = program.identify(message, channel.scope)
    return Prepared(received, message, program, plan, addresses, plan.question)


def transform(prepared: Prepared, known: Known, channel: ChannelConfig) -> Forward | Parked | Prepared:
    """What each address is sent, and what it teaches. A Prepared asks more: what ``known`` leads to must be known too."""
    if prepared.program is None or prepared.plan is None:
        originals = _originals(prepared, channel)
        return originals if isinstance(originals, Parked) else Forward(originals[0], findings=originals[1])
    draft = prepared.program.build(prepared.plan, known)
    if (unfit := fault_of(draft, known, prepared.program)) is not None:
        return unfit
    more = still_to_ask(draft.resources, known, prepared.destinations, channel.scope, prepared.question)
    if more is not None:
        return replace(prepared, question=more)
    outcome = _Outbox(prepared, draft, known, channel).fill()
    if isinstance(outcome, Parked):
        return outcome
    deliveries, stale = outcome
    originals = _originals(prepared, channel)
    if isinstance(originals, Parked):
        return originals
    deliveries = (*originals[0], *deliveries)
    findings = (*draft.findings, *kept(draft.resources, known, prepared.destinations, channel.scope))
    code, why = "", ""
    if not deliveries:
        code, why = ("stale", "Something newer was sent already.") if stale else ("unchanged", "All of it was sent already.")
    return Forward(
        deliveries=deliveries,
        learned=Learned(dict(_aliases(draft)), dict(_merged(draft))),
        stamp=known.stamp,
        code=code,
        why=why,
        findings=(*(str(finding) for finding in findings), *originals[1], *(f"stale {object_}" for object_ in stale)),
        ledger=(*(draft.unread if channel.dialect is None else channel.dialect.losses(draft.unread)), *_codes(draft)),
    )


def _codes(draft: Draft) -> Iterator[str]:
    """The codes that had no target, each once, for the ledger."""
    return (worklist.entry(found.map, found.system, found.code) for found in dict.fromkeys(draft.unmapped))


def fault_of(draft: Draft, known: Known, program: Program) -> Parked | None:
    """Why a draft cannot be sent; None where it can. A message of which nothing was made is no message to drop in silence."""
    fault = draft.park or merge_fault(draft.resources, known)
    if fault is not None:
        return Parked(fault.code, fault.why, draft.findings)
    if not draft.resources:
        why = f"MSH-9 names {program.structure}, but no segment of the message makes a resource of the mapping {program.name}."
        return Parked("100", why, draft.findings)
    return None


class _Outbox:
    """Makes the deliveries of one message; equal bundles for several addresses are made and validated once."""

    def __init__(self, prepared: Prepared, draft: Draft, known: Known, channel: ChannelConfig) -> None:
        self._prepared = prepared
        self._draft = draft
        self._known = known
        self._channel = channel
        self._first: dict[int, Writing] = {}
        self._made: dict[tuple[tuple[str, str], ...], bytes] = {}

    def fill(self) -> tuple[tuple[NewDelivery, ...], tuple[str, ...]] | Parked:
        deliveries: list[NewDelivery] = []
        stale: list[str] = []
        for address in self._prepared.addresses:
            if address.original:
                continue
            share = share_of(
                self._draft.resources, self._known, address.state, self._channel.scope, first=self._first,
                resend=self._prepared.received.resend,
            )  # fmt: skip
            if isinstance(share, Park):
                return Parked(share.code, share.why, self._draft.findings)
            stale.extend(object_ for object_ in share.stale if object_ not in stale)
            if not share.resources:
                continue
            body = self._bundle(share)
            if isinstance(body, Parked):
                return body
            deliveries.append(_delivery(self._prepared, address, body, "fhir", self._channel, share.sent))
        return tuple(deliveries), tuple(stale)

    def _bundle(self, share: Share) -> bytes | Parked:
        key = tuple((sent.object, sent.digest) for sent in share.sent)
        if (made := self._made.get(key)) is None:
            program = self._prepared.program
            assert program is not None
            origin = origin_of(
                self._prepared.received, self._prepared.message, program, self._channel.scope, self._channel.digest
            )
            bundle = make_bundle(share.resources, self._prepared.received, origin, self._channel.scope)
            if (fault := invalid(bundle, lexical=False)) is not None:
                return Parked(fault.code, fault.why, (*self._draft.findings, *fault.findings))
            made = self._made[key] = bundles.encode_spliced(bundle, share.encoded)
        return made


def invalid(bundle: Resource, *, lexical: bool = True) -> Parked | None:
    """Why a bundle must not leave; None where it is valid. ``lexical`` False: converters have just made what it holds."""
    issues = schema.validate(bundle, lexical=lexical)
    if not issues:
        return None
    told = "; ".join(f"{issue.path}: {issue.message}" for issue in issues[:_MOST_ISSUES])
    findings = tuple(Finding(issue.code, issue.message, issue.path, "error", "207") for issue in issues)
    return Parked("invalid-bundle", f"{len(issues)} faults: {told}", findings)


def origin_of(received: Received, message: Message, program: Program, scope: Scope, config: str) -> bundles.Origin:
    """Who sent a message and what mapped it, for its Provenance."""
    system = scope.naming.known("FACILITY") or f"{scope.base}/sid/facility"
    return bundles.Origin(
        sender=(system, tidy(message.sending_facility) or scope.facility),
        node=(system, scope.facility),
        digest=received.digest,
        control_digest=digest(received.control_id.encode()),
        event=received.message_type,
        mapping=program.name,
        mapping_digest=program.digest,
        config_digest=config,
    )


def make_bundle(resources: Sequence[Resource], received: Received, origin: bundles.Origin, scope: Scope) -> Resource:
    """The transaction bundle of some resources of a message, with its Provenance. Nothing in it reads a clock."""
    targets = [f"{resource['resourceType']}/{resource['id']}" for resource in resources]
    provenance = bundles.provenance(
        provenance_id(scope.facility, received.digest, origin.mapping_digest),
        targets,
        origin=origin,
        recorded=received.received_at,
        base=scope.base,
    )
    return bundles.transaction([*resources, provenance], base=scope.base, timestamp=received.received_at)


def _aliases(draft: Draft) -> list[tuple[str, str]]:
    return [(alias, f"{item.type}/{item.id}") for item in draft.resources for alias in item.aliases]


def _merged(draft: Draft) -> list[tuple[str, str]]:
    return [(f"{item.type}/{item.id}", item.merged_into) for item in draft.resources if item.merged_into]


def _originals(prepared: Prepared, channel: ChannelConfig) -> tuple[tuple[NewDelivery, ...], tuple[str, ...]] | Parked:
    """What was received, for the addresses that are sent it, put right where a mapping says so; and what there is to say.

    Of all of it only MSH-15 and MSH-16 may change without a mapping: what the sender asks is for us, not for the next hop.
    """
    deliveries: list[NewDelivery] = []
    findings: list[str] = []
    configs = {each.name: each for each in channel.destinations}
    for address in prepared.addresses:
        if not address.original:
            continue
        body = prepared.received.data
        if address.correction is not None:
            try:
                message = parse(body, charset=channel.options.charset or None)
                body, said = address.correction.apply(message, channel.scope)
            except CharsetError as error:
                return Parked("102", f"{address.correction.name}: {error}")
            findings += [str(finding) for finding in said]
        body = configs[address.destination].asking(body)
        deliveries.append(_delivery(prepared, address, body, "hl7v2", channel))
    return tuple(deliveries), tuple(findings)


def _delivery(
    prepared: Prepared, address: Address, body: bytes, media: Media, channel: ChannelConfig, sent: tuple[Sent, ...] = ()
) -> NewDelivery:
    received = prepared.received
    headers = {
        **address.headers,
        "sender": channel.scope.facility,
        "event": received.message_type,
        "control-digest": digest(received.control_id.encode()),
        "config": channel.digest,
        "lane": "\n".join(received.lanes),
    }
    if "receiver" in address.headers and (nodes := way(received.headers)):
        headers[VIA] = " ".join(nodes)
    if address.correction is not None:
        headers["mapping"] = f"{address.correction.name}/{address.correction.digest}"
    elif prepared.program is not None and media == "fhir":
        headers["mapping"] = f"{prepared.program.name}/{prepared.program.digest}"
    return NewDelivery(
        id=new_id(),
        destination=address.destination,
        lanes=received.lanes,
        body=body,
        media=media,
        headers=headers,
        sent=sent,
    )
