"""``explain``: lineage of files and of journaled messages, and a mapping in full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.small_site import MAPPING, journaled, messages, run, small_site
from tests.support.texts import result as lab_result


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small site with one mapping."""
    return small_site(tmp_path / "site")


def test_explain_shows_where_each_element_comes_from(site: Path, tmp_path: Path) -> None:
    """Element, value, field, rule and line; and the populated fields that nothing read."""
    result = run("explain", "--project", site, messages(tmp_path, "19800131"))
    lines = [line.split() for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert ["birthDate", "1980-01-31", "PID-7", "PID-7", "11:18"] in lines
    assert [line for line in lines if line][-1] == ["PID[1]", "8"]


def test_explain_as_json_and_as_code(site: Path, tmp_path: Path) -> None:
    """JSON for other programs, a line for each message; the compiled mapping for the curious."""
    path = messages(tmp_path, "19800131", "19810131")
    first, second = (json.loads(line) for line in run("explain", "--project", site, path, "--json").stdout.splitlines())
    assert [made["values"] for made in second["made"] if made["rule"] == "PID-7"] == [{"birthDate": "1981-01-31"}]
    assert first["unread"] == ["PID[1]-8"]
    assert "def build_patient(" in run("explain", "--project", site, path, "--code").stdout


def test_explain_counts_the_codes_that_nobody_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample's concept map does not know this laboratory's code: it is on the worklist, once for each time it was met."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "result.hl7"
    path.write_bytes(lab_result("M1").replace(b"2345-7^Glucose^LN", b"XGLU^Glucose^99LAB"))
    rows = [
        line.split()
        for line in run("explain", path, path).stdout.splitlines()
        if " XGLU " in line and line.strip().startswith("lab-tests ")
    ]
    assert [(row[0], row[2], row[3]) for row in rows] == [("lab-tests", "XGLU", "2")]


def test_what_is_implied_is_said_of_the_fields_that_were_read(site: Path, tmp_path: Path) -> None:
    """The table or conversion that nobody had to write, with the field it took."""
    (site / "mappings/adt.yaml").write_text(MAPPING + "      gender: PID-8\n")
    (line,) = run("explain", "--project", site, messages(tmp_path, "19800131"), "--json").stdout.splitlines()
    (gender,) = [made for made in json.loads(line)["made"] if "gender" in made["values"]]
    assert gender["implied"] == ["PID-8: Through the table administrative-gender."]


# --- a message of the journal --------------------------------------------------------------------------------------------


def test_a_journaled_message_is_explained_as_its_channel_maps_it(site: Path) -> None:
    """Beside a running engine or without one; each message by its id, the same lineage as of a file."""
    first, second = journaled(site, "19800131", "19810131")
    result = run("explain", "--project", site, "--message", first, "--message", second, "--json")
    explained = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.exit_code, [each["file"] for each in explained]) == (0, [first, second])
    assert [made["values"] for made in explained[1]["made"] if made["rule"] == "PID-7"] == [{"birthDate": "1981-01-31"}]


def test_a_journaled_message_is_explained_by_the_mapping_of_its_day(site: Path) -> None:
    """As the configuration was kept; --now takes that of now; which it is is said."""
    (first,) = journaled(site, "19800131")
    (site / "mappings/adt.yaml").write_text(MAPPING.replace("birthDate: PID-7", "gender: PID-8"))
    then = run("explain", "--project", site, "--message", first)
    assert (then.exit_code, "through the mapping adt as it was when the message was received." in then.stdout) == (0, True)
    assert ("birthDate" in then.stdout, "gender" in then.stdout) == (True, False)
    now = run("explain", "--project", site, "--message", first, "--now")
    assert (now.exit_code, "through the mapping adt as it is now." in now.stdout) == (0, True)
    assert ("birthDate" in now.stdout, "gender" in now.stdout) == (False, True)


def test_a_message_that_is_not_in_the_journal_is_said(site: Path) -> None:
    """An unknown id; a site that never ran."""
    assert "There is no journal" in run("explain", "--project", site, "--message", "0").stderr
    journaled(site, "19800131")
    result = run("explain", "--project", site, "--message", "00000000-0000-7000-8000-000000000000")
    assert (result.exit_code, result.stdout) == (1, "")


# --- a mapping in full ---------------------------------------------------------------------------------------------------


CHILD = """mapping: adt_child
extends: adt
when: PID-8 = 'F'
resources:
  patient:
    set: {birthDate: null, gender: PID-8}
"""


def test_a_mapping_alone_is_shown_in_full(site: Path) -> None:
    """What it takes over by extends with the place where it stands, what is its own, and what each line implies."""
    (site / "mappings/adt_child.yaml").write_text(CHILD)
    result = run("explain", "--project", site, "--mapping", "adt_child")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert (result.exit_code, result.stderr) == (0, "")
    assert ["extends", "adt"] in rows
    assert ["key:", "PID-3", "|", "own_number"] in rows
    assert ["name", "PID-5", "mappings/adt.yaml:10:13"] in rows
    assert ["gender", "PID-8", "6:36"] in rows
    assert "PID-8: Through the table administrative-gender." in result.stdout
    assert "birthDate" not in result.stdout


def test_a_mapping_in_full_as_json(site: Path) -> None:
    """The same for other programs."""
    outline = json.loads(run("explain", "--project", site, "--mapping", "adt", "--json").stdout)
    (patient,) = outline["resources"]
    assert (outline["mapping"], outline["keys"]["events"], patient["keys"]) == ("adt", "A04", {"key": "PID-3 | own_number"})
    assert [line["element"] for line in patient["lines"]] == ["identifier", "name", "birthDate"]


def test_something_must_be_named(site: Path) -> None:
    """Neither a file nor a message nor a mapping is a mistake in the call."""
    assert run("explain", "--project", site).exit_code == 2


def test_a_mapping_that_makes_hl7_v2_takes_nothing_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no more of it than its file; that is said."""
    monkeypatch.chdir(tmp_path)
    result = run("explain", "--mapping", "oru_from_bundle")
    assert (result.exit_code, "makes HL7 v2" in result.stderr) == (1, True)


# --- the way back ----------------------------------------------------------------------------------------------------------

GLUCOSE = Path(__file__).parent.parent.parent / "mappings/cases/golden/glucose.json"


def test_a_bundle_is_explained_by_the_mapping_that_makes_hl7_v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each field with the line that gave it; and what the message does not have of the bundle."""
    monkeypatch.chdir(tmp_path)
    (line,) = run("explain", "--mapping", "oru_from_bundle", GLUCOSE, "--json").stdout.splitlines()
    found = json.loads(line)
    assert {"place": "OBX[1]-5", "value": "5.20", "rule": "value"} in found["fields"]
    assert "ServiceRequest.intent" in found["unread"]


def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and the call has failed."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bundle.json"
    path.write_text("{")
    result = run("explain", "--mapping", "oru_from_bundle", path)
    assert (result.exit_code, result.stderr.count("It is not a FHIR resource in JSON")) == (1, 1)
