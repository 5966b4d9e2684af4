"""The tolerant group parser: each rule of its docstring, on the smallest message that shows it."""

from __future__ import annotations

import pytest

from interop_engine.core.diagnostics import Finding
from interop_engine.hl7 import dictionary
from interop_engine.hl7.message import Message, parse
from interop_engine.hl7.structure import Group, group


def message(names: str, code: str = "ORU^R01^ORU_R01") -> Message:
    """A message of these segments; field 1 of each is its position, so that instances can be told apart."""
    lines = [f"MSH|^~\\&|LIS|24001|||20260102030405||{code}|1|P|2.5"]
    lines += [f"{name}|{position}" for position, name in enumerate(names.split(), start=1)]
    return parse("\r".join(lines).encode())


def grouped(names: str, structure: str = "ORU_R01") -> tuple[Group, list[Finding]]:
    """The message by that structure."""
    definition = dictionary.structure(structure)
    assert definition is not None
    return group(message(names), definition)


def drawn(here: Group) -> str:
    """The tree as text: ``GROUP(own segments, children…)``."""
    own = sorted(
        (segment.index, f"{segment.name}{segment.index}")
        for found in here.segments.values()
        for segment in found
        if segment.index
    )
    below = sorted((first(child), drawn(child)) for children in here.groups.values() for child in children)
    return f"{here.name}({' '.join([text for _, text in own] + [text for _, text in below])})"


def first(here: Group) -> int:
    """The position of the group's first segment."""
    return min(segment.index for each in here.walk() for found in each.segments.values() for segment in found)


