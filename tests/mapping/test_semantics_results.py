"""The questions that results raise: repeats, partial and whole reports, parents and children, status, orders.

Each test is named after the number of its question in the design's table of results.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.mappings import MSH_ORU, OBR, ORU, PID, SCOPE, contents, draft, obx
from tests.support.story import Story, values

LATER = MSH_ORU.replace("0930", "1030")
LATER_OBR = OBR.replace("20261121090000", "20261121100000")
SNAPSHOT = replace(SCOPE, results="snapshot")


def report(*lines: str, later: bool = False) -> tuple[str, ...]:
    """A report with these results, or a newer one."""
    return (LATER if later else MSH_ORU, PID, LATER_OBR if later else OBR, *lines)


# --- 2. The same code twice in a report ------------------------------------------------------------------------------------


def test_2_repeats_get_occurrence_numbers_in_the_order_of_the_message() -> None:
    """A report that is not known yet: each stays, with an id of its own, and that is said; the first has the plain id."""
    found = draft(ORU, *report(obx(1, "GLU", "5"), obx(2, "CRP", "1"), obx(3, "GLU", "6"), obx(4, "GLU", "7")))
    observations = contents(found, "observation")
    assert [str(each["valueQuantity"]["value"]) for each in observations] == ["5", "1", "6", "7"]
    assert len({each["id"] for each in observations}) == 4
    assert [(f.code, f.path) for f in found.findings] == [("key-repeated", "OBX[1]")]
    alone = draft(ORU, *report(obx(1, "GLU", "5")))
    assert contents(alone, "observation")[0]["id"] == observations[0]["id"]
    (of,) = contents(found, "report")
    assert [each["reference"] for each in of["result"]] == [f"Observation/{each['id']}" for each in observations]


def test_2_what_is_said_twice_in_the_same_words_is_one() -> None:
    """Only the set id differs: nothing was measured twice."""
    found = draft(ORU, *report(obx(1, "GLU", "5"), obx(2, "GLU", "5")))
    assert len(contents(found, "observation")) == 1
    assert [finding.code for finding in found.findings] == ["repeated"]


def test_2_repeats_of_a_known_report_replace_those_before_in_order() -> None:
    """The same count of occurrences: each is the one that it was."""
    story = Story().tell(ORU, *report(obx(1, "GLU", "5"), obx(2, "GLU", "6")))
    story.tell(ORU, *report(obx(1, "GLU", "5"), obx(2, "GLU", "6.5"), later=True))
    assert (story.park, values(story)) == (None, ["5 final", "6.5 final"])


def test_2_further_repeats_at_the_end_are_no_guess() -> None:
    """The first ones are unchanged, if perhaps final by now: what follows is new."""
    for open_status in ("F", "P"):
        first = obx(1, "GLU", "5")[:-1] + open_status
        story = Story().tell(ORU, *report(first))
        story.tell(ORU, *report(obx(1, "GLU", "5"), obx(2, "GLU", "6"), later=True))
        assert (story.park, values(story)) == (None, ["5 final", "6 final"])


@pytest.mark.parametrize(
    "now",
    [
        (obx(1, "GLU", "6"),),
        (obx(1, "GLU", "9"), obx(2, "GLU", "6"), obx(3, "GLU", "7")),
    ],
    ids=["fewer", "more, and the first has changed"],
)
def test_2_another_count_in_a_known_report_parks(now: tuple[str, ...]) -> None:
    """205: which of them is meant would be a guess. With a sub-id nothing is repeated, and nothing parks."""
    story = Story().tell(ORU, *report(obx(1, "GLU", "5"), obx(2, "GLU", "6")))
    story.tell(ORU, *report(*now, later=True))
    assert story.park is not None
    assert story.park.code == "205"
    told_apart = Story().tell(ORU, *report(obx(1, "GLU", "5", sub="1"), obx(2, "GLU", "6", sub="2")))
    assert values(told_apart.tell(ORU, *report(obx(1, "GLU", "9", sub="2"), later=True))) == ["5 final", "9 final"]


def test_2_an_older_report_parks_for_no_repeat() -> None:
    """Nothing of it is written, whatever it meant."""
    story = Story().tell(ORU, *report(obx(1, "GLU", "5"), obx(2, "GLU", "6"), later=True))
    story.tell(ORU, *report(obx(1, "GLU", "4")))
    assert story.park is None
    assert values(story) == ["5 final", "6 final"]


def test_2_a_field_more_in_the_key_tells_repeats_apart() -> None:
    """A sender that repeats a code at several times: its mapping names OBX-14 in the key, and nothing is repeated."""
    mapping = ORU.replace("OBX-3, OBX-4]", "OBX-3, OBX-4, OBX-14]")
    lines = [obx(n, "GLU", value) + f"|||2026112108{n}0" for n, value in ((1, "5"), (2, "6"))]
    story = Story().tell(mapping, *report(*lines))
    assert story.findings == ()
    story.tell(mapping, *report(lines[1].replace("|6|", "|7|"), later=True))
    assert (story.park, values(story)) == (None, ["5 final", "7 final"])


# --- 3. Partial and whole reports ------------------------------------------------------------------------------------------


def test_3_delta_a_report_has_the_union_of_what_its_parts_said() -> None:
    """The second part adds its results; what it leaves out stays."""
    story = Story().tell(ORU, *report(obx(1, "GLU", "5"))).tell(ORU, *report(obx(1, "CRP", "1"), later=True))
    assert values(story) == ["5 final", "1 final"]
    assert len(story.all("DiagnosticReport")[0]["result"]) == 2


def test_3_snapshot_what_is_missing_becomes_entered_in_error() -> None:
    """Written in full from what was sent, its reference stays; sent again later, it counts again."""
    story = Story(SNAPSHOT).tell(ORU, *report(obx(1, "GLU", "5"), obx(2, "CRP", "1")))
    assert story.asked == 1
    story.tell(ORU, *report(obx(1, "GLU", "5"), later=True))
    assert (values(story), story.asked) == (["5 final", "1 entered-in-error"], 2)
    assert len(story.all("DiagnosticReport")[0]["result"]) == 2
    gone = story.all("Observation")[1]
    assert (gone["code"]["coding"][0]["code"], gone["subject"]) == ("CRP", story.all("Observation")[0]["subject"])
    assert story.tell(ORU, *report(obx(1, "GLU", "5"), later=True)).written == ()
    story.tell(ORU, *(s.replace("1030", "1130").replace("10000", "11000") for s in report(obx(1, "CRP", "2"), later=True)))
    assert values(story) == ["5 entered-in-error", "2 final"]


def test_3_snapshot_an_older_report_withdraws_nothing() -> None:
    """It says nothing of what came after it."""
    story = Story(SNAPSHOT).tell(ORU, *report(obx(1, "GLU", "5"), obx(2, "CRP", "1"), later=True))
    story.tell(ORU, *report(obx(1, "GLU", "5")))
    assert values(story) == ["5 final", "1 final"]


def test_3_snapshot_a_report_without_any_result_withdraws_none() -> None:
    """A change of the report's status alone is no statement about its results."""
    story = Story(SNAPSHOT).tell(ORU, *report(obx(1, "GLU", "5"))).tell(ORU, *report(later=True))
    assert values(story) == ["5 final"]


