"""The JSON Schema of mapping files, held to by a validator that is not ours: what is right passes, what can be told is told."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from interop_engine.cli import output
from interop_engine.cli.schema import Kind, schema_of
from interop_engine.core import yaml
from interop_engine.fhir import definitions

MAPPINGS = Path(__file__).parent.parent.parent / "mappings"
FILES = [path for folder in (".", "dialects") for path in sorted((MAPPINGS / folder).glob("*.yaml"))]


@cache
def validator() -> Draft202012Validator:
    """The schema, itself checked."""
    schema = schema_of(Kind.MAPPING)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def read(text: str) -> Any:
    """A file as the engine reads it."""
    return yaml.load(text, "mapping.yaml").data


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_sample_is_right(path: Path) -> None:
    """No sample mapping, fragment or dialect has an error."""
    assert [error.message for error in validator().iter_errors(read(path.read_text(encoding="utf-8")))] == []


RIGHT = """mapping: m
message: ORU_R01
events: [R01]
resources:
  report:
    resource: DiagnosticReport
    each: PATIENT_RESULT.ORDER_OBSERVATION
    key: [OBR-3, OBR-4]
    set:
      status: =final
      code: {coding: [{system: =loinc, code: OBR-4.1}], text: OBR-4.2}
      subject: {type: =Patient, identifier: PID-3 | first}
      effectiveDateTime: OBR-7
      identifier: [OBR-2, {when: exists(OBR-3), set: {value: OBR-3.1}}]
      extension: {http://example.org/x: OBR-5}
"""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("message: ORU_R01", "message: ORU_R1"),
        ("events:", "event:"),
        ("resource: DiagnosticReport", "resource: DiagnosticRaport"),
        ("    each:", "    eech:"),
        ("status:", "statys:"),
        ("effectiveDateTime:", "effectiveDatetime:"),
        ("code: OBR-4.1", "kode: OBR-4.1"),
        ("text: OBR-4.2", "text: [OBR-4.2, OBR-4.5]"),
        ("type: =Patient", "type: {a: =Patient}"),
        ("when: exists(OBR-3), set:", "wenn: exists(OBR-3), set:"),
        ("code: {coding", "code: [{coding"),
        ("=final", "[=final]"),
    ],
)
def test_what_a_schema_can_tell_is_told(right: str, wrong: str) -> None:
    """Keys, types, structures, elements at any depth, and a list where one value is taken."""
    assert list(validator().iter_errors(read(RIGHT))) == []
    planted = RIGHT.replace(right, wrong, 1)
    if wrong.startswith("code: ["):
        planted = planted.replace("text: OBR-4.2}", "text: OBR-4.2}]")
    assert planted != RIGHT
    assert list(validator().iter_errors(read(planted))) != []


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("fragments: {doctor: {of: XCN, resource: Practitioner, key: .1, set: {name: {family: .2.1}}}}", True),
        ("fragments: {doctor: {of: XCM, resource: Practitioner, key: .1, set: {name: {family: .2.1}}}}", False),
        ("fragments: {doctor: {of: XCN, resource: Practitioner, key: .1, set: {nome: {family: .2.1}}}}", False),
        ("{dialect: a, segments: {ZLB: {1: {name: x, type: NM}}}, lens: [PID-3 := PID-2]}", True),
        ("{dialect: a, segments: {ZLB: {1: {name: x, type: NUM}}}}", False),
        ("{mapping: a, to: ORU_R01, set: {PATIENT_RESULT: {each: entry, PID: {PID-3: identifier, PID-5.1: [name, x]}}}}", True),
        ("{mapping: a, to: ORU_R01, set: {PATIENT_RESULT: {eech: entry}}}", False),
        ("{mapping: a, to: ORU_R01}", False),
        ("{mapping: a, message: ORU_R01, to: ORU_R01, lens: [PID-3 := PID-2]}", True),
        ("{mapping: a, extends: b}", True),
        ("{mapping: a, extends: b, resources: {report: null, order: {set: {code: null}}}}", True),
    ],
)
def test_each_kind_of_file_has_its_form(text: str, right: bool) -> None:
    """Fragments, dialects, mappings of bundles and corrections."""
    assert (list(validator().iter_errors(read(text))) == []) is right


def test_an_editor_is_given_what_it_can_complete() -> None:
    """Elements of a resource and of its parts, codes of a required value set, fields and groups of HL7 v2."""
    known = schema_of(Kind.MAPPING)["$defs"]
    assert {"status", "valueQuantity", "component"} <= known["set.Observation"]["properties"].keys()
    assert {"code", "referenceRange"} <= known["set.Observation.component"]["properties"].keys()
    assert "=final" in known["code.observation-status"]["anyOf"][0]["enum"]
    assert {"PID-5", "OBX-5"} <= set(known["expression"]["anyOf"][0]["enum"])
    assert "PATIENT_RESULT.ORDER_OBSERVATION" in known["each"]["anyOf"][0]["enum"]


def test_the_engine_writes_ids_itself() -> None:
    """What a mapping may not set is not proposed; what is of systems and rules alone is not described."""
    known = schema_of(Kind.MAPPING)["$defs"]
    assert known["set.Patient"]["properties"].keys().isdisjoint({"id", "meta", "contained"})
    described = {name for name in definitions.resources() if f"set.{name}" in known}
    assert {"Patient", "Observation", "ImagingStudy", "Coverage", "Account", "Contract"} <= described
    assert described.isdisjoint({"StructureDefinition", "ValueSet", "CapabilityStatement"})


def test_its_size_stays_sensible(capsys: pytest.CaptureFixture[str]) -> None:
    """Below a megabyte: an editor reads it for each file that is opened."""
    output.write_json_line(schema_of(Kind.MAPPING))
    assert len(capsys.readouterr().out) < 700_000
