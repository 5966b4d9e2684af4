"""The values that cross the borders: ids in order of time, digests, survivors."""

from __future__ import annotations

import dataclasses
import uuid

import pytest

from interop_engine.core import model
from interop_engine.core.model import Known, digest, new_id


def test_an_id_is_a_uuid_of_version_seven() -> None:
    """RFC 9562: 48 bits of time, the version, the variant, the rest random."""
    ids = [uuid.UUID(new_id()) for _ in range(100)]
    assert {(each.version, each.variant) for each in ids} == {(7, uuid.RFC_4122)}
    assert len({each.int & (1 << 62) - 1 for each in ids}) == 100


def test_ids_sort_by_the_time_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later millisecond sorts later, as text too; the time can be read back."""
    moments = [0, 1_000_000, 1_709_602_200_123_000_000, 1_709_602_200_124_000_000]
    monkeypatch.setattr(model._Ids, "last", 0)
    ids = []
    for moment in moments:
        monkeypatch.setattr(model.time, "time_ns", lambda moment=moment: moment)
        ids.append(new_id())
    assert ids == sorted(ids)
    assert [uuid.UUID(each).int >> 80 for each in ids] == [moment // 1_000_000 for moment in moments]


def test_ids_of_one_moment_sort_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are named by them are read in the order they were written in; so too while a clock is put back."""
    now = 1_709_602_200_124_000_000
    monkeypatch.setattr(model._Ids, "last", 0)
    monkeypatch.setattr(model.time, "time_ns", lambda: now)
    ids = [new_id() for _ in range(10_000)]
    monkeypatch.setattr(model.time, "time_ns", lambda: now - 3_600_000_000_000)
    ids += [new_id() for _ in range(100)]
    assert ids == sorted(set(ids))
    assert {(each.version, each.variant) for each in map(uuid.UUID, ids)} == {(7, uuid.RFC_4122)}


def test_a_digest_is_sha256() -> None:
    """In hexadecimal (FIPS 180-4's example)."""
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("merged", "survivor"),
    [
        ({}, "Patient/1"),
        ({"Patient/1": "Patient/2"}, "Patient/2"),
        ({"Patient/1": "Patient/2", "Patient/2": "Patient/3", "Patient/9": "Patient/1"}, "Patient/3"),
        ({"Patient/1": "Patient/1"}, "Patient/1"),
    ],
)
def test_the_survivor_is_at_the_end_of_the_chain(merged: dict[str, str], survivor: str) -> None:
    """Every merge is followed."""
    assert Known(merged=merged).survivor("Patient/1") == survivor


def test_merges_in_a_circle_have_an_end() -> None:
    """The last before the circle closes; never an endless loop."""
    circle = {"Patient/1": "Patient/2", "Patient/2": "Patient/3", "Patient/3": "Patient/1"}
    assert Known(merged=circle).survivor("Patient/1") == "Patient/3"


def test_what_crosses_a_border_cannot_be_changed() -> None:
    """Every dataclass of the model is frozen and has slots."""
    classes = [each for each in vars(model).values() if isinstance(each, type) and dataclasses.is_dataclass(each)]
    assert len(classes) >= 12
    for each in classes:
        assert each.__dataclass_params__.frozen, each
        assert "__slots__" in vars(each), each
