"""The sample site's mappings on its own test cases and on public messages nobody here wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from interop_engine.config.loader import load
from interop_engine.config.site import Site
from interop_engine.engine import cases
from interop_engine.engine.single import choose, map_message, read
from interop_engine.engine.transform import Parked
from interop_engine.fhir.bundle import encode
from interop_engine.hl7.batch import split_batch
from interop_engine.hl7.message import Message
from interop_engine.mapping.context import Scope
from tests.support.needs import require

ROOT = Path(__file__).parents[2]
CORPUS = ROOT.parent / "shared" / "corpus"
AT = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = re.compile(r"\b[A-Z][A-Z0-9]{2}(\[\d+\])?-\d")
NUMBERED = re.compile(rb"PID\|[^|]*\|([^|]*\|){0,2}[^|^\r\n]")  # PID-2, PID-3 or PID-4 begins with a number


@pytest.fixture(scope="module")
def site() -> Site:
    """The sample site."""
    return load(ROOT, {})


@pytest.fixture(scope="module")
def scope(site: Site) -> Scope:
    """Its laboratory's channel's scope."""
    return next(channel.scope for channel in site.channels if channel.programs)


def test_every_mapping_has_cases_and_all_of_them_pass(site: Site) -> None:
    """No sample mapping is without a test case, no case fails, and no golden file is left over."""
    found = cases.load(site)
    assert found.mistakes == []
    assert {case.mapping for case in found.cases} == {*site.library.programs, *site.library.outbound}
    failed = {(case.mapping, case.name): result.failures for case in found.cases if (result := cases.run(case, site)).failures}
    assert failed == {}
    golden = {case.golden.removeprefix("golden/") for case in found.cases if case.golden}
    assert {path.name for path in (ROOT / "mappings" / "cases" / "golden").iterdir()} == golden


def _messages(site: Site) -> Iterator[tuple[Path, Message]]:
    """The public messages of every event that a channel of the sample site accepts."""
    events = {event for channel in site.channels for event in channel.options.accept}
    for path in sorted(CORPUS.rglob("*.hl7")):
        for data in split_batch(path.read_bytes()):
            message = read(data)
            if isinstance(message, Message) and f"{message.message_code}^{message.trigger_event}" in events:
                yield path, message


def test_every_public_message_gives_a_bundle_or_says_why_not(site: Site, scope: Scope) -> None:
    """One mapping fits each; it gives a valid bundle, the same bytes each time, or parks, naming segment and field."""
    require(CORPUS.is_dir(), "the corpus of public messages beside the project")
    made = named = 0
    for path, message in _messages(site):
        program = choose(message, site.library.programs.values())
        assert not isinstance(program, Parked), path.name
        named += NUMBERED.search(message.raw) is not None or "MFN" in message.message_code
        first, second = (map_message(message, program, scope, received_at=AT) for _ in range(2))
        if first.parked is not None:
            assert first.parked.code.isdecimal(), f"{path.name}: {first.parked.why}"
            assert PLACE.search(first.parked.why), f"{path.name}: {first.parked.why}"
            continue
        assert first.bundle is not None or first.findings, path.name
        if first.bundle is not None and second.bundle is not None:
            assert encode(first.bundle) == encode(second.bundle), path.name
            made += 1
    assert named > 100
    assert made >= 0.99 * named


def test_an_odd_sending_facility_makes_no_invalid_provenance(site: Site, scope: Scope) -> None:
    """MSH-4 of spaces or control characters is no identifier: the sender is then the channel's facility."""
    data = (ROOT / "mappings" / "cases" / "samples" / "glucose.hl7").read_bytes().replace(b"|LIS|24001|", b"|LIS|\x01 |", 1)
    message = read(data)
    assert isinstance(message, Message)
    mapped = map_message(message, site.library.programs["oru_r01_lab"], scope, received_at=AT)
    assert mapped.parked is None
