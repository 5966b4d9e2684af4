"""``messages replay``, ``retry`` and ``discard``: by id, or all that conditions find: counted first, and done with --yes.

A replay that was interrupted goes on where it stopped when it is asked for again: what was replayed for the same destination is
passed over, and so are replays, except where a state is asked for that they can be in again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from interop_engine.cli import output
from interop_engine.cli.options import Json, Node, Yes, grouped
from interop_engine.cli.selection import Conditions, State, all_of, known_names, says_nothing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from interop_engine.cli.access import Operator
    from interop_engine.journal.base import DeliveryRow, MessageRow, Selection

Messages = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Messages, by id.", show_default=False)]

_OPEN = ("parked", "delivery-parked")


@dataclass(frozen=True, slots=True)
class Meant:
    """Which deliveries of the messages."""

    to: Annotated[str, typer.Option(metavar="DESTINATION", help="Only deliveries for this destination: hub, or hub/24002.")] = ""
    code: Annotated[str, typer.Option(metavar="CODE", help="Only what parked for this reason, such as fhir-422.")] = ""

    def __contains__(self, delivery: DeliveryRow) -> bool:
        """Whether a delivery is for the destination and has the code, where they are given."""
        receiver = f"{delivery.destination}/{delivery.headers.get('receiver', '')}"
        return self.to in ("", delivery.destination, receiver) and self.code in ("", delivery.code)


@grouped
def replay(
    messages: Messages = None,
    *,
    to: Annotated[
        str, typer.Option(metavar="DESTINATION", help="For this destination alone: hub, or hub/24002 for one receiver.")
    ] = "",
    mapping: Annotated[
        Literal["now", "then"], typer.Option(help="Through the mappings of now, or those each message was received under.")
    ] = "now",
    resend: Annotated[
        bool,
        typer.Option("--resend", help="Send again, too, what was sent already: to a receiver that was restored from a backup."),
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was replayed before, for the same destination.")] = False,
    state: State = None,
    where: Conditions,
    yes: Yes = False,
    node: Node,
    json: Json = False,
) -> None:
    """Receive messages again, oldest first: by id, or all that conditions find, which are counted first and done with --yes."""
    chosen = where.selection(state)

    async def work(operator: Operator) -> dict[str, str] | None:
        ids = messages or await _found(operator, chosen, "replay", lambda row: bool(state) or row.replay_of is None, yes=yes)
        if ids is None:
            return None
        once = not messages and not again
        tracked = output.tracked(ids, "replaying")
        how = {"then": mapping == "then", "resend": resend, "once": once}
        return {each: await operator.replay(each, only=to, **how) for each in tracked}

    _show(_run(work, node, messages, chosen, to), ("message", "replayed as"), json=json)


@grouped
def retry(
    deliveries: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Deliveries, by id.", show_default=False)] = None,
    *,
    meant: Meant,
    waiting: Annotated[bool, typer.Option("--waiting", help="Those that wait to be tried again, not those that parked.")] = False,
    where: Conditions,
    yes: Yes = False,
    node: Node,
    json: Json = False,
) -> None:
    """Make parked or waiting deliveries due now: by id, or all parked (or waiting) ones that conditions find.

    The same ids, the same bytes, and their age begins anew; but where something newer was sent meanwhile, the message is received
    again for that destination, so that nothing old is written over it.
    """
    wanted = "waiting" if waiting else "parked"
    chosen = where.selection([f"delivery-{wanted}"])

    async def work(operator: Operator) -> dict[str, str] | None:
        ids: Sequence[str] | None = deliveries
        if not ids:
            rows = await all_of(operator, chosen)
            ids = [each.id for row in rows for each in row.deliveries if each.state == wanted and each in meant]
            if not _confirmed(f"{len(ids)} {wanted} {'delivery' if len(ids) == 1 else 'deliveries'} to retry", yes=yes):
                return None
        return {each: await operator.retry(each) or "due now" for each in output.tracked(ids, "retrying")}

    _show(_run(work, node, deliveries, chosen, meant.to), ("delivery", "replayed as"), json=json)


@grouped
def discard(
    messages: Messages = None,
    *,
    why: Annotated[str, typer.Option(help="The reason; it is kept.")],
    meant: Meant,
    waiting: Annotated[bool, typer.Option("--waiting", help="Also deliveries that wait: they would still be made.")] = False,
    state: State = None,
    where: Conditions,
    yes: Yes = False,
    node: Node,
    json: Json = False,
) -> None:
    """Give up what is parked of messages, by id, or all that conditions find: those that could not be mapped, and deliveries."""
    if not why.strip():
        raise typer.BadParameter("a reason is needed", param_hint="--why")
    chosen = where.selection(state)
    open_ = dataclasses.replace(chosen, states=chosen.states or (*_OPEN, *(["delivery-waiting"] if waiting else [])))

    def is_open(row: MessageRow) -> bool:
        itself = row.state == "parked" and not meant.to and meant.code in ("", row.code)
        states = ("parked", "waiting") if waiting else ("parked",)
        return itself or any(each.state in states and each in meant for each in row.deliveries)

    async def work(operator: Operator) -> dict[str, str] | None:
        ids = messages or await _found(operator, open_, "discard", is_open, yes=yes)
        if ids is None:
            return None
        for each in output.tracked(ids, "discarding"):
            await operator.discard(each, why, to=meant.to, code=meant.code, waiting=waiting)
        return dict.fromkeys(ids, why)

    _show(_run(work, node, messages, chosen, meant.to), ("message", "discarded"), json=json)


def _run(
    work: Callable[[Operator], Awaitable[dict[str, str] | None]], node: Node, ids: list[str] | None, chosen: Selection, to: str
) -> dict[str, str] | None:
    """Do it; refused where neither ids nor conditions are given, or what they name is not known."""
    from interop_engine.cli import access

    if not ids and says_nothing(chosen):
        raise typer.BadParameter("name messages, or say which: --channel, --state, --since, …")

    async def act() -> dict[str, str] | None:
        await known_names(node, chosen, to)
        async with access.operating(node) as operator:
            return await work(operator)

    return asyncio.run(act())


async def _found(
    operator: Operator, chosen: Selection, verb: str, is_meant: Callable[[MessageRow], bool], *, yes: bool
) -> list[str] | None:
    """The messages that conditions find and that are meant, oldest first; None where they are only to be counted."""
    rows = [row for row in await all_of(operator, chosen) if is_meant(row)]
    return [row.id for row in rows] if _confirmed(_described(rows, verb), yes=yes) else None


def _described(rows: Sequence[MessageRow], verb: str) -> str:
    text = f"{output.count(len(rows), 'message')} to {verb}"
    if not rows:
        return text
    return f"{text}, received from {output.local(rows[0].received_at, None)} to {output.local(rows[-1].received_at, None)}"


def _confirmed(what: str, *, yes: bool) -> bool:
    if not yes:
        output.remark("information", what, "nothing is done yet: --yes does it")
    return yes


def _show(done: dict[str, str] | None, columns: tuple[str, str], *, json: bool) -> None:
    if done is None:
        return
    if json:
        output.write_json(done)
    else:
        output.table(columns, list(done.items()))