def test_3_snapshot_one_repeat_less_withdraws_the_last_one() -> None:
    """The report says all it has, so that a changed count is no guess."""
    story = Story(SNAPSHOT).tell(ORU, *report(obx(1, "GLU", "5"), obx(2, "GLU", "6")))
    story.tell(ORU, *report(obx(1, "GLU", "6"), later=True))
    assert (story.park, values(story)) == (None, ["6 final", "6 entered-in-error"])


def test_3_snapshot_what_was_sent_before_and_not_kept_is_told() -> None:
    """A final result of the time when the channel was none is not kept whole: it stays, and a finding says so."""
    story = Story().tell(ORU, *report(obx(1, "GLU", "5"), obx(2, "CRP", "1")))
    story.scope = SNAPSHOT
    story.tell(ORU, *report(obx(1, "GLU", "5"), later=True))
    assert (values(story), story.findings) == (["5 final", "1 final"], ("result-kept",))


# --- 4. Parents and children -----------------------------------------------------------------------------------------------

MICRO = ORU.replace(
    "resources:\n",
    """resources:
  culture:
    resource: DiagnosticReport
    each: PATIENT_RESULT.ORDER_OBSERVATION
    when: exists(OBR-29)
    same_as: -> report(OBR-29.2 ?? OBR-29.1, OBR-50)
  isolate:
    resource: Observation
    each: PATIENT_RESULT.ORDER_OBSERVATION
    when: exists(OBR-26)
    same_as: -> observation(-> culture, OBR-26.1, OBR-26.2)
    set: {hasMember: -> observation}
""",
).replace(
    "      status: OBR-25",
    "      extension: {http://hl7.org/fhir/StructureDefinition/diagnosticReport-extends: -> culture}\n      status: OBR-25",
)
CULTURE = "OBR|1|P1|F1|600-7^Culture^LN|||20261121080000|||||||||||||||20261121090000|||F"
GROWN = ("OBX|1|CWE|ORG^Organism^L|1|ECOLI^Escherichia coli^L||||||F", "OBX|2|CWE|ORG^Organism^L|2|SAUR^S. aureus^L||||||F")


