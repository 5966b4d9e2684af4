"""What one sender does in its own way, put right before anything else reads the message.

Lines of ``lens:`` (see ``lens``) run in order, each on what the one before has made. A path of another segment than the target's
means all of them in the message, and the first value counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import GroupDef, SegmentRef
from interop_engine.hl7.message import Message
from interop_engine.mapping import helpers
from interop_engine.mapping.language import DialectFile
from interop_engine.mapping.lens import Line, compile_line
from interop_engine.mapping.lowering import Lowering, Site
from interop_engine.mapping.resolve import Level, Report
from interop_engine.mapping.syntax import FieldPath


@dataclass(frozen=True)
class Dialect:
    """A dialect, ready to run. ``ignored``: the paths (``OBX-12``; a segment's name for all of it) that are no loss."""

    name: str
    lines: tuple[Line, ...] = ()
    ignored: frozenset[str] = frozenset()

    def apply(self, message: Message) -> Message:
        """The message put right; the same one where there is nothing to do."""
        for line in self.lines:
            message = _applied(line, message)
        return message

    def losses(self, unread: tuple[str, ...]) -> tuple[str, ...]:
        """Of the fields that nobody read those that this sender's dialect does not ignore."""
        if not self.ignored:
            return unread
        return tuple(path for path in unread if path not in self.ignored and path.partition("-")[0] not in self.ignored)


def compile_dialect(file: DialectFile, site: Site, report: Report) -> Dialect:
    """Check and compile a dialect; what is wrong is in the report."""
    names = sorted({*dictionary.segments(), *site.names.segments})
    everything = GroupDef("the message", True, False, tuple(SegmentRef(name, False, True) for name in names))
    lowering = Lowering(site, report, "HL7 v2")
    lowering.contextless = True
    lines = [compile_line(lens, (Level(group=everything),), lowering) for lens in file.lens]
    for line in file.lens:
        if line.source is None and isinstance(line.target.expression, FieldPath) and line.target.expression.field is None:
            hint = "a mapping with message: and to: drops segments, with what belongs to them"
            report.add("M107", "a dialect drops fields, it knows no groups", line.target.mark, hint)
    return Dialect(
        file.name, tuple(line for line in lines if line is not None), _ignored(file, Level(group=everything), lowering)
    )


def _ignored(file: DialectFile, root: Level, lowering: Lowering) -> frozenset[str]:
    found = set()
    for source in file.ignore:
        tree = source.expression
        if not isinstance(tree, FieldPath) or not tree.segment:
            lowering.report.add("M104", "ignore: takes fields and segments", source.mark, "OBX-12")
            continue
        read = lowering.resolver.read(tree, (root,), source.at)
        if read is not None:
            found.add(f"{read.segment}-{read.field}" if read.field else read.segment)
    return frozenset(found)


def _applied(line: Line, message: Message) -> Message:
    whole, texts = helpers.Whole(message), [segment.text for segment in message.segments]
    changed: list[str | None] = [*texts]
    for segment in message.all(line.target.segment):
        changed[segment.index] = line.rewritten(segment, whole, None)
    return message if changed == texts else message.with_segments([text for text in changed if text is not None])
