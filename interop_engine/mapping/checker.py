"""All files of a site's mappings, checked: what comes out is a plan for each mapping, or every mistake at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from interop_engine.core.diagnostics import Mistake, near
from interop_engine.core.model import Write
from interop_engine.fhir import definitions
from interop_engine.hl7 import dictionary
from interop_engine.mapping import expression as syntax
from interop_engine.mapping import sameness
from interop_engine.mapping.dialect import compile_dialect
from interop_engine.mapping.elements import Elements
from interop_engine.mapping.files import Files, digest, extended, read_all
from interop_engine.mapping.goals import proven
from interop_engine.mapping.instances import ITEM
from interop_engine.mapping.language import (
    Fragment,
    MappingFile,
    Name,
    ResourceRule,
    Source,
    When,
)
from interop_engine.mapping.lowering import IDENTITY, TEXT, Levels, Lowering, Site, shared_level
from interop_engine.mapping.outbound.compiler import compile_outbound
from interop_engine.mapping.resolve import Level, Names, Report, z_segments
from interop_engine.mapping.typed import (
    Apply,
    Condition,
    Convert,
    FragmentPlan,
    KeyPart,
    MappingPlan,
    Node,
    Read,
    Refs,
    ResourcePlan,
    Step,
)

_SCOPED = frozenset({"CX", "EI"})
_UNION = {"DiagnosticReport": ("result",)}


def check(texts: Mapping[str, str], site: Site) -> tuple[dict[str, MappingPlan], Files, list[Mistake]]:
    """Check all files of a site at once: file name → text. A mapping with a mistake has no plan."""
    report = Report()
    files = read_all(texts, report)
    described = {name: fields for dialect in files.dialects.values() for name, fields in dialect.segments.items()}
    site = replace(site, names=Names({**site.names.segments, **z_segments(described)}))
    files.compiled = {name: compile_dialect(dialect, site, report) for name, dialect in files.dialects.items()}
    files.messages = compile_outbound(files.outbound, texts, site, report)
    plans: dict[str, MappingPlan] = {}
    for name in files.mappings:
        mapping = extended(name, files, report, ())
        if mapping is None:
            continue
        files.resolved[name] = mapping
        before = len(report.mistakes)
        plan = _Mapping(mapping, files, site, report, digest(name, files, texts)).plan()
        if plan is not None and not any(m.severity == "error" for m in report.mistakes[before:]):
            plans[name] = plan
    for file in files.fragments.values():
        alone = MappingFile("", file.mark, use=(Name(file.name, file.mark),))
        _Mapping(alone, files, site, report, "").check_fragments()
    broken = {mistake.mark.file for mistake in report.mistakes if mistake.severity == "error"}
    plans = {name: plan for name, plan in plans.items() if files.mappings[name].mark.file not in broken}
    report.mistakes.sort(key=lambda m: (m.mark.file, m.mark.line, m.mark.column, m.code))
    return plans, files, report.mistakes


class _Mapping:
    def __init__(self, mapping: MappingFile, files: Files, site: Site, report: Report, digest: str) -> None:
        self._mapping = mapping
        self._files = files
        self._report = report
        self._digest = digest
        structure = mapping.message.text if mapping.message else ""
        self._structure = dictionary.structure(structure)
        self._lowering = Lowering(site, report, structure)
        self._elements = Elements(self._lowering)
        self._levels: dict[str, tuple[Levels, ResourceRule]] = {}

    def plan(self) -> MappingPlan | None:
        mapping = self._mapping
        if mapping.message is None:
            self._report.add(
                "M103", f'mapping "{mapping.name}" has no "message:"', mapping.mark, "the structure: message: ORU_R01"
            )
            return None
        if self._structure is None:
            hint = near(mapping.message.text, dictionary.structures())
            self._report.add("M200", f'there is no message structure "{mapping.message.text}"', mapping.message.mark, hint)
            return None
        root = (Level(group=self._structure),)
        self._lowering.fragments = self._fragments_in_use()
        rules = {name: rule for name, rule in mapping.resources.items() if rule is not None}
        steps = {name: self._steps(rule, root) for name, rule in rules.items()}
        self._lowering.targets = {name: (rule, (steps[name] or ((), root))[1]) for name, rule in rules.items()}
        resources = {name: self._resource(rule, *way) for name, rule in rules.items() if (way := steps[name]) is not None}
        found = sameness.added({name: plan for name, plan in resources.items() if plan is not None})
        self._lowering.contextless = True
        when = self._when(mapping.when, root)
        self._lowering.contextless = False
        ignore = self._ignore(root)
        events = self._events()
        fragments = self._fragments()
        return MappingPlan(
            name=mapping.name,
            structure=mapping.message.text,
            events=events,
            when=when,
            bundle=mapping.bundle.text if mapping.bundle else "transaction",
            ignore=ignore,
            resources=found,
            fragments=fragments,
            order=self._order(found),
            digest=self._digest,
        )

    # --- resources -------------------------------------------------------------------------------------------------

    def _steps(self, rule: ResourceRule, root: Levels) -> tuple[tuple[Step, ...], Levels] | None:
        if rule.each is None:
            return (), root
        return self._lowering.resolver.steps(rule.each.text, root, rule.each.mark)

    def _resource(self, rule: ResourceRule, steps: tuple[Step, ...], levels: Levels) -> ResourcePlan | None:
        kind = rule.type.text if rule.type else ""
        if not definitions.is_resource(kind):
            mark = rule.type.mark if rule.type else rule.mark
            message = f'there is no FHIR resource "{kind}"' if kind else f'"{rule.name}" has no "resource:"'
            self._report.add("M206", message, mark, near(kind, definitions.resources()))
            return None
        self._lowering.proven = proven(rule.when)
        when = self._when(rule.when, levels)
        key, names = self._identity(rule, levels)
        same = sameness.same_as(rule, levels, self._lowering, self._key_part)
        newer = self._text(rule.newer, levels)
        merged = self._merged_into(rule, levels)
        body = self._elements.body(kind, rule.rules, levels, rule.mark, whole=True, adds=rule.same_as is not None)
        self._lowering.proven = frozenset()
        write: Write = "replace"
        if rule.write is not None and rule.write.text in ("replace", "merge", "if-new"):
            write = rule.write.text  # type: ignore[assignment]
        if rule.same_as is not None:
            write = "add"
        union = self._union(rule, kind)
        parks = rule.unknown is not None and rule.unknown.text == "park"
        return ResourcePlan(rule.name, kind, steps, when, key, names, write, newer, merged, union, body, parks, same)

    def _identity(self, rule: ResourceRule, levels: Levels) -> tuple[tuple[KeyPart, ...], dict[str, KeyPart]]:
        if not rule.key and not {*(rule.known_as or ())} - {ITEM} and rule.same_as is None:
            self._report.add("M403", f'"{rule.name}" has no key', rule.mark, "key: the path that names it, such as OBR-3")
        if rule.unknown is not None and not rule.known_as:
            self._report.add("M103", '"unknown:" is about names, and "known_as:" is missing', rule.unknown.mark)
        parts = [self._key_part(source, levels, first=not n) for n, source in enumerate(rule.key or ())]
        names = {label: self._key_part(source, levels, first=True) for label, source in (rule.known_as or {}).items()}
        for label, part in names.items():
            if part is not None and part.parent and rule.known_as:
                self._report.add("M404", "a name is a value, not a reference", rule.known_as[label].mark)
        return tuple(p for p in parts if p is not None), {label: p for label, p in names.items() if p is not None}

    def _key_part(self, source: Source, levels: Levels, *, first: bool) -> KeyPart | None:
        tree = source.expression
        if isinstance(tree, syntax.Reference):
            target = self._lowering.targets.get(tree.name)
            if target is None:
                hint = near(tree.name, self._lowering.targets)
                self._report.add("M208", f'there is no resource "{tree.name}"', source.at(tree.column), hint)
                return None
            if target[0].known_as:
                self._report.add("M404", f'"{tree.name}" has no key of its own, its id is found by its names', source.mark)
                return None
            if tree.key:
                self._report.add("M404", "a key by which something is found stands in same_as:", source.at(tree.column))
                return None
            shared = shared_level(levels, target[1])
            if len(target[1]) > shared + 1:
                message = f'several "{tree.name}" may be in scope, a key needs the one it belongs to'
                self._report.add("M404", message, source.mark)
                return None
            return KeyPart(None, source.text, tree.name, shared)
        typed = self._lowering.node(tree, IDENTITY, levels, source.at)
        if typed is None:
            return None
        if typed.many:
            hint = "| own_number, or | first" if _type_of(typed.node) == "CX" else "| first"
            self._report.add("M301", f"{typed.label} may repeat, a key takes one value", source.mark, hint)
            return None
        if first and typed.constant:
            message = "a literal would give different things the same key"
            self._report.add("M404", message, source.mark, "end with a path; what has no key parks")
        return KeyPart(typed.node, source.text, scoped=_is_scoped(typed.node))

    def _merged_into(self, rule: ResourceRule, levels: Levels) -> Refs | None:
        name = rule.merged_into
        if name is None:
            return None
        target = self._lowering.targets.get(name.text)
        if target is None:
            self._report.add("M208", f'there is no resource "{name.text}"', name.mark, near(name.text, self._lowering.targets))
            return None
        kinds = (rule.type.text if rule.type else "", target[0].type.text if target[0].type else "")
        if kinds != ("Patient", "Patient"):
            self._report.add("M405", "merged_into: joins a Patient to a Patient", name.mark)
            return None
        return Refs(name.text, shared_level(levels, target[1]), single=True)

    def _union(self, rule: ResourceRule, kind: str) -> tuple[str, ...]:
        if rule.same_as is not None:
            return sameness.lists(rule, kind, self._report)
        written = {line.element for line in rule.rules}
        if rule.union is None:
            return tuple(element for element in _UNION.get(kind, ()) if element in written)
        for name in rule.union:
            definition = definitions.element(kind, name.text)
            if definition is None or not definition.repeats:
                lists = [element for element, each in definitions.elements(kind).items() if each.repeats]
                set_here = f"lists that this resource sets: {', '.join(each for each in lists if each in written) or 'none'}"
                hint = set_here if definition else near(name.text, lists) or set_here
                self._report.add("M406", f"{kind}.{name.text} is no list", name.mark, hint)
        return tuple(name.text for name in rule.union)

    def _order(self, resources: Mapping[str, ResourcePlan]) -> tuple[str, ...]:
        order: list[str] = []
        waiting = dict(resources)
        while waiting:
            ready = [n for n, p in waiting.items() if not any(parent in waiting for parent in p.parents)]
            if not ready:
                name = next(iter(waiting))
                self._report.add("M404", f'the key of "{name}" refers to itself', self._lowering.targets[name][0].mark)
                break
            order += ready
            for name in ready:
                del waiting[name]
        return tuple(order)

    # --- other keys ------------------------------------------------------------------------------------------------

    def _when(self, when: When | None, levels: Levels) -> Condition | None:
        return None if when is None else self._lowering.condition(when.condition, levels, when.at)

    def _text(self, source: Source | None, levels: Levels) -> Node | None:
        if source is None:
            return None
        typed = self._lowering.node(source.expression, TEXT, levels, source.at)
        return None if typed is None else typed.node

    def _events(self) -> tuple[str, ...]:
        mapping = self._mapping
        assert mapping.message is not None
        code = mapping.message.text.split("_")[0]
        for event in mapping.events or ():
            found = dictionary.structure_for(code, event.text)
            if found != mapping.message.text:
                hint = f"{code}^{event.text} has the structure {found}" if found else "write the event alone, as in MSH-9.2: A08"
                self._report.add("M214", f"{code}^{event.text} is no event of {mapping.message.text}", event.mark, hint)
        return tuple(event.text for event in mapping.events or ())

    def _ignore(self, root: Levels) -> dict[str, int]:
        masks: dict[str, int] = {}
        before, self._lowering.quiet = self._lowering.quiet, True
        for source in self._mapping.ignore:
            tree = source.expression
            if not isinstance(tree, syntax.FieldPath) or not tree.segment:
                self._report.add("M104", "ignore: takes fields and segments", source.mark, "OBX-12")
                continue
            inherited = source.mark.file != self._mapping.mark.file
            if inherited and self._structure is not None and not self._structure.reaches(tree.segment):
                continue  # the structure of the mapping that this one extends has it
            found = self._lowering.resolver.read(tree, root, source.at)
            if found is not None:
                masks[found.segment] = masks.get(found.segment, 0) | (1 << found.field if found.field else -1)
        self._lowering.quiet = before
        return masks

    # --- fragments -------------------------------------------------------------------------------------------------

    def _fragments_in_use(self) -> dict[str, Fragment]:
        found: dict[str, Fragment] = {}
        for name in self._mapping.use:
            file = self._files.fragments.get(name.text)
            if file is None:
                hint = near(name.text, self._files.fragments)
                self._report.add("M209", f'there is no file of fragments "{name.text}"', name.mark, hint)
                continue
            for fragment in file.fragments.values():
                if fragment.name in found:
                    self._report.add("M213", f'there are two fragments "{fragment.name}"', name.mark)
                found[fragment.name] = fragment
        return found

    def _fragments(self) -> dict[str, FragmentPlan]:
        """The fragments that are used, and those they use."""
        plans: dict[str, FragmentPlan] = {}
        every = self._lowering.fragments
        while waiting := [name for name in sorted(self._lowering.used) if name not in plans]:
            for name in waiting:
                self._lowering.fragments = {other: f for other, f in every.items() if other != name}
                plans[name] = self._fragment(every[name])
        self._lowering.fragments = every
        return plans

    def check_fragments(self) -> None:
        """Check the fragments in use that no rule uses: a mistake in them is told before somebody does."""
        self._lowering.fragments = self._fragments_in_use()
        for fragment in self._lowering.fragments.values():
            if self._known_type(fragment.of):
                self._lowering.used.add(fragment.name)
        self._fragments()

    def _fragment(self, fragment: Fragment) -> FragmentPlan:
        levels = (Level(datatype=fragment.of.text),)
        kind = fragment.type.text
        fits = definitions.is_resource(kind) if fragment.is_resource else bool(definitions.elements(kind))
        if not fits:
            self._report.add("M206", f'there is no FHIR type "{kind}"', fragment.type.mark, near(kind, definitions.resources()))
        if fragment.is_resource and not fragment.key:
            self._report.add("M403", f'fragment "{fragment.name}" has no key', fragment.mark, "key: .1")
        key = tuple(
            part
            for part in (self._key_part(source, levels, first=not n) for n, source in enumerate(fragment.key))
            if part is not None
        )
        when = self._when(fragment.when, levels)
        body = self._elements.body(kind, fragment.rules, levels, fragment.mark, whole=fragment.is_resource)
        write: Write = "replace"
        if fragment.write is not None and fragment.write.text in ("merge", "if-new"):
            write = fragment.write.text  # type: ignore[assignment]
        return FragmentPlan(fragment.name, fragment.of.text, kind, fragment.is_resource, key, write, when, body)

    def _known_type(self, name: Name) -> bool:
        if dictionary.datatype(name.text) is not None:
            return True
        self._report.add(
            "M211", f'there is no HL7 v2 data type "{name.text}"', name.mark, near(name.text, dictionary.datatypes())
        )
        return False


def _type_of(node: Node) -> str:
    return node.source.datatype if isinstance(node, Convert) else ""


def _is_scoped(node: Node) -> bool:
    if isinstance(node, Apply):
        return node.function.name == "own_number"
    options = getattr(node, "options", None)
    if options is not None:
        return any(_is_scoped(option) for option in options)
    source = getattr(node, "source", None)
    if isinstance(node, Convert):
        return isinstance(source, Read) and source.datatype in _SCOPED
    return source is not None and _is_scoped(source)
