"""The reader of the R4 definitions, and that what is not R4 was taken out."""

from __future__ import annotations

import pytest

from interop_engine.fhir import definitions


def test_an_element_says_what_its_structure_definition_says() -> None:
    """Cardinality, types, targets and binding of an element are the specification's."""
    status = definitions.element("DiagnosticReport", "status")
    assert status is not None
    assert (status.types, status.minimum, status.repeats) == (("code",), 1, False)
    assert (status.binding, status.strength) == ("http://hl7.org/fhir/ValueSet/diagnostic-report-status", "required")
    result = definitions.element("DiagnosticReport", "result")
    assert result is not None
    assert (result.types, result.minimum, result.repeats, result.targets) == (("Reference",), 0, True, ("Observation",))


def test_a_choice_is_known_by_its_stem_and_by_its_forms() -> None:
    """``value`` is the choice, ``valueQuantity`` the element with that type, ``valueAddress`` nothing."""
    stem = definitions.element("Observation", "value")
    form = definitions.element("Observation", "valueQuantity")
    assert stem is not None
    assert stem.choice
    assert "Quantity" in stem.types
    assert form is not None
    assert (form.name, form.types, form.choice) == ("valueQuantity", ("Quantity",), False)
    assert definitions.element("Observation", "valueAddress") is None


def test_parts_have_paths_of_their_own() -> None:
    """An element without a type of its own leads to a path: by its name, or to the one whose content it borrows."""
    component = definitions.element("Observation", "component")
    borrowed = definitions.element("Observation.component", "referenceRange")
    assert component is not None
    assert borrowed is not None
    assert definitions.child_path("Observation", component) == "Observation.component"
    assert definitions.child_path("Observation.component", borrowed) == "Observation.referenceRange"
    assert definitions.elements("Timing.repeat")["periodUnit"].types == ("code",)


def test_ids_of_resources_and_of_elements_differ_in_type() -> None:
    """A resource's id is of type id, an element's a string, whatever FHIRPath calls them."""
    assert definitions.elements("Patient")["id"].types == ("id",)
    assert definitions.elements("Patient.contact")["id"].types == ("string",)
    assert definitions.elements("Extension")["url"].types == ("uri",)


def test_there_are_146_resources() -> None:
    """R4 has 146 resources that can exist; those of R4B and of the package's maker are not among them."""
    assert len(definitions.resources()) == 146
    assert not {"SubscriptionStatus", "MetadataResource", "Resource", "DomainResource", "Project"} & definitions.resources()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Meta", "author"),
        ("Meta", "project"),
        ("Binary", "url"),
        ("DeviceDefinition", "classification"),
        ("ObservationDefinition", "publisher"),
        ("ResearchStudy", "recruitment"),
        ("EvidenceVariable.characteristic", "definitionByCombination"),
        ("EvidenceVariable.characteristic", "linkId"),
    ],
)
def test_what_is_not_r4_is_gone(path: str, name: str) -> None:
    """Elements the package adds, of its own or of R5, are no elements here."""
    assert definitions.elements(path)
    assert definitions.element(path, name) is None


def test_what_was_altered_is_as_r4_has_it() -> None:
    """Types, targets and bindings that the package changed are R4's again."""
    outcome = definitions.elements("Bundle.entry.response")["outcome"]
    assert outcome.types == ("Resource",)
    assert definitions.elements("DetectedIssue")["status"].binding == "http://hl7.org/fhir/ValueSet/observation-status"
    assert definitions.elements("EvidenceVariable.characteristic")["definition"].minimum == 1
    assert definitions.elements("ResearchStudy")["site"].targets == ("Location",)


def test_codes_are_complete_with_nested_ones() -> None:
    """Corrected is nested below amended, appended too: a list cut at the top level would lack them."""
    assert definitions.codes("http://hl7.org/fhir/ValueSet/diagnostic-report-status|4.0.1") == {
        *("registered", "partial", "preliminary", "final", "amended", "corrected", "appended"),
        *("cancelled", "entered-in-error", "unknown"),
    }


def test_codes_of_several_systems_keep_their_system() -> None:
    """A value set composed of several code systems gives each code's own."""
    systems = definitions.systems("http://hl7.org/fhir/ValueSet/detectedissue-severity")
    assert systems["high"] == "http://hl7.org/fhir/detectedissue-severity"
    security = definitions.systems("http://hl7.org/fhir/ValueSet/provenance-activity-type")
    assert security["UPDATE"] == "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
    assert security["LA"] == "http://terminology.hl7.org/CodeSystem/v3-DocumentCompletion"


def test_a_filter_follows_the_hierarchy() -> None:
    """Encounter classes are the descendants of one concept of ActCode, not all of it."""
    classes = definitions.codes("http://terminology.hl7.org/ValueSet/v3-ActEncounterCode")
    assert classes is not None
    assert {"AMB", "EMER", "IMP", "ACUTE"} <= classes
    assert "_ActEncounterCode" not in classes
    assert len(classes) < 15


@pytest.mark.parametrize(
    "url", ["http://hl7.org/fhir/ValueSet/mimetypes", "http://hl7.org/fhir/ValueSet/report-codes", "urn:none"]
)
def test_what_cannot_be_enumerated_is_none(url: str) -> None:
    """MIME types, LOINC and unknown value sets have no list, which is not the same as an empty one."""
    assert definitions.codes(url) is None


def required() -> dict[str, list[str]]:
    """Every value set that some element of R4 requires, with these elements."""
    found: dict[str, list[str]] = {}
    for path in definitions.paths():
        for name, member in definitions.elements(path).items():
            if member.strength == "required" and member.binding:
                found.setdefault(member.binding, []).append(f"{path}.{name}")
    return found


def test_every_required_value_set_is_enumerated_or_known_not_to_be() -> None:
    """Of all 224 that R4's elements require four have no list: two are checked by their form, two are of research and genes."""
    sets = required()
    assert len(sets) == 224
    assert {url: elements for url, elements in sets.items() if definitions.codes(url) is None} == {
        "http://hl7.org/fhir/ValueSet/mimetypes": sets["http://hl7.org/fhir/ValueSet/mimetypes"],
        "http://hl7.org/fhir/ValueSet/currencies": ["Money.currency"],
        "http://loinc.org/vs/LL379-9": ["MolecularSequence.structureVariant.variantType"],
        "http://hl7.org/fhir/ValueSet/ucum-units": [
            "EffectEvidenceSynthesis.effectEstimate.unitOfMeasure",
            "ResearchElementDefinition.characteristic.unitOfMeasure",
            "RiskEvidenceSynthesis.riskEstimate.unitOfMeasure",
        ],
    }


def test_v2_tables_and_code_systems() -> None:
    """An HL7 v2 table is found by number with or without zeros; a code system that is not HL7's is None."""
    assert definitions.v2_table("0001")["F"] == "Female"
    assert definitions.v2_table("1") == definitions.v2_table("0001")
    assert definitions.v2_table("9999") == {}
    assert definitions.code_system("http://loinc.org") is None
    assert "corrected" in (definitions.code_system("http://hl7.org/fhir/observation-status") or {})


def test_invariants_are_at_hand() -> None:
    """Each constraint has key, severity, place and expression."""
    found = {one.key: one for one in definitions.invariants("Observation")}
    assert found["obs-6"].path == "Observation"
    assert found["obs-6"].severity == "error"
    assert found["obs-3"].expression == "low.exists() or high.exists() or text.exists()"
