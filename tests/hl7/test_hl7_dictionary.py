"""The dictionary: one canonical definition of everything HL7 v2.1–2.8.2 defines."""

from __future__ import annotations

from importlib.resources import files

import pytest

from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import GroupDef, SegmentRef, compile  # noqa: A004


def test_compile_gives_what_is_on_disk() -> None:
    """The data in the package is what the script makes of hl7apy today, byte for byte."""
    on_disk = files("interop_engine.hl7.dictionary").joinpath("data")
    for name, text in compile.compiled().items():
        assert on_disk.joinpath(name).read_text(encoding="utf-8") == text, f"{name}: run ./dev dictionaries"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("PATIENT_RESULT.ORDER_OBSERVATION.OBSERVATION", "OBSERVATION"),
        ("PATIENT_RESULT.ORDER_OBSERVATION.SPECIMEN", "SPECIMEN"),
        ("PATIENT_RESULT.PATIENT.VISIT", "VISIT"),
        ("RESPONSE.ORDER_OBSERVATION", "ORDER_OBSERVATION"),  # as 2.3 called PATIENT_RESULT
    ],
)
def test_group_paths_of_a_result(path: str, name: str) -> None:
    """Groups are found by the names integrators know, today's and those of older versions."""
    structure = dictionary.structure("ORU_R01")
    assert structure is not None
    found = structure.find(path)
    assert found is not None
    assert found[-1].name == name


def test_unknown_group_path() -> None:
    """A path with a group that the structure has not resolves to nothing."""
    structure = dictionary.structure("ORU_R01")
    assert structure is not None
    assert structure.find("PATIENT_RESULT.ORDER") is None


def test_withdrawn_structures_are_kept() -> None:
    """ORM_O01 left the standard with 2.7 and is still the most sent order; 2.1's own segments are merged in."""
    structure = dictionary.structure("ORM_O01")
    assert structure is not None
    detail = structure.find("ORDER.ORDER_DETAIL")
    assert detail is not None
    assert detail[-1].holds("OBR")  # the choice of segments is no level of its own
    assert detail[-1].holds("RX1")  # 2.1 only
    assert structure.find("PATIENT.PATIENT_VISIT") is not None


def test_segments_of_older_versions_are_merged() -> None:
    """ROL stood in 2.6's results and left with 2.7: the canonical tree still has it, and the newest's PRT too."""
    structure = dictionary.structure("ORU_R01")
    assert structure is not None
    order = structure.find("PATIENT_RESULT.ORDER_OBSERVATION")
    assert order is not None
    assert order[-1].holds("ROL")
    assert order[-1].holds("PRT")


def test_repeating_and_reaching() -> None:
    """A group says whether a segment is its own, deeper, and possibly several times."""
    structure = dictionary.structure("ORU_R01")
    assert structure is not None
    order = structure.group("PATIENT_RESULT").group("ORDER_OBSERVATION")  # type: ignore[union-attr]
    assert order is not None
    assert (order.holds("OBR"), order.repeating("OBR")) == (True, False)
    assert (order.holds("ORC"), order.reaches("ORC"), order.repeating("ORC")) == (False, True, False)
    assert (order.holds("OBX"), order.reaches("OBX"), order.repeating("OBX")) == (False, True, True)
    assert not order.reaches("MRG")


def test_every_structure_reads() -> None:
    """Each structure decodes, begins with MSH or a batch header, and names segments of three characters."""

    def names(group: GroupDef) -> list[str]:
        return [child.name if isinstance(child, SegmentRef) else "" for child in group.children]

    for name in dictionary.structures():
        structure = dictionary.structure(name)
        assert structure is not None
        assert names(structure)[0] == "MSH", name
        assert all(len(child) in (0, 3) or child == "ANYHL7SEGMENT" for child in names(structure)), name


def test_every_type_named_is_defined() -> None:
    """No field and no component has a type that the dictionary lacks, apart from those whose type another field names."""
    definitions = [
        *(dictionary.segment(name).fields for name in dictionary.segments()),  # type: ignore[union-attr]
        *(dictionary.datatype(name).components for name in dictionary.datatypes()),  # type: ignore[union-attr]
    ]
    used = {field.datatype for fields in definitions for field in fields.values()}
    assert {name for name in used if dictionary.datatype(name) is None} == {"varies"}


def test_names_are_unique_in_a_segment() -> None:
    """A field's name stands for its number, so no two fields of a segment share one."""
    for name in dictionary.segments():
        segment = dictionary.segment(name)
        assert segment is not None
        names = [field.name for field in segment.fields.values()]
        assert len(names) == len(set(names)), name
        assert segment.title, name


@pytest.mark.parametrize(
    ("segment", "name", "number"),
    [
        ("PID", "patient_identifier_list", 3),
        ("PID", "patient_id_internal_id", 3),  # until 2.3
        ("PID", "mothers_maiden_name", 6),
        ("PID", "sex", 8),  # until 2.3.1
        ("OBX", "abnormal_flags", 8),  # until 2.6
        ("OBX", "interpretation-codes", 8),
        ("PID", "no_such_field", 0),
    ],
)
def test_names_for_numbers(segment: str, name: str, number: int) -> None:
    """Fields are found by today's name and by those of older versions."""
    definition = dictionary.segment(segment)
    assert definition is not None
    assert definition.number(name) == number


