"""``exchange``: what the broker between nodes is to be told, and what of it to take back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from interop_engine.cli import output
from interop_engine.cli.verbs import Verbs

_PARTS = {"users", "permissions", "topic_permissions", "queues", "bindings"}


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = Verbs(help="Prepare the exchange between nodes.")
    group.command()(definitions)
    group.command()(changes)
    app.add_typer(group, name="exchange")


def definitions(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of agreements.yaml.")] = Path(),
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
        raise InteropError(f"{directory / agreements.NAME} is not there: name the folder that holds it.")
    if found.agreements is None:
        raise ConfigError(found.mistakes)
    known = {name: _password(passwords / name) for name in found.agreements.facilities} if passwords else {}
    output.write_json(made(found.agreements, vhost, known))


def changes(
    old: Annotated[Path, typer.Argument(metavar="OLD.json", help="The definitions that the broker has.")],
    new: Annotated[Path, typer.Argument(metavar="NEW.json", help="Those that are imported now.")],
) -> None:
    """Say what an import leaves behind: the commands that delete old queues, bindings, users and rights.

    An import removes nothing. The commands are printed, with what to see to first; nothing is run.
    """
    from interop_engine.exchange.rabbitmq.changes import changes as left

    for line in left(_read(old), _read(new)):
        output.write(line)


def _read(path: Path) -> dict[str, Any]:
    import msgspec

    from interop_engine.core.errors import InteropError

    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, list[dict[str, Any]]])
    except OSError as error:
        raise InteropError(f"{path} cannot be read: {error.strerror}.") from None
    except msgspec.MsgspecError:
        found = {}
    if not found.keys() >= _PARTS:
        raise InteropError(f"{path} holds no definitions as `exchange definitions` writes them.")
    return found


def _password(path: Path) -> str:
    return path.read_text(encoding="utf-8").rstrip("\r\n") if path.is_file() else ""
