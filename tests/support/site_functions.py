"""A package of a site's own functions, as an installer leaves it: a module, and the metadata that name its entry points."""

from __future__ import annotations

from pathlib import Path

MODULE = '''
"""Functions of a hospital."""

import json


def ward_code(text: str, prefix: str = "K") -> str | None:
    """The code of a ward, from its number; no value where it is none.

    >>> ward_code("7")
    'K07'
    >>> ward_code("7", "N")
    'N07'
    """
    return f"{prefix}{int(text):02}" if text.isdecimal() else None


def longest(texts: list[str]) -> str:
    """The longest of several texts.

    >>> longest(["a", "abc"])
    'abc'
    """
    return max(texts, key=len)


def broken(text: str) -> str:
    """Fails on everything.

    >>> broken("a")
    'b'
    """
    return json.loads("no JSON: " + text)


def leaving(text: str) -> str:
    """Wants to stop the engine."""
    raise SystemExit(text)


def number(text: str) -> str:
    """Gives what it does not say."""
    return len(text)


def untyped(text):
    """Says nothing of its types."""
    return text


def keyed(text: str, *, mark: str) -> str:
    """Takes what a mapping cannot give."""
    return text + mark


def upper(text: str) -> str:
    """Has the name of another."""
    return text
'''
NAMES = ("ward_code", "longest", "broken", "leaving", "number", "untyped", "keyed", "upper")


def install(folder: Path) -> None:
    """Put the package into a folder, which is then to be put on the path."""
    (folder / "hospital_functions.py").write_text(MODULE, "utf-8")
    metadata = folder / "hospital_functions-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hospital-functions\nVersion: 1.2\n", "utf-8")
    lines = [f"{name} = hospital_functions:{name}" for name in NAMES]
    lines += ["absent = hospital_functions:absent", "gone = no_such_module:gone"]
    (metadata / "entry_points.txt").write_text("\n".join(["[interop_engine.functions]", *lines, ""]), "utf-8")
