"""``check`` and ``test``: a site's folder, trusted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interop_engine.cli import output
from interop_engine.cli.options import Directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interop_engine.cli.junit import Timed
    from interop_engine.config.site import Site
    from interop_engine.core.diagnostics import Mistake
    from interop_engine.engine.cases import Case, CaseResult


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(check)
    app.command("test")(run_cases)


def load(directory: Path, *, compiled: bool = True) -> Site:
    """The site in a folder (``compiled``: see ``loader.load``); where it cannot be used its mistakes, and an end with 1."""
    from interop_engine.config import loader
    from interop_engine.core.errors import ConfigError

    try:
        return loader.load(directory, compiled=compiled)
    except ConfigError as error:
        output.show_mistakes(error.mistakes, directory)
        output.fail(f"the site cannot be used: {output.count(len(error.mistakes), 'mistake')}")


def check(
    directory: Directory = Path(),
    *,
    json: Annotated[bool, typer.Option("--json", help="Show the mistakes as JSON on stdout.")] = False,
) -> None:
    """Find every mistake in every file of a site at once; ends with 1 if there is an error. Warnings alone end with 0."""
    mistakes = mistakes_of(directory)
    errors = sum(mistake.severity == "error" for mistake in mistakes)
    if json:
        output.write_json(mistakes)
    else:
        output.show_mistakes(mistakes, directory)
        files = sum(1 for folder in ("channels", "mappings") for _ in (directory / folder).rglob("*.yaml")) + 1
        output.write(
            f"{output.count(files, 'file')}: {output.count(errors, 'error')}, {output.count(len(mistakes) - errors, 'warning')}"
        )
    if errors:
        raise typer.Exit(1)


def mistakes_of(directory: Path) -> list[Mistake]:
    """Every mistake of a site in the order of files and lines: of its configuration, its mappings and their test cases."""
    from interop_engine.config import loader
    from interop_engine.engine import cases

    site, mistakes = loader.examine(directory)
    return mistakes if site is None else loader.in_order({*mistakes, *cases.load(site).mistakes})


def run_cases(
    directory: Directory = Path(),
    *,
    update: Annotated[bool, typer.Option("--update", help="Write the golden files anew.")] = False,
    mapping: Annotated[str | None, typer.Option(metavar="NAME", help="Only the cases of this mapping.")] = None,
    file: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the results as JUnit XML too, for a CI system.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Show the results as JSON.")] = False,
) -> None:
    """Run the test cases that stand beside the mappings; ends with 1 if one fails, or if there is none.

    The examples of the site's own functions (the entry points interop_engine.functions) run too.
    """
    from interop_engine.cli import junit
    from interop_engine.engine import cases, function_cases

    site = load(directory)
    if mapping is not None:
        _known_mapping(site, mapping)
    found = cases.load(site)
    output.show_mistakes(found.mistakes, directory)
    chosen = [case for case in found.cases if mapping in (None, case.mapping)]
    timed = [_timed(case, site, update=update) for case in output.tracked(chosen, "testing")]
    timed += [(result, 0.0) for result in function_cases.run()] if mapping is None else []
    results = [result for result, _ in timed]
    if file is not None:
        junit.write(file, timed, found.mistakes)
    failed = [result for result in results if result.failures]
    if json:
        output.write_json(results)
    else:
        _show(results, directory)
    if not results:
        output.remark("error", "there is no test case", "a YAML file in mappings/ with cases_for: NAME holds them")
    if failed or found.mistakes or not results:
        raise typer.Exit(1)


def _known_mapping(site: Site, name: str) -> None:
    from interop_engine.core.diagnostics import near_or_known

    known = {*site.library.programs, *site.library.outbound}
    if name not in known:
        output.fail(f'there is no mapping "{name}"', near_or_known(name, known))


def _timed(case: Case, site: Site, *, update: bool) -> Timed:
    from interop_engine.engine import cases

    begin = time.perf_counter()
    result = cases.run(case, site, update=update)
    return result, time.perf_counter() - begin


def _show(results: Sequence[CaseResult], directory: Path) -> None:
    for result in results:
        name = f"{result.mapping}: {result.name}"
        if result.failures:
            place = f"{output.seen_from_here(result.mark.file, directory)}:{result.mark.line}"
            output.write_coloured("FAILED", "bold red", f"{place}: {name}")
            for failure in result.failures:
                output.write("".join(f"    {output.plain(line)}\n" for line in failure.splitlines()))
        else:
            output.write_coloured("ok", "green", f"{name}{' (golden file written)' if result.updated else ''}")
    failures = sum(bool(result.failures) for result in results)
    output.write(f"{len(results) - failures} passed, {failures} failed")
