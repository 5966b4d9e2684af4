"""``python -m tests.fuzz [TARGET…] [--seconds N]``: atheris looks for inputs by the paths they take through the readers.

atheris (libFuzzer for Python) is installed by hand: ``pip install atheris``. Nothing else here needs it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from tests.fuzz.targets import TARGETS


def fuzz(name: str, seconds: int) -> None:
    """One target in this process, until the time is over or something is found; libFuzzer ends the process."""
    import atheris

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10"], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """Each target in a process of its own; ends with 1 where one found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        fuzz(options.targets[0], options.seconds)
    found = []
    for name in options.targets or TARGETS:
        print(f"=== {name}", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(options.seconds), "--here"]
        if subprocess.run(command, check=False).returncode:
            found.append(name)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
