"""``init``, ``check``, ``test``, ``transform``: an engineer's day, on a small site and on the sample."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.support.small_site import CASES, CHANNEL, ENGINE, MAPPING, MESSAGE, run, small_site
from tests.support.small_site import messages as message

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small site with one mapping and one case, and a message beside it."""
    return small_site(tmp_path / "site")


def test_a_mapping_that_is_not_there_is_told_with_those_that_are(site: Path) -> None:
    """Not that it has no test case, or that its message cannot be read."""
    file = site / "mappings/cases/registration.hl7"
    for words in (["test", site], ["transform", file, "--project", site], ["explain", file, "--project", site]):
        done = run(*words, "--mapping", "patients")
        assert (done.exit_code, done.stderr) == (1, 'error: there is no mapping "patients"\n    help: known: adt\n')


# --- init ----------------------------------------------------------------------------------------------------------------


def test_a_new_site_is_right_from_the_start(tmp_path: Path) -> None:
    """What init writes passes check without a warning, and its cases pass; every line an engineer needs is there."""
    folder = tmp_path / "new"
    made = run("init", folder, "--facility", "79001")
    assert (made.exit_code, made.stderr) == (0, "")
    checked = run("check", folder)
    assert (checked.exit_code, checked.stderr) == (0, "")
    tested = run("test", folder)
    assert (tested.exit_code, tested.stderr) == (0, "")
    assert 'facility: "79001"' in (folder / "engine.yaml").read_text()
    assert "authority: BV79001" in (folder / "channels/lab-results.yaml").read_text()


def test_init_changes_nothing_that_is_there(site: Path) -> None:
    """A folder that holds anything is refused, and stays as it is; so is a file."""
    before = sorted(path.name for path in site.rglob("*"))
    for place in (site, site / "engine.yaml"):
        result = run("init", place)
        assert (result.exit_code, "is not empty" in result.stderr) == (1, True)
    assert sorted(path.name for path in site.rglob("*")) == before


# --- check ---------------------------------------------------------------------------------------------------------------


def test_a_site_without_mistakes_ends_with_0(site: Path) -> None:
    """What was looked at is counted."""
    result = run("check", site)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("no errors, no warnings\n")


def test_every_mistake_is_shown_at_once_with_its_place(site: Path) -> None:
    """``file:line:col: CODE message`` and help, for mistakes in three files, as seen from the current folder."""
    (site / "engine.yaml").write_text(ENGINE.replace("timezone", "timezon"))
    (site / "channels/patients.yaml").write_text(CHANNEL.replace("otherwise: reject", "otherwise: rejekt"))
    (site / "mappings/adt.yaml").write_text(MAPPING.replace("birthDate: PID-7", "birthdate: PID-7"))
    result = run("check", site)
    lines = result.stderr.splitlines()
    assert result.exit_code == 1
    places = [line.split(": ")[0].rpartition("/")[2] for line in lines if not line.startswith(" ")]
    assert places == ["patients.yaml:5:12", "engine.yaml:3:1", "adt.yaml:11:7"]
    assert '    help: did you mean "timezone"?' in lines
    assert '    help: did you mean "birthDate"?' in lines


def test_mistakes_as_json_for_editors(site: Path) -> None:
    """Each with code, message, help and mark."""
    (site / "mappings/adt.yaml").write_text(MAPPING.replace("birthDate: PID-7", "birthdate: PID-7"))
    result = run("check", site, "--json")
    mistake = next(each for each in json.loads(result.stdout) if each["code"] == "M204")
    assert (result.exit_code, mistake["severity"]) == (1, "error")
    assert mistake["mark"] == {"file": "mappings/adt.yaml", "line": 11, "column": 7}


def test_a_folder_that_is_no_site_says_what_to_do(tmp_path: Path) -> None:
    """An empty folder, and one that is not there."""
    for folder in (tmp_path, tmp_path / "none"):
        result = run("check", folder)
        assert (result.exit_code, "C100 there is no engine.yaml here" in result.stderr) == (1, True)


def test_the_sample_site_has_no_mistakes() -> None:
    """What the wheel carries is what an engineer learns from."""
    result = run("check", ROOT)
    assert (result.exit_code, result.stderr) == (0, "")


# --- test ----------------------------------------------------------------------------------------------------------------


