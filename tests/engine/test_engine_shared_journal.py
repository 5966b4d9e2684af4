"""Two engines on one PostgreSQL journal: what one takes in, both work off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from interop_engine.config import loader
from interop_engine.core.errors import ConfigError
from interop_engine.exchange.embedded import EmbeddedExchange
from tests.support.node import PORTS, make_site, resources, running
from tests.support.postgres import fresh_journal
from tests.support.texts import result

ENGINE = """\
site: Test
facility: "24001"
timezone: Asia/Ho_Chi_Minh
journal: {postgres: "${JOURNAL_URL}"}
"""


@pytest.mark.postgres
async def test_two_nodes_share_the_work(tmp_path: Path, postgres: str) -> None:
    """Results of ten patients, sent to either node; each arrives once, a patient's corrections after what they correct."""
    site = make_site(tmp_path, engine=ENGINE)
    environment = {"JOURNAL_URL": fresh_journal(postgres)}
    async with running(site, environment) as one, running(site, environment) as two:
        for status, at in (("F", "20261121090000+0700"), ("C", "20261121093000+0700")):
            texts = [
                result(f"M{n}{status}", patient=f"BN{n}", order=f"A{n}", filler=f"F{n}", status=status, at=at) for n in range(10)
            ]
            answers = await asyncio.gather(one.send("lab-results", *texts[::2]), two.send("lab-results", *texts[1::2]))
            assert {answer.code for each in answers for answer in each} == {"AA"}
        await two.settled()
        reports = [report for bundle in one.bundles("hub") for report in resources(bundle, "DiagnosticReport")]
        assert sorted(report["status"] for report in reports) == ["corrected"] * 10 + ["final"] * 10
        assert len({report["id"] for report in reports}) == 10


@pytest.mark.postgres
async def test_each_node_tells_its_exchange_its_place(tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what the broker has for both is shared by them; who is left has all of it."""
    places: dict[object, tuple[int, int]] = {}
    monkeypatch.setattr(EmbeddedExchange, "share", lambda self, place, workers: places.update({self: (place, workers)}))
    site = make_site(tmp_path, engine=ENGINE)
    environment = {"JOURNAL_URL": fresh_journal(postgres)}

    async def apart() -> bool:
        return sorted(places.values()) == [(0, 2), (1, 2)]

    async with running(site, environment) as one:
        assert places == {one.runtime.exchange: (0, 1)}
        async with running(site, environment) as two:
            await two.until(apart)
        del places[two.runtime.exchange]

        async def alone() -> bool:
            return places == {one.runtime.exchange: (0, 1)}

        await one.until(alone)


def test_a_journal_stands_in_one_place(tmp_path: Path) -> None:
    """A file or a database; both is a mistake, and so is a URL of something else."""
    environment = {**PORTS, "JOURNAL_URL": "postgresql://localhost/journal"}
    for journal, message in (
        ('{postgres: "${JOURNAL_URL}", path: var/journal.db}', "not in both"),
        ("{postgres: mysql://localhost/journal}", "postgres"),
    ):
        site = make_site(tmp_path, engine=ENGINE.replace('{postgres: "${JOURNAL_URL}"}', journal))
        with pytest.raises(ConfigError, match=message):
            loader.load(site, environment)
