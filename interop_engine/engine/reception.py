"""What is to be said to a sender, and what to be kept, before anything is committed. Pure.

The table is that of semantics.md, "Acknowledgement" (HL7 v2 chapter 2, "Message acknowledgment").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from interop_engine.core.errors import CharsetError, ParseError
from interop_engine.core.model import Arrival, digest, new_id
from interop_engine.engine.acknowledgement import acknowledging
from interop_engine.engine.lanes import MOST_LANES, is_crowd, lanes_of
from interop_engine.engine.parcels import delivery_key, origin
from interop_engine.engine.search_keys import search_keys
from interop_engine.hl7 import ack
from interop_engine.journal.base import MessageState, NewMessage

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig
    from interop_engine.engine.sequence import Place
    from interop_engine.hl7.message import Message

Verdict = Literal["accept", "error", "reject"]
_CODES: dict[str, dict[Verdict, ack.AckCode]] = {
    "original": {"accept": "AA", "error": "AE", "reject": "AR"},
    "enhanced": {"accept": "CA", "error": "CE", "reject": "CR"},
}


@dataclass(frozen=True, slots=True)
class _Judgement:
    verdict: Verdict
    state: MessageState
    code: str = ""  # HL7 table 0357, or a word for what was filtered
    why: str = ""
    location: str = ""  # ERR-2 or ERL: segment^sequence^field


_TAKEN = _Judgement("accept", MessageState.RECEIVED)
_CROWD = _Judgement(
    "error", MessageState.REJECTED, "207", f"It names more than {MOST_LANES} patients.", f"PID^{MOST_LANES + 1}^3"
)
_ANSWER = _Judgement("accept", MessageState.FILTERED, "ack", "An acknowledgement is never acknowledged.")
_FORGED = _Judgement("reject", MessageState.REJECTED, "103", "Its sender may not speak for the facility in MSH-4.", "MSH^1^4")


@dataclass(frozen=True, slots=True)
class Reception:
    """The row to be committed for an HL7 v2 message, its acknowledgement built and in it; the message, where it can be read.

    ``forged``: its sender may not speak for the facility it names.
    """

    row: NewMessage
    message: Message | None
    forged: bool = False


def receive(arrival: Arrival, channel: ChannelConfig, place: Place | None = None) -> Reception:
    """Read and judge a message; ``place`` is its place in its sender's sequence, where the channel keeps one."""
    message, judgement = _read(arrival, channel, place)
    seen = message or ack.recover(arrival.data)
    if judgement is not _ANSWER and seen is not None and ack.is_ack(seen):  # whatever else is wrong with it
        judgement = replace(_ANSWER, why=f"{_ANSWER.why} {judgement.why}")
    return Reception(_row(arrival, channel, message, seen, judgement, place), message, judgement is _FORGED)


def _read(arrival: Arrival, channel: ChannelConfig, place: Place | None) -> tuple[Message | None, _Judgement]:
    """The message, where it can be read, and what is thought of it."""
    message: Message | None = None
    try:
        message = channel.read(arrival.data)
        judgement = _judge(message, channel)
        if arrival.fault:
            judgement = _Judgement("error", MessageState.REJECTED, "100", arrival.fault)
        elif arrival.facilities is not None and message.sending_facility not in arrival.facilities:
            judgement = _FORGED
        elif place is not None:
            judgement = _in_sequence(judgement, place)
    except CharsetError as error:
        judgement = _Judgement("error", MessageState.REJECTED, "102", str(error), "MSH^1^18")
    except ParseError as error:
        judgement = _Judgement("reject", MessageState.REJECTED, "100", str(error), "MSH^1")
    return message, judgement


def _in_sequence(judgement: _Judgement, place: Place) -> _Judgement:
    if judgement.code in ("ack", "101") or place.kind == "next":
        return judgement
    if place.kind == "wrong":
        return _Judgement("error", MessageState.REJECTED, "207", "MSH-13 is not the sequence number expected.", "MSH^1^13")
    if place.kind == "again":
        return _Judgement("accept", MessageState.FILTERED, "sequence-again", "MSH-13 was received before.")
    return _Judgement("accept", MessageState.FILTERED, "link", "MSH-13 starts the link; the message has no content.")


def _judge(message: Message, channel: ChannelConfig) -> _Judgement:
    options = channel.options
    if ack.is_ack(message):
        return _ANSWER
    if not message.control_id:
        return _Judgement("error", MessageState.REJECTED, "101", "MSH-10 is empty.", "MSH^1^10")
    if fault := _not_taken(message, channel):
        if options.otherwise == "ignore":
            return _Judgement("accept", MessageState.FILTERED, "not-accepted", fault.why)
        return fault
    if message.processing_id in ("T", "D") and options.training == "filter":
        return _Judgement("accept", MessageState.FILTERED, "training", "MSH-11 says that it is training or debugging.")
    return _CROWD if is_crowd(message, channel) else _TAKEN


