"""HL7 v2 → FHIR → HL7 v2: what HL7 v2 can hold comes back, but for listed exceptions, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from interop_engine.config import loader
from interop_engine.config.site import Site
from interop_engine.core.model import Resource
from interop_engine.engine.cases import RECEIVED_AT
from interop_engine.engine.single import form, map_message
from interop_engine.engine.single import read as read_message
from interop_engine.engine.transform import Parked
from interop_engine.fhir import bundle as bundles
from interop_engine.hl7.message import Message, Segment, parse
from interop_engine.mapping.outbound.program import Envelope
from tests.support.corpus import corpus_outcomes
from tests.support.needs import require

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "mappings" / "cases" / "samples"
NAMES = {"glucose": "oru_r01_lab", "two-panels": "oru_r01_lab", "chest-ct": "oru_r01_radiology"}

# Fields that do not come back, or not as they were, and why. A field without a component means all of it.
NOT_THE_RESULTS_BUSINESS = "the result's mapping does not take it: admissions and orders tell it"
EXCEPTIONS = {
    r"PID-3\[1\]\.4": "the hospital's own number has the facility for its authority",
    r"PV1-19\.4": "as above",
    r"SPM-2\.2\.2": "as above",
    r"PID-7": "only the year counts, and is written as such",
    r"PID-13\.3": "FHIR's use of a telephone is one: home or mobile",
    r"PV1-2": NOT_THE_RESULTS_BUSINESS,
    r"PV1-3.*": NOT_THE_RESULTS_BUSINESS,
    r"PV1-7.*": NOT_THE_RESULTS_BUSINESS,
    r"ORC-5": NOT_THE_RESULTS_BUSINESS,
    r"(ORC-12|OBR-16|OBX-16)(\[1\])?\.[2-7]": "a Reference has a person's words, not the parts of the name",
    r"OBR-32\.1\.[2-7]": "as above",
    r"(OBR-7|OBR-8|OBR-22|OBX-14|SPM-17|SPM-18)": "a time without a zone has the channel's",
    r"NTE-2": "a comment's source has no place in an Annotation",
    r"OBX-2": "a number with a comparator is SN; several lines of text are TX",
    r"OBX-5.*": "a comparator has a component of its own; paragraphs are lines of one text; a document has no source",
    r"OBX-6.*": "the unit has UCUM's code where UCUM has one",
    r"OBX-3\.3": "a document has a title, not a code system",
    r"OBR-18\.2": "an accession number has the facility for its authority",
}


@cache
def site() -> Site:
    """The sample site."""
    return loader.load(ROOT, {})


def to_fhir(message: Message, mapping: str) -> Resource:
    """The bundle of a message, as production makes it."""
    program = site().library.programs[mapping]
    scope = next(channel.scope for channel in site().channels if mapping in channel.programs)
    mapped = map_message(message, program, scope, received_at=RECEIVED_AT)
    assert mapped.parked is None
    assert mapped.bundle is not None
    return mapped.bundle


def to_hl7(bundle: Resource) -> Message:
    """The message of a bundle."""
    formed = form(bundles.encode(bundle), site().library.outbound["oru_from_bundle"], site().scope, Envelope("d"))
    assert formed.parked is None
    return parse(formed.body)


def sample(name: str) -> Message:
    """A message of the mappings' test cases."""
    message = read_message((SAMPLES / f"{name}.hl7").read_bytes().replace(b"\n", b"\r"))
    assert not isinstance(message, Parked)
    return message


def leaves(segment: Segment) -> Iterator[tuple[str, str]]:
    """Every populated part of a segment: ``PID-3[1].4`` → text."""
    for number in range(2, len(segment.fields)):
        for repetition, value in enumerate(segment.repetitions(number), 1):
            several = len(segment.repetitions(number)) > 1
            for component, raw in enumerate(value.parts, 1):
                part = value.component(component)
                for sub in range(1, len(part.parts) + 1 if part is not None else 1):
                    if text := value.get(component, sub) if part is not None else raw:
                        path = f"{segment.name}-{number}" + (f"[{repetition}]" if several else "")
                        path += f".{component}" if len(value.parts) > 1 or (part is not None and len(part.parts) > 1) else ""
                        yield path + (f".{sub}" if part is not None and len(part.parts) > 1 else ""), text


@pytest.mark.parametrize("name", NAMES)
def test_every_leaf_comes_back(name: str) -> None:
    """Segment by segment in their order; what differs is an exception that is listed."""
    before = sample(name)
    after = to_hl7(to_fhir(before, NAMES[name]))
    lost = []
    for kind in ("PID", "PV1", "ORC", "OBR", "NTE", "OBX", "SPM"):
        there = after.all(kind)
        for index, segment in enumerate(before.all(kind)):
            found = dict(leaves(there[index])) if index < len(there) else {}
            lost += [path for path, text in leaves(segment) if found.get(path, found.get(f"{path}.1")) != text]
    unlisted = [path for path in lost if not any(re.fullmatch(pattern, path) for pattern in EXCEPTIONS)]
    assert unlisted == []


def results(bundle: Resource) -> list[dict[str, Any]]:
    """What a bundle says of results, without ids and references between resources."""
    kept = ("status", "category", "code", "effectiveDateTime", "issued", "interpretation", "referenceRange", "note", "conclusion")
    found = []
    for entry in bundle["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] in ("Observation", "DiagnosticReport"):
            if "valueString" in resource:  # a value in words has no OBX-6, so its range has no unit
                resource = {**resource, "referenceRange": [each.get("text") for each in resource.get("referenceRange", ())]}
            found.append({name: value for name, value in resource.items() if name in kept or name.startswith("value")})
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bundle_comes_of_what_is_made(name: str) -> None:
    """FHIR → HL7 v2 → FHIR: values with their digits and units, statuses, flags, ranges, notes and times are the same."""
    first = to_fhir(sample(name), NAMES[name])
    again = to_fhir(to_hl7(first), NAMES[name])
    assert results(again) == results(first)


@pytest.mark.parametrize("name", NAMES)
def test_another_parser_reads_what_is_made(name: str) -> None:
    """hl7apy finds the groups and the fields of version 2.5.1."""
    require(find_spec("hl7apy"), "the Python package hl7apy")
    from hl7apy.parser import parse_message

    made = to_hl7(to_fhir(sample(name), NAMES[name]))
    message = parse_message(made.encode().decode())
    assert message.msh.msh_12.value == "2.5.1"
    orders = [order for result in message.oru_r01_patient_result for order in result.oru_r01_order_observation]
    assert [order.obr.obr_3.obr_3_1.value for order in orders] == [obr.value(3).get(1) for obr in made.all("OBR")]  # type: ignore[union-attr]


def test_public_messages_go_both_ways() -> None:
    """Whatever bundle the corpus gives, a message comes of it that reads again and is the same the second time, or a reason."""
    program = site().library.outbound["oru_from_bundle"]
    formed = 0
    for outcome in corpus_outcomes():
        if outcome.bundle is None or not outcome.event.startswith(("ORU", "OUL")):
            continue
        data = bundles.encode(outcome.bundle)
        one, other = (form(data, program, site().scope, Envelope("d")) for _ in range(2))
        assert one == other
        assert one.body or one.parked is not None, outcome.label
        formed += bool(one.body)
        if one.body:
            assert parse(one.body).encode() == one.body
    assert formed > 15
