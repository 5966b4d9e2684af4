"""``diff``: messages through the site's mappings and through a candidate's; what would change, before it is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interop_engine.cli import output
from interop_engine.cli.bench import Bench, ChannelName, MappingName, Project, folder_of
from interop_engine.cli.inputs import moment
from interop_engine.cli.options import Until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from interop_engine.config.site import Site
    from interop_engine.core.model import Received
    from interop_engine.engine.comparison import Change, Made
    from interop_engine.journal.base import Journal, Selection

_PAGE = 500  # messages listed at once
_NEVER_TAKEN = frozenset({"ack", "not-accepted", "training"})  # codes of messages that were answered and kept, no more
_STYLES = {"added": "green", "removed": "red", "changed": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(diff)


def diff(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="HL7 v2 messages or batches; - is standard input.", show_default=False),
    ] = None,
    *,
    candidate: Annotated[
        Path, typer.Option("--with", metavar="DIR", help="The candidate: a site's folder with the change in it.")
    ],
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="The journal's messages from this time on: 2026-03-01T08:00, or 24h (ago).")
    ] = None,
    until: Until = None,
    message: Annotated[
        list[str] | None, typer.Option("--message", metavar="ID", help="This message of the journal. Repeatable.")
    ] = None,
    channel: ChannelName = None,
    mapping: MappingName = None,
    project: Project = None,
    details: Annotated[int, typer.Option(min=0, max=1000, help="So many messages are shown element by element.")] = 3,
    json: Annotated[
        bool, typer.Option("--json", help="Show JSON: a line for each message that differs, the summary last.")
    ] = False,
) -> None:
    """Show what a changed mapping would make of messages, against what the site's makes of them now, element by element.

    Each message goes through both as through production: charset, dialect, filter, mapping, validation, routing. Both know the
    numbers, orders and merges that the journal knows today, not what it knew on the message's day, and neither knows what was
    sent before: a late or unchanged message is compared as if it were the first. Nothing is sent or stored. Files go through
    the mappings alone, unless --channel names whose. It shows content of the messages. Ends with 1 if anything differs.
    """
    chosen = since is not None or until is not None
    if not files and not message and not chosen:
        raise typer.BadParameter("say which messages: FILE…, --message ID, or --since TIME")
    report = _Report(details, json=json)
    folder = folder_of(project)
    if files:
        report.add_all(_of_files(Bench.of(folder, mapping, channel), Bench.of(candidate, mapping, channel), files))
    if message or chosen:
        report.add_all(_of_journal(folder, candidate, message, _selection(since, until, channel) if chosen else None))
    report.show()
    if report.differ:
        raise typer.Exit(1)


# --- The messages, through both ------------------------------------------------------------------------------------------

_Pair = tuple[str, "Made", "Made"]


def _of_files(now: Bench, then: Bench, files: Sequence[str]) -> Iterator[_Pair]:
    from interop_engine.cli.inputs import read_messages
    from interop_engine.engine.comparison import made_alone

    given = [message for file in files for message in read_messages(file)]
    for each in output.tracked(given, "comparing"):
        found = [bench.take(each) for bench in (now, then)]
        before, after = (
            made_alone(bench.mapped(*taken) if isinstance(taken, tuple) else taken)
            for bench, taken in zip((now, then), found, strict=True)
        )
        yield each.label, before, after


def _of_journal(folder: Path, candidate: Path, ids: Sequence[str] | None, selection: Selection | None) -> Iterator[_Pair]:
    from interop_engine.cli.site import load

    sites = (load(folder, compiled=False), load(candidate, compiled=False))
    with _opened(folder) as (runner, journal):
        for each in output.tracked(_ids(runner, journal, ids or (), selection), "comparing"):
            made = runner.run(_by_both(sites, each, journal))
            if made is not None:
                yield each, *made
            elif ids and each in ids:
                output.fail(f"{each} is no HL7 v2 message: it came over the exchange as a bundle and goes on as it is")


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[asyncio.Runner, Journal]]:
    """The site's journal, and what runs its coroutines from outside of an event loop."""
    from interop_engine.cli import access

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        journal = runner.run(stack.enter_async_context(access.opened(access.find(folder), readonly=True)))
        try:
            yield runner, journal
        finally:
            runner.run(stack.aclose())


def _ids(runner: asyncio.Runner, journal: Journal, ids: Sequence[str], selection: Selection | None) -> Iterator[str]:
    """The messages named, then those selected, a page at a time; what was refused went nowhere, and is left out."""
    yield from ids
    while selection is not None and (rows := runner.run(journal.search(selection))):
        yield from (row.id for row in rows if row.state != "rejected" and row.code not in _NEVER_TAKEN)
        selection = replace(selection, before=rows[-1].id)


