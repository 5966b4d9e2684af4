"""``exchange``: what the broker between nodes is to be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interop_engine.cli import output


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(help="Prepare the exchange between nodes.", no_args_is_help=True)
    group.callback()(lambda: None)  # one verb, and still a group
    group.command()(definitions)
    app.add_typer(group, name="exchange")


def definitions(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder of agreements.yaml.")] = Path(),
    *,
    passwords: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A file a facility, named as it is, with its user's password.")
    ] = None,
    vhost: Annotated[str, typer.Option(help="The virtual host.")] = "/",
) -> None:
    """Write RabbitMQ's definitions of agreements.yaml: queues, bindings, a user a facility and its rights.

    For `rabbitmqctl import_definitions`. Users without a password file get no password: they cannot log in until they have one,
    and lose the one they had.
    """
    import os

    from interop_engine.config import agreements
    from interop_engine.core.errors import ConfigError, InteropError
    from interop_engine.exchange.rabbitmq.definitions import definitions as made

    found = agreements.load(directory, os.environ)
    if found.file is None:
        raise InteropError(f"There is no {agreements.NAME} in {directory}.")
    if found.agreements is None:
        raise ConfigError(found.mistakes)
    known = {name: _password(passwords / name) for name in found.agreements.facilities} if passwords else {}
    output.write_json(made(found.agreements, vhost, known))


def _password(path: Path) -> str:
    return path.read_text(encoding="utf-8").rstrip("\r\n") if path.is_file() else ""
