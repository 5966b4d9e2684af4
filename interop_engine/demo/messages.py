"""Builders of the demonstration's HL7 v2 messages: what a Vietnamese LIS, RIS and HIS send, in UTF-8, all synthetic."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from interop_engine.demo.people import AUTHORITY, FACILITY, Person
from interop_engine.hl7.text import Delimiters, escape

_DELIMITERS = Delimiters("|", "^", "~", "\\", "&", "", "utf-8")
_DOCTOR = "000101/BYT-GPHN^Phạm^Đăng^Minh^^^^^CCHN"
_READER = "000202/BYT-GPHN^Vũ^Hà^Thu^^^^^CCHN"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes a message this one: control id and time, ``yyyymmddHHMM`` without a zone, as senders here write it."""

    control_id: str
    at: str
    processing: str = "P"


@dataclass(frozen=True, slots=True)
class Result:
    """One OBX. ``code`` and ``unit`` are CWE as written, ``value`` is escaped already; ``notes`` become NTE."""

    type: str
    code: str
    value: str
    unit: str = ""
    reference_range: str = ""
    flag: str = ""
    status: str = "F"
    sub_id: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One OBR with its results. ``times`` are collected and reported; ``asked_by`` is the facility that referred the patient.

    ``study`` is the Study Instance UID of images, in ZDS as IHE has it.
    """

    placer: str
    filler: str
    code: str
    collected: str
    reported: str
    status: str
    results: Sequence[Result]
    section: str = "LAB"
    specimen: str = ""
    asked_by: str = ""
    accession: str = ""
    reason: str = ""
    study: str = ""


def text(value: str) -> str:
    r"""A text as HL7 v2 writes it: delimiters escaped, line breaks as ``\.br\``."""
    return escape(value, _DELIMITERS).replace("\n", "\\.br\\")


def segment(name: str, fields: Mapping[int, str]) -> str:
    """A segment of these fields, the rest empty."""
    last = max(fields, default=0)
    return "|".join([name, *(fields.get(number, "") for number in range(1, last + 1))])


def message(system: str, kind: str, structure: str, stamp: Stamp, segments: Sequence[str], version: str = "2.5.1") -> bytes:
    """A message of that system to the engine, segments ended by CR."""
    header = (
        f"MSH|^~\\&|{system}|{FACILITY}|INTEROP|{FACILITY}|{stamp.at}||{kind}^{structure}|{stamp.control_id}|{stamp.processing}"
        f"|{version}|||||VNM|UNICODE UTF-8"
    )
    return "".join(f"{line}\r" for line in (header, *segments)).encode()


def pid(person: Person, number: str = "") -> str:
    """PID, with the hospital's own number and the national ones."""
    identifiers = [f"{number or person.number}^^^{AUTHORITY}^MR", f"{person.cccd}^^^CCCD^NI", f"{person.bhyt}^^^BHYT^HC"]
    fields = {
        1: "1",
        3: "~".join(identifiers),
        5: f"{person.family}^{person.given}^{person.middle}^^^^L",
        7: person.birth,
        8: person.sex,
        11: f"{person.street}^^Thành phố Mẫu^^^VNM^H",
        13: f"{person.phone}^PRN^CP",
    }
    return segment("PID", fields)


def pv1(kind: str = "O", ward: str = "KHAM", visit: str = "") -> str:
    """PV1; ``kind`` is table 0004: O outpatient, I inpatient."""
    return segment(
        "PV1", {1: "1", 2: kind, 3: f"{ward}^^^{FACILITY}", 7: _DOCTOR, 19: f"{visit}^^^{AUTHORITY}^VN" if visit else ""}
    )


def admission(event: str, person: Person, stamp: Stamp, *, kind: str = "O", visit: str = "") -> bytes:
    """ADT^A01, A04 or A08: admitted, registered, changed."""
    segments = [segment("EVN", {2: stamp.at}), pid(person), pv1(kind, visit=visit)]
    return message("HIS", f"ADT^{event}", "ADT_A01", stamp, segments)


def merge(survivor: Person, retired: Person, stamp: Stamp) -> bytes:
    """ADT^A40: ``retired``'s number is merged into ``survivor``'s."""
    prior = segment("MRG", {1: f"{retired.number}^^^{AUTHORITY}^MR"})
    return message("HIS", "ADT^A40", "ADT_A39", stamp, [segment("EVN", {2: stamp.at}), pid(survivor), prior])


