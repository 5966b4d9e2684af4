"""``transform`` and ``explain``: one message through a mapping, the way production takes, with nothing around it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interop_engine.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interop_engine.cli.inputs import Message as Input
    from interop_engine.config.site import ChannelConfig, Site
    from interop_engine.engine.single import Mapped
    from interop_engine.engine.transform import Parked
    from interop_engine.hl7.message import Message
    from interop_engine.mapping.context import Scope
    from interop_engine.mapping.program import Program
    from interop_engine.mapping.trace import Lineage, Made
    from interop_engine.terminology.worklist import Worklist

_SHOWN = 60  # characters of a value

Files = Annotated[list[str], typer.Argument(metavar="FILE", help="HL7 v2 messages or batches; - is standard input.")]
MappingName = Annotated[str | None, typer.Option("--mapping", metavar="NAME", help="The mapping; without it, the one that fits.")]
ChannelName = Annotated[str | None, typer.Option("--channel", metavar="NAME", help="Read and map as this channel does.")]
Project = Annotated[
    Path | None,
    typer.Option("--project", metavar="DIR", help="The site's folder; without it here, else the sample.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(transform)
    app.command()(explain)


def transform(
    files: Files,
    *,
    mapping: MappingName = None,
    channel: ChannelName = None,
    project: Project = None,
    received_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it was received (ISO 8601); without it, MSH-7.", show_default=False)
    ] = None,
) -> None:
    """Turn HL7 v2 messages into FHIR bundles, on stdout: one is indented, several are a line each.

    What there is to say about a message goes to stderr. Ends with 1 if any message is not mapped.
    """
    from interop_engine.cli.inputs import read_messages
    from interop_engine.fhir import bundle as bundles

    bench = Bench.of(project, mapping, channel)
    at = _moment(received_at)
    messages = [message for file in files for message in read_messages(file)]
    failed = not messages
    for message in messages:
        mapped = bench.map(message, at)
        if mapped is None or mapped.bundle is None or mapped.parked is not None:
            failed = True
            continue
        body = bundles.encode(mapped.bundle)
        output.write(_indented(body) if len(messages) == 1 else body.decode())
    if failed:
        raise typer.Exit(1)


def _indented(body: bytes) -> str:
    import msgspec

    return msgspec.json.format(body, indent=2).decode()


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise typer.BadParameter(f'"{text}" is no time; write 2026-03-01T08:00:00+07:00', param_hint="--received-at") from error


class Bench:
    """A site's mappings, to try messages on. What is wrong with a message is said on stderr."""

    def __init__(self, site: Site, mapping: str | None, channel: str | None) -> None:
        self.site = site
        self._channel = self._named_channel(channel) if channel else None
        self._programs = self._named_programs(mapping)

    @classmethod
    def of(cls, project: Path | None, mapping: str | None, channel: str | None) -> Bench:
        """Load the site in a folder; without one, that of the current folder, else the sample site."""
        from interop_engine.cli.site import load
        from interop_engine.demo.sample import sample_site

        folder = project or (Path() if Path("engine.yaml").is_file() else sample_site())
        return cls(load(folder), mapping, channel)

    def _named_channel(self, name: str) -> ChannelConfig:
        from interop_engine.core.diagnostics import near

        if (found := self.site.channel(name)) is None:
            output.fail(f'there is no channel "{name}"', near(name, [each.name for each in self.site.channels]))
        return found

    def _named_programs(self, mapping: str | None) -> Sequence[Program]:
        from interop_engine.core.diagnostics import near

        programs = self.site.library.programs
        if mapping is None:
            return list((self._channel.programs if self._channel else programs).values())
        if mapping not in programs:
            output.fail(f'there is no mapping "{mapping}"', near(mapping, programs))
        return [programs[mapping]]

    def read(self, given: Input) -> tuple[Message, Program] | None:
        """The message and the mapping that fits it; None, with the reason said, where there is none."""
        from interop_engine.engine import single
        from interop_engine.engine.transform import Parked

        charset = self._channel.options.charset or None if self._channel else None
        message = single.read(given.data, charset=charset)
        if isinstance(message, Parked):
            _tell(given.label, message, "MSH-18" if message.code == "102" else "MSH")  # the charset, or the message as a whole
            return None
        program = single.choose(message, self._programs)
        if isinstance(program, Parked):
            _tell(given.label, program, "MSH-9")
            return None
        return message, program

    def map(self, given: Input, received_at: datetime | None) -> Mapped | None:
        """The bundle, and all there is to say about it, which is said; None where the message cannot be read."""
        from interop_engine.engine import single

        if (found := self.read(given)) is None:
            return None
        message, program = found
        scope = self.scope(program)
        at = received_at or _sent_at(message, scope)
        mapped = single.map_message(message, program, scope, received_at=at)
        output.show_findings(mapped.findings, given.label)
        if mapped.parked is not None:
            _tell(given.label, mapped.parked, "")
        return mapped

    def scope(self, program: Program) -> Scope:
        """The scope of the channel that was named, else of the first one that uses the mapping."""
        if self._channel is not None:
            return self._channel.scope
        using = (channel.scope for channel in self.site.channels if program.name in channel.programs)
        return next(using, self.site.scope)


