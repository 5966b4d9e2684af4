"""An original put right: what a line names changes, in its own group, and no other byte does."""

from __future__ import annotations

import pytest

from interop_engine.core.errors import CharsetError
from interop_engine.hl7.message import parse
from interop_engine.mapping.context import Scope, naming
from interop_engine.mapping.outbound.corrections import Correction
from interop_engine.mapping.program import load

NAMES = naming(base="http://hospital.example")
MESSAGE = (
    b"MSH|^~\\&|LIS|24001|HIS|24017|20260302||ORU^R01^ORU_R01|M1|P|2.5.1\r"
    b"PID|1||BN1^^^BV^MR||A^B|||F||||||||||||||\r"
    b"OBR|1|P1|F1|SH^x^99LIS|||20260302||||||||||||||||||F\r"
    b"OBX|1|NM|GLU^Glu^99LIS||5.20|mmol/L\r"
    b"NTE|1||of glucose\r"
    b"OBX|2|ED|PDF||^application^pdf^Base64^AAAA\r"
    b"NTE|1||of the document\r"
    b"OBR|2|P2|F2|MD^y^99LIS||||||||||||||||||||C\r"
    b"OBX|1|ST|HB^Hb^99LIS||\\X41\\ ||||||F\r"
    b"ZLB|any|thing\r"
)


def correct(*lines: str, message: bytes = MESSAGE, more: str = "") -> bytes:
    """The message after some lines; the findings must be none."""
    listed = "".join(f'  - "{line}"\n' for line in lines)
    table = "codes: {SH: CHEM, MD: IMM}\n"
    text = f"mapping: fix\nmessage: ORU_R01\nto: ORU_R01\n{more}lens:\n{listed}"
    library = load({"mappings/fix.yaml": text, "mappings/tables/panels.yaml": table}, NAMES)
    assert [str(mistake) for mistake in library.mistakes] == []
    found = library.outbound["fix"]
    assert isinstance(found, Correction)
    body, findings = found.apply(parse(message), Scope("24001", "http://hospital.example", "", NAMES, tables=library.tables))
    assert findings == ()
    return body


@pytest.mark.parametrize(
    ("line", "before", "after"),
    [
        ("MSH-5 := =DHIS", b"|24001|HIS|", b"|24001|DHIS|"),
        ("PID-3.1 := PID-3.1 | lower", b"BN1^^^BV", b"bn1^^^BV"),
        ("drop PID-8", b"A^B|||F|", b"A^B||||"),
        ("drop PID-3.4", b"BN1^^^BV^MR", b"BN1^^^^MR"),
        ("OBX-8 := ='N' when OBX-5 = '5.20'", b"mmol/L\r", b"mmol/L||'N'\r"),
        ("drop ZLB", b"ZLB|any|thing\r", b""),
        ("OBR-24 := OBR-4 | table(panels) when OBR-25 = 'F'", b"||||||F\rOBX", b"|||||CHEM|F\rOBX"),
        ("NTE-4.1 := OBX-3.1 when OBX-3.1 = 'GLU'", b"of glucose", b"of glucose|GLU"),
    ],
)
def test_a_line_changes_what_it_names(line: str, before: bytes, after: bytes) -> None:
    """Everything else stays byte for byte: escapes, trailing separators, segments nobody knows."""
    assert MESSAGE.count(before) == 1
    assert correct(line) == MESSAGE.replace(before, after)


def test_a_path_means_its_own_group() -> None:
    """Each OBX takes the filler number of its own OBR; an OBR that is not beside it is no answer."""
    found = correct("OBX-21.1 := OBR-3.1").split(b"\r")
    numbers = [line.split(b"|")[-1] for line in found if line.startswith(b"OBX")]
    assert numbers == [b"F1", b"F1", b"F2"]


def test_what_leads_a_group_takes_it_along() -> None:
    """With an OBX its notes go: they must not become those of the one before."""
    found = correct("drop OBX when OBX-2 = 'ED'")
    assert found == MESSAGE.replace(b"OBX|2|ED|PDF||^application^pdf^Base64^AAAA\rNTE|1||of the document\r", b"")


def test_lines_run_in_order() -> None:
    """Each sees what the one before has made."""
    assert b"|24001|B|" in correct("MSH-5 := =A", "MSH-5 := =B when MSH-5 = 'A'")


def test_a_condition_over_the_message() -> None:
    """Where ``when:`` does not hold the very bytes go."""
    assert correct("drop PID", more="when: MSH-3 = 'RIS'\n") == MESSAGE
    assert b"PID" not in correct("drop PID", more="when: MSH-3 = 'LIS'\n")


def test_line_ends_of_the_sender_stay_where_nothing_is_done() -> None:
    """A message without the field in question goes as it was received, whatever its line ends."""
    other = MESSAGE.replace(b"\r", b"\r\n")
    assert correct("PID-8 := =M when PID-8 = 'X'", message=other) == other


def test_a_text_that_cannot_be_written() -> None:
    """A character without a place in the message's character set is an error, not a question mark."""
    latin = MESSAGE.replace(b"2.5.1\r", b"2.5.1||||||8859/1\r")
    with pytest.raises(CharsetError):
        correct("MSH-5 := =Đ", message=latin)
