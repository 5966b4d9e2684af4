"""``losses``: what messages said that went nowhere, from the journal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from interop_engine.cli import output
from interop_engine.cli.options import Channel, Json, Project


@dataclass(frozen=True, slots=True)
class Loss:
    """A field that no rule read, with its name in HL7 v2, or a code for which a table or concept map has no target."""

    channel: str
    kind: Literal["field", "code"]
    name: str
    count: int
    map: str = ""
    system: str = ""
    meaning: str = ""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(losses)


def losses(
    *,
    project: Project = Path(),
    channel: Channel = None,
    codes: Annotated[bool, typer.Option("--codes", help="Only codes without a target: the terminologist's worklist.")] = False,
    json: Json = False,
) -> None:
    """List what messages said that went nowhere: fields that no rule reads, and codes that no table or map knows.

    Counted by message since the journal began, the most frequent first. `explain` shows it for one message, by component.
    """
    found = [
        loss for loss in asyncio.run(_read(project)) if channel in (None, loss.channel) and (loss.kind == "code" or not codes)
    ]
    if json:
        output.write_json(found)
        return
    rows = [(each.channel, each.kind, each.name, each.meaning or f"{each.map} {each.system}", each.count) for each in found]
    output.table(("channel", "what", "name", "meaning, or map and system", "messages"), rows, right=("messages",))


async def _read(project: Path) -> list[Loss]:
    from interop_engine.cli import access

    async with access.opened(access.find(project), readonly=True) as journal:
        counted = await journal.unread()
    found = [_loss(channel, name, count) for (channel, name), count in counted.items()]
    return sorted(found, key=lambda each: (-each.count, each.channel, each.kind, each.name))


def _loss(channel: str, name: str, count: int) -> Loss:
    from interop_engine.mapping.survey import described
    from interop_engine.terminology.worklist import read_entry

    coded = read_entry(name)
    if coded is None:
        [field] = described([[name]])
        return Loss(channel, "field", name, count, meaning=field.name.replace("_", " "))
    map_name, system, code = coded
    return Loss(channel, "code", code, count, map_name, system)
