"""An original put right for a receiver: lines of ``lens:`` over its groups. What no line touches stays as it was, byte for byte.

A path of another segment than the target's resolves as in every mapping: in the nearest group around it, so that an OBX is put
right by its own OBR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from interop_engine.core.diagnostics import Finding, Mark
from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import GroupDef, SegmentRef
from interop_engine.hl7.message import Message
from interop_engine.hl7.structure import Group, group
from interop_engine.mapping.context import Context, Scope
from interop_engine.mapping.language import Lens
from interop_engine.mapping.lens import Line, compile_line
from interop_engine.mapping.lowering import Lowering, Site
from interop_engine.mapping.outbound.language import CorrectionFile
from interop_engine.mapping.resolve import Level, Report
from interop_engine.mapping.rules import Holds, condition
from interop_engine.mapping.syntax import FieldPath

_Way = tuple[str, ...]
_HEADER = frozenset({"MSH"})
_ANYWHERE = ("*",)  # of a segment that the structure does not have, such as a Z-segment


@dataclass(frozen=True)
class Correction:
    """A mapping from a message to the same, put right. ``lines``: of each line one for every group its segment may be in."""

    name: str
    structure: str
    definition: GroupDef
    when: Holds | None
    lines: tuple[dict[_Way, Line], ...]
    digest: str
    mark: Mark

    reads = "hl7v2"

    def takes(self, event: str) -> bool:
        """Whether messages of a type such as ``ORU^R01`` are of this mapping's structure."""
        code, _, trigger = event.partition("^")
        return dictionary.structure_for(code, trigger) == self.structure

    def apply(self, message: Message, scope: Scope) -> tuple[bytes, tuple[Finding, ...]]:
        """The message put right, as bytes; those received, where there was nothing to do."""
        context = Context(scope)
        if self.when is not None and not self.when(message, scope):
            return message.raw, ()
        corrected = message
        for ways in self.lines:
            corrected = self._applied(ways, corrected, context)
        raw = message.raw if corrected is message else corrected.encode()
        return raw, tuple(context.findings)

    def _applied(self, ways: dict[_Way, Line], message: Message, context: Context) -> Message:
        root, _ = group(message, self.definition)
        texts: list[str] = [segment.text for segment in message.segments]
        changed: list[str | None] = [*texts]
        if (anywhere := ways.get(_ANYWHERE)) is not None:
            for segment in message.all(anywhere.target.segment):
                changed[segment.index] = anywhere.rewritten(segment, root, context)
        for way, groups in _instances(root, (), ()):
            if (line := ways.get(way)) is None:
                continue
            for segment in groups[-1].all(line.target.segment):
                changed[segment.index] = text = line.rewritten(segment, *groups, context)
                if text is None and segment.name == _lead(groups[-1].definition):
                    changed = _without(changed, groups[-1])
        return message if changed == texts else message.with_segments([text for text in changed if text is not None])


def _lead(definition: GroupDef) -> str:
    return next((child.name for child in definition.children if child.required and isinstance(child, SegmentRef)), "")


def _without(texts: list[str | None], gone: Group) -> list[str | None]:
    """Without all segments of a group: what led it went, and its notes must not become those of the one before."""
    indexes = {segment.index for each in gone.walk() for segments in each.segments.values() for segment in segments}
    return [None if index in indexes else text for index, text in enumerate(texts)]


def _instances(here: Group, way: _Way, around: tuple[Group, ...]) -> Iterator[tuple[_Way, tuple[Group, ...]]]:
    groups = (*around, here)
    yield way, groups
    for name, children in here.groups.items():
        for child in children:
            yield from _instances(child, (*way, name), groups)


def compile_correction(file: CorrectionFile, site: Site, report: Report, digest: str) -> Correction | None:
    """Check and compile; None where something is wrong, which is then in the report."""
    before = len(report.mistakes)
    definition = dictionary.structure(file.message.text)
    if definition is None:
        report.add("M200", f'there is no message structure "{file.message.text}"', file.message.mark)
        return None
    if file.to.text != file.message.text:
        report.add("M105", "a message is put right as what it is: to: names the same structure as message:", file.to.mark)
    if not file.lens:
        report.add("M103", '"lens:" is missing or empty', file.mark, "lens: [PID-3 := PID-2 when not exists(PID-3)]")
    lowering = Lowering(site, report, file.message.text)
    lines = []
    for lens in file.lens:
        tree = lens.target.expression
        segment = tree.segment if isinstance(tree, FieldPath) else ""
        if lens.source is None and isinstance(tree, FieldPath) and tree.field is None and segment in _HEADER:
            report.add("M107", "the header of a message cannot be dropped", lens.target.mark)
        lines.append(_line(lens, segment, definition, lowering))
    when = None
    if file.when is not None:
        when, mistakes = condition(file.when.text, file.when.mark, tuple(site.tables or ()))
        report.mistakes += mistakes
    if len(report.mistakes) > before:
        return None
    return Correction(file.name, file.message.text, definition, when, tuple(lines), digest, file.mark)


def _line(lens: Lens, segment: str, definition: GroupDef, lowering: Lowering) -> dict[_Way, Line]:
    """A line in every group that may hold its segment and where its paths resolve; where they do nowhere, it is a mistake."""
    places = {tuple(g.name for g in way[1:]): way for way in _ways(definition, ()) if way[-1].holds(segment)}
    report, found = lowering.report, {}
    mistakes, before = list(report.mistakes), report.mistakes
    for name, way in (places or {_ANYWHERE: (definition,)}).items():
        report.mistakes = list(before)
        line = compile_line(lens, _levels(way), lowering)
        if line is not None and report.mistakes == before:
            found[name] = line
        mistakes = report.mistakes if len(mistakes) == len(before) else mistakes
    report.mistakes = before if found else mistakes
    return found


def _ways(here: GroupDef, around: tuple[GroupDef, ...]) -> Iterator[tuple[GroupDef, ...]]:
    way = (*around, here)
    yield way
    for child in here.groups():
        yield from _ways(child, way)


def _levels(way: tuple[GroupDef, ...]) -> tuple[Level, ...]:
    return tuple(Level(group=definition) for definition in way)
