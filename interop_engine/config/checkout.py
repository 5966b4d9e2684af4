"""Which commit a site's folder was checked out from, read from ``.git`` itself: git need not be installed where a site runs."""

from __future__ import annotations

from pathlib import Path


def commit_of(folder: Path) -> str:
    """The commit checked out in a folder; empty where it is in no repository. What was edited since, it does not say."""
    try:
        return _commit(folder.resolve())
    except (OSError, UnicodeDecodeError):
        return ""


def _commit(folder: Path) -> str:
    top = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
    if top is None:
        return ""
    git = top / ".git"
    if git.is_file():  # a worktree or submodule: "gitdir: PLACE"
        git = (top / git.read_text().partition(":")[2].strip()).resolve()
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head
    common = git / "commondir"
    return _branch((git / common.read_text().strip()) if common.exists() else git, head.removeprefix("ref: "))


def _branch(git: Path, name: str) -> str:
    if (loose := git / name).is_file():
        return loose.read_text().strip()
    packed = git / "packed-refs"
    lines = packed.read_text().splitlines() if packed.exists() else []
    return next((line.partition(" ")[0] for line in lines if line.endswith(f" {name}")), "")
