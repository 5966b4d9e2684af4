"""Ids follow from keys, and only from keys."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from interop_engine.fhir.identity import NAMESPACE, provenance_id, resource_id

parts = st.lists(st.text(max_size=8), max_size=4)


def test_ids_never_change() -> None:
    """These values are in other people's databases: a change of the algorithm is a new identity for everything."""
    assert resource_id("75001", "Patient", ["0001234"]) == "4d685531-0f69-5571-a4df-fdd936a524b2"
    assert provenance_id("75001", "aa", "bb") == "6d091b4a-842a-57a0-99f4-1dd7929c0299"


@given(st.text(), st.text(), parts)
def test_an_id_is_a_uuid_of_version_5(scope: str, type_: str, key: list[str]) -> None:
    """The id is what the standard library makes of the namespace and the joined name, and a valid FHIR id."""
    joined = "".join(f"{len(part)}:{part}" for part in (scope, type_, *key))
    assert resource_id(scope, type_, key) == str(uuid.uuid5(NAMESPACE, joined))


@given(st.tuples(st.text(max_size=4), st.text(max_size=4), parts), st.tuples(st.text(max_size=4), st.text(max_size=4), parts))
def test_different_keys_have_different_ids(one: tuple[str, str, list[str]], other: tuple[str, str, list[str]]) -> None:
    """No two keys join into one name, whatever characters they hold."""
    assert (resource_id(*one) == resource_id(*other)) == (one == other)


def test_parts_are_not_run_together() -> None:
    """("ab", "c") and ("a", "bc") are two things."""
    assert resource_id("s", "T", ["ab", "c"]) != resource_id("s", "T", ["a", "bc"])
    assert resource_id("s", "T", ["a"]) != resource_id("s", "T", ["a", ""])
