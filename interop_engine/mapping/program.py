"""A compiled mapping: which things a message is about, and what it says of them. Pure: the same input gives the same draft.

``identify`` names the resources of a message (keys, ids) and asks what must be known of them; ``build`` fills them. What
cannot be mapped is a ``Park`` in the draft, never an exception.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from interop_engine.core.diagnostics import Mark, Mistake
from interop_engine.core.model import NOTHING_KNOWN, Known, Park, Question
from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import GroupDef
from interop_engine.hl7.message import Message
from interop_engine.hl7.scalars import read_moment, zone_of
from interop_engine.hl7.structure import group
from interop_engine.mapping import checker, identity, ledger, tabled
from interop_engine.mapping.compiler import Compiled, compile_mapping
from interop_engine.mapping.context import Context, Naming, Scope
from interop_engine.mapping.convert.tables import BY_NAME, CodeTable
from interop_engine.mapping.dialect import Dialect
from interop_engine.mapping.draft import Draft, DraftResource, Plan
from interop_engine.mapping.helpers import Whole
from interop_engine.mapping.instances import Instance
from interop_engine.mapping.language import Fragment, MappingFile
from interop_engine.mapping.lowering import Site
from interop_engine.mapping.outbound.compiler import Outbound
from interop_engine.mapping.resolve import Names
from interop_engine.mapping.runtime import Parked, Run, context_parks, utc
from interop_engine.mapping.typed import MappingPlan
from interop_engine.terminology.conceptmap import ConceptMap

__all__ = ["Draft", "DraftResource", "Library", "Plan", "Program", "load"]

_RANKS = {
    "registered": 1,
    "partial": 2,
    "preliminary": 3,
    "cancelled": 3,
    "final": 4,
    "corrected": 5,
    "amended": 5,
    "appended": 5,
    "entered-in-error": 6,
}

# Types of which the content sent decides, where it is kept: a closed order stays closed, an open result may be repeated.
_LOOKED_BACK = frozenset({"ServiceRequest", "Observation"})


@dataclass(frozen=True)
class Program:
    """One mapping, compiled."""

    plan: MappingPlan
    structure_def: GroupDef
    ignore: Mapping[str, int]
    written: MappingFile  # with the lines of what it extends
    fragments: Mapping[str, Fragment]  # as written, of the files that it uses

    @cached_property
    def compiled(self) -> Compiled:
        """Its functions, compiled when first asked for. Raises SyntaxError where the mapping is nested too deeply for Python."""
        return compile_mapping(self.plan)

    @property
    def mark(self) -> Mark:
        """Where the mapping stands."""
        return self.written.mark

    @property
    def extends(self) -> str:
        """The mapping it changes in places, empty for none."""
        return self.written.extends.text if self.written.extends else ""

    @property
    def name(self) -> str:
        """The mapping's name."""
        return self.plan.name

    @property
    def structure(self) -> str:
        """The HL7 v2 message structure it reads."""
        return self.plan.structure

    @property
    def events(self) -> tuple[str, ...]:
        """The trigger events it takes, () for all of its structure."""
        return self.plan.events

    @property
    def digest(self) -> str:
        """Names the mapping as it was written: its text, what it extends, fragments and dialects."""
        return self.plan.digest

    @property
    def bundle(self) -> str:
        """The type of Bundle asked for."""
        return self.plan.bundle

    @property
    def source(self) -> str:
        """The Python it was compiled to (``explain --code``)."""
        return self.compiled.source

    @cached_property
    def writes(self) -> tuple[str, ...]:
        """The types of resources it makes."""
        kinds = [resource.type for resource in self.plan.resources.values()]
        kinds += [fragment.type for fragment in self.plan.fragments.values() if fragment.is_resource]
        return tuple(dict.fromkeys(kinds))

    def takes(self, event: str) -> bool:
        """Whether messages of a type such as ``ORU^R01`` are of this mapping's structure and events."""
        code, _, trigger = event.partition("^")
        return dictionary.structure_for(code, trigger) == self.structure and (not self.events or trigger in self.events)

    def fits(self, message: Message) -> bool:
        """Whether the message is of this mapping's structure and events, and its ``when:`` holds."""
        event = message.trigger_event
        if dictionary.structure_for(message.message_code, event, message.structure_name) != self.structure:
            return False
        if self.events and event not in self.events:
            return False
        return self.compiled.fits is None or bool(self.compiled.fits(Whole(message), None))

    def identify(self, message: Message, scope: Scope) -> Plan:
        """Name the resources of a message."""
        sent = _sent(message)
        context = Context(scope, _date(sent[:8]), message.delimiters, zone_of(sent, scope.timezone))
        try:
            root, findings = group(message, self.structure_def)
            context.findings += findings
            run = Run(message, root, context, self.compiled.indexes)
            for find in self.compiled.find.values():
                find(run, context, run.reads)
            identity.number_repeats(run)
            context_parks(context)
        except Parked as parked:
            return Plan(Question(), scope, None, parked.park, tuple(context.findings))
        except Exception as error:  # noqa: BLE001 - a fault of our own must not stop the channel
            return Plan(Question(), scope, None, _internal(self.name, error), tuple(context.findings))
        question = self._with_fragments(run) if self._adds_resources else _question(run)
        run.identified()
        return Plan(question, scope, run)

    @cached_property
    def _adds_resources(self) -> bool:
        return any(fragment.is_resource for fragment in self.plan.fragments.values())

    def _with_fragments(self, run: Run) -> Question:
        """The question, with the resources that fragments make: only building them tells their ids."""
        question = _question(run)
        run.identified()
        with contextlib.suppress(Exception):  # build meets it again, and parks
            self._contents(run)
        extra = [ref for ref in run.extra if ref not in question.objects]
        run.again()
        return Question(question.aliases, (*question.objects, *extra), question.whole)

    def build(self, plan: Plan, known: Known = NOTHING_KNOWN) -> Draft:
        """Fill the resources of a plan. It may be asked again, with something else known."""
        run = plan.run
        if run is None:
            return Draft(findings=plan.findings, park=plan.park)
        context = run.context
        try:
            run.again()
            identity.resolve(run, known)
            self._contents(run)
            context_parks(context)
            instances = identity.distinct(run)
            retired = identity.merges(run, self.plan.resources, instances)
            made = _version(run, "")
            resources = tuple([self._draft(run, instance, retired, made) for instance in instances])
        except Parked as parked:
            return Draft(findings=tuple(context.findings), park=parked.park, unmapped=tuple(context.unmapped))
        except Exception as error:  # noqa: BLE001 - as above
            return Draft(findings=tuple(context.findings), park=_internal(self.name, error))
        extra = tuple(
            DraftResource(kind, kind, ref.partition("/")[2], content, write, made)  # type: ignore[arg-type]
            for ref, (kind, write, content) in run.extra.items()
        )
        run.mark_joined()
        unread = ledger.unread(run.message, run.reads, self.ignore)
        return Draft((*resources, *extra), tuple(context.findings), unread, None, tuple(context.unmapped))

    def _contents(self, run: Run) -> None:
        for name, build in self.compiled.build.items():
            if instances := run.found.get(name):
                for instance, content in zip(instances, build(instances, run, run.context, run.reads), strict=True):
                    instance.content = content

    def _draft(self, run: Run, instance: Instance, retired: Mapping[str, str], made: str) -> DraftResource:
        plan = instance.plan
        union = plan.union
        if plan.type == "Patient" and "link" in instance.content:
            union = (*union, "link")
        return DraftResource(
            plan.name,
            plan.type,
            instance.id,
            instance.content,
            plan.write,
            _version(run, instance.newer) if instance.newer else made,
            _RANKS.get(instance.content.get("status", ""), 0),
            union,
            instance.learned,
            retired.get(instance.id, ""),
            instance.scope,
            instance.key,
        )


