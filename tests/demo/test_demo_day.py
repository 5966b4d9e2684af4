"""The day in the life, and the checks of its end state."""

from __future__ import annotations

import httpx
import pytest

from interop_engine.core.errors import ParseError
from interop_engine.demo import checks
from interop_engine.demo.day import DELIVERED, PORT_OF, Step, steps
from interop_engine.demo.fhir_server import FhirServer
from interop_engine.demo.node import PORTS, free_ports
from interop_engine.hl7.message import parse

STEPS = steps()


def test_order_and_places() -> None:
    """The day goes forward, and every message goes to a channel that has a port."""
    assert [step.at for step in STEPS] == sorted(step.at for step in STEPS)
    assert {step.channel for step in STEPS} == set(PORT_OF)
    assert set(PORT_OF.values()) == set(PORTS)


def test_the_day_is_always_the_same() -> None:
    """Two tellings give the same bytes, so that ids and bundles are the same on every run."""
    assert steps() == STEPS


def test_control_ids() -> None:
    """Each message has a control id of its own; only the resend repeats one, with the same bytes."""
    seen: dict[str, Step] = {}
    again = []
    for step in STEPS:
        if step.control_id in seen:
            again.append(step)
            assert step.data == seen[step.control_id].data
        elif step.control_id:
            seen[step.control_id] = step
    assert [step.arrivals for step in again] == [2]
    assert sum(not step.control_id for step in STEPS) == 1  # what is not HL7


@pytest.mark.parametrize("step", STEPS, ids=[f"{step.at} {step.what}" for step in STEPS])
def test_a_step_is_as_it_says(step: Step) -> None:
    """What is accepted parses; what is answered AE or AR for its bytes does not; what is delivered says to whom."""
    try:
        message = parse(step.data)
    except ParseError:
        assert step.code in ("100", "102")
    else:
        assert message.control_id == step.control_id
        assert message.msh.raw(3) == step.system
    assert (step.ack == "AA") == (step.state != "rejected")
    assert (DELIVERED in step.receivers.values()) == (step.state == "transformed")


async def test_checks_fail_where_nothing_arrived() -> None:
    """Asked of empty servers, no check that speaks of something arrived is met."""
    async with FhirServer() as hub, FhirServer() as district:
        found = await checks.check(hub.url, district.url, [])
    met = [each.what for each in found if each.ok]
    assert met == ["Nothing is twice at the hub", "Nothing is twice at the district hospital"]
    assert checks.failed(found) == [each for each in found if not each.ok]


async def test_checks_see_duplicates() -> None:
    """A second Patient with the same hospital number is found out."""
    async with FhirServer() as hub, FhirServer() as district:
        async with httpx.AsyncClient(base_url=hub.url) as client:
            for identity in ("a", "b"):
                await client.put(
                    f"Patient/{identity}",
                    json={"resourceType": "Patient", "id": identity, "identifier": [{"system": "urn:x", "value": "BN0000101"}]},
                )
        found = {each.what: each for each in await checks.check(hub.url, district.url, [])}
    twice = found["Nothing is twice at the hub"]
    assert (twice.ok, twice.detail) == (False, "Patient BN0000101")


def test_free_ports() -> None:
    """Ports asked for at once are different."""
    assert len(set(free_ports(5))) == 5
