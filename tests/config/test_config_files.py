"""A file of a site that cannot be read: that is said, at its place, and nothing that follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from interop_engine.config import loader
from tests.config.test_config_check import CHANNEL, site, told
from tests.support.small_site import run, small_site

CHANNEL_FILE, MAPPING_FILE = "channels/patients.yaml", "mappings/adt.yaml"


def checked(root: Path) -> list[str]:
    """What ``check`` finds, without its help."""
    return [str(each).partition("\n")[0] for each in loader.check(root, {})]


@pytest.mark.parametrize("file", ["engine.yaml", CHANNEL_FILE, MAPPING_FILE, "mappings/codes.csv", "mappings/cases/adt.yaml"])
def test_a_file_that_is_not_utf_8(tmp_path: Path, file: str) -> None:
    """A file saved by an old editor, or a table by a spreadsheet, names the byte and its place."""
    root = small_site(tmp_path)
    (root / file).write_bytes("# Bệnh\n# viện: ".encode() + "à".encode("cp1258"))
    done = run("check", root)
    assert (done.exit_code, done.stderr.count(": C104 ")) == (1, 1)
    assert f"{file}:2:9: C104 the byte 0xE0 is not UTF-8\n    help: save the file as UTF-8\n" in done.stderr


@pytest.mark.parametrize("file", ["engine.yaml", CHANNEL_FILE, MAPPING_FILE])
def test_a_file_that_cannot_be_opened(tmp_path: Path, file: str) -> None:
    """A link that leads nowhere, or a file of another user: with what the system says of it."""
    root = small_site(tmp_path)
    (root / "channels" / "other.yaml").write_text(CHANNEL.replace("channel: patients", "chanel: x"), encoding="utf-8")
    (root / file).unlink()
    (root / file).symlink_to(tmp_path / "nowhere")
    found = checked(root)
    if file == "engine.yaml":
        assert found == [f"{root}/engine.yaml:1:1: C100 there is no engine.yaml here"]
        return
    assert f"{file}:1:1: C104 the file cannot be read: No such file or directory" in found
    assert any(each.startswith("channels/other.yaml:1:1: C101") for each in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("channel: patients\n\tsource:\n", "2:1: Y001 not readable as YAML: found a tab character that violates indentation"),
        ("", "1:1: C104 the file holds no keys"),
        ("- channel: patients\n", "1:1: C104 the file holds no keys"),
    ],
)
def test_of_a_file_that_is_no_block_of_keys_only_that_is_said(tmp_path: Path, text: str, expected: str) -> None:
    """Not that each key is missing, which may well stand in it."""
    root = site(tmp_path)
    (root / CHANNEL_FILE).write_text(text, encoding="utf-8")
    assert checked(root) == [f"{CHANNEL_FILE}:{expected}"]
    assert "\t" not in text or "help: indent with spaces" in told(root)


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        ("facility: 24001", "facility: 24.001", "2:11: C103 facility: this is not of the form ^[A-Za-z0-9_-]{1,64}$"),
        ("days: 90", "days: ninety", "3:24: C103 journal.keep.days: this is no whole number"),
        ("keep: {days: 90}", "keep: 90 days", "3:17: C103 journal.keep: a block of keys is needed here"),
        ("exchange: embedded", "exchange: rabbit", "4:11: C103 exchange: this is none of 'embedded'"),
        (
            "listen: 127.0.0.1:8080",
            "listen: 8080",
            '5:18: C103 status.listen: "8080" is no address; write HOST:PORT, such as 0.0.0.0:2575',
        ),
    ],
)
def test_a_value_that_does_not_fit_is_told_in_an_engineers_words(tmp_path: Path, was: str, now: str, expected: str) -> None:
    """What is needed at that place, with what the key is for: not what Python could not make of it. Once a place."""
    text = (
        "site: x\nfacility: 24001\njournal: {keep: {days: 90}}\n"
        "exchange: embedded\nstatus: {listen: 127.0.0.1:8080}\ntimezone: Asia/Ho_Chi_Minh\n"
    )
    root = site(tmp_path, engine=text.replace(was, now))
    assert checked(root) == [f"engine.yaml:{expected}"]
    assert "\n    help: " in told(root)


def test_a_site_without_mappings_says_so(tmp_path: Path) -> None:
    """The folder was forgotten: there is no list of names to choose from."""
    root = site(tmp_path)
    (root / MAPPING_FILE).unlink()
    assert 'C111 there is no mapping "adt"\n    help: mappings: none' in told(root)


def test_a_slip_in_a_key_that_is_read_by_itself_is_seen(tmp_path: Path) -> None:
    """``source`` and ``deliver`` are keys of a channel like the others."""
    found = told(site(tmp_path, channels__patients=CHANNEL.replace("source:", "sorce:")))
    assert 'C101 there is no key "sorce" here\n    help: did you mean "source"?' in found


def test_mistakes_are_refused_in_their_order(tmp_path: Path) -> None:
    """``run`` shows them as ``check`` does: by file and line."""
    root = small_site(tmp_path)
    (root / CHANNEL_FILE).write_text(CHANNEL.replace("order: patient", "order: x") + "nothing: 1\nagain: 2\n", encoding="utf-8")
    lines = [line.partition(": ")[0] for line in run("run", root).stderr.splitlines() if ".yaml:" in line]
    assert lines == sorted(lines, key=lambda each: [int(number) for number in each.split(":")[1:]])
    assert len(lines) > 1
