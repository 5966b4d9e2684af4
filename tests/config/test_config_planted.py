"""Mistakes planted into a site: ``check`` finds each, at its line and column, with words that say what to do about it."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

from interop_engine.cli.site import mistakes_of
from interop_engine.core.diagnostics import Mistake

HERE = Path(__file__).parent
SITE = HERE / "planted_site"
MARK = "«"
LEAST = 40


@dataclass(frozen=True)
class Planted:
    """One mistake: what an engineer wrote instead of what, and what is to be said of it. ``at`` marks a place that was there."""

    file: str
    was: str
    now: str
    code: str
    help: str
    at: str = ""

    @property
    def name(self) -> str:
        """For the report of the tests."""
        return f"{self.file}: {self.code} {self.now.strip().replace(MARK, '')[:40]}"

    def plant(self, text: str) -> str:
        """A file's text with the mistake in it, and the mark."""
        assert text.count(self.was) == 1, f"{self.was!r} stands {text.count(self.was)} times in {self.file}"
        text = text.replace(self.was, self.now)
        return text.replace(self.at.replace(MARK, ""), self.at) if self.at else text


PLANTED = [Planted(**entry) for entry in yaml.safe_load((HERE / "planted_mistakes.yaml").read_text("utf-8"))]


def planted(root: Path, mistakes: list[Planted]) -> dict[Planted, tuple[int, int]]:
    """Make a site with these mistakes; where each stands, as line and column."""
    shutil.copytree(SITE, root, dirs_exist_ok=True)
    by_file = defaultdict(list)
    for mistake in mistakes:
        by_file[mistake.file].append(mistake)
    places = {}
    for file, those in by_file.items():
        text = (root / file).read_text("utf-8")
        for number, mistake in enumerate(those):
            text = mistake.plant(text).replace(MARK, chr(0xE000 + number))
        for number, mistake in enumerate(those):
            before = text.partition(chr(0xE000 + number))[0]
            clean = "".join(letter for letter in before if not 0xE000 <= ord(letter) < 0xF000)
            places[mistake] = (clean.count("\n") + 1, len(clean) - clean.rfind("\n"))
        (root / file).write_text("".join(letter for letter in text if not 0xE000 <= ord(letter) < 0xF000), "utf-8")
    return places


def found(mistakes: list[Mistake], planted: Planted, place: tuple[int, int]) -> Mistake | None:
    """What was said of a planted mistake."""
    wanted = (planted.file, *place, planted.code)
    return next((m for m in mistakes if (m.mark.file, m.mark.line, m.mark.column, m.code) == wanted), None)


def test_the_site_is_right_before_anything_is_planted() -> None:
    """So all that is found was planted."""
    assert mistakes_of(SITE) == []
    assert len(PLANTED) >= LEAST


@pytest.mark.parametrize("mistake", PLANTED, ids=lambda each: each.name)
def test_each_mistake_is_found_where_it_stands(tmp_path: Path, mistake: Planted) -> None:
    """Its code, line and column, and the words that help; nothing else in its file is blamed, unless it follows from it."""
    places = planted(tmp_path, [mistake])
    mistakes = mistakes_of(tmp_path)
    said = found(mistakes, mistake, places[mistake])
    assert said is not None, f"expected {places[mistake]} {mistake.code}, found:\n" + "\n".join(map(str, mistakes))
    assert mistake.help in f"{said.message}\n{said.help}"


@cache
def all_at_once(root: Path) -> tuple[dict[Planted, tuple[int, int]], list[Mistake]]:
    """Where all of them stand, and what one check says."""
    return planted(root, PLANTED), mistakes_of(root)


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    """One check of a site with all of them names every one: nobody corrects, checks, and is told of the next."""
    places, mistakes = all_at_once(tmp_path)
    missed = [mistake.name for mistake in PLANTED if found(mistakes, mistake, places[mistake]) is None]
    assert missed == [], "\n".join(map(str, mistakes))


def test_each_mistake_says_what_to_do(tmp_path: Path) -> None:
    """Every planted mistake has a help text, or a message that itself says what is right."""
    places, mistakes = all_at_once(tmp_path)
    silent = [
        str(said)
        for mistake in PLANTED
        if (said := found(mistakes, mistake, places[mistake])) is not None
        and not said.help
        and not re.search("write|example", said.message)
    ]
    assert silent == []