def antibiogram(filler: str, isolate: str, *, code: str = "", parent: str = "F1") -> str:
    """The OBR of the susceptibilities of an isolate."""
    empty = "|" * (50 - 29)
    return (
        f"OBR|2|P1|{filler}|AST^Susceptibility^L|||20261121080000|||||||||||||||20261121090000|||F|ORG&Organism&L^{isolate}|||"
        f"^{parent}{empty}{code}"
    )


AMPICILLIN = "OBX|1|NM|AMP^Ampicillin^L||8|ug/mL||R|||F"


def members(story: Story) -> dict[str, list[str]]:
    """Sub-id of each organism that the destination has → codes of its members."""
    codes = {f"Observation/{each['id']}": each["code"]["coding"][0]["code"] for each in story.all("Observation")}
    organisms = [each for each in story.all("Observation") if each["code"]["coding"][0]["code"] == "ORG"]
    return {
        each["valueCodeableConcept"]["coding"][0]["code"]: [codes[m["reference"]] for m in each.get("hasMember", ())]
        for each in organisms
    }


def test_4_susceptibilities_are_members_of_their_organism() -> None:
    """Parent and children in one message: each antibiogram goes to its isolate, and its report says what it goes on from."""
    story = Story().tell(
        MICRO, MSH_ORU, PID, CULTURE, *GROWN, antibiogram("F2", "1"), AMPICILLIN, antibiogram("F3", "2"), AMPICILLIN
    )
    assert (story.park, story.findings) == (None, ())
    assert members(story) == {"ECOLI": ["AMP"], "SAUR": ["AMP"]}
    culture, *others = story.all("DiagnosticReport")
    assert [each["extension"][0]["valueReference"]["reference"] for each in others] == [f"DiagnosticReport/{culture['id']}"] * 2
    assert "extension" not in culture


def test_4_an_earlier_report_is_found_by_its_numbers_and_its_code() -> None:
    """OBR-29 and OBR-50 name it; the organism is written again with its members, and keeps them when it is sent again alone."""
    story = Story().tell(MICRO, MSH_ORU, PID, CULTURE, *GROWN)
    story.tell(MICRO, LATER, PID, antibiogram("F2", "2", code="600-7^Culture^LN"), AMPICILLIN)
    assert (story.park, story.findings) == (None, ())
    assert members(story) == {"ECOLI": [], "SAUR": ["AMP"]}
    assert sum(each["resourceType"] == "DiagnosticReport" for each in story.written) == 1
    corrected = (CULTURE[:-1] + "C", GROWN[1].replace("S. aureus", "MRSA"))
    story.tell(MICRO, LATER, PID, *corrected)
    assert members(story)["SAUR"] == ["AMP"]
    assert story.tell(MICRO, LATER, PID, antibiogram("F2", "2", code="600-7^Culture^LN"), AMPICILLIN).written == ()


def test_4_a_parent_that_nobody_knows_is_told_and_the_children_stand_alone() -> None:
    """Not in the message, not sent before, or not named in full: nothing is guessed, and no reference leads nowhere."""
    for code in ("", "600-7^Culture^LN"):
        story = Story().tell(MICRO, MSH_ORU, PID, antibiogram("F2", "1", code=code), AMPICILLIN)
        assert story.park is None
        assert set(story.findings) == {"no-parent"}
        assert [each["resourceType"] for each in story.written] == ["Patient", "DiagnosticReport", "Observation"]
        assert "extension" not in story.all("DiagnosticReport")[0]


