"""Small mappings and messages, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interop_engine.core.model import NOTHING_KNOWN, Known
from interop_engine.hl7.message import Message, parse
from interop_engine.mapping.context import Scope, naming
from interop_engine.mapping.program import Draft, Program, load

if TYPE_CHECKING:
    from interop_engine.core.model import Resource

SCOPE = Scope("24001", "http://h.example", "Asia/Ho_Chi_Minh", naming(base="http://h.example"))
MSH_ORU = "MSH|^~\\&|LIS|24001|HUB|HUB|20261121093000||ORU^R01^ORU_R01|1|P|2.5.1"
MSH_ADT = "MSH|^~\\&|HIS|24001|HUB|HUB|20261121093000||ADT^A08^ADT_A01|1|P|2.5.1"
PID = "PID|1||BN001^^^^MR||Nguyễn^An||19800512|M"
ORU = """
mapping: oru
message: ORU_R01
resources:
  patient:
    resource: Patient
    each: PATIENT_RESULT
    key: PID-3 | own_number
    write: if-new
    set: {identifier: PID-3, name: PID-5, gender: PID-8}
  report:
    resource: DiagnosticReport
    each: PATIENT_RESULT.ORDER_OBSERVATION
    key: [OBR-3, OBR-4]
    newer: OBR-22 ?? MSH-7
    set:
      status: OBR-25 ?? 'unknown'
      code: OBR-4
      subject: -> patient
      effective: OBR-7
      result: -> observation
      presentedForm: "OBX[-2 in ['ED', 'RP']]-5"
  observation:
    resource: Observation
    each: PATIENT_RESULT.ORDER_OBSERVATION.OBSERVATION
    when: exists(OBX-3) and OBX-2 not in ['ED', 'RP']
    key: [-> report, OBX-3, OBX-4]
    set:
      status: OBX-11 ?? 'unknown'
      code: OBX-3
      subject: -> patient
      value: OBX-5
      effective: OBX-14 ?? OBR-7
      note: NTE-3
"""


def program(text: str, **more: str) -> Program:
    """The one program of a mapping that has no mistakes."""
    library = load({"mapping.yaml": text, **{f"{name}.yaml": other for name, other in more.items()}}, SCOPE.naming)
    assert [str(mistake) for mistake in library.mistakes] == []
    return next(iter(library.programs.values()))


def message(*segments: str) -> Message:
    """A message of these segments."""
    return parse("\r".join(segments).encode())


def draft(text: str, *segments: str, known: Known = NOTHING_KNOWN, scope: Scope = SCOPE) -> Draft:
    """What a mapping makes of a message."""
    compiled = program(text)
    return compiled.build(compiled.identify(message(*segments), scope), known)


def contents(found: Draft, name: str) -> list[Resource]:
    """The contents of a mapping's resource."""
    assert found.park is None
    return [item.content for item in found.resources if item.name == name]


def patient(line: str, *, key: str = "PID-3 | own_number", more: str = "") -> str:
    """A mapping of ADT_A01 to a Patient with some lines of ``set:``."""
    lines = "\n".join(f"      {part}" for part in line.split("\n"))
    head = "mapping: adt\nmessage: ADT_A01\nresources:\n  patient:\n    resource: Patient\n"
    return f"{head}    key: {key}\n{more}    set:\n{lines}\n"


def value_of(line: str, *segments: str) -> Any:
    """What one line of ``set:`` makes of a Patient."""
    (found,) = contents(draft(patient(line), MSH_ADT, *segments), "patient")
    return {name: value for name, value in found.items() if name not in ("resourceType", "id")}


def obx(number: int, code: str, value: str, *, kind: str = "NM", sub: str = "") -> str:
    """An OBX."""
    return f"OBX|{number}|{kind}|{code}^Test^L|{sub}|{value}|mmol/L|||||F"


OBR = "OBR|1|P1|F1|GLU^Glucose^L|||20261121080000|||||||||||||||20261121090000|||F"
