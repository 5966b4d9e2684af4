"""A site's mappings, to try single messages on: what ``transform``, ``explain`` and ``diff`` share."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interop_engine.cli import output
from interop_engine.core.model import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interop_engine.cli.inputs import Message as Input
    from interop_engine.config.site import ChannelConfig, Site
    from interop_engine.core.diagnostics import Finding
    from interop_engine.engine.single import Mapped
    from interop_engine.engine.transform import Parked
    from interop_engine.hl7.message import Message
    from interop_engine.mapping.context import Scope
    from interop_engine.mapping.outbound.compiler import Outbound
    from interop_engine.mapping.outbound.program import Envelope, MessageProgram
    from interop_engine.mapping.outbound.trace import Lineage
    from interop_engine.mapping.program import Program

MappingName = Annotated[str | None, typer.Option("--mapping", metavar="NAME", help="The mapping; without it, the one that fits.")]
ChannelName = Annotated[str | None, typer.Option("--channel", metavar="NAME", help="Read and map as this channel does.")]
Project = Annotated[
    Path | None,
    typer.Option("--project", metavar="DIR", help="The site's folder; without it here, else the sample.", show_default=False),
]

_LEAF = re.compile(r"^(\w+)\[\d+\](-\d+).*$")  # OBX[2]-5[1].3


def folder_of(project: Path | None) -> Path:
    """The site's folder: the one named, else the current one, else the sample's."""
    from interop_engine.demo.sample import sample_site

    return project or (Path() if Path("engine.yaml").is_file() else sample_site())


class Bench:
    """A site's mappings, to try messages on. What is wrong with a message is said on stderr."""

    def __init__(self, site: Site, mapping: str | None, channel: str | None) -> None:
        self.site = site
        self._channel = self._named_channel(channel) if channel else None
        self.outbound = site.library.outbound.get(mapping) if mapping else None
        self.named = self._named_program(mapping) if mapping and self.outbound is None else None

    @classmethod
    def of(cls, project: Path | None, mapping: str | None, channel: str | None) -> Bench:
        """Load the site in a folder; without one, that of the current folder, else the sample site."""
        from interop_engine.cli.site import load

        return cls(load(folder_of(project), compiled=False), mapping, channel)

    def _named_channel(self, name: str) -> ChannelConfig:
        from interop_engine.core.diagnostics import near_or_known

        if (found := self.site.channel(name)) is None:
            output.fail(f'there is no channel "{name}"', near_or_known(name, [each.name for each in self.site.channels]))
        return found

    def _named_program(self, name: str) -> Program:
        from interop_engine.core.diagnostics import near_or_known

        programs = self.site.library.programs
        if name not in programs:
            output.fail(f'there is no mapping "{name}"', near_or_known(name, [*programs, *self.site.library.outbound]))
        return programs[name]

    def read(self, given: Input) -> tuple[Message, Program] | None:
        """The message, put right by the channel's dialect, and the mapping that fits it.

        None, with the reason said, where there is none.
        """
        found = self.take(given)
        if isinstance(found, tuple):
            return found
        # The charset, no mapping that fits, or the message as a whole.
        _tell(given.label, found, {"102": "MSH-18", "200": "MSH-9"}.get(found.code, "MSH"))
        return None

    def take(self, given: Input) -> tuple[Message, Program] | Parked:
        """As ``read``, in silence."""
        from interop_engine.engine import single
        from interop_engine.engine.transform import Parked

        message = single.read(given.data, self._channel)
        if isinstance(message, Parked):
            return message
        program = single.choose(message, self._candidates(message))
        return program if isinstance(program, Parked) else (message, program)

    def _candidates(self, message: Message) -> Sequence[Program]:
        if self.outbound is not None:
            output.fail(f"{self.outbound.name} makes HL7 v2, not FHIR", "transform shows what it makes")
        if self.named is not None:
            return [self.named]
        if self._channel is not None:
            return [found] if (found := self._channel.program_for(message)) else []
        return list(self.site.library.programs.values())

    def map(self, given: Input, received_at: datetime | None) -> Mapped | None:
        """The bundle, and all there is to say about it, which is said; None where the message cannot be read."""
        if (found := self.read(given)) is None:
            return None
        mapped = self.mapped(*found, received_at)
        output.show_findings(mapped.findings, given.label)
        if mapped.parked is not None:
            _tell(given.label, mapped.parked, "")
        return mapped

    def mapped(self, message: Message, program: Program, received_at: datetime | None = None) -> Mapped:
        """What comes of a message that was read; without a time, it was received when it was sent."""
        from interop_engine.engine import single

        scope = self.scope(program)
        return single.map_message(message, program, scope, received_at=received_at or _sent_at(message, scope))

    def form(self, label: str, data: bytes, outbound: Outbound) -> str:
        """The message that a mapping with to: makes, and all there is to say about it, which is said; '' where there is none."""
        from interop_engine.engine import single
        from interop_engine.hl7.charset import charset_of, decode

        formed = single.form(data, outbound, *self._receiver(outbound, data))
        _remark(label, formed.findings, formed.parked)
        return decode(formed.body, charset_of(formed.body)) if formed.body else ""

    def traced(self, label: str, data: bytes, outbound: MessageProgram) -> Lineage | None:
        """Where the message of a bundle comes from; None, with the reason said, where the bundle is none."""
        from interop_engine.engine import single
        from interop_engine.engine.relay import unmade
        from interop_engine.engine.transform import Parked
        from interop_engine.mapping.outbound.trace import trace

        bundle = single.read_bundle(data)
        if isinstance(bundle, Parked):
            _tell(label, bundle, "")
            return None
        scope, envelope = self._receiver(outbound, data)
        lineage = trace(outbound, bundle, scope.naming, envelope)
        _remark(label, lineage.made.findings, unmade(lineage.made, outbound))
        return lineage if lineage.made.body else None

    def _receiver(self, outbound: Outbound, data: bytes) -> tuple[Scope, Envelope]:
        """Whose names the message has, and who it is for: of the channel that was named, else of the first that sends it."""
        from interop_engine.mapping.outbound.program import Envelope

        using = [(c.scope, d) for c in self.site.channels for d in c.destinations if d.outbound is outbound]
        scope = self._channel.scope if self._channel else using[0][0] if using else self.site.scope
        return scope, using[0][1].envelope(digest(data)) if using else Envelope(digest(data))

    def losses(self, unread: Sequence[str]) -> Sequence[str]:
        """Of the leaves that nothing read (``PID[1]-5.3``) those that the channel's dialect does not ignore."""
        dialect = self._channel.dialect if self._channel else None
        if dialect is None:
            return unread
        fields = {leaf: _LEAF.sub(r"\1\2", leaf) for leaf in unread}
        lost = set(dialect.losses(tuple(fields.values())))
        return [leaf for leaf, field in fields.items() if field in lost]

    def scope(self, program: Program) -> Scope:
        """The scope of the channel that was named, else of the first one that uses the mapping."""
        if self._channel is not None:
            return self._channel.scope
        using = (channel.scope for channel in self.site.channels if program.name in channel.programs)
        return next(using, self.site.scope)


def _remark(label: str, findings: Sequence[Finding], parked: Parked | None) -> None:
    """What there is to say of a message that was made, or why none was."""
    if parked is None:
        output.show_findings(findings, label)
    else:
        _tell(label, parked, "")


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