def test_cases_pass_fail_and_are_updated(site: Path) -> None:
    """A missing golden file fails; --update writes it; then all pass; a changed mapping fails, with the difference."""
    assert run("test", site).exit_code == 1
    updated = run("test", site, "--update")
    assert (updated.exit_code, "golden file written" in updated.stdout) == (0, True)
    passed = run("test", site)
    assert (passed.exit_code, passed.stdout) == (0, "ok adt: a registration\n1 passed, 0 failed\n")
    (site / "mappings/adt.yaml").write_text(MAPPING.replace("birthDate: PID-7", "gender: PID-8"))
    failed = run("test", site)
    assert failed.exit_code == 1
    assert "FAILED" in failed.stdout
    assert '"gender": "female"' in failed.stdout


def test_cases_of_a_channel_are_read_as_it_reads(site: Path) -> None:
    """By its charset and its dialect, so that lines of lens: are tested too; without a channel, as the message says of itself."""
    (site / "mappings/his.yaml").write_text("dialect: his\nlens: [PID-7 := PID-9 when not exists(PID-7)]\n")
    channel = CHANNEL.replace("source:", "dialect: his\ncharset: windows-1258\nsource:")
    (site / "channels/patients.yaml").write_text(channel)
    text = MESSAGE.format("C1", "").replace("|F\n", "|F|19800131\n")
    (site / "mappings/cases/registration.hl7").write_bytes(text.replace("Ánh", "Anh").replace("ễ", "ê").encode("windows-1258"))
    assert run("test", site, "--update").exit_code == 1
    (site / "mappings/cases/adt.yaml").write_text(CASES.replace("cases:\n", "channel: patients\ncases:\n", 1))
    result = run("test", site, "--update")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "1 passed, 0 failed")
    assert '"family": "Nguyên"' in (site / "mappings/cases/registration.json").read_text()


def test_cases_of_a_channel_that_does_not_use_the_mapping(site: Path) -> None:
    """Or of one that is not there: told with its place, and the channels that there are."""
    cases = site / "mappings/cases/adt.yaml"
    cases.write_text(CASES.replace("cases:\n", "channel: patient\ncases:\n", 1))
    assert 'adt.yaml:2:10: T105 there is no channel "patient"\n    help: did you mean "patients"?' in run("check", site).stderr
    (site / "mappings/other.yaml").write_text(MAPPING.replace("mapping: adt", "mapping: other").replace("A04", "A08"))
    cases.write_text(CASES.replace("cases_for: adt\n", "cases_for: other\nchannel: patients\n"))
    assert "T105 the channel patients does not use other\n    help: its mappings are: adt" in run("check", site).stderr


def test_a_site_without_cases_fails(site: Path) -> None:
    """An empty test run must not look like a passed one."""
    (site / "mappings/cases/adt.yaml").unlink()
    assert run("test", site).exit_code == 1


def test_results_as_json(site: Path) -> None:
    """For other programs."""
    (result,) = json.loads(run("test", site, "--update", "--json").stdout)
    assert (result["mapping"], result["name"], result["failures"], result["updated"]) == ("adt", "a registration", [], True)


def test_results_as_junit_for_ci(site: Path, tmp_path: Path) -> None:
    """A suite for each mapping; each case with its place and time; a failure with its text; a wrong case file is an error."""
    cases = (site / "mappings/cases/adt.yaml").read_text()
    wrong = (
        "  - name: wrong\n    input: registration.hl7\n    expect: [\"Bundle.entry.resource.gender = 'x'\"]\n  - name: empty\n"
    )
    (site / "mappings/cases/adt.yaml").write_text(cases + wrong)
    assert run("test", site, "--update", "--junit", tmp_path / "out/junit.xml").exit_code == 1
    root = ET.parse(tmp_path / "out/junit.xml").getroot()
    assert [root.get(key) for key in ("tests", "failures", "errors")] == ["3", "1", "1"]
    suites = {suite.get("name"): suite for suite in root}
    passed, failed = suites["adt"]
    assert (passed.get("name"), len(passed), passed.get("file")) == ("a registration", 0, "mappings/cases/adt.yaml")
    assert "the left side gives nothing" in str(failed[0].text)
    assert suites["case files"][0][0].get("type") == "T102"


def test_a_failed_expectation_says_what_the_left_side_is(site: Path) -> None:
    """Also where an operator stands in brackets or quotes, and of several parts only the one that does not hold."""
    date = '"1980-01-31"'
    where = "Bundle.entry.resource.where(resourceType = 'Patient')"
    expected = {
        f"{where}.birthDate = @1999-01-01": f"the left side is {date}",
        f"{where}.exists(gender = 'male')": "it is false",
        f"{where}.gender.empty() and {where}.birthDate = 'x = y'": f"{where}.birthDate = 'x = y': the left side is {date}",
        f"{where}.gender = 'male'": "the left side gives nothing",
    }
    lines = "".join(f'      - "{each}"\n' for each in expected)
    (site / "mappings/cases/adt.yaml").write_text(CASES.partition("    expect:")[0] + "    expect:\n" + lines)
    (result,) = json.loads(run("test", site, "--json").stdout)
    assert [failure.split("\n    ") for failure in result["failures"]] == [[text, said] for text, said in expected.items()]