RULES = [
    (
        "a plain result",
        "ORU_R01",
        "PID ORC OBR NTE OBX NTE OBX",
        (
            "ORU_R01(PATIENT_RESULT(PATIENT(PID1) ORDER_OBSERVATION(OBR3 NTE4 COMMON_ORDER(ORC2) OBSERVATION(OBX5 "
            "NTE6) OBSERVATION(OBX7))))"
        ),
        [],
    ),
    (
        "the first segment of a group opens a new instance",
        "ORU_R01",
        "PID OBR OBX OBR OBX",
        (
            "ORU_R01(PATIENT_RESULT(PATIENT(PID1) ORDER_OBSERVATION(OBR2 OBSERVATION(OBX3)) ORDER_OBSERVATION(OBR4 "
            "OBSERVATION(OBX5))))"
        ),
        [],
    ),
    (
        "an optional one before the first required one opens it too, once",
        "ORU_R01",
        "PID ORC OBR ORC OBR",
        (
            "ORU_R01(PATIENT_RESULT(PATIENT(PID1) ORDER_OBSERVATION(OBR3 COMMON_ORDER(ORC2)) ORDER_OBSERVATION(OBR5 "
            "COMMON_ORDER(ORC4))))"
        ),
        [],
    ),
    (
        "a second patient begins a second result",
        "ORU_R01",
        "PID OBR OBX PID OBR",
        (
            "ORU_R01(PATIENT_RESULT(PATIENT(PID1) ORDER_OBSERVATION(OBR2 OBSERVATION(OBX3))) "
            "PATIENT_RESULT(PATIENT(PID4) ORDER_OBSERVATION(OBR5)))"
        ),
        [],
    ),
    (
        "a result without a patient",
        "ORU_R01",
        "OBR OBX",
        "ORU_R01(PATIENT_RESULT(ORDER_OBSERVATION(OBR1 OBSERVATION(OBX2))))",
        [],
    ),
    (
        "what comes late goes back to the innermost open group that defines it",
        "ORU_R01",
        "PID PV1 NTE OBR",
        "ORU_R01(PATIENT_RESULT(PATIENT(PID1 NTE3 VISIT(PV12)) ORDER_OBSERVATION(OBR4)))",
        ["NTE[1]: segment-out-of-place"],
    ),
    (
        "what no open group defines stays with the open group",
        "ORU_R01",
        "PID OBR OBX DG1 NTE OBX",
        "ORU_R01(PATIENT_RESULT(PATIENT(PID1) ORDER_OBSERVATION(OBR2 OBSERVATION(OBX3 DG14 NTE5) OBSERVATION(OBX6))))",
        ["DG1[1]: segment-out-of-place"],
    ),
    (
        "a segment that is no anchor opens nothing",
        "ORU_R01",
        "PID OBR OBX PV2 OBX",
        "ORU_R01(PATIENT_RESULT(PATIENT(PID1) ORDER_OBSERVATION(OBR2 OBSERVATION(OBX3 PV24) OBSERVATION(OBX5))))",
        ["PV2[1]: segment-out-of-place"],
    ),
    (
        "Z-segments attach to the open group, without a word",
        "ORU_R01",
        "ZPI PID ZPD OBR ZDS OBX ZBX NTE",
        "ORU_R01(ZPI1 PATIENT_RESULT(PATIENT(PID2 ZPD3) ORDER_OBSERVATION(OBR4 ZDS5 OBSERVATION(OBX6 ZBX7 NTE8))))",
        [],
    ),
    (
        "a specimen after its observations",
        "ORU_R01",
        "PID OBR OBX SPM OBX",
        (
            "ORU_R01(PATIENT_RESULT(PATIENT(PID1) ORDER_OBSERVATION(OBR2 OBSERVATION(OBX3) SPECIMEN(SPM4 "
            "SPECIMEN_OBSERVATION(OBX5)))))"
        ),
        [],
    ),
    (
        "a specimen before any observation: its OBX are the observations",
        "ORU_R01",
        "PID OBR SPM OBX NTE OBX SPM OBX OBR OBX",
        (
            "ORU_R01(PATIENT_RESULT(PATIENT(PID1) ORDER_OBSERVATION(OBR2 SPECIMEN(SPM3) OBSERVATION(OBX4 NTE5) "
            "OBSERVATION(OBX6) SPECIMEN(SPM7) OBSERVATION(OBX8)) ORDER_OBSERVATION(OBR9 OBSERVATION(OBX10))))"
        ),
        [],
    ),
    (
        "an order's document is one only where its TXA follows",
        "ORU_R01",
        "PID ORC OBX TXA OBR OBX",
        (
            "ORU_R01(PATIENT_RESULT(PATIENT(PID1) ORDER_OBSERVATION(OBR5 COMMON_ORDER(ORC2 ORDER_DOCUMENT(OBX3 TXA4)) "
            "OBSERVATION(OBX6))))"
        ),
        [],
    ),
    (
        "an OBX after ORC without OBR is an observation",
        "ORU_R01",
        "PID ORC OBX OBX",
        ("ORU_R01(PATIENT_RESULT(PATIENT(PID1) ORDER_OBSERVATION(COMMON_ORDER(ORC2) OBSERVATION(OBX3) OBSERVATION(OBX4))))"),
        [],
    ),
    (
        "an order of the old kind",
        "ORM_O01",
        "PID PV1 IN1 ORC OBR OBX NTE ORC OBR",
        (
            "ORM_O01(PATIENT(PID1 PATIENT_VISIT(PV12) INSURANCE(IN13)) ORDER(ORC4 ORDER_DETAIL(OBR5 OBSERVATION(OBX6 "
            "NTE7))) ORDER(ORC8 ORDER_DETAIL(OBR9)))"
        ),
        [],
    ),
    (
        "two OBR under one ORC are two details, and said so",
        "ORM_O01",
        "PID ORC OBR OBR OBX",
        "ORM_O01(PATIENT(PID1) ORDER(ORC2 ORDER_DETAIL(OBR3) ORDER_DETAIL(OBR4 OBSERVATION(OBX5))))",
        ["OBR[2]: group-repeated"],
    ),
    (
        "an OBR without the ORC that should precede begins an order, each of them",
        "OML_O21",
        "PID OBR OBX OBR",
        "OML_O21(PATIENT(PID1) ORDER(OBSERVATION_REQUEST(OBR2 OBSERVATION(OBX3))) ORDER(OBSERVATION_REQUEST(OBR4)))",
        ["OBR[1]: segment-missing", "OBR[2]: segment-missing"],
    ),
    (
        "the next order is not a prior result",
        "OML_O21",
        "PID ORC OBR SPM ORC OBR",
        ("OML_O21(PATIENT(PID1) ORDER(ORC2 OBSERVATION_REQUEST(OBR3 SPECIMEN(SPM4))) ORDER(ORC5 OBSERVATION_REQUEST(OBR6)))"),
        [],
    ),
    (
        "a prior result begins with its patient or visit",
        "OML_O21",
        "PID ORC OBR PV1 ORC OBR OBX",
        (
            "OML_O21(PATIENT(PID1) ORDER(ORC2 OBSERVATION_REQUEST(OBR3 PRIOR_RESULT(PATIENT_VISIT_PRIOR(PV14) "
            "ORDER_PRIOR(ORC5 OBR6 OBSERVATION_PRIOR(OBX7))))))"
        ),
        [],
    ),
    (
        "a merge of several pairs",
        "ADT_A39",
        "EVN PID MRG PID PD1 MRG PV1",
        "ADT_A39(EVN1 PATIENT(PID2 MRG3) PATIENT(PID4 PD15 MRG6 PV17))",
        [],
    ),
    (
        "services, persons, places and things of an appointment come in any order",
        "SIU_S12",
        "SCH PID RGS AIP AIS AIL AIG RGS AIS",
        (
            "SIU_S12(SCH1 PATIENT(PID2) RESOURCES(RGS3 PERSONNEL_RESOURCE(AIP4) SERVICE(AIS5) LOCATION_RESOURCE(AIL6) "
            "GENERAL_RESOURCE(AIG7)) RESOURCES(RGS8 SERVICE(AIS9)))"
        ),
        [],
    ),
    (
        "an OBX below the specimen of an order told by order is its result",
        "OUL_R24",
        "PID OBR SPM OBX OBR OBX",
        "OUL_R24(PATIENT(PID1) ORDER(OBR2 SPECIMEN(SPM3) RESULT(OBX4)) ORDER(OBR5 RESULT(OBX6)))",
        [],
    ),
    (
        "a single segment that comes twice is kept twice",
        "ADT_A01",
        "EVN PID PV1 PV1",
        "ADT_A01(EVN1 PID2 PV13 PV14)",
        ["PV1[2]: segment-out-of-place"],
    ),
]