@pytest.mark.parametrize(
    ("segment", "number", "version", "datatype"),
    [
        ("PID", 3, "", "CX"),
        ("PID", 3, "2.2", "CM_PAT_ID"),
        ("PID", 5, "", "XPN"),
        ("PID", 5, "2.1", "PN"),
        ("OBR", 7, "", "DTM"),
        ("OBR", 7, "2.5.1", "TS"),
        ("OBX", 3, "", "CWE"),
        ("OBX", 3, "2.5", "CE"),
        ("OBX", 4, "", "ST"),  # not 2.8.2's OG
        ("OBX", 5, "", "varies"),
        ("PID", 2, "", "CX"),  # withdrawn in 2.7: the last type it had
        ("OBR", 15, "", "SPS"),
        ("OBR", 27, "", "TQ"),
        ("OBX", 16, "2.1", "CN"),  # 2.1 lacked it: read by the nearest version that has it
        ("ZZZ", 1, "", ""),
        ("PID", 99, "", ""),
    ],
)
def test_field_datatype(segment: str, number: int, version: str, datatype: str) -> None:
    """The canonical type is the newest of its family; with a version, the type as that version wrote it."""
    assert dictionary.field_datatype(segment, number, version) == datatype


def test_field_definition() -> None:
    """A field carries its cardinality and its table."""
    pid = dictionary.segment("PID")
    assert pid is not None
    assert (pid.fields[8].table, pid.fields[8].repeats, pid.fields[8].required) == ("0001", False, False)
    assert (pid.fields[3].table, pid.fields[3].repeats, pid.fields[3].required) == ("", True, True)


def test_datatypes() -> None:
    """Composites have components with types of their own; primitives have none; withdrawn types are still known."""
    cx, st, ts = (dictionary.datatype(name) for name in ("CX", "ST", "TS"))
    assert cx is not None
    assert (cx.components[4].name, cx.components[4].datatype) == ("assigning_authority", "HD")
    assert cx.components[5].table == "0203"
    assert not any(component.repeats for component in cx.components.values())
    assert st is not None
    assert st.components == {}
    assert ts is not None
    assert ts.components[1].datatype == "DTM"


@pytest.mark.parametrize(
    ("code", "event", "declared", "structure"),
    [
        ("ORU", "R01", "ORU_R01", "ORU_R01"),
        ("ORU", "R01", "", "ORU_R01"),
        ("ORU", "R01", "ORU^R01", "ORU_R01"),
        ("ORU", "R01", "ADT_A01", "ORU_R01"),
        ("ADT", "A04", "", "ADT_A01"),
        ("ADT", "A08", "ADT_A08", "ADT_A01"),
        ("ADT", "A40", "", "ADT_A39"),
        ("ADT", "A40", "ADT_A01", "ADT_A39"),  # still a merge, whatever is declared
        ("ADT", "A18", "", "ADT_A18"),
        ("ADT", "A34", "", "ADT_A30"),
        ("ADT", "A31", "", "ADT_A05"),
        ("OML", "O21", "", "OML_O21"),
        ("ORM", "O01", "", "ORM_O01"),
        ("ORM", "O02", "", "ORM_O01"),
        ("ORM", "", "", "ORM_O01"),
        ("MDM", "T08", "", "MDM_T02"),
        ("ACK", "R01", "", "ACK"),
        ("RPI", "I04", "RPI_I04", "RPI_I04"),  # the table gives two; the declared one stands
        ("RPI", "I04", "", "RPI_I01"),
        ("ADT", "Z01", "ADT_A01", "ADT_A01"),  # a site's own event, with a structure
        ("", "", "ADT_A04", "ADT_A01"),
        ("oru", "r01", "", "ORU_R01"),
        ("ADT", "", "", ""),
        ("ZZZ", "Z99", "", ""),
        ("", "", "", ""),
    ],
)
def test_structure_for(code: str, event: str, declared: str, structure: str) -> None:
    """MSH-9.3, else table 0354, else a known structure; one that cannot be right is corrected."""
    assert dictionary.structure_for(code, event, declared) == structure


def test_unknown_names() -> None:
    """What HL7 does not define is None, never an error."""
    assert dictionary.structure("ZZZ_Z99") is None
    assert dictionary.segment("ZPI") is None
    assert dictionary.datatype("XYZ") is None


def test_the_messages_that_a_star_stands_for() -> None:
    """Those of the tables; a message that is named by its event stands for itself, known or not."""
    assert {"ADT^A01", "ADT^A40", "ADT^A08"} <= set(dictionary.messages_like("ADT^*"))
    assert "ORU^R01" in dictionary.messages_like("ORU^*")
    assert dictionary.messages_like("ADT^Z99") == ("ADT^Z99",)
    assert dictionary.messages_like("QQQ^*") == ()
