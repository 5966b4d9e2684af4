"""A bundle → a message: the shape as written, counted, escaped, and the same bytes for the same bundle."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from interop_engine.core.model import Resource
from interop_engine.mapping.context import naming
from interop_engine.mapping.outbound.program import Envelope, Made, MessageProgram
from interop_engine.mapping.program import load

NAMES = naming(base="http://hospital.example")
REPORT = {
    "resourceType": "DiagnosticReport",
    "id": "r",
    "status": "final",
    "code": {"text": "Máu | ^ ~ \\ &"},
    "conclusion": "một\nhai",
    "result": [{"reference": "Observation/a"}, {"reference": "Observation/b"}, {"reference": "Observation/gone"}],
}


def observation(id_: str, **more: Any) -> Resource:
    """An observation of one code."""
    return {"resourceType": "Observation", "id": id_, "status": "final", "code": {"text": id_}, **more}


def bundle(*resources: Resource) -> Resource:
    """A bundle as the exchange brings it, through JSON so that nothing is shared."""
    entries = [{"fullUrl": f"http://hospital.example/{r['resourceType']}/{r['id']}", "resource": r} for r in resources]
    found: Resource = json.loads(
        json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}, default=str), parse_float=Decimal
    )
    return found


def program(text: str, to: str = "ORU_R01", more: str = "") -> MessageProgram:
    """A mapping of one file, which must have no mistake."""
    library = load({"mappings/back.yaml": f"mapping: back\nto: {to}\n{more}set:\n{text}"}, NAMES)
    assert [str(mistake) for mistake in library.mistakes] == []
    found = library.outbound["back"]
    assert isinstance(found, MessageProgram)
    return found


def made(text: str, *resources: Resource) -> Made:
    """What a mapping makes of some resources."""
    return program(text).make(bundle(*resources), NAMES, Envelope("d1", "HIS", "24017"))


def segments(found: Made) -> list[str]:
    """The segments but the header."""
    return found.body.decode().split("\r")[1:-1]


SHAPE = """
  PATIENT_RESULT:
    each: entry.resource.ofType(DiagnosticReport)
    ORDER_OBSERVATION:
      OBR-4: code
      NTE-3: conclusion
      OBSERVATION:
        - each: result.resolve().ofType(Observation)
          OBX-3: code
          OBX-5: value
          OBX-11: status
          OBX-15.1: "%PATIENT_RESULT.id"
          NTE: {each: note, NTE-3: text}
        - each: "%PATIENT_RESULT.where(conclusion.exists())"
          OBX-3.1: "'END'"
          OBX-11: "'F'"
"""


def test_the_shape_is_that_of_the_structure() -> None:
    """Groups in the structure's order; set ids count over the groups beside each other, those of notes within theirs."""
    found = made(SHAPE, REPORT, observation("a", note=[{"text": "x"}, {"text": "y"}]), observation("b", valueString="<1|2>"))
    assert segments(found) == [
        "OBR|1|||^Máu \\F\\ \\S\\ \\R\\ \\E\\ \\T\\",
        "NTE|1||một\\.br\\hai",
        "OBX|1||^a||||||||F||||r",
        "NTE|1||x",
        "NTE|2||y",
        "OBX|2|ST|^b||<1\\F\\2>||||||F||||r",
        "OBX|3||END||||||||F",
    ]


def test_the_header_is_the_engines() -> None:
    """Sender and time are those of the Provenance, receiver and character set the destination's; MSH-10 is the delivery's."""
    origin = {
        "resourceType": "Provenance",
        "id": "p",
        "recorded": "2026-03-02T02:10:00.000Z",
        "agent": [{"who": {"identifier": {"value": "24001"}}}],
    }
    found = made(SHAPE, REPORT, observation("a"), origin)
    header = found.body.decode().split("\r")[0].split("|")
    control = header.pop(9)
    assert "|".join(header) == "MSH|^~\\&|INTEROP|24001|HIS|24017|20260302021000+0000||ORU^R01^ORU_R01|P|2.5.1||||||UNICODE UTF-8"
    assert len(control) == 20
    again = program(SHAPE).make(bundle(REPORT, observation("a"), origin), NAMES, Envelope("d1", "HIS", "24017"))
    other = program(SHAPE).make(bundle(REPORT, observation("a"), origin), NAMES, Envelope("d2", "HIS", "24017"))
    assert again.body == found.body
    assert control.encode() not in other.body


