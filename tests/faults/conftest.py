"""How much of the suite of faults: once for every change, many times and with more messages for a release."""

from __future__ import annotations

import pytest


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> int:
    """How many times as many messages as in every change's run."""
    return int(request.config.getoption("scale"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``seed`` of a test marked ``seeds(N)``: N of them, and others with ``--first-seed``."""
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is not None and "seed" in metafunc.fixturenames:
        first = int(metafunc.config.getoption("first_seed"))
        metafunc.parametrize("seed", range(first, first + marker.args[0]))
