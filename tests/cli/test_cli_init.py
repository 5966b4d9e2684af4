"""``init --from``: a sender's channel, mapping and dialect, drafted from its messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.small_site import run, small_site
from tests.support.texts import result as lab_result

SECRETS = ("Nguyễn", "Văn An", "19800115", "BN001", "5.20", "khách quen", "77123")


@pytest.fixture(scope="module")
def drafted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new site drafted from two messages of a laboratory, in files with LF, with a Z-segment and a code nobody knows."""
    folder = tmp_path_factory.mktemp("drafted")
    message = lab_result("M1").replace(b"|19800115|M", b"|19800115|M||||||||M|ATH")
    message = message.replace(b"2345-7^Glucose^LN", b"XGLU^Glucose^99LAB")
    message += "ZLB|1|khách quen~77123|20260302083000|12.5|A^B^C\r".encode()
    for number in (1, 2):
        (folder / f"{number}.hl7").write_bytes(message.replace(b"M1", f"M{number}".encode()).replace(b"\r", b"\n"))
    result = run("init", folder / "site", "--from", folder / "1.hl7", "--from", folder / "2.hl7", "--name", "Lab Conn")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "The messages are not kept" in result.stdout
    return folder / "site"


def written(site: Path) -> dict[str, str]:
    """What was drafted, file → text; what was copied from the sample is left out."""
    found = {str(path.relative_to(site)): path for path in site.rglob("*lab*conn*")}
    return {name: path.read_text(encoding="utf-8") for name, path in found.items()}


def test_a_draft_is_right_and_its_tests_run(drafted: Path) -> None:
    """It passes check without a warning, and the cases of the built-in mapping pass."""
    checked, tested = run("check", drafted), run("test", drafted)
    assert (checked.exit_code, checked.stderr) == (0, "")
    assert (tested.exit_code, tested.stderr) == (0, "")


def test_the_channel_says_what_was_seen(drafted: Path) -> None:
    """Events, whose number names the patient, character set, line ends, dialect and mapping."""
    channel = written(drafted)["channels/lab-conn.yaml"]
    for line in ("accept: [ORU^R01] ", "patient: {authority: BV24001, type: MR} ", "dialect: lab-conn\n", "end segments with LF"):
        assert line in channel
    assert "guessed from PID-3: 2 times in 2 messages" in channel
    assert "MSH-18 says UNICODE UTF-8: every message can be read by that." in channel


def test_every_populated_field_that_nothing_reads_has_a_line(drafted: Path) -> None:
    """With an element where one fits, else to be ignored or mapped: its name, data type, and how often it was there."""
    mapping = written(drafted)["mappings/lab_conn_oru_r01_lab.yaml"]
    assert "extends: oru_r01_lab\n" in mapping
    assert re.search(r"# maritalStatus: PID-16 +# marital_status, CWE; in 2 of 2\n", mapping)
    assert re.search(r"#   - PID-17 +# religion, CWE; in 2 of 2\n", mapping)


def test_every_proposal_can_be_taken_over(drafted: Path) -> None:
    """A draft without its # passes check."""
    path = drafted / "mappings/lab_conn_oru_r01_lab.yaml"
    before = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"(?m)^( *)# (?=( *- )?[A-Za-z]+[-:]|ignore:|  - )", r"\1", before), encoding="utf-8")
    checked = run("check", drafted)
    path.write_text(before, encoding="utf-8")
    assert (checked.exit_code, checked.stderr) == (0, "")


def test_z_segments_become_a_dialect(drafted: Path) -> None:
    """Each field with the data type its values look like, and whether it repeats."""
    dialect = written(drafted)["mappings/dialects/lab-conn.yaml"]
    fields = re.findall(r"(?m)^    (\d): {name: field_\d, type: (\w+)(, repeats: true)?}", dialect)
    assert fields == [("1", "NM", ""), ("2", "ST", ", repeats: true"), ("3", "DTM", ""), ("4", "NM", ""), ("5", "CWE", "")]


def test_codes_that_nothing_maps_are_listed(drafted: Path) -> None:
    """As rows of the map that lacks them, to be completed."""
    rows = written(drafted)["mappings/terminology/lab-conn-unmapped.txt"].splitlines()
    assert [row for row in rows if ",XGLU," in row and row.startswith("lab-tests,") and row.endswith(",,,,,")] != []


def test_no_patient_data_is_written(drafted: Path) -> None:
    """What a draft writes may go into a repository."""
    for name, text in written(drafted).items():
        assert [secret for secret in SECRETS if secret in text] == [], name


def test_a_sender_is_added_to_a_site(tmp_path: Path) -> None:
    """Only its files, at a port of its own; a structure without a built-in mapping gets the patient; cases on demand."""
    site = small_site(tmp_path / "site")
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    message = tmp_path / "merge.hl7"
    message.write_text(
        "MSH|^~\\&|HIS|BV|E|BV|20260302||ADT^A41^ADT_A39|C1|P|2.5\nEVN||20260302\n"
        "PID|1||BN7^^^BV^PI||Lê^An||19800101|M|||1 Phố Mẫu|||||M\nMRG|BN8^^^BV^PI\n",
        encoding="utf-8",
    )
    result = run("init", site, "--from", message, "--with-cases")
    assert (result.exit_code, "holds patient data now" in result.stdout) == (0, True)
    assert {path: path.read_bytes() for path in before} == before
    mapping = (site / "mappings/his_adt_a39.yaml").read_text(encoding="utf-8")
    assert "    each: PATIENT\n    key: PID-3 | own_number\n" in mapping
    assert "# maritalStatus: PID-16 " in mapping
    assert "listen: 127.0.0.1:2576" in (site / "channels/his.yaml").read_text(encoding="utf-8")
    assert (run("check", site).stderr, run("test", site, "--mapping", "his_adt_a39").exit_code) == ("", 0)
    again = run("init", site, "--from", message)
    assert (again.exit_code, "is there already" in again.stderr, "--name his-2" in again.stderr) == (1, True, True)


def test_what_cannot_be_drafted_is_said(tmp_path: Path) -> None:
    """No message, none with a patient, a folder that is neither a site nor empty: an end with 1, and nothing is written."""
    bad, other = tmp_path / "bad.hl7", tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    for text, folder, said in (
        ("hello secret", tmp_path / "new", "none of the files holds a message"),
        ("MSH|^~\\&|A|B|C|D|2026||ACK^A01|1|P|2.5\nMSA|AA|1\n", tmp_path / "new", "no mapping can be drafted"),
        ("MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5\n", other, "neither a site nor empty"),
    ):
        bad.write_text(text)
        result = run("init", folder, "--from", bad)
        assert (result.exit_code, said in result.stderr, "secret" in result.stderr) == (1, True, False)
    assert not (tmp_path / "new").exists()
