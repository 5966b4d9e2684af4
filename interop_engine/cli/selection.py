"""Which messages a verb is about: the conditions that ``messages list``, ``replay``, ``retry`` and ``discard`` share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from interop_engine.cli.inputs import moment
from interop_engine.cli.options import Channel, Until
from interop_engine.ops.paging import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interop_engine.cli.access import Reader
    from interop_engine.cli.options import Node
    from interop_engine.journal.base import MessageRow, Selection

State = Annotated[
    list[str] | None,
    typer.Option(metavar="STATE", help="Only in this state: received, parked, … delivery-parked, delivery-waiting. Repeatable."),
]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which messages: those for which all hold that are given."""

    channel: Channel = None
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From this time on: 2026-03-01T08:00, or 24h (ago).")] = None
    until: Until = None
    control_id: Annotated[str | None, typer.Option(metavar="ID", help="Only with this MSH-10.")] = None
    message_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only of this type: ORU^R01.")] = None
    search: Annotated[list[str] | None, typer.Option(metavar="KIND=VALUE", help="patient=BN001, order=A17, accession=…")] = None

    def selection(self, states: list[str] | None = None, limit: int = PAGE) -> Selection:
        """What the journal is asked for. Raises BadParameter."""
        from interop_engine.journal.base import STATES, Selection

        for each in states or ():
            known_as(each, STATES, "state", "--state")
        return Selection(
            channel=self.channel,
            states=tuple(states or ()),
            since=moment(self.since, "--since"),
            until=moment(self.until, "--until"),
            control_id=self.control_id,
            message_type=self.message_type,
            search=tuple(_pair(text) for text in self.search or ()),
            limit=limit,
        )


def known_as(name: str, names: Iterable[str], what: str, option: str) -> None:
    """Raise BadParameter where a name is none of ``names``, since nothing would be found under it."""
    from interop_engine.core.diagnostics import near_or_known

    known = set(names)
    if name not in known:
        raise typer.BadParameter(f'there is no {what} "{name}": {near_or_known(name, known)}', param_hint=option)


async def known_names(node: Node, selection: Selection, to: str = "") -> None:
    """Raise BadParameter for a channel or a destination that neither the site nor its journal knows."""
    from interop_engine.cli import access

    if selection.channel is None and not to:
        return
    names = await access.names(node)
    if selection.channel is not None:
        known_as(selection.channel, names, "channel", "--channel")
    chosen = [selection.channel] if selection.channel is not None else list(names)
    if to:
        known_as(to.partition("/")[0], {each for name in chosen for each in names[name]}, "destination", "--to")


def says_nothing(selection: Selection) -> bool:
    """Whether the conditions leave out no message."""
    from interop_engine.journal.base import Selection

    return selection == Selection(limit=selection.limit)


async def all_of(reader: Reader, selection: Selection) -> list[MessageRow]:
    """Every message that is meant, oldest first."""
    rows: list[MessageRow] = []
    page = await reader.search(selection)
    while page:
        rows += page
        if len(page) < selection.limit:
            break
        page = await reader.search(dataclasses.replace(selection, before=page[-1].id))
    return rows[::-1]


def _pair(text: str) -> tuple[str, str]:
    kind, equals, value = text.partition("=")
    if not equals or not kind or not value:
        raise typer.BadParameter(f'"{text}" is not KIND=VALUE', param_hint="--search")
    from interop_engine.engine.search_keys import KINDS

    known_as(kind, KINDS, "kind of number", "--search")
    return kind, value
