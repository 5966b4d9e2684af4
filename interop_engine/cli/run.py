"""``run``: the engine, until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interop_engine.cli import output
from interop_engine.cli.logs import Level, events_only
from interop_engine.cli.options import Directory
from interop_engine.core.garbage import collect_seldom

if TYPE_CHECKING:
    from interop_engine.config.site import Site
    from interop_engine.engine.runtime import Runtime


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(run)


def run(
    directory: Directory = Path(),
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Take a changed site at once, if check finds no error.")] = False,
    log_level: Annotated[Level, typer.Option(help="The least that is logged, on stderr.")] = Level.INFO,
) -> None:
    """Run the site's channels until SIGTERM or Ctrl-C; refuses a site that check refuses.

    Ends with 0 when it was told to stop, and with 1 when it cannot start or its journal has failed.
    """
    import uvloop

    keeper = _Keeper(directory, watch=watch)
    output.show_mistakes(keeper.site.warnings, directory)
    with events_only(log_level):
        stopped = uvloop.run(keeper.keep())
    if not stopped:
        raise typer.Exit(1)


class _Keeper:
    """Keeps one node running, and with ``watch`` lets it take the site whenever its files change."""

    def __init__(self, directory: Path, *, watch: bool) -> None:
        from interop_engine.cli.site import load

        self._directory = directory
        self._watch = watch
        self._seen = self._files()  # before they are read: a change in between is seen as one
        self.site: Site = load(directory)

    async def keep(self) -> bool:
        """True when it was told to stop, False when it could not start or the journal failed."""
        import asyncio
        import signal

        from interop_engine.core.errors import InteropError
        from interop_engine.core.events import ApiListens, EngineNotStarted, emit
        from interop_engine.ops.node import Node

        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        node = Node(self.site)
        try:
            await node.start()
        except (InteropError, OSError) as error:  # told as an event, like all that an operator reads of it
            emit(EngineNotStarted(self.site.options.site, output.described(error)))
            return False
        collect_seldom()
        emit(ApiListens(self.site.options.site, f"http://{node.address}"))
        waits = [asyncio.create_task(told.wait()), asyncio.create_task(node.runtime.failed.wait())]
        watching = [asyncio.create_task(self._follow(node.runtime))] if self._watch else []
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return not node.runtime.failed.is_set()
        finally:
            for each in (*waits, *watching):
                each.cancel()
            await node.stop()

    async def _follow(self, runtime: Runtime) -> None:
        """Take the site each time its files changed; mistakes are shown, and the old site runs on."""
        import asyncio

        from interop_engine.core.errors import ConfigError

        while True:
            await asyncio.sleep(1)
            if (now := self._files()) == self._seen:
                continue
            self._seen = now
            try:
                problem = (await asyncio.shield(runtime.reload())).problem
            except OSError as error:  # a file that went away between two looks: the next look finds what is there
                problem = f"{error.filename}: {error.strerror}"
            except ConfigError as error:
                output.show_mistakes(error.mistakes, self._directory)
                problem = "the site has mistakes"
            if problem:
                output.remark("warning", f"{problem}; the one from before runs on")
            else:
                output.remark("information", "the changed site is running")

    def _files(self) -> dict[Path, tuple[int, int]]:
        folders = (self._directory / "channels", self._directory / "mappings")
        files = [*self._directory.glob("*.yaml"), *(path for folder in folders for path in folder.rglob("*"))]
        found = {}
        for path in files:
            try:
                status = path.stat()
            except OSError:  # removed meanwhile
                continue
            found[path] = (status.st_mtime_ns, status.st_size)
        return found