def _selection(since: str | None, until: str | None, channel: str | None) -> Selection:
    from interop_engine.journal.base import Selection

    return Selection(channel=channel, since=moment(since, "--since"), until=moment(until, "--until"), limit=_PAGE)


async def _by_both(sites: tuple[Site, Site], message_id: str, journal: Journal) -> tuple[Made, Made] | None:
    """What both sites make of a message; None of a bundle, which goes on as it is."""
    received = await journal.content(message_id)
    if received.media != "hl7v2":
        return None
    return await _made(sites[0], received, journal), await _made(sites[1], received, journal)


async def _made(site: Site, received: Received, journal: Journal) -> Made:
    """What a site's channel makes of a message, with the numbers and merges that the journal knows."""
    from interop_engine.core.errors import CharsetError
    from interop_engine.engine.comparison import Made, made_for_all
    from interop_engine.engine.transform import Parked, Prepared, prepare, transform

    channel = site.channel(received.channel)
    if channel is None:
        return Made(fate=f"has no channel {received.channel}")
    try:
        prepared = prepare(received, channel)
    except CharsetError as error:
        prepared = Parked("102", str(error))
    while isinstance(prepared, Prepared):
        prepared = transform(prepared, await journal.known(prepared.question, ()), channel)
    return made_for_all(prepared)


# --- What is shown -------------------------------------------------------------------------------------------------------


@dataclass
class _Row:
    """One line of the summary: like changes of all messages."""

    kind: str
    what: str
    example: str  # the id, or the file, of the first message
    before: Any
    after: Any
    messages: int = 0
    times: int = 0


@dataclass
class _Report:
    """Counts, and the first messages that differ; so much memory, however many messages there are."""

    details: int
    json: bool
    compared: int = 0
    differ: int = 0
    rows: dict[tuple[str, str], _Row] = field(default_factory=dict)
    shown: list[tuple[str, list[Change]]] = field(default_factory=list)

    def add_all(self, pairs: Iterable[_Pair]) -> None:
        from interop_engine.engine.comparison import compare

        for label, before, after in pairs:
            self.compared += 1
            if changes := compare(before, after):
                self._add(label, changes)

    def _add(self, label: str, changes: list[Change]) -> None:
        self.differ += 1
        seen = set()
        for change in changes:
            key = (change.kind, change.what)
            row = self.rows.get(key)
            if row is None:
                row = self.rows[key] = _Row(*key, label, change.before, change.after)
            row.times += 1
            row.messages += key not in seen
            seen.add(key)
        if self.json:
            output.write_json_line({"message": label, "changes": changes})
        elif len(self.shown) < self.details:
            self.shown.append((label, changes))

    def show(self) -> None:
        """The summary first: many messages change in the same few places."""
        rows = sorted(self.rows.values(), key=lambda row: (-row.messages, row.what))
        if self.json:
            output.write_json_line({"compared": self.compared, "differ": self.differ, "summary": rows})
            return
        if rows:
            _show_rows(rows)
        for label, changes in self.shown:
            _show_changes(label, changes)
        if self.differ > len(self.shown) > 0:
            output.write(f"The first {len(self.shown)} messages are shown; --message ID, --details and --json show others.")
        verb = "differs" if self.differ == 1 else "differ"
        output.write(f"{output.count(self.compared, 'message')} compared, {self.differ or 'none'} {verb}.")


def _show_rows(rows: Sequence[_Row]) -> None:
    table = [
        (
            output.coloured(row.kind, _STYLES[row.kind]),
            output.noted(row.what, filter(None, [_from_to(row.kind, row.before, row.after)])),
            str(row.messages),
            str(row.times),
            row.example,
        )
        for row in rows
    ]
    output.table(("", "element", "messages", "times", "first in"), table, right=("messages", "times"))


def _show_changes(label: str, changes: Sequence[Change]) -> None:
    from itertools import groupby

    rows = []
    for thing, ones in groupby(changes, key=_thing):
        rows += [("", output.coloured(thing, "bold"), "")] if thing else []
        for each in ones:
            place = each.place.removeprefix(thing).strip() or "the whole resource"
            rows.append((output.coloured(each.kind, _STYLES[each.kind]), place, _from_to(each.kind, each.before, each.after)))
    output.table(("", "element", "value"), rows, title=label)


def _thing(change: Change) -> str:
    """The resource that a change is in, empty for what is said of the whole message."""
    first = change.place.partition(" ")[0]
    return first if "/" in first else ""


def _from_to(kind: str, before: Any, after: Any) -> str:
    if kind == "changed":
        return f"{output.brief(before)} → {output.brief(after)}"
    value = after if kind == "added" else before
    if isinstance(value, dict):  # a whole resource's type and id stand beside it
        value = {key: one for key, one in value.items() if key not in ("resourceType", "id")}
    return "" if value is None else output.brief(value)
