"""What a sender is told and what is kept (semantics.md, "Acknowledgement")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from interop_engine.config.schema import ChannelOptions
from interop_engine.config.site import ChannelConfig
from interop_engine.connectors.options import Options
from interop_engine.core.diagnostics import Mark
from interop_engine.core.model import Arrival
from interop_engine.engine.lanes import MOST_LANES
from interop_engine.engine.reception import receive
from interop_engine.hl7.ack import read_ack
from interop_engine.journal.base import MessageState
from interop_engine.mapping import rules
from interop_engine.mapping.context import Scope, naming

AT = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)


def channel(**options: Any) -> ChannelConfig:
    """A channel that takes ORU^R01 and rejects the rest."""
    base = "https://hie.example.vn"
    scope = Scope("24001", base, "Asia/Ho_Chi_Minh", naming(base=base), "BV24001", "MR")
    given = {"channel": "lab", "accept": ["ORU^R01"], "otherwise": "reject", **options}
    return ChannelConfig(
        ChannelOptions.model_validate(given), "mllp", Options(), (), {}, scope, None, None, "digest", ZoneInfo("Asia/Ho_Chi_Minh")
    )


def message(
    *segments: str, type_: str = "ORU^R01", id_: str = "MSG1", processing: str = "P", version: str = "2.5", more: str = ""
) -> bytes:
    """A message of a LIS; ``more`` follows MSH-12."""
    msh = f"MSH|^~\\&|LIS|BV24001|HIE|HUB|20261121083000||{type_}|{id_}|{processing}|{version}{more}"
    return "\r".join([msh, *segments, ""]).encode()


def arrival(data: bytes, **given: Any) -> Arrival:
    """Bytes from a LIS."""
    return Arrival(data, "hl7v2", AT, "10.20.0.5:40000", **given)


PID = "PID|1||CCCD1^^^CCCD^NI~BN001^^^BV24001^MR||Nguyễn^Văn An"


def test_a_good_message_is_taken_and_answered_aa() -> None:
    """Committed as received: AA with MSA-2 = MSH-10, the patient's own number as its lane, keys to find it by."""
    row = receive(arrival(message(PID, "OBR|1|A17|F9|GLU")), channel()).row
    assert (row.state, row.code, row.control_id, row.message_type) == (MessageState.RECEIVED, "", "MSG1", "ORU^R01")
    assert row.lanes == ("BN001",)
    assert set(row.search) == {("patient", "CCCD1"), ("patient", "BN001"), ("order", "A17"), ("order", "F9")}
    assert row.duplicate_key == "lab|LIS|BV24001|MSG1"
    answer = read_ack(row.reply)
    assert (answer.code, answer.control_id) == ("AA", "MSG1")


@pytest.mark.parametrize(
    ("data", "code", "condition"),
    [
        (b"GET / HTTP/1.1", "AR", "100"),
        (message(type_="ADT^A01"), "AR", "200"),
        (message(type_="ORU^R30"), "AR", "201"),
        (message(processing="X"), "AR", "202"),
        (message(version="3.0"), "AR", "203"),
        (message(id_=""), "AE", "101"),
        (message("PID|1||\xff").replace("ÿ".encode(), b"\xff"), "AE", "102"),
    ],
)
def test_what_is_not_taken_is_kept_as_rejected(data: bytes, code: str, condition: str) -> None:
    """Rejected, searchable, with the HL7 condition; the answer is AR for what is not taken and AE for what is broken."""
    row = receive(arrival(data), channel()).row
    assert (row.state, row.code) == (MessageState.REJECTED, condition)
    assert read_ack(row.reply).code == code
    assert row.data == data
    assert row.lanes == ()


def test_a_fault_of_the_framing_is_rejected() -> None:
    """What the carrier found wrong is journaled, and answered AE."""
    row = receive(arrival(message(), fault="The frame holds a second start block."), channel()).row
    assert (row.state, row.code) == (MessageState.REJECTED, "100")
    assert read_ack(row.reply).code == "AE"


