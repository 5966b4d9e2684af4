"""The file of an encrypted journal's keys, and which keys a journal takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from interop_engine.core.errors import JournalError
from interop_engine.journal.base import Selection
from interop_engine.journal.keys import read_keys
from tests.support.journals import LAB, Store, key_file, lease, message, new_store

_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no key"),
        ("# only a comment\n", "has no key"),
        (f"2026 {_KEY}\n2027\n", "keys:2: a key is"),
        ("2026 c2hvcnQ=\n", "keys:1: a key is"),
        ("2026 not-base64!\n", "keys:1: a key is"),
        (f"a/b {_KEY}\n", "keys:1: a key is"),
        (f"2026 {_KEY} and more\n", "keys:1: a key is"),
        (f"2026 {_KEY}\n2026 {_KEY}\n", "keys:2: a key is"),
        (f"\u00fc {_KEY}\n", "no ASCII"),
    ],
)
def test_a_file_that_holds_no_keys(tmp_path: Path, text: str, told: str) -> None:
    """The line is named, never what stands in it."""
    file = tmp_path / "keys"
    file.touch(0o600)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(JournalError, match=told) as raised:
        read_keys(file)
    assert _KEY not in str(raised.value)


def test_a_file_that_others_may_read(tmp_path: Path) -> None:
    """A key that others may read is none; a file that is not there is told as that."""
    file = key_file(tmp_path / "keys")
    file.chmod(0o640)
    with pytest.raises(JournalError, match="chmod 600"):
        read_keys(file)
    with pytest.raises(JournalError, match="No such file"):
        read_keys(tmp_path / "gone")


def test_comments_and_blank_lines(tmp_path: Path) -> None:
    """The newest key stands last; each has a name and a fingerprint, from which no key can be made."""
    file = tmp_path / "keys"
    file.touch(0o600)
    file.write_text(f"# of this node\n\n2026 {_KEY}  # until the summer\n2027 {_KEY[::-1][1:]}=\n", encoding="ascii")
    keys = read_keys(file)
    assert list(keys.contents) == ["2026", "2027"]
    assert [seal.partition(" ")[0] for seal in keys.seals()] == ["(names)", "2026", "2027"]


# --- Which keys a journal takes ---------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each adapter, without keys."""
    return new_store(request.param, request, tmp_path)


async def test_a_journal_opens_with_its_keys_alone(store: Store, tmp_path: Path) -> None:
    """Without them, with others, with another first key: refused, for reading too, and what is lacking is named."""
    right = key_file(tmp_path / "right", "a", "b")
    async with store.opened(keys=right) as journal:
        await journal.accept(message())
    for keys, told in (
        (None, "is encrypted: engine.yaml must name its keys"),
        (key_file(tmp_path / "other", "c"), r"missing, or not as they were: \(names\), b\."),
        (key_file(tmp_path / "older", "a"), "missing, or not as they were: b\\."),
        (key_file(tmp_path / "turned", "b", "a"), r"missing, or not as they were: \(names\)\."),
    ):
        for readonly in (False, True):
            with pytest.raises(JournalError, match=told):
                async with store.opened(keys=keys, readonly=readonly):
                    pass
    async with store.opened(keys=right) as journal:
        assert (await lease(journal, LAB)).message is not None


async def test_a_journal_in_plain_is_not_taken_for_an_encrypted_one(store: Store, tmp_path: Path) -> None:
    """With messages in plain the keys would promise what is not so; an empty one takes them."""
    keys = key_file(tmp_path / "keys")
    async with store.opened():
        pass
    async with store.opened(keys=keys):
        pass
    with pytest.raises(JournalError, match="is encrypted"):
        async with store.opened():
            pass


async def test_messages_in_plain_are_not_left_among_encrypted_ones(store: Store, tmp_path: Path) -> None:
    """Refused, and it goes on in plain."""
    async with store.opened() as journal:
        await journal.accept(message())
    with pytest.raises(JournalError, match="holds messages in plain"):
        async with store.opened(keys=key_file(tmp_path / "keys")):
            pass
    async with store.opened() as journal:
        assert (await lease(journal, LAB)).message is not None


async def test_a_new_key_writes_and_the_old_one_reads(store: Store, tmp_path: Path) -> None:
    """A key is added at the end; what was written before is found by its names, is read, and keeps its place in its lane."""
    first = message(search=(("patient", "BN1"),), duplicate_key="k")
    async with store.opened(keys=key_file(tmp_path / "keys", "a")) as journal:
        await journal.accept(first)
    async with store.opened(keys=key_file(tmp_path / "keys", "a", "b")) as journal:
        second = message(search=(("patient", "BN1"),))
        await journal.accept(second)
        assert (await journal.content(first.id)).data == first.data
        assert (await journal.content(second.id)).data == second.data
        found = [row.id for row in await journal.search(Selection(search=(("patient", "BN1"),)))]
        assert found == [second.id, first.id]
        assert (await journal.accept(first)).duplicate
        leased = await lease(journal, LAB)
        assert leased.message is not None
        assert leased.message.id == first.id
