"""The page that sets the sample mapping beside those of other converters counts ours as it is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLE = (ROOT / "mappings" / "oru_r01_lab.yaml").read_text("utf-8").splitlines()
FRAGMENTS = (ROOT / "mappings" / "common.yaml").read_text("utf-8").splitlines()
COLUMNS = {
    "patient": "Patient",
    "order": "ServiceRequest",
    "specimen": "Specimen",
    "sample": "Specimen",
    "report": "DiagnosticReport",
    "culture": "DiagnosticReport",
    "observation": "Observation",
    "isolate": "Observation",
    "final": "Observation",
}


def code(lines: list[str]) -> list[str]:
    """Lines that are neither empty nor comment."""
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def test_the_sample_mapping_of_results_has_at_most_eighty_lines() -> None:
    """All lines count, comments too."""
    assert len(SAMPLE) <= 80


def test_the_page_counts_our_lines_as_they_are() -> None:
    """By resource, together, and without comments."""
    counted = dict.fromkeys(["Patient", "ServiceRequest", "Specimen", "DiagnosticReport", "Observation", "message"], 0)
    column = "message"
    for line in code(SAMPLE):
        if found := re.match(r"  (\w+):", line):
            column = COLUMNS[found[1]]
        counted[column] += 1
    both = SAMPLE + FRAGMENTS
    cells = [str(number) for number in counted.values()]
    wanted = f"| {' | '.join(cells)} | **{len(both)}** ({len(code(both))}) |"

    page = (ROOT / "docs" / "explanation" / "side-by-side.md").read_text("utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| interop-engine, "))
    assert row.endswith(wanted)
