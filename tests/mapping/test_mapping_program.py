"""What a mapping makes of a message: values, nested elements, conditions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.mappings import (
    MSH_ADT,
    MSH_ORU,
    OBR,
    ORU,
    PID,
    contents,
    draft,
    obx,
    patient,
    value_of,
)


@pytest.mark.parametrize(
    ("line", "pid", "expected"),
    [
        ("birthDate: PID-7", "PID|||B1^^^^MR||||19800512", {"birthDate": "1980-05-12"}),
        ("birthDate: PID-7 ?? '1900-01-01'", "PID|||B1^^^^MR", {"birthDate": "1900-01-01"}),
        ("gender: PID-8", "PID|||B1^^^^MR|||||F", {"gender": "female"}),
        ("gender: =unknown", "PID|||B1^^^^MR", {"gender": "unknown"}),
        ("active: =true", "PID|||B1^^^^MR", {"active": True}),
        ("deceased: =true", "PID|||B1^^^^MR", {"deceasedBoolean": True}),
        ("deceased: =2026", "PID|||B1^^^^MR", {"deceasedDateTime": "2026"}),
        ("name: PID-5[2]", "PID|||B1^^^^MR||A^B~C^D", {"name": [{"text": "C D", "family": "C", "given": ["D"]}]}),
        ("name: {text: PID-5.1 | first | upper}", "PID|||B1^^^^MR||An^B", {"name": [{"text": "AN"}]}),
        ("name: {text: \"concat(PID-7, ' ', PID-8)\"}", "PID|||B1^^^^MR||||1980", {"name": [{"text": "1980"}]}),
        ("name: {text: \"concat(PID-7, ' ', PID-8)\"}", "PID|||B1^^^^MR", {}),
        ("name: {family: PID-5.1 | last}", "PID|||B1^^^^MR||A^B~C^D", {"name": [{"family": "C"}]}),
        ("multipleBirthInteger: PID-25", "PID|||B1^^^^MR" + "|" * 22 + "2", {"multipleBirthInteger": 2}),
        (
            "maritalStatus: =loinc#M",
            "PID|||B1^^^^MR",
            {"maritalStatus": {"coding": [{"system": "http://loinc.org", "code": "M"}]}},
        ),
        ("birthDate: PID-7 | date", "PID|||B1^^^^MR||||198005120930", {"birthDate": "1980-05-12"}),
        ("name: {text: PID-5.2 | join}", "PID|||B1^^^^MR||A^B~C^D", {"name": [{"text": "B\nD"}]}),
        ("telecom: [PID-13, PID-14]", "PID|||B1^^^^MR" + "|" * 9 + "|090|091", {"telecom": "2"}),
    ],
)
def test_a_line_sets_an_element(line: str, pid: str, expected: dict[str, Any]) -> None:
    """Fields convert by their types, literals by the element's; what is empty sets nothing."""
    found = value_of(line, pid)
    if "telecom" in found:
        found = {"telecom": str(len(found["telecom"]))}
    assert found == expected


def test_elements_stand_in_the_order_of_the_specification() -> None:
    """However the lines are ordered, so that the bytes are stable."""
    found = value_of("birthDate: PID-7\nname: PID-5\nidentifier: PID-3", PID)
    assert list(found) == ["identifier", "name", "birthDate"]


def test_a_value_with_companions_takes_its_type_from_them() -> None:
    """OBX-5 by OBX-2 with OBX-6; digits are kept."""
    (found,) = contents(draft(ORU, MSH_ORU, PID, OBR, obx(1, "GLU", "5.20")), "observation")
    assert str(found["valueQuantity"]["value"]) == "5.20"
    assert found["valueQuantity"]["unit"] == "mmol/L"
    (text,) = contents(draft(ORU, MSH_ORU, PID, OBR, obx(1, "GLU", "in^order", kind="ST")), "observation")
    assert text["valueString"].startswith("in^order")


