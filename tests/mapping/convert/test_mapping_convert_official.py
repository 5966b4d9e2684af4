"""Each official v2-to-FHIR map has a conversion or a table, or a reason why not (docs/decisions/official-maps.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from interop_engine.mapping.convert import BY_NAME, CONVERSIONS, PLACES
from interop_engine.mapping.convert.tables import v2_codes

PAGE = (Path(__file__).parents[3] / "docs" / "decisions" / "official-maps.md").read_text("utf-8")
ARROW = re.compile(r"\b([A-Z]{2,3}) → ([A-Za-z]+)")
REASON = 15  # characters of the shortest reason


def rows(title: str) -> list[tuple[str, str]]:
    """The rows of the table under a title: official map, what stands for it."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return [(cells[1].strip(), cells[2].strip().replace("\\|", "|")) for line in lines if (cells := re.split(r"(?<!\\)\|", line))]


DATA_TYPES, CODE_SYSTEMS = rows("Data types"), rows("Code systems")
MADE = {*CONVERSIONS, *((f"{segment}-{field}", kind) for segment, field, kind in PLACES)}


def test_every_official_map_is_decided() -> None:
    """As many as the project has: 105 of data types, 99 of code systems, none twice."""
    assert len(dict(DATA_TYPES)) == len(DATA_TYPES) == 105
    assert len(dict(CODE_SYSTEMS)) == len(CODE_SYSTEMS) == 99


@pytest.mark.parametrize(("official", "here"), DATA_TYPES, ids=[official for official, _ in DATA_TYPES])
def test_a_data_types_map_has_its_conversion_or_a_reason(official: str, here: str) -> None:
    """Each conversion that is named exists, and a map without one says why."""
    named = [(v2, kind) for v2, kind in ARROW.findall(here) if v2 != "TQ1"]
    assert set(named) <= MADE
    v2, _, kind = official.rstrip("]").partition("[")
    if not named or (v2, kind.partition("-")[0]) not in named:
        assert len(here) >= len("TQ → Dosage"), "neither its conversion nor a reason"
    assert named or len(here) >= REASON


@pytest.mark.parametrize(("official", "here"), CODE_SYSTEMS, ids=[official for official, _ in CODE_SYSTEMS])
def test_a_code_systems_map_has_its_table_or_a_reason(official: str, here: str) -> None:
    """It is a shipped table, or an HL7 table whose codes are codings as they are, or a reason."""
    del official
    names = re.findall(r"`([a-z-]+)`", here)
    if here.startswith("`"):
        assert names
        assert set(names) <= set(BY_NAME)
    elif found := re.match(r"HL7 table ([0-9]{4}) is the system", here):
        assert v2_codes(found[1])
    else:
        assert here in {"empty", "no target"} or len(here) >= REASON