def test_otherwise_ignore_says_aa_and_filters() -> None:
    """Kept, marked filtered, and the sender is content."""
    row = receive(arrival(message(type_="ADT^A01")), channel(otherwise="ignore")).row
    assert (row.state, row.code) == (MessageState.FILTERED, "not-accepted")
    assert read_ack(row.reply).code == "AA"


@pytest.mark.parametrize(("training", "state"), [("filter", MessageState.FILTERED), ("take", MessageState.RECEIVED)])
def test_training_data_are_filtered_unless_taken(training: str, state: MessageState) -> None:
    """MSH-11 T or D: AA, filtered (semantics.md, result 18)."""
    row = receive(arrival(message(processing="T")), channel(training=training)).row
    assert row.state is state
    assert read_ack(row.reply).code == "AA"


def test_an_acknowledgement_is_never_acknowledged() -> None:
    """An inbound ACK is kept and gets no answer, else two engines would talk for ever."""
    row = receive(arrival(message("MSA|AA|X1", type_="ACK")), channel()).row
    assert (row.state, row.reply) == (MessageState.FILTERED, b"")


LATIN = message("MSA|AE|X1|Stra@e", type_="ACK", more="||||||UNICODE UTF-8").replace(b"@", b"\xdf")


@pytest.mark.parametrize(
    "arrived",
    [
        arrival(LATIN),
        arrival(LATIN.replace(b"|ACK|", b"|RSP^K11|")),
        arrival(message("MSA|AA|1", type_="ACK").decode().encode("utf-16-le") + b"\x00\xd8"),
        arrival(message("MSA|AA|X1", type_="ACK"), fault="A new frame began before this one had ended."),
        arrival(message(type_="ACK"), fault="A new frame began before this one had ended."),
        arrival(message("MSA|AA|X1", type_="ACK"), facilities=("BV24002",)),
        arrival(message("MSA|AA|X1", type_="ACK", id_="")),
    ],
)
def test_an_acknowledgement_with_a_fault_is_not_acknowledged_either(arrived: Arrival) -> None:
    """MSH-9.1 or an MSA segment tells it, wherever the fault is: in its bytes, its frame, its certificate."""
    reception = receive(arrived, channel())
    assert (reception.row.state, reception.row.code, reception.row.reply) == (MessageState.FILTERED, "ack", b"")
    assert not reception.forged


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda data: data.replace(b"PID|1", b"PID|\xff"), ("CE", "AE")),
        (lambda data: b"junk " + data, ("CR", "AR")),
    ],
)
@pytest.mark.parametrize(
    ("asked", "place"), [("AL|NE", 0), ("AL|AL", 0), ("ER|NE", 0), ("NE|NE", None), ("SU|NE", None), ("NE|AL", 1), ("|", 1)]
)
def test_a_message_that_cannot_be_read_is_answered_in_the_mode_its_header_asks_for(
    broken: Callable[[bytes], bytes], words: tuple[str, str], asked: str, place: int | None
) -> None:
    """A byte not valid in its character set is CE, what is no HL7 CR; nothing where nothing was asked for."""
    row = receive(arrival(broken(message(PID, more=f"|||{asked}"))), channel()).row
    assert row.state is MessageState.REJECTED
    assert (read_ack(row.reply).code if row.reply else None) == (None if place is None else words[place])


def test_the_keys_of_a_message_are_bounded() -> None:
    """A field that repeats a hundred thousand numbers leaves 200 keys, no more."""
    numbers = "~".join(f"BN{n}^^^BV24001^MR" for n in range(10_000))
    assert len(receive(arrival(message(f"PID|1||{numbers}", "OBR|1|A17")), channel()).row.search) == 200


