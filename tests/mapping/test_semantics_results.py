"""The questions that results raise: repeats, partial and whole reports, parents and children, status, orders.

Each test is named after its row in the table of the mapping language's page "What is decided" (docs/reference).
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
