"""The structure of resources: what is wrong is found, all of it, and named by its path."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from interop_engine.fhir.schema import MOST_ISSUES, Issue, validate
from tests.support.resources import BASE, VALID, valid, whole_bundle

Json = dict[str, Any]
EXTENSION = {"extension": [{"url": "urn:test:x", "valueCode": "a"}]}


def faults(resource: Any) -> list[str]:
    """Issues as text."""
    return [str(issue) for issue in validate(resource)]


@pytest.mark.parametrize("name", VALID)
def test_what_is_valid_has_no_issue(name: str) -> None:
    """Every example of the types the engine writes is valid."""
    assert validate(valid(name)) == ()


def test_a_bundle_of_them_is_valid() -> None:
    """A transaction of all examples is valid, and a bundle that claims to be complete lacks what is not in it."""
    assert validate(whole_bundle()) == ()
    assert validate(whole_bundle(), complete=True) == (
        Issue("Bundle.entry[0].resource.link[0].other.reference", "is no entry of the bundle", "not-found"),
    )


def test_a_fault_is_named_by_its_path() -> None:
    """The path leads from the bundle through the entry to the element."""
    bundle = whole_bundle()
    bundle["entry"][1]["resource"]["status"] = "finished"
    bundle["entry"][2]["resource"]["presentedForm"][0]["size"] = -1
    assert faults(bundle) == [
        "Bundle.entry[1].resource.status: is not a code of http://hl7.org/fhir/ValueSet/observation-status",
        "Bundle.entry[2].resource.presentedForm[0].size: is outside the range of unsignedInt",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"colour": "red"}, "Patient.colour: is not an element of R4"),
        ({"Nguyễn Văn A": 1}, "Patient: holds an unknown element"),
        ({5: 1}, "Patient: holds an unknown element"),
        ({"": 1}, "Patient: holds an unknown element"),
        ({"_": 1}, "Patient: holds an unknown element"),
        ({"gender": "\ud800"}, "Patient.gender: is not a code"),
        ({"gender": ["female"]}, "Patient.gender: must be a JSON string"),
        ({"name": {"text": "Hoa"}}, "Patient.name: must be a JSON array"),
        ({"name": []}, "Patient.name: may not be empty"),
        ({"name": [{}]}, "Patient.name[0]: may not be empty (ele-1)"),
        ({"name": [None]}, "Patient.name[0]: must be a JSON object"),
        ({"name": [{"given": ["Hoa", ""]}]}, "Patient.name[0].given[1]: may not be empty"),
        ({"name": [{"given": ["Hoa", None]}]}, "Patient.name[0].given[1]: may not be null"),
        ({"birthDate": None}, "Patient.birthDate: must be a JSON string"),
        ({"active": "true"}, "Patient.active: must be true or false"),
        ({"deceasedDateTime": "2024"}, "Patient.deceasedDateTime: excludes deceasedBoolean: a choice takes one form"),
        ({"deceased": True}, "Patient.deceased: is not an element of R4"),
        ({"link": [{"type": "seealso"}]}, "Patient.link[0].other: is required"),
        ({"gender": "F"}, "Patient.gender: is not a code of http://hl7.org/fhir/ValueSet/administrative-gender"),
        ({"_name": [EXTENSION]}, "Patient._name: only primitives have such a member"),
        ({"_gender": {}}, "Patient._gender: may not be empty (ele-1)"),
        ({"_gender": {"text": "x"}}, "Patient._gender.text: is not an element of R4"),
        ({"extension": [{"url": "relative", "valueCode": "a"}]}, "Patient.extension[0].url: must be an absolute URI"),
    ],
)
def test_one_fault_gives_one_issue(change: Json, expected: str) -> None:
    """Unknown elements, wrong JSON types, empty or missing values, codes and choices: one issue each."""
    assert faults(valid("Patient") | change) == [expected]


@pytest.mark.parametrize(
    "change",
    [
        {"_gender": EXTENSION},
        {"name": [{"given": ["Hoa", None], "_given": [None, EXTENSION]}]},
        {"name": [{"_family": EXTENSION}]},
        {"name": [{"_given": [EXTENSION]}]},
        {"extension": [{"url": "urn:test:x", "extension": [{"url": "relative", "valueCode": "a"}]}]},
        {"maritalStatus": {"id": "a", "text": "độc thân"}},
        {"birthDate": "1980-02-29"},
    ],
)
def test_rare_forms_are_allowed(change: Json) -> None:
    """Siblings of primitives, nulls they account for, nested extensions with short names, ids of elements."""
    assert faults(valid("Patient") | change) == []


def test_a_required_primitive_may_have_only_extensions() -> None:
    """What is known of it is in the sibling; without either it is missing."""
    resource = valid("Observation")
    del resource["status"]
    assert faults(resource) == ["Observation.status: is required"]
    assert faults(resource | {"_status": EXTENSION}) == []


@pytest.mark.parametrize(
    ("given", "siblings", "expected"),
    [
        (["Hoa"], [EXTENSION, EXTENSION], "Patient.name[0]._given: must be as long as given"),
        (["Hoa", None], [EXTENSION, None], "Patient.name[0].given[1]: may not be null"),
        (["Hoa"], [None], "Patient.name[0]._given: may not be empty"),
        (["Hoa"], [], "Patient.name[0]._given: must be a JSON array, not empty"),
    ],
)
def test_siblings_of_a_list_stand_beside_its_values(given: list[Any], siblings: list[Any], expected: str) -> None:
    """The arrays run in parallel; where the value is null there is an extension."""
    assert faults(valid("Patient") | {"name": [{"given": given, "_given": siblings}]}) == [expected]


def test_all_faults_are_reported_to_a_limit() -> None:
    """Hostile input does not get a report larger than itself."""
    assert len(validate(valid("Patient") | {"name": [{}] * 1000})) == MOST_ISSUES
    assert len(validate(valid("Patient") | {"gender": 1, "birthDate": 2, "active": 3})) == 3


@pytest.mark.parametrize(
    "value", [None, [], "x", 5, {}, {"resourceType": None}, {"resourceType": ["Patient"]}, {"resourceType": "Pat"}]
)
def test_what_is_no_resource_is_an_issue(value: Any) -> None:
    """Whatever JSON holds, the answer is an issue and no exception."""
    assert [issue.path.partition(".")[0] for issue in validate(value)] == ["Resource"]


@pytest.mark.parametrize("depth", [200, 100_000])
@pytest.mark.parametrize("hostile", ["extension", "contained", "bundle", "unknown"])
def test_deep_nesting_is_an_issue(hostile: str, depth: int) -> None:
    """However deep a resource is nested, the stack holds."""
    value: Any = {"url": "urn:test:x", "valueCode": "a"} if hostile == "extension" else {"resourceType": "Patient", "id": "p"}
    for _ in range(depth):
        if hostile == "extension":
            value = {"url": "urn:test:x", "extension": [value]}
        elif hostile == "contained":
            value = {"resourceType": "Patient", "contained": [value]}
        elif hostile == "bundle":
            value = {
                "resourceType": "Bundle",
                "type": "collection",
                "entry": [{"fullUrl": f"{BASE}/Bundle/b", "resource": value}],
            }
        else:
            value = {"unknown": value}
    resource = {"resourceType": "Patient", "extension": [value]} if hostile in {"extension", "unknown"} else value
    issues = validate(resource)
    assert len(issues) <= MOST_ISSUES
    assert issues or (depth == 200 and hostile in {"extension", "bundle"})
    if depth == 100_000 and hostile != "unknown":
        assert issues == (Issue(resource["resourceType"], "is nested too deeply", "too-costly"),)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ({"reference": "Patient/p1", "type": "Patient"}, []),
        ({"reference": "Patient/p1/_history/2"}, []),
        ({"reference": "https://other.example/fhir/Patient/p1"}, []),
        ({"reference": "Patient?identifier=a|b"}, []),
        ({"reference": "urn:oid:1.2.840"}, []),
        ({"display": "Hoa"}, []),
        ({"reference": "Practitioner/p1"}, [".subject: must refer to Device or Group or Location or Patient"]),
        (
            {"reference": "https://other.example/fhir/Practitioner/p1"},
            [".subject: must refer to Device or Group or Location or Patient"],
        ),
        ({"type": "Practitioner", "display": "x"}, [".subject: must refer to Device or Group or Location or Patient"]),
        ({"reference": "Patient/p1", "type": "Group"}, [".subject.type: is not the type of the reference"]),
        ({"reference": "Pat/p1"}, [".subject.reference: must be Type/id, an absolute URL, a urn or #id"]),
        ({"reference": "Patient/" + "a" * 65}, [".subject.reference: must be Type/id, an absolute URL, a urn or #id"]),
        ({"reference": "urn:uuid:x"}, [".subject.reference: is not a valid UUID in lower case"]),
    ],
)
def test_references_have_a_form_and_a_type(subject: Json, expected: list[str]) -> None:
    """A literal reference is of one of the forms, and of a type the element allows where it says its type."""
    found = faults(valid("Observation") | {"subject": subject})
    if subject.get("reference") == "urn:uuid:x":
        expected = [".subject.reference: must be Type/id, an absolute URL, a urn or #id"]
    assert found == [f"Observation{one}" for one in expected]


def test_a_required_concept_needs_a_coding_of_its_value_set() -> None:
    """A required binding on a CodeableConcept: text alone or another system's code is not enough."""
    condition: Json = {
        "resourceType": "Condition",
        "subject": {"reference": "Patient/p1"},
        "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
    }
    assert faults(condition) == []
    wrong = copy.deepcopy(condition)
    wrong["clinicalStatus"]["coding"][0]["code"] = "lively"
    expected = ["Condition.clinicalStatus: has no coding of http://hl7.org/fhir/ValueSet/condition-clinical"]
    assert faults(wrong) == expected
    assert faults(condition | {"clinicalStatus": {"text": "active"}}) == expected


def test_issues_do_not_repeat_content() -> None:
    """Issues are logged, so that no value of the resource may be in them."""
    resource = valid("Patient") | {"birthDate": "SECRET", "gender": "SECRET", "SECRET NAME": 1, "telecom": [{"value": "SECRET"}]}
    assert len(faults(resource)) == 4
    assert "SECRET" not in "".join(faults(resource))
