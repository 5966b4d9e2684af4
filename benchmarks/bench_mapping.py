"""One ORU^R01 with 20 OBX through the sample mapping, in process and step by step: what each step costs.

    python -m benchmarks mapping [--seconds 3]

Each figure is the median of single messages, every one a different message, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from benchmarks.machine import describe
from benchmarks.messages import oru
from interop_engine.core.model import Resource
from interop_engine.fhir.bundle import encode, transaction
from interop_engine.fhir.schema import validate
from interop_engine.hl7.message import parse
from interop_engine.mapping.context import Scope, naming
from interop_engine.mapping.program import Draft, Program, load

_T = TypeVar("_T")
ROOT = Path(__file__).parent.parent
BASE = "http://hospital.example"
RECEIVED = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)


def main(arguments: Sequence[str] = ()) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds: float = parser.parse_args(arguments).seconds
    started = time.perf_counter()
    program, scope = prepared()
    print(describe())
    print(f"load and compile all sample mappings      {1000 * (time.perf_counter() - started):8.1f} ms")
    steps = measure(program, scope, seconds)
    for name, times in steps.items():
        print(f"{name:<40}  {statistics.median(times):8.3f} ms")
    without = sum(statistics.median(times) for name, times in steps.items() if name != "validate")
    print(f"{'parse to bytes, without validation':<40}  {without:8.3f} ms   {1000 / without:7.0f} messages/s on one core")


def prepared() -> tuple[Program, Scope]:
    """The sample site's laboratory mapping, and a scope for it."""
    files = [path for path in (ROOT / "mappings").rglob("*.*") if "cases" not in path.parts]
    names = naming(base=BASE)
    library = load({str(path.relative_to(ROOT)): path.read_text("utf-8") for path in files}, names)
    scope = Scope("24001", BASE, "Asia/Ho_Chi_Minh", names, tables=library.tables, terminology=library.terminology)
    return library.programs["oru_r01_lab"], scope


def measure(program: Program, scope: Scope, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each step, message by message."""
    times: dict[str, list[float]] = {"parse": [], "group and identify": [], "build": [], "bundle and encode": [], "validate": []}
    number, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        data = oru(number)
        message = _timed(times["parse"], parse, data)
        plan = _timed(times["group and identify"], program.identify, message, scope)
        draft = _timed(times["build"], program.build, plan)
        assert draft.park is None
        bundle, _ = _timed(times["bundle and encode"], bundled, draft)
        _timed(times["validate"], validate, bundle)
        number += 1
    return times


def bundled(draft: Draft) -> tuple[Resource, bytes]:
    """The bundle of a draft, and its bytes."""
    bundle = transaction([item.content for item in draft.resources], base=BASE, timestamp=RECEIVED)
    return bundle, encode(bundle)


def _timed(times: list[float], call: Callable[..., _T], *arguments: object) -> _T:
    started = time.perf_counter()
    result = call(*arguments)
    times.append(1000 * (time.perf_counter() - started))
    return result


if __name__ == "__main__":
    main()