def _not_taken(message: Message, channel: ChannelConfig) -> _Judgement | None:
    code, event = message.message_code, message.trigger_event
    if not channel.options.takes(code, event):
        known = any(entry.partition("^")[0] == code for entry in channel.options.accept)
        which, place = ("201", "MSH^1^9^1^2") if known else ("200", "MSH^1^9^1^1")
        return _Judgement("reject", MessageState.REJECTED, which, "This channel does not take this kind of message.", place)
    if message.processing_id not in ("P", "T", "D", ""):
        return _Judgement("reject", MessageState.REJECTED, "202", "MSH-11 is none of P, T and D.", "MSH^1^11")
    if message.version and not message.version.startswith("2."):
        return _Judgement("reject", MessageState.REJECTED, "203", "MSH-12 is no version 2 of HL7.", "MSH^1^12")
    return None


def _row(
    arrival: Arrival,
    channel: ChannelConfig,
    message: Message | None,
    seen: Message | None,
    judgement: _Judgement,
    place: Place | None,
) -> NewMessage:
    """``seen`` is the message, or what can be seen of it."""
    id_ = new_id()
    return NewMessage(
        id=id_,
        channel=channel.name,
        data=arrival.data,
        media="hl7v2",
        received_at=arrival.received_at,
        peer=arrival.peer,
        control_id=seen.control_id if seen is not None else "",
        message_type=f"{message.message_code}^{message.trigger_event}" if message is not None else "",
        digest=digest(arrival.data),
        reply=_reply(id_, arrival, channel, seen, judgement, place.expected if place is not None else None),
        lanes=lanes_of(message, channel) if message is not None and judgement is _TAKEN else (),
        duplicate_key=_duplicate_key(arrival, channel, message, judgement),
        known_for=channel.known_for,
        state=judgement.state,
        code=judgement.code,
        why=judgement.why,
        headers=dict(arrival.headers),
        search=_search(arrival, message, place),
        config=channel.site,
    )


def _search(arrival: Arrival, message: Message | None, place: Place | None) -> tuple[tuple[str, str], ...]:
    if message is None:
        return origin(arrival.headers)
    return (
        *search_keys(message),
        *((place.key,) if place is not None and place.key is not None else ()),
        *origin(arrival.headers),
    )


def _duplicate_key(arrival: Arrival, channel: ChannelConfig, message: Message | None, judgement: _Judgement) -> str | None:
    """By its sender's own name for it, so that it is known by whatever delivery it comes; else by that of the delivery."""
    delivered = delivery_key(arrival, channel)
    if message is None or not message.control_id or judgement.code == "ack":
        return delivered
    if judgement is _FORGED or (arrival.fault and delivered is not None):
        return delivered  # what is forged must not stand in for what its sender really sent
    named = channel.named(message, channel.scope) if channel.named is not None else ()
    name = "~".join(filter(None, named)) or message.control_id
    return f"{channel.name}|{message.sending_application}|{message.sending_facility}|{name}"


def _reply(
    id_: str, arrival: Arrival, channel: ChannelConfig, seen: Message | None, judgement: _Judgement, expected: int | None
) -> bytes:
    if judgement.code == "ack":
        return b""
    mode = _mode(seen, channel, accepted=judgement.verdict == "accept")
    if mode == "silent":
        return b""
    errors: tuple[ack.AckError, ...] = ()
    if judgement.verdict != "accept":
        errors = (ack.AckError(judgement.location, judgement.code, "E", judgement.why),)
    zone = channel.zone
    return ack.acknowledge(
        seen,
        _CODES[mode][judgement.verdict],
        control_id=id_.replace("-", "")[:20],  # MSH-10 takes 20 characters until 2.7
        at=arrival.received_at.astimezone(zone),
        errors=errors,
        expected=expected,
    )


def _mode(seen: Message | None, channel: ChannelConfig, *, accepted: bool) -> Literal["original", "enhanced", "silent"]:
    """Whose acknowledgement is given at once: that of original mode, the accept acknowledgement of enhanced mode, or none.

    Who asks in enhanced mode for no accept acknowledgement, but for the application's, hears of a rejection by the latter: it is
    the one that such a message will ever get.
    """
    if seen is None or acknowledging(channel).ack_mode == "original" or ack.accept_mode(seen) == "original":
        return "original"
    if ack.wanted(seen, accepted=accepted):
        return "enhanced"
    return "original" if not accepted and ack.wanted_later(seen, accepted=False) else "silent"