def _tell(label: str, parked: Parked, place: str) -> None:
    from interop_engine.core.diagnostics import Finding

    output.show_findings(parked.findings, label)
    output.show_findings([Finding(parked.code, parked.why, place, "error")], label)


def _sent_at(message: Message, scope: Scope) -> datetime:
    """MSH-7, so that the same message gives the same bundle; now, where it says none."""
    from zoneinfo import ZoneInfo

    from interop_engine.hl7.scalars import read_moment

    moment = read_moment(message.msh.raw(7))
    if moment is None or moment.month is None or moment.day is None:
        return datetime.now(UTC)
    clock = f"{moment.hour or 0:02d}:{moment.minute or 0:02d}:{moment.second or 0:02d}"
    at = datetime.fromisoformat(f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}T{clock}{moment.offset}")
    return at if at.tzinfo else at.replace(tzinfo=ZoneInfo(scope.timezone or "UTC"))


def explain(
    files: Files,
    *,
    mapping: MappingName = None,
    channel: ChannelName = None,
    project: Project = None,
    code: Annotated[bool, typer.Option("--code", help="Show the compiled mapping instead, as Python.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Show JSON, a line for each message.")] = False,
) -> None:
    """Show which fields of a message made which element by which line of the mapping, and which populated fields nothing read.

    It shows content of the message. Ends with 1 if a message cannot be mapped.
    """
    from interop_engine.cli.inputs import read_messages
    from interop_engine.terminology.worklist import Worklist

    bench = Bench.of(project, mapping, channel)
    worklist = Worklist()
    failed = False
    for given in (message for file in files for message in read_messages(file)):
        found = bench.read(given)
        if found is None:
            failed = True
        elif code:
            output.write(found[1].source)
        else:
            failed |= not _explain(given.label, *found, bench.scope(found[1]), worklist, json=json)
    if not json and (missing := worklist.missing()):
        rows = [(each.map, each.system, each.code, str(each.count), each.example) for each in missing]
        headings = ("table or map", "system", "code", "count", "first in")
        output.table(headings, rows, title="Codes without a target, to be mapped next")
    if failed:
        raise typer.Exit(1)


def _explain(label: str, message: Message, program: Program, scope: Scope, worklist: Worklist, *, json: bool) -> bool:
    """Show one message's lineage; False where it would park."""
    from interop_engine.mapping.trace import Tracer

    lineage = Tracer(program).trace(message, scope)
    draft = lineage.draft
    for code in draft.unmapped:
        worklist.add(code.map, code.system, code.code, label)
    if json:
        made = [_made(each) for each in lineage.made]
        findings = [str(finding) for finding in draft.findings]
        unmapped = [{"map": code.map, "system": code.system, "code": code.code} for code in draft.unmapped]
        output.write_json_line(
            {
                "file": label,
                "mapping": program.name,
                "made": made,
                "unread": lineage.unread,
                "findings": findings,
                "unmapped": unmapped,
            }
        )
    else:
        _show_lineage(lineage)
        output.show_findings(draft.findings, label)
    if draft.park is not None:
        from interop_engine.core.diagnostics import Finding

        output.show_findings([Finding(draft.park.code, draft.park.why, "", "error")], label)
    return draft.park is None


def _made(made: Made) -> dict[str, Any]:
    place = {"rule": made.rule, "mark": str(made.mark)}
    return {
        "resource": made.resource,
        "object": made.object,
        **place,
        "fields": made.fields,
        "implied": made.implied,
        "values": made.values,
    }


def _show_lineage(lineage: Lineage) -> None:
    from itertools import groupby

    for (resource, thing), lines in groupby(lineage.made, key=lambda each: (each.resource, each.object)):
        rows = [
            (name, _short(value), ", ".join(made.fields), _why(made), str(made.mark))
            for made in lines
            for name, value in made.values.items()
        ]
        output.table(("element", "value", "from", "rule", "at"), rows, title=f"{resource}: {thing}")
    unread = lineage.unread
    output.write(f"Populated, and read by nothing: {', '.join(unread)}" if unread else "Every populated field was read.")


def _why(made: Made) -> Any:
    """The rule as written, and what it implies by types and tables below it."""
    return output.noted(made.rule, made.implied)


def _short(value: Any) -> str:
    from interop_engine.fhir import bundle as bundles

    text = bundles.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
