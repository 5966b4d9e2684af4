"""``check`` on the keys of an encrypted journal."""

from __future__ import annotations

from pathlib import Path

from interop_engine.config import loader
from tests.config.test_config_check import ENGINE, site, told
from tests.support.journals import key_file

_ENCRYPTED = ENGINE + "journal: {encrypt: {keys: journal.keys}}\n"
_HELP = "\n    help: a line a key: an id, a blank, and what `openssl rand -base64 32` says; chmod 600"


def test_keys_that_can_be_used(tmp_path: Path) -> None:
    """Nothing to say; a relative path is from the site's folder."""
    key_file(tmp_path / "journal.keys")
    root = site(tmp_path, engine=_ENCRYPTED)
    assert told(root) == ""
    assert loader.load(root, {}).options.journal.keys(root) == tmp_path / "journal.keys"


def test_keys_that_cannot_be_used(tmp_path: Path) -> None:
    """Not there, for others to read, and no key in it: found before the engine starts, at the place that names the file."""
    root = site(tmp_path, engine=_ENCRYPTED)
    file = tmp_path / "journal.keys"
    assert told(root) == f"engine.yaml:4:27: C137 The journal's keys cannot be read: {file}: No such file or directory{_HELP}"
    key_file(file).chmod(0o644)
    assert told(root) == f"engine.yaml:4:27: C137 The journal's keys may be read by others: chmod 600 {file}{_HELP}"
    file.write_text("2026\n", encoding="ascii")
    file.chmod(0o600)
    assert told(root) == f"engine.yaml:4:27: C137 {file}:1: a key is an id of its own, a blank and 32 bytes in Base64{_HELP}"
