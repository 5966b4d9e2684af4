"""What one sender does in its own way, put right before anything else reads the message.

A line of ``lens:`` runs on each segment of its target's name: where its condition holds and its source has a value there, the
field becomes that value. Lines run in order, each on what the one before has made. A path of the target's segment means the
very segment at hand; of another segment, all of them, and the first value counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import GroupDef, SegmentRef
from interop_engine.hl7.message import Message, Segment, escape
from interop_engine.mapping import helpers
from interop_engine.mapping.emit import Emitter
from interop_engine.mapping.goals import RAW, TEXT
from interop_engine.mapping.language import DialectFile, Lens
from interop_engine.mapping.lowering import Lowering, Site
from interop_engine.mapping.resolve import Level, Report
from interop_engine.mapping.syntax import FieldPath
from interop_engine.mapping.typed import Read
from interop_engine.mapping.writer import Module, Writer

_Find = Callable[[helpers.Whole, Segment], str | None]


@dataclass(frozen=True)
class _Line:
    """One compiled line: where it writes, and what gives the raw text."""

    target: Read
    find: _Find

    def apply(self, message: Message) -> Message:
        whole, changed = helpers.Whole(message), False
        texts = [segment.text for segment in message.segments]
        for segment in message.all(self.target.segment):
            raw = self.find(whole, segment)
            if raw is not None:
                texts[segment.index] = _put(segment, self.target, raw)
                changed = True
        return message.with_segments(texts) if changed else message


@dataclass(frozen=True)
class Dialect:
    """A dialect, ready to run. ``ignored``: the paths (``OBX-12``; a segment's name for all of it) that are no loss."""

    name: str
    lines: tuple[_Line, ...] = ()
    ignored: frozenset[str] = frozenset()

    def apply(self, message: Message) -> Message:
        """The message put right; the same one where there is nothing to do."""
        for line in self.lines:
            message = line.apply(message)
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
    lines = [_compile(lens, Level(group=everything), lowering, report) for lens in file.lens]
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


def _compile(lens: Lens, root: Level, lowering: Lowering, report: Report) -> _Line | None:
    tree = lens.target.expression
    plain = isinstance(tree, FieldPath) and tree.segment and tree.field is not None and tree.segment_choice is None
    if not plain or not isinstance(tree, FieldPath) or not isinstance(tree.field_choice, int | None):
        report.add("M107", "the left side of := is one field", lens.target.mark, "PID-3 := PID-2 when not exists(PID-3)")
        return None
    levels = (root, Level(segment=tree.segment))
    target = lowering.resolver.read(tree, levels, lens.target.at)
    source = lens.source.expression
    typed = lowering.node(source, RAW if isinstance(source, FieldPath) else TEXT, levels, lens.source.at)
    when = lowering.condition(lens.when.condition, levels, lens.when.at) if lens.when else None
    if target is None or typed is None or (lens.when is not None and when is None):
        return None
    module = Module()
    writer = Writer(module, "def find(g0, sl1):", ["g0", "sl1"])
    writer.marking = False
    writer.here()
    emitter = Emitter(writer, module)
    if when is not None:
        held = emitter.condition(when)
        with writer.block(f"if not {held}:"):
            writer.line("return None")
    result = "{}.raw" if isinstance(source, FieldPath) else "escape({}, sl1.delimiters)"
    emitter.node(typed.node, lambda _, value: writer.line(f"return {result.format(value)}"))
    writer.line("return None")
    space = {**helpers.NAMES, **module.objects, "escape": escape}
    exec(compile("\n".join(writer.finish()), "<lens>", "exec"), space)  # noqa: S102 - only our own names and repr of constants
    find: _Find = space["find"]
    return _Line(target, find)


def _put(segment: Segment, target: Read, raw: str) -> str:
    """The segment's text with ``raw`` in the target's place."""
    d = segment.delimiters
    first = target.field if segment.name == "MSH" else target.field + 1  # MSH-1 is the separator itself
    places = [(first, d.field)]
    if target.repetition or target.component:
        places.append((target.repetition or 1, d.repetition))
    places += [(n, mark) for n, mark in ((target.component, d.component), (target.subcomponent, d.subcomponent)) if n]
    return _replaced(segment.text, places, raw)


def _replaced(text: str, places: list[tuple[int, str]], raw: str) -> str:
    """``text`` with the part that ``places`` (number, separator) lead to replaced; shorter texts are padded."""
    if not places:
        return raw
    (number, separator), *below = places
    parts = text.split(separator) if separator else [text]
    parts += [""] * (number - len(parts))
    parts[number - 1] = _replaced(parts[number - 1], below, raw)
    return separator.join(parts)
