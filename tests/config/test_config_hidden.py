"""Hidden files are no part of a site."""

from __future__ import annotations

import shutil
from pathlib import Path

from interop_engine.config import loader
from tests.support.small_site import small_site


def test_a_mapping_in_a_hidden_folder_is_not_read_twice(tmp_path: Path) -> None:
    """A volume of a ConfigMap holds each file again in a folder such as ..2026_03_02; editors leave files with a dot."""
    site = small_site(tmp_path)
    mapping = site / "mappings" / "adt.yaml"
    hidden = site / "mappings" / "..2026_03_02_08_00_00"
    hidden.mkdir()
    shutil.copy(mapping, hidden)
    shutil.copy(mapping, site / "mappings" / ".#adt.yaml")
    assert loader.check(site) == []
