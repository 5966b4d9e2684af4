"""``python -m interop_engine`` is ``interop-engine``."""

from interop_engine.cli import main

main()
