"""The program: its verbs, and what happens to errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from interop_engine import __version__
from interop_engine.cli import (
    demo,
    diff,
    exchange,
    explain,
    init,
    journal,
    losses,
    messages,
    output,
    schema,
    send,
    site,
    status,
    transform,
)
from interop_engine.cli import run as run_
from interop_engine.cli.verbs import Family, Verbs


class _Program(Family):
    """Says the engine's own errors, and those of files, in one line."""

    def invoke(self, ctx: Any) -> Any:
        from interop_engine.core.errors import ConfigError, InteropError

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except ConfigError as error:
            output.show_mistakes(error.mistakes, Path())
            output.fail(output.count(len(error.mistakes), "mistake"))
        except (InteropError, OSError) as error:
            output.fail(output.described(error))


app = Verbs(
    cls=_Program,
    name="interop-engine",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        output.write(f"interop-engine {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """An HL7 v2 / FHIR integration engine."""


for module in (init, site, transform, explain, diff, run_, send, status, messages, journal, losses, exchange, schema, demo):
    module.register(app)


def run() -> None:
    """Run the program; a reader that went away ends it in silence, Ctrl-C with 130, a fault of ours with one line and 1."""
    try:
        app()
    except BrokenPipeError:
        # stdout is flushed again at exit: what is left in it must not raise there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        from interop_engine.core.libraries import place_of

        # Its words and its traceback may hold content of a message.
        what = f"this is a fault of interop-engine: {type(error).__name__} at {place_of(error)}"
        output.remark("error", what, "please report it; `python -X dev -m interop_engine …` shows all of it")
        sys.exit(1)
