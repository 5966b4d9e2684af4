"""Test results as JUnit XML, which CI systems read: a suite for each mapping, a case for each case."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from interop_engine.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interop_engine.core.diagnostics import Mistake
    from interop_engine.engine.cases import CaseResult

Timed = tuple["CaseResult", float]
"""A result and the seconds it took."""


def write(path: Path, results: Sequence[Timed], mistakes: Sequence[Mistake]) -> None:
    """Write the file. Mistakes in the files of cases are errors of a suite of their own. Raises OSError."""
    root = ET.Element("testsuites", name="interop-engine test")
    for mapping, group in groupby(sorted(results, key=lambda one: one[0].mapping), key=lambda one: one[0].mapping):
        _suite(root, mapping, list(group))
    if mistakes:
        suite = ET.SubElement(root, "testsuite", name="case files", tests=str(len(mistakes)), errors=str(len(mistakes)))
        for mistake in mistakes:
            case = ET.SubElement(suite, "testcase", classname="case files", name=output.plain(mistake.mark))
            message = output.plain(f"{mistake.code} {mistake.message}")
            ET.SubElement(case, "error", message=message, type=mistake.code).text = output.plain(mistake.help)
    root.set("tests", str(len(results) + len(mistakes)))
    root.set("failures", str(sum(bool(result.failures) for result, _ in results)))
    root.set("errors", str(len(mistakes)))
    root.set("time", f"{sum(seconds for _, seconds in results):.3f}")
    ET.indent(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _suite(root: ET.Element, mapping: str, results: Sequence[Timed]) -> None:
    suite = ET.SubElement(root, "testsuite", name=mapping, tests=str(len(results)), errors="0", skipped="0")
    suite.set("failures", str(sum(bool(result.failures) for result, _ in results)))
    suite.set("time", f"{sum(seconds for _, seconds in results):.3f}")
    for result, seconds in results:
        case = ET.SubElement(suite, "testcase", classname=mapping, name=output.plain(result.name))
        case.set("file", output.plain(result.mark.file))
        case.set("line", str(result.mark.line))
        case.set("time", f"{seconds:.3f}")
        if result.failures:
            lines = [output.plain(line) for failure in result.failures for line in failure.splitlines()]
            ET.SubElement(case, "failure", message=lines[0], type="expectation").text = "\n".join(lines)
