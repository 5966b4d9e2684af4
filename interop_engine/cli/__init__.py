"""The command line, one module a family of verbs. A verb imports what it needs when it runs, so that ``--help`` is quick."""

from __future__ import annotations


def main() -> None:
    """The console script ``interop-engine``."""
    from interop_engine.cli.app import run

    run()
