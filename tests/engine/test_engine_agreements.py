"""The edge: what no agreement covers and what holds a closed code stays, visible, and leaves once it may."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interop_engine.exchange.agreements import Agreement, Agreements, ClosedCodes, Facility
from interop_engine.journal.base import DeliveryState, Selection
from tests.support.node import make_site, running
from tests.support.texts import result

LOINC, ICD = "http://loinc.org", "http://hl7.org/fhir/sid/icd-10"
CLOSED = ClosedCodes({LOINC: frozenset({"75622-1"}), ICD: frozenset({"B20*"})})
KEPT = Agreements(
    {"24001": Facility(), "hub": Facility(), "24017": Facility()},
    ("lab",),
    (Agreement(("24001",), ("hub",), ("lab",), closed=True), Agreement(("24001",), ("24017",), ("*",))),
    CLOSED,
)


def bundle(*codings: tuple[str, str]) -> bytes:
    """A bundle with a result a coding."""
    entries = [{"resource": {"resourceType": "Observation", "code": {"coding": [{"system": s, "code": c}]}}} for s, c in codings]
    return json.dumps({"resourceType": "Bundle", "entry": entries}).encode()


@pytest.mark.parametrize(
    ("codings", "place"),
    [
        ([(LOINC, "2345-7")], ""),
        ([(LOINC, "2345-7"), (LOINC, "75622-1")], "Bundle.entry[1].resource.code.coding[0]"),
        ([(LOINC, "B20")], ""),  # a code is one of its system
        ([(ICD, "B20.9")], "Bundle.entry[0].resource.code.coding[0]"),
        ([(ICD, "B2")], ""),
    ],
)
def test_closed_codes_are_found_in_bundles(codings: list[tuple[str, str]], place: str) -> None:
    """By system and code, by how a code begins where the list says so; the place is told and not the code."""
    assert CLOSED.place_in(bundle(*codings), "fhir") == place


@pytest.mark.parametrize(
    ("field", "place"),
    [
        ("2345-7^Glucose^LN", ""),
        ("75622-1^HIV^LN", "OBX[1]-3"),
        ("HIV^x^99LIS^75622-1^^LN", "OBX[1]-3"),
        ("A~75622-1", "OBX[1]-3"),
        ("x&75622-1", "OBX[1]-3"),
        ("B20.9^^I10", "OBX[1]-3"),
    ],
)
def test_closed_codes_are_found_in_hl7_v2(field: str, place: str) -> None:
    """In an original by the code alone, in any component: it names code systems in words of its own."""
    text = f"MSH|^~\\&|LIS|24001|||20260301||ORU^R01|1|P|2.5\rOBX|1|NM|{field}||5\r"
    assert CLOSED.place_in(text.encode(), "hl7v2") == place


@pytest.mark.parametrize("body", [b"{", b"\xff", b""])
def test_what_cannot_be_read_is_held_back(body: bytes) -> None:
    """Its receiver may be able to read it."""
    assert CLOSED.place_in(body, "fhir")
    assert CLOSED.place_in(body, "hl7v2")
    assert ClosedCodes().place_in(body, "fhir") == ""


@pytest.mark.parametrize(
    ("receiver", "kind", "code", "withheld"),
    [
        ("hub", "lab", "75622-1", ""),
        ("hub", "imaging", "2345-7", "no-agreement"),
        ("24017", "imaging", "2345-7", ""),
        ("24017", "lab", "75622-1", "closed-code"),
        ("elsewhere", "lab", "2345-7", "no-agreement"),
    ],
)
def test_what_may_leave(receiver: str, kind: str, code: str, withheld: str) -> None:
    """An agreement covers sender, receiver and kind; only one that says so covers closed codes."""
    found = KEPT.withhold("24001", receiver, kind, bundle((LOINC, code)), "fhir")
    assert (found.code if found else "") == withheld
    assert code not in (found.why if found else "")


def agreements(closed: str = "") -> str:
    """Of the sample hospital with its hub; glucose is a closed code."""
    return (
        'facilities: {"24001": {}, hub: {}, "24017": {}}\n'
        "kinds: [lab, imaging, order, patient]\n"
        f'agreements: [{{from: "24001", to: hub, kinds: lab{closed}}}]\n'
        "closed: [{system: http://loinc.org, codes: [14749-6]}, {system: 'https://hie.example.vn/none', codes: [GLU]}]\n"
    )


async def test_a_withheld_delivery_is_parked_and_leaves_once_it_may(tmp_path: Path) -> None:
    """The hub never saw it; ``messages show`` says why; after the agreement a retry sends it as it was."""
    site = make_site(tmp_path)
    path = site / "agreements.yaml"
    path.write_text(agreements().replace("kinds: lab", "kinds: imaging"), encoding="utf-8")
    async with running(site) as node:
        await node.send("lab-results", result("M1"))
        await node.settled()
        (row,) = await node.runtime.journal.search(Selection(channel="lab-results"))
        delivery = next(each for each in row.deliveries if each.destination == "hub")
        assert (delivery.state, delivery.code) == (DeliveryState.PARKED, "no-agreement")
        assert node.bundles("hub") == []
    path.write_text(agreements(), encoding="utf-8")
    async with running(site) as node:
        await node.runtime.journal.retry(delivery.id)
        await node.settled()
        assert len(node.bundles("hub")) == 1