def test_a_mapping_may_say_who_sends() -> None:
    """MSH-3 to MSH-6 and what else the engine does not write may be set."""
    found = made("  MSH-3: \"'LIS'\"\n  MSH-17: \"'VNM'\"\n" + SHAPE.lstrip("\n"), REPORT, observation("a"))
    header = found.body.decode().split("\r")[0].split("|")
    assert (header[2], header[4], header[16]) == ("LIS", "HIS", "VNM")


def test_nothing_and_not_enough_are_told_apart() -> None:
    """A bundle without a report is none of the mapping's business; one whose report lacks what OBR needs is incomplete."""
    assert made(SHAPE, observation("a")).nothing
    needy = SHAPE.replace("OBR-4: code", "OBR: {when: code.coding.exists(), OBR-4: code}")
    found = made(needy, REPORT, observation("a"))
    assert (found.body, found.nothing, found.lacking) == (b"", False, "ORDER_OBSERVATION lacks OBR")


def test_what_is_required_must_be_there() -> None:
    """A result without its patient is not sent, nor are the other reports of its bundle: nothing goes by halves."""
    text = SHAPE.replace(
        "    ORDER_OBSERVATION:", "    PID: {required: true, each: subject.resolve(), PID-3: identifier}\n    ORDER_OBSERVATION:"
    )
    patient = {"resourceType": "Patient", "id": "p", "identifier": [{"value": "1"}]}
    whole = {**REPORT, "subject": {"reference": "Patient/p"}}
    assert segments(made(text, whole, patient))[0] == "PID|1||1"
    assert made(text, whole).lacking == "PATIENT_RESULT lacks PATIENT"
    assert made(text, whole, patient, {**REPORT, "id": "other"}).body == b""


def test_a_required_field_without_a_value_is_told() -> None:
    """The message goes, and a finding names the field that a receiver will miss."""
    found = made(SHAPE, REPORT, observation("a", code={}))
    assert [finding.code for finding in found.findings] == ["field-missing"]
    assert "OBX|1||||||||||F" in found.body.decode()


def test_a_character_that_cannot_be_written_is_a_fault() -> None:
    """Nothing is sent with a question mark in a name."""
    found = program(SHAPE).make(bundle(REPORT, observation("a")), NAMES, Envelope("d1", charset="8859/1"))
    assert found.body == b""
    assert "8859/1" in found.fault


def test_a_value_of_another_type_is_left_out_with_a_finding() -> None:
    """Where the definitions leave a type open, what comes is looked at when it comes."""
    text = SHAPE.replace("OBX-3: code", "OBX-3: focus.first().resolve()")
    patient = {"resourceType": "Patient", "id": "p"}
    found = made(text, REPORT, observation("a", focus=[{"reference": "Patient/p"}]), patient)
    assert "OBX[1]-3: no-conversion" in str(found.findings[0])


def test_an_expression_that_fails_gives_nothing_but_a_finding() -> None:
    """What the library raises is told by its place; its words may hold content."""
    found = made(
        SHAPE.replace("OBX-11: status", "OBX-11: note.text.substring(0, 1)"),
        REPORT,
        observation("a", note=[{"text": "x"}, {"text": "y"}]),
    )
    assert any(finding.code == "expression-failed" for finding in found.findings)


def test_an_event_of_a_structure_that_has_several() -> None:
    """``event:`` says which; the structure's own without it."""
    text = "  EVN-2: timestamp\n  PID-5: entry.resource.ofType(Patient).name\n  PV1-2: \"'O'\"\n"
    found = program(text, "ADT_A01", "event: A08\n")
    body = found.make(
        {**bundle({"resourceType": "Patient", "id": "p", "name": [{"text": "AN"}]}), "timestamp": "2026-03-02T02:10:00Z"},
        NAMES,
        Envelope("d"),
    ).body.decode()
    assert body.split("\r")[1:] == ["EVN||20260302021000+0000", "PID|1||||AN", "PV1|1|O", ""]
    assert "|ADT^A08^ADT_A01|" in body
