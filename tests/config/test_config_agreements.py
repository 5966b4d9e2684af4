"""``agreements.yaml``: each mistake at its line and column, in the words that an engineer sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interop_engine.config import loader
from tests.config.test_config_check import ENGINE, site, told

AGREEMENTS = """\
facilities:
  "24001": {title: Bệnh viện mẫu}
  hub: {title: Hồ sơ quốc gia, queues: 16}
  "24017":
kinds: [lab, imaging]
agreements:
  - {from: "24001", to: hub, kinds: [lab, imaging], closed: true}
  - {from: "*", to: ["24017", hub], kinds: lab}
closed:
  - {system: http://loinc.org, codes: [75622-1]}
  - {system: http://hl7.org/fhir/sid/icd-10, codes: [B20*]}
"""
SENDING = """\
channel: patients
source:
  mllp: {listen: 127.0.0.1:2578}
accept: [ADT^A01]
otherwise: reject
mapping: adt
deliver:
  - name: hub
    exchange: {to: =hub, kind: lab}
"""
VALUE_SET = {"resourceType": "ValueSet", "compose": {"include": [{"system": "urn:s", "concept": [{"code": "A"}, {"code": "B"}]}]}}
EXPANDED = {"resourceType": "ValueSet", "expansion": {"contains": [{"contains": [{"system": "urn:s", "code": "A"}]}]}}

PLANTED = [
    (AGREEMENTS.replace("to: hub", "to: hbu"), SENDING,
     'agreements.yaml:7:25: C150 there is no facility "hbu"\n    help: did you mean "hub"?'),
    (AGREEMENTS.replace("kinds: [lab, imaging], closed", "kinds: [lab, imagin], closed"), SENDING,
     'agreements.yaml:7:37: C151 there is no kind "imagin"\n    help: did you mean "imaging"?'),
    (AGREEMENTS.replace('  "24001": {title: Bệnh viện mẫu}\n', "").replace('from: "24001"', 'from: "24017"'), SENDING,
     'engine.yaml:2:11: C150 there is no facility "24001" in agreements.yaml\n    help: did you mean "24017"?'),
    (AGREEMENTS, SENDING.replace("=hub", "=hubb"),
     'channels/patients.yaml:9:20: C150 there is no facility "hubb" in agreements.yaml\n    help: did you mean "hub"?'),
    (AGREEMENTS, SENDING.replace("kind: lab", "kind: labs"),
     'channels/patients.yaml:9:32: C151 there is no kind "labs" in agreements.yaml\n    help: did you mean "lab"?'),
    (AGREEMENTS.replace('["24017", hub]', '"24017"').replace("[lab, imaging], closed", "[imaging], closed"), SENDING,
     'channels/patients.yaml:9:20: C152 no agreement lets 24001 send lab to "hub"'),
    (AGREEMENTS.replace("queues: 16", "queues: 3"), SENDING,
     "agreements.yaml:3:40: C103 facilities.hub.queues: 3 is not 1, 2, 4, 8, 16, 32 or 64: the 64 buckets are shared out evenly"),
    (AGREEMENTS.replace("hub: {", "h.ub: {"), SENDING,
     'agreements.yaml:2:3: C103 facilities: "h.ub" cannot be a name on the exchange: it holds a dot, *, # or a space'),
    (AGREEMENTS.replace(", codes: [75622-1]", ""), SENDING,
     "agreements.yaml:10:5: C103 closed.0: give system and codes, or value_set"),
    (AGREEMENTS + "  - value_set: hiv.json\n", SENDING,
     "agreements.yaml:12:16: C153 the value set hiv.json cannot be used: No such file or directory"),
]  # fmt: skip


def agreed(root: Path, agreements: str = AGREEMENTS, channel: str = SENDING) -> Path:
    """A site with agreements."""
    return site(root, agreements=agreements, channels__patients=channel)


@pytest.mark.parametrize(("agreements", "channel", "expected"), PLANTED)
def test_each_mistake_is_found_at_its_place(tmp_path: Path, agreements: str, channel: str, expected: str) -> None:
    """Golden texts."""
    assert expected in told(agreed(tmp_path, agreements, channel))


def test_the_number_of_queues_is_that_of_the_agreements(tmp_path: Path) -> None:
    """What the broker was told and what the node reads must be the same."""
    engine = ENGINE.replace("24001", "hub") + "exchange: {amqp: 'amqp://127.0.0.1', queues: 8}\n"
    root = site(tmp_path, engine=engine, agreements=AGREEMENTS)
    expected = "engine.yaml:4:11: C154 agreements.yaml gives hub 16 queues, and not 8\n    help: queues: 16, or change it there"
    assert expected in told(root)


RECEIVING = """\
channel: received
source:
  exchange: {as: hub, kinds: [lab]}
deliver:
  - name: record
    file: {folder: out}
"""


@pytest.mark.parametrize(
    ("change", "receiving", "expected"),
    [
        (
            ("lab", "lab"),
            RECEIVING,
            'agreements.yaml:7:37: C155 no channel here takes imaging as "hub", which others may send to it',
        ),
        (
            ("lab", "lab"),
            RECEIVING.replace("hub", "other"),
            'agreements.yaml:7:37: C155 no channel here takes lab, imaging as "hub"',
        ),
        (("[lab, imaging], closed", '"*", closed'), RECEIVING, 'C155 no channel here takes imaging as "hub"'),
        (("to: hub", 'to: "*"'), RECEIVING, 'C155 no channel here takes imaging as "hub"'),
        (("lab", "lab"), RECEIVING.replace("[lab]", "[lab, imaging]"), ""),
        (('from: "24001"', "from: hub"), RECEIVING, ""),  # nobody else may send it
        (("to: hub", 'to: "24001"'), RECEIVING, ""),
    ],
)
def test_what_others_may_send_here_has_a_channel(tmp_path: Path, change: tuple[str, str], receiving: str, expected: str) -> None:
    """A warning, once for each kind: what no channel takes would be rejected, or wait where nobody reads."""
    agreements = AGREEMENTS.replace(*change, 1)
    root = site(tmp_path, engine=ENGINE.replace("24001", "hub"), agreements=agreements, channels__received=receiving)
    found = [str(mistake) for mistake in loader.check(root, {}) if mistake.code == "C155"]
    assert (len(found), expected in "".join(found)) == (bool(expected), True)
    assert all(mistake.severity == "warning" for mistake in loader.check(root, {}) if mistake.code == "C155")


def test_agreements_without_a_mistake_are_loaded(tmp_path: Path) -> None:
    """A channel has them; lists may be written as one word, and a facility without options as nothing."""
    channel = loader.load(agreed(tmp_path), {}).channels[0]
    assert channel.agreements is not None
    assert channel.agreements.facilities["hub"].queues == 16
    assert [each.closed for each in channel.agreements.between("24001", "hub", "lab")] == [True, False]
    assert channel.agreements.between("24001", "24017", "imaging") == []


def test_a_site_without_the_file_keeps_no_agreements(tmp_path: Path) -> None:
    """It sends to everyone, and is not warned."""
    root = site(tmp_path, channels__patients=SENDING)
    assert loader.load(root, {}).channels[0].agreements is None
    assert "C15" not in told(root)


@pytest.mark.parametrize(("content", "codes"), [(VALUE_SET, {"A", "B"}), (EXPANDED, {"A"})])
def test_closed_codes_come_from_a_value_set(tmp_path: Path, content: object, codes: set[str]) -> None:
    """One that lists its codes; it belongs to the configuration, which can be built again from its snapshot."""
    (tmp_path / "hiv.json").write_text(json.dumps(content), encoding="utf-8")
    loaded = loader.load(agreed(tmp_path, AGREEMENTS + "  - value_set: hiv.json\n"), {})
    again = loader.rebuild(loaded.snapshot, {})
    for each in (loaded, again):
        assert each.channels[0].agreements is not None
        assert each.channels[0].agreements.closed.codes["urn:s"] == codes


@pytest.mark.parametrize(
    "content",
    [
        {"resourceType": "Patient"},
        {"resourceType": "ValueSet", "compose": {"include": [{"system": "urn:s", "filter": []}]}},
        {"resourceType": "ValueSet", "compose": {"include": [{"system": "urn:s", "concept": []}], "exclude": []}},
        [],
    ],
)
def test_a_value_set_that_lists_no_codes_is_refused(tmp_path: Path, content: object) -> None:
    """What it leaves to be found elsewhere would not be withheld."""
    (tmp_path / "hiv.json").write_text(json.dumps(content), encoding="utf-8")
    assert "agreements.yaml:12:16: C153" in told(agreed(tmp_path, AGREEMENTS + "  - value_set: hiv.json\n"))


def test_a_value_set_outside_the_site_is_refused(tmp_path: Path) -> None:
    """A configuration reads no file but its own."""
    assert "it is not in the site's folder" in told(agreed(tmp_path, AGREEMENTS + "  - value_set: ../hiv.json\n"))


def test_a_change_of_agreements_changes_the_channel(tmp_path: Path) -> None:
    """So that a running engine takes it with the next reload."""
    before = loader.load(agreed(tmp_path), {}).channels[0].digest
    assert loader.load(agreed(tmp_path, AGREEMENTS.replace(", closed: true", "")), {}).channels[0].digest != before
