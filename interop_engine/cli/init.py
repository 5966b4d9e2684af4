"""``init``: a new site, or what a new sender needs in one that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interop_engine.cli import output

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from interop_engine.cli.drafting import Drafted
    from interop_engine.cli.sender import Sender


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(init)


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet, or is empty.")],
    *,
    facility: Annotated[str, typer.Option(help="This node's name on the exchange: the facility's code.")] = "24001",
    samples: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="FILE", help="Draft from a sender's messages: a file, or a folder of files. Repeatable."),
    ] = None,
    name: Annotated[str, typer.Option(help="With --from: the sender's name; without it, MSH-3.", show_default=False)] = "",
    with_cases: Annotated[
        bool,
        typer.Option(
            "--with-cases", help="With --from: keep the messages as test cases. They hold patient data: not for a repository."
        ),
    ] = False,
) -> None:
    """Make a new site: engine.yaml, a channel, mappings with their test cases, all commented and ready to run.

    With --from, the channel and its mappings are drafted from messages of a sender: what the built-in mapping for them does not
    read stands as a commented proposal, with a dialect for Z-segments, and the codes that nothing maps yet. In a folder that
    is a site already, only the sender's files are added. No content of the messages is written but such codes, unless
    --with-cases asks for it. Nothing that is there is changed.
    """
    if samples:
        _from_samples(directory, _files(samples), facility, name, with_cases=with_cases)
        return
    from interop_engine.cli.template import write

    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        output.fail(
            f"{directory} is not empty", "init makes a new site and changes nothing that is there; --from adds a sender to one"
        )
    written = list(write(directory, facility))
    _end(directory, written)


def _files(samples: Sequence[Path]) -> list[str]:
    """The files named, and those of the folders named."""
    found = []
    for path in samples:
        if not path.is_dir():
            found.append(str(path))
            continue
        inside = sorted(str(each) for each in path.rglob("*") if each.is_file())
        if not inside:
            output.fail(f"{path} holds no files")
        found += inside
    return found


def _from_samples(directory: Path, files: Sequence[str], facility: str, name: str, *, with_cases: bool) -> None:
    from interop_engine.cli import drafting, sender, template
    from interop_engine.cli.site import load
    from interop_engine.demo.sample import sample_site

    there = (directory / "engine.yaml").is_file()
    if not there and directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        output.fail(f"{directory} is neither a site nor empty", "name a site's folder, or one that does not exist yet")
    builtin = load(sample_site(), compiled=False)
    found = sender.read(files, name, builtin)
    bases = template.builtin_files(builtin, [kind.program.name for kind in found.kinds if kind.program])
    needed = {path: content.decode() for path, content in bases.items() if "/cases/" not in path}
    drafted = drafting.draft(found, builtin, directory, needed)
    texts = {path: text.encode() for path, text in drafted.texts.items()}
    if taken := [path for path in texts if (directory / path).exists()]:
        output.fail(f"{directory / taken[0]} is there already", f"choose another name: --name {found.name}-2")
    texts |= drafting.cases(found, drafted) if with_cases else {}
    new = {} if there else template.site_files(facility)
    _end(directory, list(template.write_files(directory, new | bases | texts)))
    _say(found, drafted, with_cases=with_cases)


def _end(directory: Path, written: Sequence[Path]) -> None:
    for path in written:
        output.write(f"wrote {path}")
    _golden_files(directory, set(written))
    where = "" if directory == Path() else f" {directory}"
    output.write(f"\nNext: interop-engine check{where}; interop-engine test{where}; interop-engine run{where}")


def _golden_files(directory: Path, written: Collection[Path]) -> None:
    """Write the golden files of new cases anew: the sample's hold the ids and systems of the sample's facility."""
    from interop_engine.cli.site import load
    from interop_engine.engine import cases

    site = load(directory)
    for case in cases.load(site).cases:
        if case.folder / case.input in written:
            cases.run(case, site, update=True)


def _say(found: Sender, drafted: Drafted, *, with_cases: bool) -> None:
    """What an engineer must know of the draft before the first message."""
    output.write("")
    for remark in drafted.remarks:
        output.write(output.plain(remark))
    if not with_cases:
        output.write("The messages are not kept: they hold patient data. --with-cases would keep them as test cases.")
    else:
        output.write(
            "mappings/cases/samples holds patient data now: keep it out of repositories, or make the messages anonymous."
        )
    output.write(f"To see what becomes of a message: interop-engine explain --channel {found.name} FILE")
