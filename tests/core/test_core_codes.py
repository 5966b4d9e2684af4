"""Codes of mistakes stand in one file."""

from __future__ import annotations

import re
from pathlib import Path

import interop_engine
from interop_engine.core.codes import CODES

_CODE = re.compile(r'"([A-Z]\d{3})"')


def test_the_codes_in_use_are_the_codes_in_the_list() -> None:
    """No room gives a code that is not listed, and none is listed that no room gives."""
    root = Path(interop_engine.__file__).parent
    rooms = ("core", "config", "mapping", "terminology", "engine")
    files = [path for room in rooms for path in (root / room).rglob("*.py") if path.name != "codes.py"]
    used = {code for path in files for code in _CODE.findall(path.read_text(encoding="utf-8")) if code[0] in "YCMT"}
    assert used - CODES.keys() == set()
    assert CODES.keys() - used == set()


def test_a_meaning_is_one_sentence() -> None:
    """The reference shows it as it is."""
    assert [code for code, meaning in CODES.items() if not (meaning[0].isupper() and meaning.endswith("."))] == []
