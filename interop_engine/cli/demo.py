"""``demo``: the sample site, a day in the life."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(demo)


def demo(
    *,
    broker: Annotated[str | None, typer.Option(metavar="URL", help="Use this RabbitMQ instead of the embedded exchange.")] = None,
    stay: Annotated[bool, typer.Option("--stay", help="Leave everything running to look at, until Ctrl-C.")] = False,
) -> None:
    """Run the sample site with simulated hospital systems through a day in the life; ends with 1 if its end state is wrong."""
    from interop_engine.demo.story import run

    if run(broker, stay):
        raise typer.Exit(1)
