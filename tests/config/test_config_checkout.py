"""The commit of a site's folder, read without git."""

from __future__ import annotations

import shutil
import subprocess
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


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A site in a folder of a repository that git itself made, committed."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    site = tmp_path / "deploy" / "site"
    (site / "channels").mkdir(parents=True)
    for name in ("engine.yaml", "channels/lab.yaml", "channels/lab-results.yaml"):
        (site / name).write_text(f"name: {name}\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "A site")
    return site


def git(folder: Path, *arguments: str) -> str:
    """What git says."""
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "core.autocrlf=false")
    return subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()


FILES = ("engine.yaml", "channels/lab.yaml", "channels/lab-results.yaml")


@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_files_that_are_not_those_of_the_commit_are_said_to_be_edited(repository: Path, version: str) -> None:
    """Edited, committed, edited back: the commit alone stands for the files only while they are its own."""
    git(repository, "update-index", "--index-version", version)
    first = git(repository, "rev-parse", "HEAD")
    assert commit_of(repository, FILES) == first
    edited = repository / "channels" / "lab-results.yaml"
    edited.write_text("name: another\n")
    assert commit_of(repository, FILES) == f"{first}+edited"
    git(repository, "commit", "-qam", "Another name")
    second = git(repository, "rev-parse", "HEAD")
    assert commit_of(repository, FILES) == second != first


def test_a_file_that_is_new_or_gone_is_an_edit(repository: Path) -> None:
    """The commit does not have the one, and has the other."""
    first = git(repository, "rev-parse", "HEAD")
    (repository / "channels" / "new.yaml").write_text("name: new\n")
    assert commit_of(repository, FILES) == first  # it is not in use
    assert commit_of(repository, (*FILES, "channels/new.yaml")) == f"{first}+edited"
    (repository / "channels" / "lab.yaml").unlink()
    assert commit_of(repository, ("engine.yaml", "channels/lab-results.yaml")) == f"{first}+edited"