def test_two_times_make_a_period() -> None:
    """OBR-7 with OBR-8."""
    (one,) = contents(draft(ORU, MSH_ORU, PID, OBR), "report")
    assert one["effectiveDateTime"] == "2026-11-21T08:00:00+07:00"
    (two,) = contents(draft(ORU, MSH_ORU, PID, OBR.replace("20261121080000|", "20261121080000|20261121081500")), "report")
    assert two["effectivePeriod"] == {"start": "2026-11-21T08:00:00+07:00", "end": "2026-11-21T08:15:00+07:00"}


def test_what_a_converter_adds_to_a_primitive_stands_beside_it() -> None:
    """HHMM is zero-filled, and an extension says so."""
    (found,) = contents(draft(ORU, MSH_ORU, PID, OBR.replace("20261121080000", "202611210800")), "report")
    assert found["effectiveDateTime"] == "2026-11-21T08:00:00+07:00"
    assert found["_effectiveDateTime"]["extension"][0]["valueCode"] == "minute"


def test_notes_belong_to_the_segment_they_follow_and_are_joined_once() -> None:
    """An OBR's note does not land on the OBX, nor the other way (semantics.md, result 11)."""
    found = draft(
        ORU, MSH_ORU, PID, OBR, "NTE|1||of the order", obx(1, "GLU", "5"), "NTE|1||one", "NTE|2||two", obx(2, "URE", "6")
    )
    one, two = contents(found, "observation")
    assert one["note"] == [{"text": "one\ntwo"}]
    assert "note" not in two


def test_documents_become_attachments_of_the_report() -> None:
    """ED has no value[x]: presentedForm takes the OBX that pass the test, the observation leaves them."""
    found = draft(ORU, MSH_ORU, PID, OBR, "OBX|1|ED|PDF^Report^L||^application^pdf^Base64^JVBERi0=||||||F", obx(2, "GLU", "5"))
    (report,) = contents(found, "report")
    assert report["presentedForm"][0]["contentType"] == "application/pdf"
    assert len(contents(found, "observation")) == 1


def test_nested_blocks_repeat_and_are_left_out_where_only_literals_would_stand() -> None:
    """``each:`` in a block; a block of which the message says nothing is not made."""
    line = "contact:\n  each: NK1\n  when: exists(NK1-2)\n  set:\n    relationship: =http://x.example#N\n    name: NK1-2 | first"
    found = value_of(line, PID, "NK1|1|Lê^Bình", "NK1|2", "NK1|3|Võ^Chi")
    assert [contact["name"]["family"] for contact in found["contact"]] == ["Lê", "Võ"]
    assert value_of("contact:\n  relationship: [=http://x.example#N]\n  name: NK1-2 | first", PID) == {}


def test_values_of_a_field_may_be_the_scope_of_a_block() -> None:
    """``each: PID-15`` with paths relative to the value."""
    assert value_of("communication:\n  each: PID-15\n  set: {language: {text: .1}}", "PID|||B1^^^^MR" + "|" * 12 + "vi") == {
        "communication": [{"language": {"text": "vi"}}]
    }


def test_extensions_have_a_short_form() -> None:
    """``extension: {URL: path}``; the value's type follows from the field's."""
    line = "extension:\n  http://x.example/religion: PID-17\n  http://x.example/birth: PID-7"
    assert value_of(line, "PID|||B1^^^^MR||||19800512") == {
        "extension": [{"url": "http://x.example/birth", "valueDateTime": "1980-05-12"}]
    }


