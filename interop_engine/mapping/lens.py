"""Lines that put a message right: ``PID-3 := PID-2 when not exists(PID-3)``, ``drop PID-19``, ``drop OBX when OBX-2 = 'ED'``.

A line runs on each segment of its target's name: where its condition holds and its source has a value there, the field becomes
that value, or goes. A path of the target's segment means the very segment at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interop_engine.hl7.message import escape
from interop_engine.mapping import helpers
from interop_engine.mapping.emit import Emitter
from interop_engine.mapping.goals import RAW, TEXT
from interop_engine.mapping.resolve import Level
from interop_engine.mapping.syntax import FieldPath
from interop_engine.mapping.writer import Module, Writer

if TYPE_CHECKING:
    from interop_engine.hl7.message import Segment
    from interop_engine.mapping.language import Lens
    from interop_engine.mapping.lowering import Levels, Lowering
    from interop_engine.mapping.typed import Read

_GONE = ""


@dataclass(frozen=True)
class Line:
    """One compiled line: where it writes, and what gives the raw text ('' where it drops)."""

    target: Read
    find: Callable[..., str | None]
    drops: bool

    def rewritten(self, segment: Segment, *scope: Any) -> str | None:
        """The segment's new text; the old one where the line has nothing to say, None where the segment goes.

        ``scope``: the groups around it, outermost first, and last the Context, None where there is none.
        """
        raw = self.find(*scope[:-1], segment, scope[-1])
        if raw is None:
            return segment.text
        return put(segment, self.target, raw) if self.target.field else None


def compile_line(lens: Lens, levels: Levels, lowering: Lowering) -> Line | None:
    """Check and compile a line whose target stands in the innermost of some groups; what is wrong is in the report."""
    tree = lens.target.expression
    if not _is_target(tree, drops=lens.source is None):
        hint = "PID-3 := PID-2 when not exists(PID-3); drop PID-19"
        lowering.report.add("M107", "the left side of := is one field", lens.target.mark, hint)
        return None
    assert isinstance(tree, FieldPath)
    levels = (*levels, Level(segment=tree.segment))
    target = lowering.resolver.read(tree, levels, lens.target.at)
    when = lowering.condition(lens.when.condition, levels, lens.when.at) if lens.when else None
    if target is None or (lens.when is not None and when is None):
        return None
    names = [f"g{n}" for n in range(len(levels) - 1)] + [f"sl{len(levels) - 1}"]
    module = Module()
    writer = Writer(module, f"def find({', '.join(names)}, c):", names)
    writer.marking = False
    writer.here()
    emitter = Emitter(writer, module)
    if when is not None:
        held = emitter.condition(when)
        with writer.block(f"if not {held}:"):
            writer.line("return None")
    if lens.source is None:
        writer.line(f"return {_GONE!r}")
    else:
        source = lens.source.expression
        typed = lowering.node(source, RAW if isinstance(source, FieldPath) else TEXT, levels, lens.source.at)
        if typed is None:
            return None
        result = "{}.raw" if isinstance(source, FieldPath) else f"escape({{}}, {names[-1]}.delimiters)"
        emitter.node(typed.node, lambda _, value: writer.line(f"return {result.format(value)}"))
        writer.line("return None")
    space = {**helpers.NAMES, **module.objects, "escape": escape}
    exec(compile("\n".join(writer.finish()), "<lens>", "exec"), space)  # noqa: S102 - only our own names and repr of constants
    return Line(target, space["find"], lens.source is None)


def _is_target(tree: object, *, drops: bool) -> bool:
    if not isinstance(tree, FieldPath) or not tree.segment or tree.segment_choice is not None:
        return False
    return isinstance(tree.field_choice, int | None) and (drops or tree.field is not None)


def put(segment: Segment, target: Read, raw: str) -> str:
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
    if number > len(parts) and not raw:
        return text
    parts += [""] * (number - len(parts))
    parts[number - 1] = _replaced(parts[number - 1], below, raw)
    return separator.join(parts)
