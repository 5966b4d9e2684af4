"""``python -m benchmarks [NAME [ARGUMENT…]]``: one benchmark, or all of them one after the other."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

NAMES = sorted(path.stem.removeprefix("bench_").replace("_", "-") for path in Path(__file__).parent.glob("bench_*.py"))


def main() -> None:
    """Run what was asked for."""
    name, *arguments = sys.argv[1:] or [""]
    if name and name not in NAMES:
        raise SystemExit(f"There is no benchmark {name}; there are {', '.join(NAMES)}.")
    for each in [name] if name else NAMES:
        print(f"=== {each}")
        importlib.import_module(f"benchmarks.bench_{each.replace('-', '_')}").main(arguments)


main()
