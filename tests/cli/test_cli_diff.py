"""``diff``: what a changed mapping would make of messages, of files and of the journal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_site import CHANNEL, MAPPING, journaled, messages, run, small_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small site with one mapping."""
    return small_site(tmp_path / "site")


@pytest.fixture
def candidate(site: Path) -> Path:
    """A copy of the site, to be changed."""
    return Path(shutil.copytree(site, site.parent / "candidate"))


def differences(*arguments: object) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What --json tells: the messages that differ, and the summary."""
    *found, summary = (json.loads(line) for line in run("diff", *arguments, "--json").stdout.splitlines())
    return found, summary


def test_nothing_changed_ends_with_0(site: Path, candidate: Path, tmp_path: Path) -> None:
    """The same site is no difference, though its mappings are called otherwise in the Provenance."""
    (candidate / "mappings/adt.yaml").write_text("# a remark\n" + MAPPING)
    result = run("diff", "--project", site, "--with", candidate, messages(tmp_path, "19800131", "19810131"))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "2 messages compared, none differ.\n", "")


def test_each_element_that_changes_is_named_with_both_values(site: Path, candidate: Path, tmp_path: Path) -> None:
    """Changed, added and removed elements, and what is no longer read; the summary counts messages."""
    changed = MAPPING.replace("      birthDate: PID-7\n", "      gender: PID-8\n").replace(
        "name: PID-5", "name: {family: PID-5.1 | first}"
    )
    (candidate / "mappings/adt.yaml").write_text(changed)
    found, summary = differences("--project", site, "--with", candidate, messages(tmp_path, "19800131", "19810131"))
    told = {(each["kind"], each["what"]): (each["before"], each["after"]) for each in found[1]["changes"]}
    assert told == {
        ("removed", "Patient.birthDate"): ("1981-01-31", None),
        ("added", "Patient.gender"): (None, "female"),
        ("removed", "Patient.name.given"): (["Ánh"], None),
        ("removed", "Patient.name.text"): ("Nguyễn Ánh", None),
        ("added", "read by nothing: PID-7"): (None, None),
        ("removed", "read by nothing: PID-8"): (None, None),
    }
    assert (summary["compared"], summary["differ"]) == (2, 2)
    assert {row["messages"] for row in summary["summary"]} == {2}


def test_resources_that_come_and_go_are_named_whole(site: Path, candidate: Path, tmp_path: Path) -> None:
    """Another key is another resource: one is removed, one added, not every element of it."""
    (candidate / "mappings/adt.yaml").write_text(MAPPING.replace("key: PID-3 | own_number", "key: PID-5.1 | first"))
    found, _ = differences("--project", site, "--with", candidate, messages(tmp_path, "19800131"))
    assert [(each["kind"], each["what"]) for each in found[0]["changes"]] == [("removed", "Patient"), ("added", "Patient")]


def test_a_message_that_would_park_is_told(site: Path, candidate: Path, tmp_path: Path) -> None:
    """What becomes of the message comes first, with its reason."""
    (candidate / "mappings/adt.yaml").write_text(MAPPING.replace("key: PID-3 | own_number", "key: PID-2"))
    found, summary = differences("--project", site, "--with", candidate, messages(tmp_path, "19800131"))
    first = found[0]["changes"][0]
    assert (first["what"], first["before"]) == ("parks with 101", "is mapped")
    assert summary["summary"][0]["messages"] == 1


def test_items_of_a_list_are_matched_where_they_stayed(site: Path, candidate: Path, tmp_path: Path) -> None:
    """An item put before another is one addition, not a change of both."""
    (candidate / "mappings/adt.yaml").write_text(
        MAPPING.replace("identifier: PID-3", "identifier: [{value: PID-3.1 | first}, PID-3]")
    )
    found, _ = differences("--project", site, "--with", candidate, messages(tmp_path, "19800131"))
    assert [(each["kind"], each["what"], each["after"]) for each in found[0]["changes"]] == [
        ("added", "Patient.identifier", {"value": "BN001"})
    ]


def test_the_journals_messages_go_through_both_channels(site: Path, candidate: Path) -> None:
    """By time or by id; the summary names the first message; the filter of the candidate counts too."""
    first, second = journaled(site, "19800131", "19810131")
    (candidate / "channels/patients.yaml").write_text(CHANNEL + "filter: PID-7 != '19800131'\n")
    found, summary = differences("--project", site, "--with", candidate, "--since", "1h")
    assert [each["message"] for each in found] == [first]
    assert found[0]["changes"][0]["after"] == "is not sent: The channel's filter leaves it out."
    assert (summary["compared"], summary["differ"]) == (2, 1)
    assert run("diff", "--project", site, "--with", candidate, "--message", second).exit_code == 0
    assert run("diff", "--project", site, "--with", candidate, "--message", first).exit_code == 1


def test_a_channel_that_is_gone_is_told(site: Path, candidate: Path) -> None:
    """Its messages would be taken by nobody."""
    journaled(site, "19800131")
    (candidate / "channels/patients.yaml").write_text(CHANNEL.replace("channel: patients", "channel: people"))
    _, summary = differences("--project", site, "--with", candidate, "--since", "1h", "--channel", "patients")
    assert summary["summary"][0]["what"] == "has no channel patients"


def test_the_summary_comes_first_and_a_few_messages_follow(site: Path, candidate: Path) -> None:
    """On a screen: like changes of all messages counted once, then --details of them element by element."""
    ids = journaled(site, *(f"19800{month}01" for month in range(1, 8)))
    (candidate / "mappings/adt.yaml").write_text(MAPPING.replace("      birthDate: PID-7\n", ""))
    result = run("diff", "--project", site, "--with", candidate, "--since", "1h", "--details", "2")
    lines = result.stdout.splitlines()
    row = next(line.split() for line in lines if "Patient.birthDate" in line)
    assert row == ["removed", "Patient.birthDate", "7", "7", ids[-1]]
    assert [line for line in lines if line in ids] == [ids[-1], ids[-2]]
    assert lines[-1] == "7 messages compared, 7 differ."


def test_which_messages_must_be_said(site: Path, candidate: Path) -> None:
    """No files, no ids and no time is a mistake in the call; a candidate with mistakes is refused with them."""
    assert run("diff", "--project", site, "--with", candidate).exit_code == 2
    (candidate / "mappings/adt.yaml").write_text(MAPPING.replace("PID-7", "PID-99"))
    result = run("diff", "--project", site, "--with", candidate, "--since", "1h")
    assert (result.exit_code, "adt.yaml:11:18: M203" in result.stderr) == (1, True)
