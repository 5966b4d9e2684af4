"""What the suites of the journal's contract share: each test runs on every adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interop_engine.journal.base import Journal
from tests.support.journals import ADAPTERS, Store, new_store


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each adapter."""
    return new_store(request.param, request, tmp_path)


@pytest.fixture
async def journal(store: Store) -> AsyncIterator[Journal]:
    """An empty journal."""
    async with store.opened() as opened:
        yield opened