def test_4_two_organisms_that_nothing_tells_apart_get_no_members() -> None:
    """Without sub-ids nobody can say which isolate was tested: that is told, and the children stand in their own report."""
    alike = [line.replace("|1|ECOLI", "||ECOLI").replace("|2|SAUR", "||SAUR") for line in GROWN]
    story = Story().tell(MICRO, MSH_ORU, PID, CULTURE, *alike, antibiogram("F2", ""), AMPICILLIN)
    assert members(story) == {"ECOLI": [], "SAUR": []}
    assert set(story.findings) == {"key-repeated", "reference-ambiguous"}


# --- 5. Status -------------------------------------------------------------------------------------------------------------


def test_5_a_status_that_is_in_no_table_is_unknown() -> None:
    """OBX-11 and OBR-25 with a code of the sender's own: told, on the worklist, and the code is kept; the result goes out."""
    lines = (MSH_ORU, PID, OBR.replace("|F", "|Q"), obx(1, "GLU", "5").replace("|F", "|Q"))
    found = draft(ORU, *lines)
    for name in ("report", "observation"):
        (one,) = contents(found, name)
        assert one["status"] == "unknown"
        (kept,) = one["_status"]["extension"]
        assert kept["valueCoding"]["code"] == "Q"
    assert [(f.code, f.path) for f in found.findings] == [("code-defaulted", "OBR[1]-25"), ("code-defaulted", "OBX[1]-11")]
    assert {each.map for each in found.unmapped} == {"observation-status", "diagnostic-report-status"}


@pytest.mark.parametrize("code", ["Y", "Z"])
def test_5_a_laboratory_that_knows_no_such_order_or_patient_parks(code: str) -> None:
    """OBR-25 = Y or Z: there is nothing to map."""
    found = draft(ORU, MSH_ORU, PID, OBR[:-1] + code, obx(1, "GLU", "5"))
    assert found.park is not None
    assert found.park.code == "204"


# --- 15. Orders ------------------------------------------------------------------------------------------------------------

PLACED = """
mapping: order
message: ORM_O01
resources:
  order:
    resource: ServiceRequest
    each: ORDER
    when: exists(OBR)
    known_as: {placer: ORC-2, filler: ORC-3, item: OBR-4}
    write: merge
    newer: ORC-9 ?? MSH-7
    union: [identifier]
    set: {identifier: [ORC-2, ORC-3], status: =active, intent: =order, code: OBR-4, subject: =Patient/p, authoredOn: ORC-9}
  change:
    resource: ServiceRequest
    each: ORDER
    when: not exists(OBR)
    known_as: {placer: ORC-2, filler: ORC-3}
    unknown: park
    write: merge
    newer: ORC-9 ?? MSH-7
    set: {status: ORC-5 ?? 'revoked', intent: =order, subject: =Patient/p}
"""
RESULT = ORU.replace(
    "  report:\n",
    """  order:
    resource: ServiceRequest
    each: PATIENT_RESULT.ORDER_OBSERVATION
    known_as: {placer: OBR-2, filler: OBR-3, item: OBR-4}
    write: if-new
    union: [identifier]
    set: {identifier: [OBR-2, OBR-3], status: =completed, intent: =order, code: OBR-4, subject: -> patient}
  report:
""",
    1,
).replace("      status: OBR-25", "      basedOn: -> order\n      status: OBR-25")
ORM = "MSH|^~\\&|HIS|24001|HUB|HUB|20261121070000||ORM^O01|1|P|2.5.1"
PANEL = (ORM, "ORC|NW|A17", "OBR|1|A17||GLU^Glucose^L", "ORC|NW|A17", "OBR|2|A17||K^Kalium^L")


def results(*lines: tuple[str, str], placer: str = "A17") -> tuple[str, ...]:
    """A message of results: (filler number, code) each."""
    found = [MSH_ORU, PID]
    for filler, code in lines:
        found += [OBR.replace("|P1|F1|GLU^Glucose^L", f"|{placer}|{filler}|{code}^{code}^L"), obx(1, code, "5")]
    return tuple(found)


