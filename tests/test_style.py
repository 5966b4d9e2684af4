"""The house style that no linter knows: sizes, names of test files, and what must not stand in a tracked file."""

from __future__ import annotations

import ast
import shutil
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE_LINES = 400
FUNCTION_LINES = 40

# Longer than the style asks for, each with the reason why it stays in one piece.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}

# Written in halves, or this file would hold them itself: a clone must not depend on where it was made or on one registry.
FORBIDDEN = tuple(
    a + b
    for a, b in [("/wo", "rk/"), ("pypi", ".org"), ("python", "hosted.org"), ("registry.", "npmjs"), ("registry.", "yarnpkg")]
)


@cache
def tracked() -> tuple[Path, ...]:
    """The files in git; in an unpacked archive, those that are not made by tools."""
    git = shutil.which("git")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False) if git else None
    if listed and listed.returncode == 0:
        return tuple(path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file())
    made = {
        ".git",
        ".venv",
        "node_modules",
        "__pycache__",
        "var",
        "dist",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".hypothesis",
    }
    return tuple(path for path in ROOT.rglob("*") if path.is_file() and not made & set(path.relative_to(ROOT).parts))


@cache
def sources() -> dict[str, str]:
    """The Python files, by their path in the project."""
    return {str(path.relative_to(ROOT)): path.read_text() for path in tracked() if path.suffix == ".py"}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, the docstring left out."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def long_functions() -> dict[str, int]:
    """Every function that is too long, as ``path::name``."""
    found = {}
    for path, text in sources().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > FUNCTION_LINES:
                found[f"{path}::{node.name}"] = length(node)
    return found


def test_no_file_is_too_long() -> None:
    """A file has one job: at most 400 lines, or a reason in the list above (and no stale reason)."""
    long = {path: lines for path, text in sources().items() if (lines := text.count("\n")) > FILE_LINES}
    assert {path: long[path] for path in long.keys() - LONG_FILES.keys()} == {}
    assert LONG_FILES.keys() - long.keys() == set()


def test_no_function_is_too_long() -> None:
    """A function fits on a page: at most 40 lines without its docstring, or a reason in the list above."""
    long = long_functions()
    assert {name: long[name] for name in long.keys() - LONG_FUNCTIONS.keys()} == {}
    assert LONG_FUNCTIONS.keys() - long.keys() == set()


def test_every_test_file_has_a_name_of_its_own() -> None:
    """Test folders are no packages, so two files of one name would hide each other."""
    names = Counter(path.name for path in tracked() if path.name.startswith("test_") and path.suffix == ".py")
    assert [name for name, count in names.items() if count > 1] == []


def test_no_machine_and_no_registry_is_named() -> None:
    """A tracked file names neither a folder of one machine nor the host of a package registry."""
    found = []
    for path in tracked():
        data = path.read_bytes()
        found += [(str(path.relative_to(ROOT)), word) for word in FORBIDDEN if word.encode() in data]
    assert found == []
