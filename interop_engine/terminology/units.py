"""Units as laboratories write them → UCUM (http://unitsofmeasure.org), where the table knows them; no guess elsewhere."""

from __future__ import annotations

from functools import cache
from importlib import resources

from interop_engine.core import yaml

UCUM = "http://unitsofmeasure.org"


@cache
def _units() -> tuple[dict[str, str], dict[str, str]]:
    """Exact spelling → code, and spelling in lower case → code where only one code has that spelling."""
    text = resources.files("interop_engine.terminology.data").joinpath("units.yaml").read_text("utf-8")
    document = yaml.load(text, "units.yaml")
    exact: dict[str, str] = {}
    folded: dict[str, str] = {}
    ambiguous: set[str] = set()
    for code, spellings in document.data.items():
        for spelling in (code, *spellings):
            key = spelling.replace(" ", "")
            exact[key] = code
            low = key.lower()
            if folded.setdefault(low, code) != code:
                ambiguous.add(low)
    for low in ambiguous:
        del folded[low]
    return exact, folded


@cache
def known_codes() -> frozenset[str]:
    """The UCUM codes the table gives."""
    return frozenset(_units()[0].values())


def ucum(text: str) -> str:
    """The UCUM code of a unit as written, empty where the table does not know it.

    The spelling's case decides first (``G/L`` is 10*9/L, ``g/L`` grams); case is only ignored where that is unambiguous.
    """
    exact, folded = _units()
    key = text.replace(" ", "")
    return exact.get(key) or folded.get(key.lower(), "")
