"""A site's own functions: typed, checked, tried out, and never able to stop the engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from interop_engine.engine import function_cases
from interop_engine.engine.single import Mapped, map_message
from interop_engine.hl7.message import parse
from interop_engine.mapping import site_functions
from interop_engine.mapping.context import Scope, naming
from interop_engine.mapping.outline import outline
from interop_engine.mapping.program import load
from tests.support.site_functions import install

NAMES = naming(base="http://hospital.example")
MAPPING = """
mapping: ward
message: ADT_A01
resources:
  patient:
    resource: Patient
    key: PID-3 | own_number
    set:
      maritalStatus: {{text: "{rule}"}}
"""
ADT = b"MSH|^~\\&|HIS|BV|||20260101||ADT^A01^ADT_A01|1|P|2.5.1||||||UNICODE UTF-8\rPID|1||1^^^BV^MR||A^B\rPV1|1|I|7\r"


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is installed for one test."""
    install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    site_functions.installed.cache_clear()
    yield
    site_functions.installed.cache_clear()
    sys.modules.pop("hospital_functions", None)


def complaints(rule: str) -> list[str]:
    """What the checker says of a line."""
    found = load({"mappings/ward.yaml": MAPPING.format(rule=rule)}, NAMES)
    return [f"{mistake.code} {mistake.message}" for mistake in found.mistakes]


def mapped(rule: str, message: bytes = ADT) -> Mapped:
    """A message through a mapping with one line."""
    library = load({"mappings/ward.yaml": MAPPING.format(rule=rule)}, NAMES)
    assert not library.mistakes
    scope = Scope("BV", "http://hospital.example", "Asia/Ho_Chi_Minh", NAMES)
    return map_message(parse(message), library.programs["ward"], scope, received_at=datetime(2026, 1, 1, tzinfo=UTC))


def marital_status(found: Mapped) -> object:
    """The element the line sets."""
    assert found.bundle is not None
    resources = [entry["resource"] for entry in found.bundle["entry"]]
    return next(r for r in resources if r["resourceType"] == "Patient").get("maritalStatus")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("PV1-3.1 | ward_code", {"text": "K07"}),
        ("PV1-3.1 | ward_code('N')", {"text": "N07"}),
        ("PV1-3.1 | ward_code | lower", {"text": "k07"}),
        ("PV1-2 | ward_code", None),
        ("PID-5.1 | longest", {"text": "A"}),
    ],
)
def test_a_function_of_the_site_stands_beside_those_of_the_language(rule: str, expected: object) -> None:
    """It takes a text or all texts, then constants; None is no value."""
    assert marital_status(mapped(rule)) == expected


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("PV1-3.1 | ward_code('K', 'x')", "M306 ward_code takes other arguments"),
        ("PV1-3.1 | ward_cod", 'M207 there is no function or fragment "ward_cod"'),
        (
            "PV1-3.1 | untyped",
            "M215 the site's function untyped cannot be used: its first parameter is to be a str, or a list[str]",
        ),
        (
            "PV1-3.1 | keyed",
            'M215 the site\'s function keyed cannot be used: its parameter "mark" is to be a str or an int, by position',
        ),
        ("PV1-3.1 | absent", "M215 the site's function absent cannot be used: it cannot be loaded: AttributeError"),
        ("PV1-3.1 | gone", "M215 the site's function gone cannot be used: it cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_a_wrong_call_and_an_unfit_function_are_found_by_check(rule: str, said: str) -> None:
    """Arguments are checked by the function's signature; one whose types cannot be checked is refused, with the reason."""
    (found,) = complaints(rule)
    assert found.startswith(said)


def test_a_function_of_the_site_is_not_asked_where_no_message_is_mapped() -> None:
    """A mapping's own when: decides which mapping a message goes to; a fault there would have nowhere to park."""
    text = MAPPING.format(rule="MSH-10").replace("resources:", "when: (MSH-10 | ward_code) = 'K07'\nresources:")
    found = load({"mappings/ward.yaml": text}, NAMES)
    assert [mistake.code for mistake in found.mistakes] == ["M307"]
    assert "the site's own" in found.mistakes[0].message


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("broken", "the site's function broken failed: JSONDecodeError"),
        ("leaving", "the site's function leaving failed: SystemExit"),
        ("number", "the site's function number gave int instead of a text"),
    ],
)
def test_a_faulty_function_parks_the_message_and_is_named(name: str, why: str) -> None:
    """Nothing it does stops the engine, and what it was given is not told."""
    found = mapped("PV1-3.1 | " + name, ADT.replace(b"|I|7", b"|I|NOT TO BE TOLD"))
    assert found.parked is not None
    assert found.parked.code == "207"
    assert why in found.parked.why
    assert "TOLD" not in found.parked.why


def test_the_examples_of_functions_run_as_test_cases() -> None:
    """A function without an example, with a wrong one, or that cannot be used, fails."""
    results = {result.name: result.failures for result in function_cases.run()}
    assert [name for name, failures in results.items() if not failures] == ["longest", "ward_code"]
    assert "JSONDecodeError" in results["broken"][0]
    assert "no example" in results["leaving"][0]
    assert "the language has a function of that name" in results["upper"][0]


def test_a_mapping_in_full_says_whose_functions_it_calls() -> None:
    """``explain --mapping`` names what a function does, and the package that gives it."""
    library = load({"mappings/ward.yaml": MAPPING.format(rule="PV1-3.1 | ward_code")}, NAMES)
    said = [text for part in outline(library.programs["ward"]).resources for line in part.lines for text in line.implied]
    wanted = "ward_code: The code of a ward, from its number; no value where it is none. From hospital-functions 1.2"
    assert any(text.startswith(wanted) for text in said)