def _orc(panel: Panel, control: str, stamp: Stamp) -> str:
    organization = f"Bệnh viện giới thiệu (mẫu)^^^^^^^^^{panel.asked_by}" if panel.asked_by else ""
    numbers = {2: f"{panel.placer}^HIS" if panel.placer else "", 3: f"{panel.filler}^{panel.section}" if panel.filler else ""}
    return segment("ORC", {1: control, **numbers, 9: stamp.at, 12: _DOCTOR, 21: organization})


def _obr(panel: Panel, number: int) -> str:
    fields = {
        1: str(number),
        2: f"{panel.placer}^HIS" if panel.placer else "",
        3: f"{panel.filler}^{panel.section}" if panel.filler else "",
        4: panel.code,
        7: panel.collected,
        16: _DOCTOR,
        18: panel.accession,
        22: panel.reported,
        24: panel.section,
        25: panel.status,
        31: f"^{text(panel.reason)}" if panel.reason else "",
    }
    return segment("OBR", {number: value for number, value in fields.items() if value})


def _obx(result: Result, number: int, panel: Panel) -> list[str]:
    fields = {
        1: str(number),
        2: result.type,
        3: result.code,
        4: result.sub_id,
        5: result.value,
        6: result.unit,
        7: result.reference_range,
        8: result.flag,
        11: result.status,
        14: panel.collected,
        16: _READER,
    }
    notes = [segment("NTE", {1: str(at), 2: "L", 3: text(note)}) for at, note in enumerate(result.notes, start=1)]
    return [segment("OBX", fields), *notes]


def results(system: str, person: Person, stamp: Stamp, panels: Sequence[Panel], *, kind: str = "O") -> bytes:
    """ORU^R01: each panel with its ORC, OBR, OBX, NTE, and SPM where it has a specimen."""
    segments = [pid(person), pv1(kind)]
    for number, panel in enumerate(panels, start=1):
        segments += [_orc(panel, "RE", stamp), _obr(panel, number)]
        for at, result in enumerate(panel.results, start=1):
            segments += _obx(result, at, panel)
        if panel.specimen:
            segments.append(segment("SPM", {1: "1", 2: f"^{panel.filler}-SP", 4: panel.specimen, 17: panel.collected}))
        if panel.study:
            segments.append(segment("ZDS", {1: f"{panel.study}^{system}^Application^DICOM"}))
    return message(system, "ORU^R01", "ORU_R01", stamp, segments)


def laboratory_order(person: Person, stamp: Stamp, panels: Sequence[Panel]) -> bytes:
    """OML^O21: a laboratory order, an ORC and OBR for each panel, with TQ1 and SPM."""
    segments = [pid(person), pv1()]
    for number, panel in enumerate(panels, start=1):
        segments += [_orc(panel, "NW", stamp), segment("TQ1", {1: "1", 7: stamp.at, 9: "R"}), _obr(panel, number)]
        if panel.specimen:
            segments.append(segment("SPM", {1: "1", 4: panel.specimen}))
    return message("HIS", "OML^O21", "OML_O21", stamp, segments)


def imaging_order(person: Person, stamp: Stamp, panel: Panel) -> bytes:
    """ORM^O01: an order for an examination."""
    return message("HIS", "ORM^O01", "ORM_O01", stamp, [pid(person), pv1("I"), _orc(panel, "NW", stamp), _obr(panel, 1)])


def order_status(person: Person, stamp: Stamp, placer: str, status: str) -> bytes:
    """ORM^O01 with nothing but an ORC: an order's status has changed (ORC-1 SC; ``status`` of table 0038)."""
    changed = segment("ORC", {1: "SC", 2: f"{placer}^HIS", 5: status, 9: stamp.at})
    return message("HIS", "ORM^O01", "ORM_O01", stamp, [pid(person), pv1("I"), changed])


def query(person: Person, stamp: Stamp) -> bytes:
    """QBP^Q22, which no channel of the sample takes."""
    question = segment("QPD", {1: "Q22^Find Candidates^HL70471", 2: "TV-1", 3: f"@PID.3.1^{person.number}"})
    return message("HIS", "QBP^Q22", "QBP_Q21", stamp, [question, segment("RCP", {1: "I"})])


def pdf(line: str) -> bytes:
    """A tiny real PDF of one page with one line of ASCII text."""
    content = f"BT /F1 12 Tf 40 140 Td ({line}) Tj ET".encode("ascii")
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 360 200]/Resources<</Font<</F1 5 0 R>>>>/Contents 4 0 R>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, places = b"%PDF-1.4\n", []
    for number, held in enumerate(objects, start=1):
        places.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, held)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return body + b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (
        size,
        table,
        size,
        len(body),
    )


def document(content: bytes) -> str:
    """A PDF as ED: source application, type, subtype, encoding, data."""
    return f"RIS^application^pdf^Base64^{base64.b64encode(content).decode('ascii')}"