def orders(story: Story) -> dict[str, str]:
    """Code of each order that the destination has → its status. Two with one code would show as one."""
    every = story.all("ServiceRequest")
    found = {each["code"]["coding"][0]["code"]: each["status"] for each in every}
    assert len(found) == len(every)
    return found


def based_on(story: Story) -> dict[str, str]:
    """Code of each report → that of its order."""
    codes = {f"ServiceRequest/{each['id']}": each["code"]["coding"][0]["code"] for each in story.all("ServiceRequest")}
    return {each["code"]["coding"][0]["code"]: codes[each["basedOn"][0]["reference"]] for each in story.all("DiagnosticReport")}


def test_15_one_number_for_several_examinations_is_an_order_each() -> None:
    """Each OBR has its own; the first has the id that it would have alone; one of them is found again by number and code."""
    story = Story().tell(PLACED, *PANEL)
    assert (story.park, orders(story)) == (None, {"GLU": "active", "K": "active"})
    alone = Story().tell(PLACED, *PANEL[:3])
    assert alone.all("ServiceRequest")[0]["id"] == story.all("ServiceRequest")[0]["id"]
    later = PANEL[0].replace("2107", "2108")
    story.tell(PLACED, later, "ORC|XO|A17|F9", PANEL[4])
    assert [each["code"]["coding"][0]["code"] for each in story.written] == ["K"]
    assert len(story.all("ServiceRequest")) == 2


def test_15_an_orc_by_itself_reaches_all_orders_of_its_number() -> None:
    """A cancel says no code: everything under the number is cancelled. A number of one of them reaches that one."""
    story = Story().tell(PLACED, *PANEL).tell(PLACED, PANEL[0], "ORC|XO|A17|F2", PANEL[4])
    assert orders(story.tell(PLACED, PANEL[0].replace("2107", "2108"), "ORC|CA||F2")) == {"GLU": "active", "K": "revoked"}
    assert orders(story.tell(PLACED, PANEL[0].replace("2107", "2109"), "ORC|CA|A17")) == {"GLU": "revoked", "K": "revoked"}
    assert story.tell(PLACED, ORM, "ORC|CA|A99").park is not None


@pytest.mark.parametrize("order_first", [True, False])
def test_15_results_find_their_order_by_number_and_code(*, order_first: bool) -> None:
    """Whichever comes first, the end is the same: each report with its own order, completed by its final result."""
    story = Story()
    told = [(PLACED, PANEL), (RESULT, results(("F1", "GLU"), ("F2", "K")))]
    for mapping, lines in told if order_first else reversed(told):
        assert story.tell(mapping, *lines).park is None
    assert orders(story) == {"GLU": "completed", "K": "completed"}
    assert based_on(story) == {"GLU": "GLU", "K": "K"}


def test_15_the_results_of_one_order_may_have_codes_of_the_laboratory() -> None:
    """A panel is ordered by one code and comes back under those of its parts: the number has one order, so it is meant."""
    story = Story().tell(PLACED, *PANEL[:3])
    story.tell(RESULT, *results(("F1", "GLU-1"), ("F1", "GLU-2")))
    assert orders(story) == {"GLU": "completed"}
    assert based_on(story) == {"GLU-1": "GLU", "GLU-2": "GLU"}


def test_15_an_order_takes_over_the_one_that_stood_in_for_it() -> None:
    """The result came first, under the laboratory's code: the order is that one, and a second one is another."""
    story = Story().tell(RESULT, *results(("F1", "2345-7")))
    story.tell(PLACED, *PANEL)
    assert orders(story) == {"GLU": "completed", "K": "active"}
    assert based_on(story) == {"2345-7": "GLU"}


def test_15_numbers_of_two_different_orders_park() -> None:
    """A placer's number of one and a filler's of another, which have no code in common."""
    story = Story().tell(PLACED, ORM, "ORC|NW|A17|F1", PANEL[2]).tell(PLACED, ORM, "ORC|NW|A18|F2", "OBR|1|A18|F2|K^Kalium^L")
    for lines in (("ORC|XO|A17|F2", "OBR|1|||NA^Natrium^L"), ("ORC|CA|A17|F2",)):
        story.tell(PLACED, ORM, *lines)
        assert story.park is not None
        assert story.park.code == "204"
