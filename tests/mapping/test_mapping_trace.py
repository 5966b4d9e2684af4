"""Lineage: nothing is guessed, every element is traced to the fields and the line that made it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from interop_engine.config import loader
from interop_engine.config.site import Site
from interop_engine.hl7.message import Message, parse
from interop_engine.mapping.trace import Lineage, Tracer

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "mappings/cases/samples"
AT = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def site() -> Site:
    """The sample site."""
    return loader.load(ROOT)


def trace(site: Site, mapping: str, sample: str) -> tuple[Lineage, Message]:
    """The lineage of a sample message."""
    message = parse((SAMPLES / sample).read_bytes())
    scope = next(channel.scope for channel in site.channels if mapping in channel.programs)
    return Tracer(site.library.programs[mapping]).trace(message, scope), message


@pytest.mark.parametrize(
    ("mapping", "sample"),
    [
        ("oru_r01_lab", "two-panels.hl7"),
        ("oru_r01_radiology", "chest-ct.hl7"),
        ("adt_patient", "registration.hl7"),
        ("orm_o01", "imaging-order.hl7"),
    ],
)
def test_the_traced_draft_is_that_of_production(site: Site, mapping: str, sample: str) -> None:
    """Tracing changes nothing: the same resources, findings and unread fields."""
    lineage, message = trace(site, mapping, sample)
    scope = next(channel.scope for channel in site.channels if mapping in channel.programs)
    program = site.library.programs[mapping]
    assert lineage.draft == program.build(program.identify(message, scope))


@pytest.mark.parametrize(("mapping", "sample"), [("oru_r01_lab", "two-panels.hl7"), ("adt_patient", "registration.hl7")])
def test_every_element_is_traced(site: Site, mapping: str, sample: str) -> None:
    """The lines' elements, put together again, are the resources, but for what the engine itself writes."""
    lineage, _ = trace(site, mapping, sample)
    traced: dict[str, dict[str, object]] = {}
    for made in lineage.made:
        known = traced.setdefault(made.object, {})
        known.update({name: value for name, value in made.values.items() if name not in known})  # said twice: the first counts
    for resource in lineage.draft.resources:
        ref = f"{resource.type}/{resource.id}"
        content = {name: value for name, value in resource.content.items() if name not in ("resourceType", "id")}
        assert (ref, {name: traced[ref].get(name) for name in content}) == (ref, content)


def test_fields_are_those_that_were_read(site: Site) -> None:
    """Each observation's value comes from its own OBX, with type and unit; a literal and a reference read nothing."""
    lineage, _ = trace(site, "oru_r01_lab", "two-panels.hl7")
    values = [made for made in lineage.made if made.resource == "observation" and made.element == "value"]
    assert [made.fields[0] for made in values] == [f"OBX[{number}]-2" for number in range(1, len(values) + 1)]
    assert all(f"{made.fields[0][:-2]}-5" in made.fields for made in values)
    subjects = [made for made in lineage.made if made.element == "subject"]
    assert {made.fields for made in subjects} == {()}
    name = next(made for made in lineage.made if made.element == "name")
    assert name.implied
    assert (name.fields, name.rule, name.mark.file) == (("PID-5",), "PID-5", "mappings/oru_r01_lab.yaml")


def test_a_message_that_parks_has_no_lineage(site: Site) -> None:
    """The draft says why it parks: a merge without the number that is merged."""
    lineage, _ = trace(site, "adt_merge", "merge-without-prior.hl7")
    assert lineage.draft.park is not None
    assert (lineage.draft.park.code, lineage.made) == ("101", ())
