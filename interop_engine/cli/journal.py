"""``journal``: back it up, bring a copy back, check it, remove what is old, change its keys."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interop_engine.cli import output
from interop_engine.cli.options import Channel, Project
from interop_engine.cli.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interop_engine.journal.checking import Progress
    from interop_engine.journal.keys import Keys

_DUMP = "the journal stands in PostgreSQL: back it up with pg_dump, or with the server's own archive of its log"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = Verbs(help="Back up, restore, check, prune and encrypt a node's journal.")
    for verb in (backup, restore, check, prune, rekey):
        group.command(verb.__name__)(verb)
    app.add_typer(group, name="journal")


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy to make; it must not be there yet.")],
    *,
    project: Project = Path(),
) -> None:
    """Copy the journal while the engine runs: all of one moment, in one file, with everything that is due or parked."""
    from interop_engine.journal.sqlite import copies

    place = _file(project)
    if not place.exists():
        output.fail(f"there is no journal at {place} yet")
    with _bar("copying") as progress:
        copies.back_up(place, file, progress)
    output.write(f"{file}: {file.stat().st_size:,} bytes")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy that `journal backup` made.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Also where the journal holds messages; it is put aside.")] = False,
    project: Project = Path(),
) -> None:
    """Put a copy in the journal's place, while no engine runs.

    What was delivered after the copy was made is due in it, and is sent again: the same bytes under the same ids. What was
    received after it, it does not hold: ask the senders for the messages since then.
    """
    from interop_engine.journal.sqlite import copies

    if not file.is_file():
        output.fail(f"{file} is not there")
    place = _file(project)
    before = copies.restore(file, place, force=force, seals=_seals(project))
    output.write(f"{place} is restored" + (f"; the journal before it is {before}" if before else ""))
    output.remark("information", "what was received after it was made is not in it", "ask the senders for what they sent since")


def check(*, project: Project = Path()) -> None:
    """Read all of the journal, beside the engine: its structure, and whether every content is as it was written. 1 if not."""
    found = asyncio.run(_faults(project))
    for each in found:
        output.write(output.plain(each))
    if found:
        output.fail(output.count(len(found), "fault"))
    output.write("all of it is as it was written")


async def _faults(project: Path) -> list[str]:
    from interop_engine.cli import access
    from interop_engine.journal import checking
    from interop_engine.journal.sqlite import copies

    place = access.find(project)
    found = await asyncio.to_thread(copies.structure, place.journal) if isinstance(place.journal, Path) else []
    if found:
        return found  # what such a file holds cannot be told
    async with access.opened(place, readonly=True) as journal:
        with _bar("reading") as progress:
            return [each async for each in checking.faults(journal, progress)]


def prune(
    *,
    days: Annotated[int, typer.Option(min=1, help="Remove what is done and older than so many days.")],
    channel: Channel = None,
    project: Project = Path(),
) -> None:
    """Remove old messages now, while no engine runs: one that does follows `keep:` by itself. What is due or parked stays."""
    from interop_engine.cli import access

    async def remove() -> int:
        async with access.opened(access.find(project), readonly=False) as journal:
            total = 0
            while removed := await journal.prune(before=datetime.now(UTC) - timedelta(days=days), channel=channel, most=1_000):
                total += removed
            while await journal.shrink():
                pass
            return total

    output.write(f"{output.count(asyncio.run(remove()), 'message')} removed")


def rekey(
    *,
    keys: Annotated[Path, typer.Option("--keys", metavar="FILE", help="The keys it is to have: a file as `encrypt:` names it.")],
    project: Project = Path(),
) -> None:
    """Encrypt the journal, or change all keys of an encrypted one, while no engine runs.

    What it holds is written anew into a second file, or in PostgreSQL a second schema, which is read once through and then takes
    its place. The keys it has now, if any, are those that engine.yaml names. The journal before it stays, for you to destroy.
    """
    from interop_engine.cli import access
    from interop_engine.core.errors import JournalBroken
    from interop_engine.journal.keys import read_keys

    found = access.find(project)
    place = found.journal
    named = found.options.journal.keys(found.directory)
    new = read_keys(keys)
    with _bar("writing anew") as progress:
        try:
            before = asyncio.run(_written_anew(place, None if named is None else read_keys(named), new, progress))
        except JournalBroken as error:
            output.fail(
                str(error), "the journal was not changed; `journal check` names what is damaged: restore it from a backup"
            )
    what = str(place) if isinstance(place, Path) else "the journal"
    output.write(f"{what} is encrypted with the keys of {keys}; the journal before it is {before}")
    if named is None or named.resolve() != keys.resolve():
        output.remark("information", f"engine.yaml must name {keys} now", "journal: {encrypt: {keys: FILE}}")
    shows = "holds everything in plain" if named is None else "opens with the keys before"
    destroy = "shred -u FILE" if isinstance(place, Path) else f'DROP SCHEMA "{before}" CASCADE'
    output.remark("information", f"{before} {shows}", f"destroy it when the engine has run, and backups like it: {destroy}")


async def _written_anew(place: Path | str, old: Keys | None, new: Keys, progress: Progress) -> str:
    """By the adapter the journal has; returns where the one before it is."""
    if isinstance(place, Path):
        from interop_engine.journal.sqlite.rekeying import rekey as file_anew

        return str(await file_anew(place, old, new, progress))
    try:
        from interop_engine.journal.postgres.rekeying import rekey as schema_anew
    except ImportError as error:
        output.fail(f"a PostgreSQL journal needs interop-engine[postgres]: {error}")
    return await schema_anew(place, old, new, progress)


def _file(project: Path) -> Path:
    from interop_engine.cli import access

    place = access.find(project).journal
    if not isinstance(place, Path):
        output.fail(_DUMP)
    return place


def _seals(project: Path) -> Sequence[str]:
    """What the keys of the site's journal are known by, where it is encrypted."""
    from interop_engine.cli import access

    found = access.find(project)
    if (keys := found.options.journal.keys(found.directory)) is None:
        return ()
    from interop_engine.journal.keys import read_keys

    return read_keys(keys).seals()


@contextmanager
def _bar(what: str) -> Iterator[Progress]:
    """Told how far a long work is; shown on a terminal."""
    screen = output.console(err=True)
    if not screen.is_terminal:
        yield lambda _done, _of: None
        return
    from rich.progress import Progress as Bar

    with Bar(console=screen, transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, of: bar.update(task, completed=done, total=of)