@pytest.mark.parametrize(("structure", "names", "tree", "said"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES])
def test_rule(structure: str, names: str, tree: str, said: list[str]) -> None:
    """Each rule: the tree it gives, and what is said about it, by place."""
    root, findings = grouped(names, structure)
    assert drawn(root) == tree
    assert [f"{finding.path}: {finding.code}" for finding in findings] == said


def test_observations_know_the_specimen_they_stand_under() -> None:
    """Where order alone tells the specimen, each observation leads to its own; where an observation precedes, none does."""
    root, _ = grouped("PID OBR SPM OBX OBX SPM OBX")
    order = root.children("PATIENT_RESULT")[0].children("ORDER_OBSERVATION")[0]
    one, two = order.children("SPECIMEN")
    assert [observation.specimen for observation in order.children("OBSERVATION")] == [one, one, two]
    root, _ = grouped("PID OBR OBX SPM OBX")
    order = root.children("PATIENT_RESULT")[0].children("ORDER_OBSERVATION")[0]
    assert [observation.specimen for observation in order.children("OBSERVATION")] == [None]
    assert order.children("SPECIMEN")[0].specimen is None


def test_reading_a_group() -> None:
    """``first`` and ``all`` are the group's own, ``deep`` goes below in the message's order, ``children`` knows older names."""
    root, _ = grouped("PID ORC OBR OBX OBX SPM OBX")
    result = root.children("RESPONSE")[0]
    order = result.children("ORDER_OBSERVATION")[0]
    assert order.first("OBX") is None
    assert order.all("OBR") == order.deep("OBR")
    assert [segment.number for segment in order.deep("OBX")] == [1, 2, 3]
    assert [segment.name for segment in order.deep("ORC")] == ["ORC"]
    assert order.deep("MRG") == []
    assert [child.number for child in order.children("OBSERVATION")] == [1, 2]
    assert order.children("NO_SUCH_GROUP") == []


def test_findings_speak_hl7() -> None:
    """A finding has the place, a sentence, and the condition of table 0357 it would have in an ERR."""
    _, findings = grouped("PID OBR OBX DG1")
    assert [(finding.path, finding.severity, finding.hl7_code) for finding in findings] == [("DG1[1]", "warning", "100")]
    assert "OBSERVATION" in findings[0].message
