"""What another node sent, before it is committed."""

from __future__ import annotations

import pytest

from interop_engine.core.model import Arrival
from interop_engine.engine.lanes import MOST_LANES
from interop_engine.engine.parcels import bundle_row
from interop_engine.journal.base import MessageState
from tests.engine.test_engine_reception import AT, channel


@pytest.mark.parametrize(("lanes", "taken"), [(MOST_LANES, True), (MOST_LANES + 1, False)])
def test_a_bundle_of_more_patients_than_keep_their_order_is_refused(lanes: int, *, taken: bool) -> None:
    """Whatever its sender allows: it is kept as rejected, and its sender is told so."""
    headers = {"sender": "24001", "delivery-id": "d1", "lane": "\n".join(f"BN{n}" for n in range(lanes))}
    row = bundle_row(Arrival(b"{}", "fhir", AT, "24001", headers=headers), channel())
    expected = (MessageState.RECEIVED, "", lanes) if taken else (MessageState.REJECTED, "100", 0)
    assert (row.state, row.code, len(row.lanes)) == expected
    assert bool(row.why) != taken
