"""What ``explain`` lists as lost, leaf by leaf."""

from __future__ import annotations

import pytest

from interop_engine.hl7.message import parse
from interop_engine.mapping.context import Scope, naming
from interop_engine.mapping.program import load
from interop_engine.mapping.trace import Tracer

SCOPE = Scope("24001", "http://h.example", "Asia/Ho_Chi_Minh", naming(base="http://h.example"))
MSH = "MSH|^~\\&|HIS|24001|HUB|HUB|20261121093000||ADT^A08^ADT_A01|1|P|2.5.1"


def lost(lines: str, *segments: str) -> tuple[str, ...]:
    """The leaves that a mapping with these lines leaves."""
    head = "mapping: adt\nmessage: ADT_A01\nresources:\n  patient:\n    resource: Patient\n    key: PID-3[1]\n"
    text = f"{head}    set: {{{lines}}}\n"
    library = load({"a.yaml": text}, SCOPE.naming)
    assert library.mistakes == ()
    return Tracer(library.programs["adt"]).trace(parse("\r".join((MSH, *segments)).encode()), SCOPE).unread


@pytest.mark.parametrize(
    ("lines", "pid", "leaves"),
    [
        ("gender: PID-8", "PID|||B1|||||M", ()),
        ("gender: PID-8", "PID|||B1||||1980|M", ("PID[1]-7",)),
        ("gender: PID-8", "PID|||B1~B2|||||M", ("PID[1]-3[2]",)),
        ("gender: PID-8", "PID|||B1^^^BV1^MR|||||M", ("PID[1]-3.5",)),
        ("gender: PID-8, identifier: PID-3", "PID|||B1^^^BV1^MR~B2|||||M", ()),
        ("communication: {each: PID-15, set: {language: .}}", "PID|||B1" + "|" * 12 + "vi^x", ()),
        ("name: PID-5", "PID|||B1||Nguyễn^An^^^^^^^^^^^^x^y", ("PID[1]-5.15",)),
        ("gender: PID-8", "PID|||B1||Nguyễn^An~Lê|||M", ("PID[1]-5[1].1", "PID[1]-5[1].2", "PID[1]-5[2]")),
    ],
)
def test_leaves_that_nothing_read_are_listed(lines: str, pid: str, leaves: tuple[str, ...]) -> None:
    """Repetitions and components too, where the field itself was read."""
    assert lost(lines, pid) == leaves


def test_what_a_rule_did_not_read_this_time_is_listed() -> None:
    """``a ?? b`` with a: b is lost."""
    assert lost("birthDate: PID-7 ?? PID-29", "PID|||B1||||1980" + "|" * 22 + "2026") == ("PID[1]-29",)
