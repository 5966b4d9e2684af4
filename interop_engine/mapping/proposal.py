"""Which element a populated field would go into, told by the mappings there are and by the names of fields and elements.

Nothing is proposed that ``check`` would refuse: every line is tried in a mapping that extends the one at hand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from interop_engine.fhir import definitions
from interop_engine.mapping import program as programs
from interop_engine.mapping.language import ListOf, Source, quoted, written
from interop_engine.mapping.survey import Populated
from interop_engine.mapping.typed import All, Convert, FirstOf, Line, Nested, Node, Pick, Read, ResourcePlan, reads

if TYPE_CHECKING:
    from interop_engine.mapping.context import Naming
    from interop_engine.mapping.program import Program

_TRIAL = "mappings/trial-{}.yaml"
_WORDS = re.compile(r"[A-Z]?[a-z]+")
_BASIC = frozenset({"id", "meta", "implicitRules", "language", "text", "contained", "extension", "modifierExtension"})
_COMMON = frozenset({"identifier", "type", "status", "code", "name", "text", "value", "date", "class", "id", "time", "number"})


@dataclass(frozen=True, slots=True)
class Proposal:
    """A line for a field: ``element: rule`` in the resource of that name."""

    populated: Populated
    resource: str
    element: str
    rule: str


@dataclass(frozen=True)
class Knowledge:
    """Where the fields of HL7 v2 go in the mappings there are: (segment, field) → FHIR types with element and rule."""

    places: Mapping[tuple[str, int], Mapping[tuple[str, str], str]] = field(default_factory=dict)

    @classmethod
    def of(cls, known: Iterable[Program]) -> Knowledge:
        """What the lines of some mappings say."""
        places: dict[tuple[str, int], dict[tuple[str, str], str]] = {}
        for program in known:
            for resource in program.plan.resources.values():
                for line in resource.body.lines:
                    for segment, number, rule in _fields(line):
                        places.setdefault((segment, number), {}).setdefault((resource.type, line.stem), rule)
        return cls(places)


def _fields(line: Line) -> Iterator[tuple[str, int, str]]:
    """The fields that a line puts into its element as they are, or by a block of their own."""
    if isinstance(line.node, Nested):
        if "-> " not in line.text:
            yield from ((each.segment, each.field, line.text) for each in _read(reads(line.node)))
        return
    yield from ((each.segment, each.field, f"{each.segment}-{each.field}") for each in _read(_outermost(line.node)))


def _outermost(node: Node) -> Iterator[Convert | Read]:
    """The conversions of a line that stand in no nested element."""
    if isinstance(node, Convert):
        yield node
    elif isinstance(node, Pick):
        yield from _outermost(node.source)
    elif isinstance(node, FirstOf | All):
        for each in node.options if isinstance(node, FirstOf) else node.nodes:
            yield from _outermost(each)


def _read(nodes: Iterable[Convert | Read]) -> Iterator[Read]:
    """The whole fields among what is read."""
    every = (each.source if isinstance(each, Convert) else each for each in nodes)
    return (each for each in every if each.segment and each.field and not each.component)


def propose(
    fields: Sequence[Populated], base: Program, texts: Mapping[str, str], naming: Naming, knowledge: Knowledge
) -> list[Proposal]:
    """A line for each field that has a place in the resources of a mapping; ``texts``: the files it is made of."""
    waiting = {each.path: list(_candidates(each, base, knowledge)) for each in fields}
    found: dict[str, Proposal] = {}
    while any(waiting.values()):
        trials: dict[str, Proposal] = {}
        for path, candidates in waiting.items():
            taken = {(one.resource, one.element) for one in (*trials.values(), *found.values())}
            candidates[:] = [each for each in candidates if (each.resource, each.element) not in taken]
            if candidates:
                trials[path] = candidates.pop(0)
        right = _right(list(trials.values()), base, texts, naming)
        for path, proposal in trials.items():
            if proposal in right:
                found[path] = proposal
                waiting[path] = []
    return [found[each.path] for each in fields if each.path in found]


def _candidates(of: Populated, base: Program, knowledge: Knowledge) -> Iterator[Proposal]:
    """What other mappings do with the field goes first, then an element of its segment's resource that has its name."""
    known = knowledge.places.get((of.segment, of.field), {})
    for name, plan in base.plan.resources.items():
        for (kind, element), rule in known.items():
            if kind == plan.type and (whole := _beside(of, base, name, element, rule)):
                yield Proposal(of, name, element, whole)
    for name, plan in base.plan.resources.items():
        taken = {line.stem for line in plan.body.lines}
        if _main_segment(plan) == of.segment:
            for element in definitions.elements(plan.type):
                if element not in taken and _alike(element, of.name):
                    yield Proposal(of, name, element, of.path)


def _beside(of: Populated, base: Program, resource: str, element: str, rule: str) -> str:
    """The rule, after what the element is made of already where that is of the same segment; empty where it is of another."""
    lines = base.written.resources[resource]
    assert lines is not None
    before = next((line.value for line in lines.rules if line.element == element), None)
    if before is None:
        return rule
    text, repeats = written(before), definitions.elements(base.plan.resources[resource].type)[element].repeats
    told = re.search(rf"\b{of.path}(?!\d)", text) is not None  # and still unread: another value came before it
    if told or f"{of.segment}-" not in text or not isinstance(before, Source | ListOf):
        return ""
    if repeats:
        inside = text[1:-1] if isinstance(before, ListOf) else quoted(text)
        return f"[{inside}, {quoted(rule)}]"
    ends = isinstance(before, ListOf) or "'" in text or text.startswith("=") or rule.startswith("{")
    return "" if ends else f"({text}) ?? {rule}" if "|" in text else f"{text} ?? {rule}"


def _main_segment(plan: ResourcePlan) -> str:
    """The segment that a resource is made of: the one it reads most fields of."""
    counts = Counter(each.segment for each in _read(reads(tuple(line.node for line in plan.body.lines))))
    return counts.most_common(1)[0][0] if counts else ""


def _alike(element: str, name: str) -> bool:
    """Whether an element's name is at least half of a field's: maritalStatus, marital_status; method, observation_method."""
    words, said = {word.lower() for word in _WORDS.findall(element)}, set(name.split("_"))
    return bool(words) and words <= said and 2 * len(words) >= len(said) and not words <= _COMMON and element not in _BASIC


def _right(trials: Sequence[Proposal], base: Program, texts: Mapping[str, str], naming: Naming) -> list[Proposal]:
    """Of some lines, no two of one element, those that ``check`` has nothing to say against."""
    files = dict(texts)
    lines = ["mapping: trial", f"extends: {base.name}", "resources:"]
    places: dict[int, Proposal] = {}
    for name in base.plan.resources:
        mine = [each for each in trials if each.resource == name]
        lines += [f"  {name}:", "    set:"] if mine else []
        for each in mine:
            lines.append(f"      {each.element}: {each.rule}")
            places[len(lines)] = each
    if not places:
        return []
    file = _TRIAL.format(base.name)
    files[file] = "\n".join(lines) + "\n"
    wrong = {mistake.mark.line for mistake in programs.load(files, naming).mistakes if mistake.mark.file == file}
    return [each for line, each in places.items() if line not in wrong]
