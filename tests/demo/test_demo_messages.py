"""The demonstration's messages: well-formed HL7 v2 of their structures, in UTF-8, and clearly made up."""

from __future__ import annotations

import base64
import unicodedata

import pytest

from interop_engine.demo import messages
from interop_engine.demo.messages import Panel, Result, Stamp
from interop_engine.demo.people import ANH, ANH_AGAIN, DUC, PHUC
from interop_engine.hl7 import dictionary
from interop_engine.hl7.message import parse
from interop_engine.hl7.structure import group

STAMP = Stamp("T-1", "202603020700")
GLUCOSE = Result("NM", "GLU^Glucose^LIS", "5.20", "mmol/L", "3.90-6.40", "N", notes=("Lấy máu lúc đói",))
PANEL = Panel(
    "A1", "B1", "SH^Sinh hoá^LIS", "202603020715", "202603020800", "F", (GLUCOSE, GLUCOSE), specimen="SER", asked_by="24017"
)
ALL = {
    "A04": messages.admission("A04", ANH, STAMP),
    "A01": messages.admission("A01", DUC, STAMP, kind="I", visit="VN1"),
    "A40": messages.merge(ANH, ANH_AGAIN, STAMP),
    "ORU": messages.results("LIS", ANH, STAMP, (PANEL, PANEL)),
    "OML": messages.laboratory_order(ANH, STAMP, (PANEL, PANEL)),
    "ORM": messages.imaging_order(DUC, STAMP, PANEL),
    "status": messages.order_status(DUC, STAMP, "A1", "CM"),
    "QBP": messages.query(ANH, STAMP),
}


@pytest.mark.parametrize("name", ALL)
def test_structure(name: str) -> None:
    """Each message parses in the charset it declares, and has every segment where its structure wants it."""
    message = parse(ALL[name])
    assert message.charset == "utf-8"
    assert (message.sending_facility, message.control_id, message.processing_id) == ("24001", "T-1", "P")
    code = dictionary.structure_for(message.message_code, message.trigger_event, message.structure_name)
    assert code == message.structure_name
    structure = dictionary.structure(code)
    assert structure is not None
    _, findings = group(message, structure)
    assert findings == []
    assert message.oddities == ()


def test_a_result() -> None:
    """Each panel has its order, its results with their notes, and its specimen; digits and diacritics are as given."""
    message = parse(ALL["ORU"])
    structure = dictionary.structure("ORU_R01")
    assert structure is not None
    root, _ = group(message, structure)
    orders = root.children("PATIENT_RESULT")[0].children("ORDER_OBSERVATION")
    assert [[len(order.children(name)) for name in ("COMMON_ORDER", "OBSERVATION", "SPECIMEN")] for order in orders] == [
        [1, 2, 1]
    ] * 2
    assert [segment.value(5).text for segment in message.all("OBX")] == ["5.20"] * 4  # type: ignore[union-attr]
    assert message.all("NTE")[0].value(3).whole == "Lấy máu lúc đói"  # type: ignore[union-attr]
    assert message.all("ORC")[0].value(21).get(10) == "24017"  # type: ignore[union-attr]
    name = message.all("PID")[0].value(5)
    assert name is not None
    assert (name.get(1), name.get(3), name.get(2)) == ("Nguyễn", "Thị Hồng", "Ánh")


def test_a_merge_names_both() -> None:
    """A merge has the survivor's number in PID and the retired one's in MRG."""
    message = parse(ALL["A40"])
    assert message.all("PID")[0].repetitions(3)[0].get(1) == ANH.number
    assert message.all("MRG")[0].repetitions(1)[0].get(1) == ANH_AGAIN.number


@pytest.mark.parametrize("person", [ANH, DUC, ANH_AGAIN, PHUC], ids=lambda person: person.number)
def test_people_are_made_up(person: messages.Person) -> None:
    """No number could be a real person's: province 999 and card ZZ do not exist; names are in NFC."""
    assert person.cccd.startswith("999")
    assert len(person.cccd) == 12
    assert person.bhyt.startswith("ZZ499")
    assert len(person.bhyt) == 15
    assert unicodedata.is_normalized("NFC", person.name)


def test_text_is_escaped() -> None:
    """Delimiters in a text are escaped and line breaks are kept."""
    message = parse(
        messages.results(
            "RIS", DUC, STAMP, [Panel("", "B", "C", "", "", "F", [Result("TX", "C", messages.text("a|b^c\nd & e"))])]
        )
    )
    value = message.all("OBX")[0].value(5)
    assert value is not None
    assert value.raw == "a\\F\\b\\S\\c\\.br\\d \\T\\ e"
    assert value.whole == "a|b^c\nd & e"


def test_pdf() -> None:
    """The embedded document is a real PDF: header, a cross-reference table whose places are right, trailer."""
    content = messages.pdf("Chest CT, made up")
    assert content.startswith(b"%PDF-1.4")
    assert content.endswith(b"%%EOF\n")
    start = int(content.rsplit(b"startxref\n", 1)[1].split(b"\n")[0])
    lines = content[start:].split(b"\n")
    assert lines[0] == b"xref"
    for number in range(1, 6):
        place = int(lines[2 + number][:10])
        assert content[place:].startswith(b"%d 0 obj" % number)
    parts = messages.document(content).split("^")
    assert parts[1:4] == ["application", "pdf", "Base64"]
    assert base64.b64decode(parts[4]) == content
