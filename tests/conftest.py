"""What holds for every test: which run side by side, and that continuous integration skips nothing."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings

from interop_engine.core import events
from interop_engine.core.crowds import Crowds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.terminal import TerminalReporter

HERE = Path(__file__).parent

# A machine under load is slow, not wrong: time limits are the tests' own.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

# Modules that hold fixtures for several rooms; those without fixtures are simply imported.
pytest_plugins = ["tests.support.broker", "tests.support.postgres", "tests.support.scripted_fhir"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much of the suite of faults: ``./dev soak`` asks for more of it."""
    group = parser.getgroup("faults")
    group.addoption("--scale", type=int, default=1, help="so many times as many messages a fault")
    group.addoption("--first-seed", type=int, default=0, help="the first seed: others break things at other moments")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests together, and all that share the one broker, so that its start is paid once."""
    for item in items:
        if item.config.getoption("scale") > 1:  # ten times the messages take ten times as long: a soak ends by its own clock
            item.add_marker(pytest.mark.timeout(0), append=False)
    if find_spec("xdist") is None:
        return
    for item in items:
        shared = "rabbitmq" if item.get_closest_marker("rabbitmq") else str(item.path.relative_to(HERE))
        item.add_marker(pytest.mark.xdist_group(shared))


@pytest.fixture(autouse=True)
def _crowds_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What peers did over and over in one test is not told in another, a minute later."""
    monkeypatch.setattr(events, "_crowds", Crowds())


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> int:
    """How many times as many messages a fault as in every change's run."""
    return int(request.config.getoption("scale"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``seed`` of a test marked ``seeds(N)``: N of them, others with ``--first-seed``."""
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is not None and "seed" in metafunc.fixturenames:
        first = int(metafunc.config.getoption("first_seed"))
        metafunc.parametrize("seed", range(first, first + marker.args[0]))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A verb that runs in a test sets up logging for its process, which is the tests' own."""
    yield
    structlog.reset_defaults()


def _skipped(session: pytest.Session) -> list[object]:
    reporter: TerminalReporter | None = session.config.pluginmanager.get_plugin("terminalreporter")
    return reporter.stats.get("skipped", []) if reporter and os.environ.get("CI") == "true" else []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """A skip in continuous integration is red: there everything a test needs is installed."""
    if _skipped(session) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say why a run without a failed test is red."""
    if os.environ.get("CI") == "true" and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("A skipped test is a failure in continuous integration.", red=True)
