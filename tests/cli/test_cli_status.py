"""``status``, ``channels`` and listings: what a person is shown."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from interop_engine.cli import output
from interop_engine.connectors.base import ConnectorHealth
from interop_engine.connectors.http_server import HttpServer
from interop_engine.exchange.base import ExchangeHealth
from interop_engine.ops.api import Watch, application
from tests.support.observed import FakeEngine
from tests.support.operating import engine, run, shown


async def test_status_shows_what_is_stuck(tmp_path: Path) -> None:
    """Found through engine.yaml or by URL: a table for people, JSON for programs; 1 when the engine is not ready."""
    async with engine(tmp_path) as (url, _):
        status = await shown("status", url)
        assert (status["channels"][0]["parked"], status["channels"][0]["destinations"][0]["backlog"]["parked"]) == (1, 1)
        code, text, _ = await run("status", "--project", str(tmp_path))
        assert code == 0
        assert "Bệnh viện mẫu (24001)" in text
        assert "→ hub" in text
        code, text, _ = await run("channels", "list", "--project", str(tmp_path))
        assert (code, "0.0.0.0:2575" in text) == (0, True)


async def test_status_tells_what_is_left_where_no_engine_runs(site: tuple[str, dict[str, str]]) -> None:
    """At night, with the engine down: what waits and is parked is in the journal all the same."""
    code, text, stderr = await run("status", "--project", site[0])
    assert (code, "No engine of this site answers" in stderr) == (1, True)
    assert re.search(r"lab +0 +1\b", text)
    assert re.search(r"lab → hub +0 +1\b", text)


async def test_an_engine_is_known_by_its_journal(tmp_path: Path) -> None:
    """An engine.yaml edited since the start still finds its engine, by the journal's place; one with another journal does not."""
    async with engine(tmp_path) as (_, _):
        file = tmp_path / "engine.yaml"
        text = file.read_text().replace("Bệnh viện mẫu", "Bệnh viện khác").replace("24001", "24002")
        file.write_text(text)
        assert (await run("status", "--project", str(tmp_path)))[0] == 0
        file.write_text(text.replace("journal.db", "other.db"))
        assert (await run("status", "--project", str(tmp_path)))[0] == 1


@pytest.mark.parametrize(("columns", "lines"), [("100", 3), ("200", 1)])
async def test_ids_are_whole_on_any_terminal(
    site: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch, columns: str, lines: int
) -> None:
    """An id is there to be copied: what has no room beside it stands below it."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(output, "_WIDE", int(columns))
    _, text, _ = await run("messages", "list", "--project", site[0], "--state", "delivery-parked")
    shown = [line.strip() for line in text.splitlines() if line.strip()][2:]
    assert len(shown) == lines
    assert shown[0].startswith(site[1]["sent"])
    assert "hub: parked fhir-422" in shown[-1]


async def test_a_channel_is_stopped_and_started(tmp_path: Path) -> None:
    """Through the API of the running engine; a channel that is not there is said."""
    async with engine(tmp_path) as (url, _):
        assert (await run("channels", "stop", "lab", "--url", url))[:2] == (0, "lab: stopped\n")
        assert (await run("channels", "start", "lab", "--project", str(tmp_path)))[:2] == (0, "lab: running\n")
        hub = ("--destination", "hub", "--url", url)
        assert (await run("channels", "stop", "lab", *hub))[:2] == (0, "lab → hub: stopped\n")
        assert (await shown("status", url))["channels"][0]["destinations"][0]["health"]["problem"] == "stopped"
        assert (await run("channels", "start", "lab", *hub))[:2] == (0, "lab → hub: running\n")
        code, _, stderr = await run("channels", "stop", "none", "--url", url)
        assert (code, "There is no channel none." in stderr) == (1, True)


async def test_an_engine_that_is_not_ready_ends_status_with_1() -> None:
    """The reasons are on stderr."""
    watch = Watch(observed := FakeEngine())
    observed.journal.problem = "No room."
    server = HttpServer(application(watch, "127.0.0.1"), "127.0.0.1", 0)
    await server.start()
    code, _, stderr = await run("status", f"http://{server.address}")
    assert (code, "journal: No room." in stderr) == (1, True)
    await server.stop()
    watch.close()


async def test_status_warns_of_what_waits_for_a_stopped_channel() -> None:
    """An operator's wish is no reason not to be ready, but who asks is told what waits behind it."""
    waiting = ('the channel that receives lab as "hub" is stopped',)
    watch = Watch(observed := FakeEngine())
    observed.exchange.health = lambda: ExchangeHealth("rabbitmq", "amqps://broker:5671", waiting=waiting)
    server = HttpServer(application(watch, "127.0.0.1"), "127.0.0.1", 0)
    await server.start()
    code, _, stderr = await run("status", f"http://{server.address}")
    assert (code, f"exchange: {waiting[0]}" in stderr) == (0, True)
    await server.stop()
    watch.close()


async def test_status_warns_of_what_a_person_should_see_to() -> None:
    """A source and a destination that work, and will not after the next start: it is no reason not to be ready."""
    watch = Watch(observed := FakeEngine())
    channel = observed.channels[0]
    channel.source_health = ConnectorHealth("0.0.0.0:2575", warning="the key is another's")
    channel.destination_healths = {"hub": ConnectorHealth("hub", warning="no certificate in PEM")}
    server = HttpServer(application(watch, "127.0.0.1"), "127.0.0.1", 0)
    await server.start()
    code, _, stderr = await run("status", f"http://{server.address}")
    metrics = watch.metrics.exposition(await watch.status()).decode()
    await server.stop()
    watch.close()
    assert code == 0
    assert "lab: the key is another's" in stderr
    assert "lab → hub: no certificate in PEM" in stderr
    assert 'interop_engine_warning{channel="lab",destination=""} 1.0' in metrics
    assert 'interop_engine_destination_up{channel="lab",destination="hub"} 1.0' in metrics


def test_a_span_is_written_as_people_say_it() -> None:
    """Seconds, minutes, hours, days."""
    from interop_engine.cli.output import span

    spans = [timedelta(seconds=3.21), timedelta(minutes=4), timedelta(hours=2, minutes=5), timedelta(days=3, hours=4)]
    assert [span(each.total_seconds()) for each in spans] == ["3.2 s", "4 min", "2 h 5 min", "3 d 4 h"]