def test_a_deleted_value_is_absent_or_cleared() -> None:
    """``""``: with replace the element is absent, with merge it is cleared (None), and ``??`` goes on."""
    pid = 'PID|||B1^^^^MR||||""|F'
    assert value_of("birthDate: PID-7", pid) == {}
    (merged,) = contents(draft(patient("birthDate: PID-7\ngender: PID-8", more="    write: merge\n"), MSH_ADT, pid), "patient")
    assert merged["birthDate"] is None
    assert merged["gender"] == "female"
    assert value_of("birthDate: PID-7 ?? '1900'", pid) == {"birthDate": "1900"}
    assert value_of("active: =true\ngender: PID-8\nbirthDate: PID-29 ?? PID-7", pid.replace('""', "1980")) == {
        "active": True,
        "gender": "female",
        "birthDate": "1980",
    }


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("PID-8 = 'M'", True),
        ("PID-8 != 'M'", False),
        ("PID-8 in ['M', 'F']", True),
        ("PID-8 not in ['M', 'F']", False),
        ("exists(PID-7)", True),
        ("exists(PID-9) or exists(PID-7)", True),
        ("exists(PID-9) and exists(PID-7)", False),
        ("exists(NK1)", False),
        ("not exists(NK1)", True),
        ("count(PID-3) = 2", True),
        ("count(PID-3) > 2", False),
        ("PID-3.5 = 'NI'", True),
        ("all(PID-3.5 = 'NI')", False),
        ("any(PID-3.5 != 'NI')", True),
        ("all(PID-3.5 in ['NI', 'MR'])", True),
        ("exists(PID-3[.5 = 'NI'])", True),
        ("PID-3[.5 = 'NI'].1 = '012345678901'", True),
        ("matches(PID-3[2].1, '[0-9]{12}')", True),
        ("matches(PID-3[2].1, '[0-9]{3}')", False),
        ("PID-7 > 19791231", True),
        ("PID-7 < '1979'", False),
        ("PID-10 < 5", False),
        ("deleted(PID-11)", True),
        ("deleted(PID-7)", False),
        ("exists(PID-11)", False),
        ("(PID-9 ?? PID-8) = 'M'", True),
        ("PID-8 | lower = 'm'", True),
    ],
)
def test_conditions_have_two_values(condition: str, holds: bool) -> None:
    """``=`` on repeats asks whether any is equal, ``!=`` is its negation; what is absent is equal to nothing."""
    pid = 'PID|||BN001^^^^MR~012345678901^^^^NI||Nguyễn^An||19800512|M|||""'
    found = draft(patient("gender: PID-8", more=f'    when: "{condition}"\n'), MSH_ADT, pid)
    assert bool(contents(found, "patient")) is holds


def test_the_groups_below_may_fill_a_block() -> None:
    """``each: OBSERVATION`` in a panel: code, value and range of each OBX as a component, with its own reads."""
    mapping = """
mapping: panel
message: ORU_R01
resources:
  panel:
    resource: Observation
    each: PATIENT_RESULT.ORDER_OBSERVATION
    key: OBR-3
    set:
      status: =final
      code: OBR-4
      component:
        each: OBSERVATION
        when: exists(OBX-3)
        set:
          code: OBX-3
          value: OBX-5
          interpretation: OBX-8
          extension: {http://x.example/note: NTE-3 | first}
"""
    found = draft(mapping, MSH_ORU, PID, OBR, obx(1, "A", "1.10"), "NTE|1||n", obx(2, "B", "2"), "OBX|3|NM")
    (panel,) = contents(found, "panel")
    assert [str(part["valueQuantity"]["value"]) for part in panel["component"]] == ["1.10", "2"]
    assert [part.get("extension") for part in panel["component"]] == [
        [{"url": "http://x.example/note", "valueString": "n"}],
        None,
    ]
    assert "OBX-5" not in found.unread


def test_blocks_may_stand_in_blocks() -> None:
    """Repeats within repeats: each name of each relative, with the parts of its own."""
    line = "contact:\n  each: NK1\n  set:\n    telecom:\n      each: NK1-5\n      set: {system: =phone, value: .1}"
    found = value_of(line, PID, "NK1|1||||1~2", "NK1|2||||3")
    assert [[phone["value"] for phone in contact["telecom"]] for contact in found["contact"]] == [["1", "2"], ["3"]]


def test_long_chains_compile() -> None:
    """As many alternatives and conditions as one likes: the code stays flat."""
    chain = " ?? ".join(["PID-23", "PID-12", "PID-29"] * 60)
    assert value_of(f"name: {{text: {chain} ?? PID-8 | lower}}", PID) == {"name": [{"text": "m"}]}
    either = " or ".join(f"PID-8 = '{number}'" for number in range(200)) + " or PID-8 = 'M'"
    found = draft(patient("gender: PID-8", more=f'    when: "{either}"\n'), MSH_ADT, PID)
    assert len(contents(found, "patient")) == 1
