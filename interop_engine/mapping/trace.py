"""Lineage: which fields of a message made which element, and which line of the mapping said so.

Nothing is guessed. Each line of a mapping is compiled as a resource of its own, beside the whole ones; after the whole message
was mapped, each is run alone on each instance, and the fields that it reads are those that the ledger then holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from interop_engine.core.model import NOTHING_KNOWN, Known
from interop_engine.mapping.leaves import Leaves
from interop_engine.mapping.outline import implied

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from interop_engine.core.diagnostics import Mark
    from interop_engine.hl7.message import Message
    from interop_engine.mapping.context import Scope
    from interop_engine.mapping.instances import Instance
    from interop_engine.mapping.program import Draft, Program
    from interop_engine.mapping.runtime import Run
    from interop_engine.mapping.typed import Line, ResourcePlan

_INDEX = re.compile(r"\[\d+\]")
_OURS = frozenset({"resourceType", "id"})


@dataclass(frozen=True, slots=True)
class Made:
    """What one line of a mapping made of one instance. ``fields``: the populated places read, ``OBX[2]-5``; ``rule``: as written.

    ``values`` holds the elements by name, empty where the line gave nothing.
    """

    resource: str  # its name in the mapping
    object: str  # Type/id
    element: str
    values: Mapping[str, Any]
    fields: tuple[str, ...]
    implied: tuple[str, ...]  # the conversions that nobody had to write
    rule: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Lineage:
    """The draft of a message, and where everything in it comes from, resource by resource."""

    draft: Draft
    made: tuple[Made, ...]
    unread: tuple[str, ...] = ()  # leaf by leaf, where the draft's is field by field


class Tracer:
    """A mapping that can be asked for lineage. Costs as many functions as the mapping has lines: not for production."""

    def __init__(self, program: Program) -> None:
        self._lines = {
            f"{name} line {number}": (name, line)
            for name, plan in program.plan.resources.items()
            for number, line in enumerate(plan.body.lines)
        }
        whole = program.plan.resources
        alone = {name: _alone(whole[of], name, line) for name, (of, line) in self._lines.items()}
        plan = replace(program.plan, resources={**whole, **alone})
        self._whole = program
        self._program = replace(program, plan=plan)

    def trace(self, message: Message, scope: Scope, known: Known = NOTHING_KNOWN) -> Lineage:
        """Map a message, and tell where everything comes from."""
        plan = self._program.identify(message, scope)
        draft = self._program.build(plan, known)
        if plan.run is None or draft.park is not None:
            return Lineage(draft, ())
        unread = Leaves(self._whole, message, scope, known, draft).unread(plan.run.reads)
        return Lineage(draft, tuple(self._made(plan.run)), unread)

    def _made(self, run: Run) -> Iterator[Made]:
        for name, instances in run.found.items():
            for instance in instances:
                for alone, (of, line) in self._lines.items():
                    if of == name:
                        yield self._run(run, instance, alone, line)

    def _run(self, run: Run, instance: Instance, alone: str, line: Line) -> Made:
        bits = [0] * len(run.reads)
        [content] = self._program.compiled.build[alone]([instance], run, run.context, bits)
        values = {name: value for name, value in content.items() if name not in _OURS}
        fields = tuple(_places(run.message, bits))
        said = implied(line, {_INDEX.sub("", field) for field in fields}) if values else ()
        return Made(instance.plan.name, instance.ref, line.stem, values, fields, said, line.text, line.mark)


def _alone(plan: ResourcePlan, name: str, line: Line) -> ResourcePlan:
    """The resource with one line only; it is never found, only built. What orders versions is read by no element."""
    return replace(plan, name=name, newer=None, body=replace(plan.body, lines=(line,)))


def _places(message: Message, reads: list[int]) -> Iterator[str]:
    """The populated places: ``PID-5``, or ``OBX[2]-5`` where the message has several OBX."""
    for segment, bits in zip(message.segments, reads, strict=True):
        number = f"[{segment.number}]" if len(message.all(segment.name)) > 1 else ""
        if bits < 0:
            yield f"{segment.name}{number}"
            continue
        for field in range(1, bits.bit_length()):
            if bits >> field & 1 and segment.raw(field):
                yield f"{segment.name}{number}-{field}"
