"""The commit of a site's folder, read without git."""

from __future__ import annotations

from pathlib import Path

import pytest

from interop_engine.config.checkout import commit_of

COMMIT = "1a2b3c4d" * 5


@pytest.mark.parametrize("kept", ["loose", "packed", "detached", "worktree"])
def test_the_commit_is_found_wherever_git_keeps_it(tmp_path: Path, kept: str) -> None:
    """In a branch's own file, among the packed ones, in HEAD itself, or in the repository that a worktree belongs to."""
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text(f"{COMMIT}\n" if kept == "detached" else "ref: refs/heads/main\n")
    if kept == "packed":
        (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{COMMIT} refs/heads/main\n")
    else:
        (git / "refs" / "heads" / "main").write_text(f"{COMMIT}\n")
    site = tmp_path / "site"
    site.mkdir()
    if kept == "worktree":
        own = git / "worktrees" / "site"
        own.mkdir(parents=True)
        (own / "HEAD").write_text("ref: refs/heads/main\n")
        (own / "commondir").write_text("../..\n")
        (site / ".git").write_text(f"gitdir: {own}\n")
    assert commit_of(site) == COMMIT


def test_a_folder_outside_any_repository_has_none(tmp_path: Path) -> None:
    """Nor one whose repository has no commit yet."""
    assert commit_of(tmp_path) == ""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit_of(tmp_path) == ""