def test_the_sample_cases_pass() -> None:
    """Every case of the sample mappings."""
    result = run("test", ROOT)
    assert (result.exit_code, result.stderr) == (0, "")


# --- transform -----------------------------------------------------------------------------------------------------------


def test_one_message_gives_an_indented_bundle(site: Path, tmp_path: Path) -> None:
    """The mapping is the one that fits; the same message gives the same bytes on every run."""
    path = message(tmp_path, "19800131")
    first, second = run("transform", "--project", site, path), run("transform", "--project", site, path)
    bundle = json.loads(first.stdout)
    patient = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Patient")
    assert (first.exit_code, first.stderr) == (0, "")
    assert (patient["birthDate"], patient["name"][0]["family"]) == ("1980-01-31", "Nguyễn")
    assert first.stdout == second.stdout
    assert first.stdout.count("\n") > 10


def test_when_it_was_received_is_told_or_is_msh_7(site: Path, tmp_path: Path) -> None:
    """No clock is read: MSH-7 with the site's zone, or what --received-at says."""
    path = message(tmp_path, "19800131")

    def recorded(*more: str) -> str:
        bundle = json.loads(run("transform", "--project", site, path, *more).stdout)
        return next(e["resource"]["recorded"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Provenance")

    assert recorded() == "2026-03-02T01:00:00.000Z"
    assert recorded("--received-at", "2026-03-03T00:00:00+07:00") == "2026-03-02T17:00:00.000Z"
    assert run("transform", "--project", site, path, "--received-at", "soon").exit_code == 2


def test_several_messages_are_a_line_each(site: Path, tmp_path: Path) -> None:
    """One that cannot be mapped is said on stderr with its place in the file; the others are mapped, and it ends with 1."""
    path = message(tmp_path, "19800131", "19800231")
    path.write_text(path.read_text() + "MSH|^~\\&|HIS|24001|E|24001|20260302||ORU^R01|C9|P|2.5\n")
    result = run("transform", "--project", site, path)
    bundles = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.exit_code, len(bundles)) == (1, 2)
    assert "messages.hl7[3]: error MSH-9: 200 No mapping fits ORU^R01." in result.stderr
    assert "messages.hl7[2]: warning PID[1]-7" in result.stderr


def test_what_is_no_message_is_said_without_its_content(site: Path, tmp_path: Path) -> None:
    """Text, nothing, bytes in the wrong character set: an error that names the place, never the content."""
    for data in (b"hello secret", b"", b"MSH|^~\\&|A|B|C|D|2026||ADT^A04|C1|P|2.5\rPID|1||\xff\xfesecret\r"):
        path = tmp_path / "bad.hl7"
        path.write_bytes(data)
        result = run("transform", "--project", site, path)
        assert (result.exit_code, result.stdout, "secret" in result.stderr) == (1, "", False)
        assert "error" in result.stderr or not data


def test_names_that_are_not_there_are_said_with_the_nearest(site: Path, tmp_path: Path) -> None:
    """A mapping, a channel, a file."""
    path = message(tmp_path, "19800131")
    for arguments, said in (
        (["--mapping", "adtt"], 'did you mean "adt"?'),
        (["--channel", "patient"], 'did you mean "patients"?'),
    ):
        result = run("transform", "--project", site, path, *arguments)
        assert (result.exit_code, said in result.stderr) == (1, True)
    assert "none.hl7: No such file or directory" in run("transform", "--project", site, "none.hl7").stderr


def test_a_broken_site_is_refused_with_its_mistakes(site: Path, tmp_path: Path) -> None:
    """Transform and run refuse exactly what check refuses."""
    (site / "mappings/adt.yaml").write_text(MAPPING.replace("PID-7", "PID-99"))
    for verb in (["transform", "--project", site, message(tmp_path, "19800131")], ["run", site], ["test", site]):
        result = run(*verb)
        assert (result.exit_code, "adt.yaml:11:18: M203" in result.stderr) == (1, True)


def test_without_a_site_here_the_sample_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``interop-engine transform FILE`` works in any folder."""
    monkeypatch.chdir(tmp_path)
    result = run("transform", message(tmp_path, "19800131"))
    assert (result.exit_code, json.loads(result.stdout)["resourceType"]) == (0, "Bundle")