@pytest.mark.parametrize(
    ("accept", "good", "bad"),
    [("AL", "CA", "CR"), ("NE", "", ""), ("ER", "", "CR"), ("SU", "CA", "")],
)
def test_enhanced_mode_answers_as_msh_15_asks(accept: str, good: str, bad: str) -> None:
    """MSH-15 valued means enhanced mode: an accept acknowledgement always, never, on errors, on success."""
    more = f"|||{accept}|NE"
    for data, code in ((message(PID, more=more), good), (message(type_="ADT^A01", more=more), bad)):
        row = receive(arrival(data), channel()).row
        assert (read_ack(row.reply).code if row.reply else "") == code


@pytest.mark.parametrize(
    ("type_", "code"), [("ADT^A01", ""), ("ADT^Z99", ""), ("ADT", ""), ("ORU^R01", ""), ("ORU^R30", "201"), ("ACM^A01", "200")]
)
def test_every_event_of_a_kind(type_: str, code: str) -> None:
    """``ADT^*`` takes each event of ADT, and no other kind of message."""
    assert receive(arrival(message(PID, type_=type_)), channel(accept=["ADT^*", "ORU^R01"])).row.code == code


@pytest.mark.parametrize(
    ("segment", "key"),
    [("ZMS|1|N7", "lab|LIS|BV24001|N7"), ("ZMS|1|N7~N8", "lab|LIS|BV24001|N7~N8"), ("ZMS|1", "lab|LIS|BV24001|MSG1")],
)
def test_a_message_is_known_again_by_what_the_channel_says(segment: str, key: str) -> None:
    """By the field it names where MSH-10 names no message, by MSH-10 where that is empty; as long as it says."""
    config = channel(duplicates={"key": "ZMS-2", "within": "12h"})
    named, mistakes = rules.values("ZMS-2", Mark("channels/lab.yaml", 1, 1), ())
    row = receive(arrival(message(PID, segment)), replace(config, named=named)).row
    assert mistakes == []
    assert (row.duplicate_key, row.known_for) == (key, timedelta(hours=12))


def test_a_merge_waits_for_both_patients() -> None:
    """Two patients, two lanes: what came before for either goes first."""
    row = receive(arrival(message(PID, "MRG|BN009^^^BV24001^MR", type_="ADT^A40")), channel(accept=["ADT^A40"])).row
    assert row.lanes == ("BN001", "BN009")


@pytest.mark.parametrize(("order", "taken"), [("patient", False), ("channel", True), ("none", True)])
def test_a_message_of_more_patients_than_keep_their_order_is_refused(order: str, *, taken: bool) -> None:
    """Each would wait for what came before for every one; the sender is told where they are too many. Named twice, one is one."""
    many = [f"PID|1||BN{n}^^^BV24001^MR" for n in range(MOST_LANES)]
    assert len(receive(arrival(message(*many, *many)), channel()).row.lanes) == MOST_LANES
    row = receive(arrival(message(*many, "PID|1||BN-ONE-MORE^^^BV24001^MR")), channel(order=order)).row
    assert (row.state is MessageState.RECEIVED) == taken
    if not taken:
        assert (row.state, row.code, row.lanes) == (MessageState.REJECTED, "207", ())
        assert b"MSA|AE|" in row.reply


@pytest.mark.parametrize(("order", "lanes"), [("patient", ("",)), ("channel", ("",)), ("none", ())])
def test_without_a_patient_the_channel_is_the_lane(order: str, lanes: tuple[str, ...]) -> None:
    """A message of nobody keeps the channel's order, unless there is none to keep."""
    assert receive(arrival(message("OBR|1")), channel(order=order)).row.lanes == lanes


def test_the_reply_depends_on_nothing_but_the_message_and_its_receipt() -> None:
    """MSH-7 of the answer is the time of receipt in the site's zone, MSH-10 follows from the message's own id."""
    row = receive(arrival(message(PID)), channel()).row
    msh = row.reply.decode().split("\r")[0].split("|")
    assert msh[6].startswith("20261121083000")
    assert msh[9] == row.id.replace("-", "")[:20]
