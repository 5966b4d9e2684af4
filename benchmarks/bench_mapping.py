"""One ORU^R01 with 20 OBX through the sample mapping: each step, and the whole beside what is written by hand for this message.

    python -m benchmarks mapping [--seconds 10]

Validation is that of the engine, which trusts its own converters to make no text that is not what it should be; what it costs to
trust nothing, as with the bundles of others, stands beside it.

All take turns on the same messages, every one different, on one thread, with the garbage collection that ``run`` sets; each
figure is a median. First it is made sure that all give the same content: the sample mapping, Python by hand (``handwritten``),
and hl7apy with fhir.resources (``naive``).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from benchmarks import handwritten, naive
from benchmarks.machine import describe
from benchmarks.messages import oru
from interop_engine.core.garbage import collect_seldom
from interop_engine.core.model import Resource
from interop_engine.fhir.bundle import encode, transaction
from interop_engine.fhir.schema import validate
from interop_engine.hl7.message import parse
from interop_engine.mapping.context import Scope, naming
from interop_engine.mapping.program import Draft, Program, load

_T = TypeVar("_T")
ROOT = Path(__file__).parent.parent
BASE = handwritten.BASE
RECEIVED = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)
_NAIVE_EVERY = 40  # messages of the others for one of the naive pipeline, which takes as long as all of them together
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def main(arguments: Sequence[str] = ()) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds: float = parser.parse_args(arguments).seconds
    started = time.perf_counter()
    program, scope = prepared()
    print(describe())
    print(f"load and compile all sample mappings      {1000 * (time.perf_counter() - started):8.1f} ms")
    collect_seldom()
    assert same(program, scope), "the three do not give the same content"
    steps = measure(program, scope, seconds)
    median = {name: statistics.median(times) for name, times in steps.items()}
    for name in STEPS:
        print(f"  {name:<38}  {median[name]:8.3f} ms")
    print(f"\n{'message to bytes':<40}  {'ms':>8}  {'of hand':>8}  {'a second':>8}")
    hand = median["by hand"]
    without = sum(median[name] for name in STEPS if name != "validate")
    validated = without + median["validate"]
    whole = {
        "by hand, without validation": hand,
        "mapping, without validation": without,
        "mapping and validation": validated,
        "the same, as of what others made": without + median["validate once more"],
        "hl7apy and fhir.resources": median["naive"],
    }
    for name, cost in whole.items():
        print(f"{name:<40}  {cost:8.3f}  {cost / hand:7.2f}x  {1000 / cost:8.0f}")
    times = median["naive"] / whole["mapping and validation"]
    print(f"hl7apy and fhir.resources take {times:.0f} times as long as mapping and validation")


def same(program: Program, scope: Scope) -> bool:
    """Whether all ways give the same content; ids are named by their order, and an instant may leave out its milliseconds."""
    data = oru(7)
    ours = bundled(program.build(program.identify(parse(data), scope)))[1]
    return _content(ours) == _content(handwritten.convert(data)) == _content(naive.convert(data))


def _content(bundle: bytes) -> object:
    ids: dict[str, str] = {}
    text = _ID.sub(lambda found: ids.setdefault(found[0], f"id-{len(ids)}"), bundle.decode())
    return json.loads(text.replace(".000Z", "Z"), parse_float=Decimal)


def prepared() -> tuple[Program, Scope]:
    """The sample site's laboratory mapping, and a scope for it."""
    files = [path for path in (ROOT / "mappings").rglob("*.*") if "cases" not in path.parts]
    names = naming(base=BASE)
    library = load({str(path.relative_to(ROOT)): path.read_text("utf-8") for path in files}, names)
    scope = Scope("24001", BASE, "Asia/Ho_Chi_Minh", names, tables=library.tables, terminology=library.terminology)
    return library.programs["oru_r01_lab"], scope


STEPS = ("parse", "group and identify", "build", "bundle and encode", "validate")


def measure(program: Program, scope: Scope, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each step and of the other ways, message by message."""
    times: dict[str, list[float]] = {name: [] for name in (*STEPS, "validate once more", "by hand", "naive")}
    number, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        data = oru(number)
        _timed(times["by hand"], handwritten.convert, data)
        message = _timed(times["parse"], parse, data)
        plan = _timed(times["group and identify"], program.identify, message, scope)
        draft = _timed(times["build"], program.build, plan)
        assert draft.park is None
        bundle, _ = _timed(times["bundle and encode"], bundled, draft)
        _timed(times["validate"], validate, bundle, lexical=False)
        _timed(times["validate once more"], validate, bundle)
        if number % _NAIVE_EVERY == 0:
            _timed(times["naive"], naive.convert, data)
        number += 1
    return times


def bundled(draft: Draft) -> tuple[Resource, bytes]:
    """The bundle of a draft, and its bytes."""
    bundle = transaction([item.content for item in draft.resources], base=BASE, timestamp=RECEIVED)
    return bundle, encode(bundle)


def _timed(times: list[float], call: Callable[..., _T], *arguments: object, **options: object) -> _T:
    started = time.perf_counter()
    result = call(*arguments, **options)
    times.append(1000 * (time.perf_counter() - started))
    return result


if __name__ == "__main__":
    main()