def _version(run: Run, newer: str) -> str:
    """The time that orders versions: ``newer``, else when the message was made (MSH-7)."""
    text = newer or _sent(run.message)
    return utc(text, run.context.timezone) if text else ""


def _question(run: Run) -> Question:
    aliases: list[str] = []
    objects: dict[str, None] = {}
    whole: dict[str, None] = {}
    for instances in run.found.values():
        for instance in instances:
            aliases += instance.aliases
            ref = instance.ref
            objects[ref] = None
            if instance.plan.write == "merge" or instance.plan.union or instance.plan.type in _LOOKED_BACK:
                whole[ref] = None
    return Question(tuple(dict.fromkeys(aliases)), tuple(objects), tuple(whole))


def _sent(message: Message) -> str:
    """When the message was made (MSH-7), as it is written there."""
    value = message.msh.value(7)
    return value.get(1) if value is not None else ""


@lru_cache(maxsize=4096)
def _date(text: str) -> str:
    """The day of a message as an ISO date, by which dated terminology is read; '' where it is unknown."""
    moment = read_moment(text)
    if moment is None or moment.day is None:
        return ""
    return f"{moment.year:04}-{moment.month:02}-{moment.day:02}"


def _internal(name: str, error: Exception) -> Park:
    """A fault of our own: named by its kind and line, never by what it was about."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        line, trace = trace.tb_lineno, trace.tb_next
    return Park("internal", f"The mapping {name} failed: {type(error).__name__}, line {line}. This is a fault of the engine.")


# --- Libraries -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Library:
    """All mappings of a site with what they use, and every mistake in their files."""

    programs: Mapping[str, Program]
    dialects: Mapping[str, Dialect]
    mistakes: tuple[Mistake, ...]
    tables: Mapping[str, CodeTable] = field(default_factory=dict)
    terminology: Mapping[str, ConceptMap] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()  # mappings whose own mistakes leave them without a program
    outbound: Mapping[str, Outbound] = field(default_factory=dict)  # the mappings that make messages

    @property
    def unreadable(self) -> bool:
        """Whether a file cannot be read at all: what it would define, nobody can name."""
        return any(mistake.code.startswith("Y") or mistake.code == "C104" for mistake in self.mistakes)

    def compile(self) -> list[Mistake]:
        """Compile every mapping now, rather than with its first message. The mistakes are those that only this can find."""
        mistakes = []
        for name, program in self.programs.items():
            try:
                _ = program.compiled
            except SyntaxError:  # Python takes 100 levels of indentation
                mistakes.append(Mistake("M104", f'"{name}" is nested too deeply to be compiled', program.mark))
        return mistakes

    def fitting(self, message: Message) -> list[Program]:
        """The mappings that fit a message: one is right, none or two are for the caller to refuse."""
        return [program for program in self.programs.values() if program.fits(message)]


def load(texts: Mapping[str, str], naming: Naming | None = None) -> Library:
    """Read and check all mapping files of a site: file name → text. A mapping is compiled when it is used, or by ``compile``.

    Code tables are the YAML files of a folder ``tables``, concept maps CSV and JSON files. A mapping with a mistake, or
    whose file has one, has no program.
    """
    tables, terminology, mistakes = tabled.read_all(texts)
    site = Site(Names({}), {**BY_NAME, **tables}, frozenset(terminology), naming)
    yaml_texts = {name: text for name, text in texts.items() if name.endswith((".yaml", ".yml"))}
    plans, files, more = checker.check(yaml_texts, site)
    programs: dict[str, Program] = {}
    for name, plan in plans.items():
        structure = dictionary.structure(plan.structure)
        assert structure is not None
        mapping = files.resolved[name]
        programs[name] = Program(plan, structure, ledger.ignored(plan.ignore), mapping, files.used_by(mapping))
    broken = (frozenset(files.mappings) - programs.keys()) | (frozenset(files.outbound) - files.messages.keys())
    return Library(programs, files.compiled, (*mistakes, *more), tables, terminology, broken, files.messages)
