"""``explain``: where each element of a message's bundle comes from, and what a mapping is in full."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interop_engine.cli import lineages, output
from interop_engine.cli.bench import Bench, ChannelName, Project, folder_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interop_engine.cli.inputs import Message as Input
    from interop_engine.config.site import Site
    from interop_engine.core.model import Known, Received
    from interop_engine.hl7.message import Message
    from interop_engine.journal.base import MessageRow
    from interop_engine.mapping.outbound.program import MessageProgram
    from interop_engine.mapping.program import Program
    from interop_engine.terminology.worklist import Worklist


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(explain)


def explain(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="HL7 v2 messages or batches, or bundles; - is standard input.", show_default=False),
    ] = None,
    *,
    message: Annotated[
        list[str] | None, typer.Option("--message", metavar="ID", help="A message of the site's journal. Repeatable.")
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option("--mapping", metavar="NAME", help="The mapping; without it, the one that fits. Alone: show it in full."),
    ] = None,
    channel: ChannelName = None,
    project: Project = None,
    now: Annotated[
        bool, typer.Option("--now", help="With --message: through the mapping of now, not that of the message's day.")
    ] = False,
    code: Annotated[bool, typer.Option("--code", help="Show the compiled mapping instead, as Python.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Show JSON, a line for each message.")] = False,
) -> None:
    """Show which fields of a message made which element by which line of the mapping, and which populated fields nothing read.

    It shows content of the message; what a journal holds only to who can read the journal, as messages show --raw does. A
    message of the journal goes through the configuration it was received under, where that was kept, else through that of
    now, and which of them is said; the numbers and merges are those known now. With --mapping NAME alone, the whole mapping is
    shown: what it takes over by extends, its fragments, and what each line implies by data types and tables. Of a mapping that
    makes HL7 v2 of a bundle, FILE is the bundle: each field with the line that gave it, and what of the bundle the message does
    not have. Ends with 1 if a message cannot be mapped.
    """
    from interop_engine.terminology.worklist import Worklist

    if not files and not message:
        _whole(project, mapping, code=code, json=json)
        return
    session = _Session(Worklist(), code=code, json=json)
    if files:
        session.files(Bench.of(project, mapping, channel), files)
    for each in message or ():
        session.journaled(folder_of(project), each, mapping, channel, now=now)
    session.end()


def _whole(project: Path | None, mapping: str | None, *, code: bool, json: bool) -> None:
    """Show a mapping by itself."""
    from interop_engine.cli.outlined import show
    from interop_engine.mapping.outline import outline

    if mapping is None:
        raise typer.BadParameter("name a FILE, a --message ID, or a --mapping NAME to be shown in full")
    program = Bench.of(project, mapping, None).named
    if program is None:
        output.fail(f"{mapping} makes HL7 v2, and its file is all there is of it", "explain FILE shows what it makes of a bundle")
    if code:
        output.write(program.source)
    elif json:
        output.write_json(outline(program))
    else:
        show(outline(program))


class _Session:
    """One call of the verb: what all its messages share."""

    def __init__(self, worklist: Worklist, *, code: bool, json: bool) -> None:
        self._worklist = worklist
        self._code = code
        self._json = json
        self._failed = False

    def files(self, bench: Bench, files: Sequence[str]) -> None:
        from interop_engine.cli.inputs import read_bytes, read_messages
        from interop_engine.core.model import NOTHING_KNOWN
        from interop_engine.mapping.outbound.program import MessageProgram

        if isinstance(bench.outbound, MessageProgram):
            for file in files:
                self._bundle(bench, file, read_bytes(file), bench.outbound)
            return
        for given in (message for file in files for message in read_messages(file)):
            if (found := bench.read(given)) is None:
                self._failed = True
            else:
                self._explain(bench, given, *found, NOTHING_KNOWN)

    def _bundle(self, bench: Bench, label: str, data: bytes, program: MessageProgram) -> None:
        """The way back: where the message of a bundle comes from."""
        if self._code:
            output.fail(
                f"{program.name} makes HL7 v2: it is not compiled", "explain without --code shows what it makes of a bundle"
            )
        if (lineage := bench.traced(label, data, program)) is None:
            self._failed = True
        elif self._json:
            output.write_json_line({"file": label, "mapping": program.name, "fields": lineage.fields, "unread": lineage.unread})
        else:
            lineages.show_message(lineage, label)

    def journaled(self, folder: Path, message_id: str, mapping: str | None, channel: str | None, *, now: bool) -> None:
        """A message of the journal, read and mapped as its channel did on its day, or does it now."""
        from interop_engine.cli.inputs import Message as Given

        received, row = asyncio.run(_received(folder, message_id))
        if received.media != "hl7v2":
            output.fail(f"{message_id} is no HL7 v2 message: it came over the exchange as a bundle and goes on as it is")
        site, which = _site_of(folder, row, now=now)
        bench = Bench(site, mapping, channel or received.channel)
        given = Given(message_id, received.data)
        if (found := bench.read(given)) is None:
            self._failed = True
            return
        known = asyncio.run(_known(folder, *found, bench))
        if not self._json and not self._code:
            output.write(f"{message_id}: through the mapping {found[1].name} {which}.")
        self._explain(bench, given, *found, known)

    def end(self) -> None:
        """The codes without a target, over all messages."""
        if not self._json and (missing := self._worklist.missing()):
            rows = [(each.map, each.system, each.code, str(each.count), each.example) for each in missing]
            headings = ("table or map", "system", "code", "count", "first in")
            output.table(headings, rows, title="Codes without a target, to be mapped next")
        if self._failed:
            raise typer.Exit(1)

    def _explain(self, bench: Bench, given: Input, message: Message, program: Program, known: Known) -> None:
        from interop_engine.core.diagnostics import Finding
        from interop_engine.mapping.trace import Tracer

        if self._code:
            output.write(program.source)
            return
        lineage = Tracer(program).trace(message, bench.scope(program), known)
        draft = lineage.draft
        for code in draft.unmapped:
            self._worklist.add(code.map, code.system, code.code, given.label)
        unread = bench.losses(lineage.unread)
        if self._json:
            output.write_json_line(lineages.outlined(given.label, program.name, lineage, unread))
        else:
            lineages.show(lineage, program.mark.file, unread)
            output.show_findings(draft.findings, given.label)
        if draft.park is not None:
            output.show_findings([Finding(draft.park.code, draft.park.why, "", "error")], given.label)
            self._failed = True


# --- the journal ---------------------------------------------------------------------------------------------------------


async def _received(folder: Path, message_id: str) -> tuple[Received, MessageRow]:
    from interop_engine.cli import access

    async with access.opened(access.find(folder), readonly=True) as journal:
        return await journal.content(message_id), await journal.show(message_id)


async def _known(folder: Path, message: Message, program: Program, bench: Bench) -> Known:
    """The numbers and merges that the journal knows of what the message is about; not what was sent of it."""
    from interop_engine.cli import access

    question = program.identify(message, bench.scope(program)).question
    async with access.opened(access.find(folder), readonly=True) as journal:
        return await journal.known(question, ())


def _site_of(folder: Path, row: MessageRow, *, now: bool) -> tuple[Site, str]:
    """The site as it was when the message was received, or as it is now; and which of them it is, in words."""
    from interop_engine.cli.site import load
    from interop_engine.config.loader import rebuild
    from interop_engine.core.errors import ConfigError, UnknownItem

    if now or not row.config:
        return load(folder), "as it is now"
    try:
        return rebuild(asyncio.run(_snapshot(folder, row.config))), "as it was when the message was received"
    except UnknownItem:
        return load(folder), "as it is now; the configuration of the message's day was not kept"
    except ConfigError:
        return load(folder), "as it is now; this version of the engine cannot use the configuration of the message's day"


async def _snapshot(folder: Path, digest: str) -> str:
    from interop_engine.cli import access

    async with access.opened(access.find(folder), readonly=True) as journal:
        return await journal.config(digest)
