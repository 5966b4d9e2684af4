"""``interop-engine transform`` on messages nobody of the project wrote: a bundle, or a reason that names segment and field."""

from __future__ import annotations

import json
import os
import re
import subprocess

from interop_engine.config import loader
from tests.support.corpus import ROOT, Outcome, corpus, corpus_outcomes
from tests.support.process import COMMAND

OURS = ("ORU^R01", "ORM^O01", "OML^O21", "ADT^A01", "ADT^A04", "ADT^A08", "ADT^A40")
PLACE = re.compile(r"\b[A-Z][A-Z0-9]{2}(\[\d+\])?-\d+")  # OBX[3]-5

# Those of our events that have no bundle, and rightly so.
NOT_MAPPED = {
    "hl7apy/inline/test_parser_L110.hl7": "101",  # no patient's number, no visit's
    "hl7apy/inline/test_parser_L208.hl7": "101",
    "hl7apy/inline/test_parser_L215.hl7": "100",  # MSH-2 declares no encoding characters
    "hl7apy/inline/test_parser_L218.hl7": "100",
    "hl7apy/inline/test_parser_L238.hl7": "101",
    "ig/test_conversions_03_ORM_O01.hl7": "102",  # declares ASCII and holds U+FFFD
    "ig/test_conversions_04_OML_O21.hl7": "102",
    "oie/test-hl7-repetitions-input.txt.hl7": "101",
    "oie/test-hl7-subcomponents-input.txt.hl7": "101",
    "pyhl7/inline/samples_L26.hl7": "101",
    "pyhl7/inline/samples_L321.hl7": "101",
    "pyhl7/inline/samples_L46.hl7": "101",
    "pyhl7/inline/samples_L5.hl7": "100",  # an MSH alone
    "pyhl7/inline/test_accessor_L41.hl7": "100",
}


def of(*, taken: bool) -> list[Outcome]:
    """The messages whose event some mapping of the sample site takes, or those of all other events."""
    programs = loader.load(ROOT, {}).library.programs.values()
    return [each for each in corpus_outcomes() if any(program.takes(each.event) for program in programs) is taken]


def test_each_of_our_events_becomes_a_bundle_or_a_reason_with_its_place() -> None:
    """Those without a bundle are those we know, each for the reason we know, and the reason names segment and field."""
    ours = [outcome for outcome in corpus_outcomes() if outcome.event in OURS]
    refused = [outcome for outcome in ours if outcome.bundle is None]
    assert len(ours) - len(refused) >= 40
    assert {outcome.event for outcome in ours if outcome.bundle} == set(OURS)
    codes = {outcome.label: error.group(1) for outcome in refused if (error := re.search(r": error .*?\b(\d{3}) ", outcome.said))}
    assert codes == NOT_MAPPED
    assert [outcome.said for outcome in refused if not PLACE.search(outcome.said.rpartition(": error ")[2])] == []


def test_every_remark_beside_a_bundle_names_its_segment() -> None:
    """What was put aside or could not be converted is said with its place."""
    lines = [line for outcome in corpus_outcomes() if outcome.bundle for line in outcome.said.splitlines()]
    assert [line for line in lines if not re.search(r": (error|warning|information) .*\b[A-Z][A-Z0-9]{2}(-|\[)\d", line)] == []


def test_what_a_mapping_takes_is_mapped_or_refused_with_its_place() -> None:
    """The same of every event that any mapping takes, and an error is of the message, never of the engine."""
    refused = [outcome for outcome in of(taken=True) if outcome.bundle is None]
    assert [outcome.said for outcome in refused if not PLACE.search(outcome.said.rpartition(": error ")[2])] == []
    assert [outcome.said for outcome in refused if "internal" in outcome.said or "invalid-bundle" in outcome.said] == []


def test_every_other_message_is_refused_clearly() -> None:
    """No mapping fits, and that is said of MSH-9; or the bytes are no message, and that is said of MSH."""
    others = of(taken=False)
    assert len(others) > 40
    assert [outcome.label for outcome in others if outcome.bundle] == []
    clear = re.compile(r": error MSH(-9: 200 No mapping fits|(-18)?: 10[02] )")
    assert [outcome.said for outcome in others if not clear.search(outcome.said)] == []


def test_none_takes_a_second() -> None:
    """Under 100 kB each is done within a second, most of them within milliseconds."""
    assert [(each.label, each.seconds) for each in corpus_outcomes() if each.size < 100_000 and each.seconds >= 1] == []


def test_the_verb_takes_all_of_them_at_once() -> None:
    """One process over every file: as many bundles as one by one, a word about each of the rest, exit 1, no traceback."""
    command = [*COMMAND, "transform", "--project", str(ROOT), *map(str, corpus())]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    said = done.stderr.decode()
    assert done.returncode == 1
    assert "Traceback" not in said
    assert "internal" not in said
    bundles = [json.loads(line) for line in done.stdout.splitlines()]
    assert {bundle["resourceType"] for bundle in bundles} == {"Bundle"}
    assert len(bundles) == sum(outcome.bundle is not None for outcome in corpus_outcomes())
    assert [each.label for each in corpus_outcomes() if each.bundle is None and f"{each.label}: error " not in said] == []
