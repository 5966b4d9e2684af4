"""The page that sets the sample mapping beside those of other converters counts ours as it is."""

from __future__ import annotations

import re
from pathlib import Path

from interop_engine.core import yaml

ROOT = Path(__file__).parents[2]
SAMPLE = (ROOT / "mappings" / "oru_r01_lab.yaml").read_text("utf-8").splitlines()
FRAGMENTS = (ROOT / "mappings" / "common.yaml").read_text("utf-8").splitlines()
COLUMNS = ("Patient", "ServiceRequest", "Specimen", "DiagnosticReport", "Observation", "message")


def code(lines: list[str]) -> list[str]:
    """Lines that are neither empty nor comment."""
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def test_the_sample_mapping_of_results_has_at_most_eighty_lines() -> None:
    """All lines count, comments too."""
    assert len(SAMPLE) <= 80


def counted() -> list[int]:
    """Lines of the sample mapping by the type of their resource, those of the whole message last."""
    types = {name: rule["resource"] for name, rule in yaml.load("\n".join(SAMPLE), "sample").data["resources"].items()}
    found = dict.fromkeys(COLUMNS, 0)
    column = "message"
    for line in code(SAMPLE):
        if (head := re.match(r"  (\w+):", line)) and head[1] in types:
            column = types[head[1]]
        found[column] += 1
    return list(found.values())


def test_the_page_says_at_most_as_many_lines_as_there_are() -> None:
    """By resource, together, and without comments; and not many more, for which a page would be no measure."""
    page = (ROOT / "docs" / "explanation" / "side-by-side.md").read_text("utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| interop-engine, "))
    said = [int(number) for number in re.findall(r"[0-9]+", row.partition("at most")[2])][1:]  # the first counts files
    both = SAMPLE + FRAGMENTS
    for actual, stated in zip([*counted(), len(both), len(code(both))], said, strict=True):
        assert actual <= stated <= actual + 10
