"""Where the sample site is: in the wheel beside this file, in a clone at the top."""

from __future__ import annotations

from pathlib import Path


def sample_site() -> Path:
    """The folder with the sample's ``engine.yaml``, ``channels/`` and ``mappings/``; it is not to be written to."""
    here = Path(__file__).resolve().parent
    packed = here / "site"
    return packed if packed.is_dir() else here.parent.parent
