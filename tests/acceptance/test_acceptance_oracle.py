"""Nothing is dropped in silence: every populated leaf is in the bundle, ignored on purpose, said, or on the loss ledger."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import pytest

from interop_engine.cli.bench import Bench
from interop_engine.cli.inputs import Message as Input
from interop_engine.cli.inputs import read_messages
from interop_engine.core.model import NOTHING_KNOWN, Resource
from interop_engine.mapping.leaves import Leaves, populated
from interop_engine.mapping.ledger import sequence_numbers
from tests.support.corpus import ROOT, SAMPLES, corpus, samples
from tests.support.oracle import Held, leaves, without

PLACE = re.compile(r"([A-Z][A-Z0-9]{2})\[(\d+)\]-(\d+)")

# What decides something about a bundle, and so leaves no word of its own in it: field, component, sub-component, and why.
DECIDES = {
    r"OBX-2\.": "the type of OBX-5: it chooses the form of the value",
    r"OBX-3\.[14]\.": "in a vaccination, which element an answer is for",
    r"TQ1-3\.(9|10)\.": "an offset and its unit: FHIR counts minutes",
    r"TQ1-4\.1": "a time that is said with the pattern before it",
    r"PRD-1\.1": "the role of a person: it chooses the element",
    r"IAM-17\.1": "how far an allergy is known: it chooses its status",
    r"RXA-9\.1": "whether the record is that of who gave the dose: a yes or no",
    r"(EVN-2|PRB-2|MFE-3)\.1": "when it happened: it orders the versions of what it changes",
    r"(OBR|ORC)-[23]\.": "a number under which an order is found again",
    r"OBR-29\.": "the number of the parent's order: it leads to the report that this one belongs to",
    r"(SCH-10|AIS-8)\.1": "the unit of a duration: the end follows from it",
    r"(PID-5|NK1-2)\.11|(PD1-4|PV1-\d+|PV2-13)\.1[56]": "the order of the parts of a name, which its text follows",
    r"(PID-(13|14|40)|NK1-[56]|GT1-[67]|IN2-63)\.3\.1": "the equipment of a telephone: it chooses the component that is read",
}
DECIDING = re.compile("|".join(f"(?:{pattern})" for pattern in DECIDES))


@cache
def bench() -> Bench:
    """The sample site, to try messages on."""
    return Bench.of(ROOT, None, None)


def keep(bundle: Resource) -> None:
    """Leave a bundle as it is."""


@cache
def ids(data: bytes) -> frozenset[str]:
    """The ids of the resources that a message makes; none where it gives no bundle. An id is a digest of what names a thing."""
    read = bench().read(Input("", data))
    mapped = bench().mapped(*read) if read else None
    entries = mapped.bundle["entry"] if mapped is not None and mapped.bundle is not None else ()
    return frozenset(entry["resource"]["id"] for entry in entries if entry["resource"]["resourceType"] != "Provenance")


def dropped(given: Input, spoil: Callable[[Resource], None] = keep) -> Iterator[str]:
    """The leaves of a message that are nowhere; none where it gives no bundle. ``spoil`` changes the bundle before the search."""
    read = bench().read(given)
    mapped = bench().mapped(*read) if read else None
    if read is None or mapped is None or mapped.bundle is None or mapped.parked is not None:
        return
    message, program = read
    scope = bench().scope(program)
    plan = program.identify(message, scope)
    assert plan.run is not None
    draft = program.build(plan)
    spoil(mapped.bundle)
    held = Held.of(mapped.bundle)
    ledger = Leaves(program, message, scope, NOTHING_KNOWN, draft)
    said = {found.groups() for finding in draft.findings if (found := PLACE.match(finding.path))}
    unmapped = {code.code for code in draft.unmapped}  # on the worklist
    segments = {(segment.name, segment.number): segment.index for segment in message.segments}
    ours = {
        (leaf.segment, leaf.field, leaf.repetition, leaf.component or 1, leaf.subcomponent or 1): leaf
        for leaf in populated(message)
    }
    for leaf in leaves(given.data):
        index, name = segments[leaf.segment, leaf.number], leaf.segment
        if (program.ignore.get(name, 0) | sequence_numbers(name) | ~plan.run.reads[index]) >> leaf.field & 1:
            continue  # on purpose, or on the ledger of fields
        told = (name, str(leaf.number), str(leaf.field)) in said or leaf.text in unmapped or DECIDING.match(leaf.place)
        if told or held.holds(leaf.text):
            continue
        lost = ledger.lost([ours[index, leaf.field, leaf.repetition, leaf.component, leaf.subcomponent]])
        if not lost and ids(without(given.data, leaf)) == ids(given.data):  # else a part of the name of something
            yield f"{given.label} {leaf.place}"


def all_dropped(files: Iterable[Any]) -> list[str]:
    """Of several files."""
    return [place for file in files for given in read_messages(str(file)) for place in dropped(given)]


def test_nothing_of_the_public_messages_is_dropped() -> None:
    """Each populated leaf of each message that gives a bundle."""
    assert all_dropped(corpus()) == []


def test_nothing_of_the_samples_is_dropped() -> None:
    """The same of the messages of the mappings' cases."""
    assert all_dropped(samples()) == []


def lacking(*names: str) -> Callable[[Resource], None]:
    """Take elements out of every resource of a bundle, at any depth: as if a mapping had read and not written them."""

    def spoil(value: Any) -> None:
        if isinstance(value, dict):
            for name in names:
                value.pop(name, None)
            for inner in value.values():
                spoil(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                spoil(inner)

    return spoil


@pytest.mark.parametrize(
    ("elements", "places"),
    [
        (["name"], {"PID-5.1.1", "PID-5.2.1"}),
        (["address"], {"PID-11.1.1"}),
        (["birthDate"], {"PID-7.1.1"}),
        (["gender"], {"PID-8.1.1"}),
        (["identifier"], {"PID-3.1.1"}),
        (["valueQuantity", "valueString", "valueCodeableConcept", "component", "referenceRange"], {"OBX-5.1.1", "OBX-6.1.1"}),
        (["referenceRange"], {"OBX-7.1.1"}),
        (["note"], {"NTE-3.1.1"}),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_what_is_read_and_not_written_is_noticed(elements: list[str], places: set[str]) -> None:
    """The control: with an element gone from the bundles, its leaves are found to be nowhere."""
    files = (SAMPLES / name for name in ("glucose.hl7", "registration.hl7"))
    given = [message for file in files for message in read_messages(str(file))]
    found = {place.rpartition(" ")[2] for message in given for place in dropped(message, lacking(*elements))}
    assert places <= found
