"""A bundle → a message of HL7 v2. Pure: the same bundle gives the same bytes.

The engine writes the header; what a value cannot keep is a finding; a bundle of which nothing is made says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from interop_engine.core.diagnostics import Finding, Mark
from interop_engine.core.errors import CharsetError
from interop_engine.hl7 import charset
from interop_engine.hl7.message import Delimiters, escape
from interop_engine.mapping.outbound.fhirpath import Bundled, Expression, Node
from interop_engine.mapping.outbound.observations import conversion, observed, unit_of
from interop_engine.mapping.outbound.shape import BUNDLE_VARIABLE, FieldPlan, GroupPlan, SegmentPlan
from interop_engine.mapping.outbound.times import dtm
from interop_engine.mapping.outbound.values import Context, Part, Target
from interop_engine.mapping.typed import VARIES

if TYPE_CHECKING:
    from interop_engine.core.model import Resource
    from interop_engine.mapping.context import Naming

VERSION = "2.5.1"
_D = Delimiters()
_Fields = dict[int, list[Part]]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the header says that is not in the bundle: who it is for, in which character set, and which delivery it is.

    ``delivery`` names what came in: MSH-10 follows from it, so that the same delivery is the same message.
    """

    delivery: str
    application: str = ""
    facility: str = ""
    charset: str = "UNICODE UTF-8"


@dataclass(frozen=True, slots=True)
class Made:
    """The message and what could not be kept.

    Where it is empty, ``fault`` says that it cannot be written, ``lacking`` which group of it lacks what it needs.
    ``segments``: what the message is made of, for who asks where it comes from.
    """

    body: bytes = b""
    findings: tuple[Finding, ...] = ()
    fault: str = ""
    lacking: str = ""
    segments: tuple[Written, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether the bundle holds nothing for the message."""
        return not (self.body or self.fault or self.lacking)


@dataclass(frozen=True)
class MessageProgram:
    """A mapping from a bundle to a message, proven."""

    name: str
    structure: str
    event: str
    plan: GroupPlan
    digest: str
    mark: Mark

    reads = "fhir"

    def make(self, bundle: Resource, naming: Naming, envelope: Envelope) -> Made:
        """The message of a bundle."""
        bundled = Bundled(bundle)
        context = Context(naming, bundled)
        root = Node("Bundle", bundle)
        writer = _Writer(context)
        body = writer.group(self.plan, root, {BUNDLE_VARIABLE: root}, {})
        if writer.unfinished or body is None:
            return Made(findings=tuple(context.findings), lacking=writer.unfinished)
        segments = (self._header(bundle, envelope, body), *body)
        text = "".join([f"{written(segment)}\r" for segment in segments])
        try:
            data = charset.encode(text, charset.codec_of(envelope.charset) or charset.DEFAULT)
        except CharsetError:
            why = f"a character of the message has no place in the character set {envelope.charset}"
            return Made(findings=tuple(context.findings), fault=why)
        return Made(data, tuple(context.findings), segments=segments)

    def _header(self, bundle: Resource, envelope: Envelope, body: list[Written]) -> Written:
        """MSH: who sent the results and when, as their Provenance says it; the rest is the envelope's."""
        own = next((segment for segment in body if segment.name == "MSH"), None)
        if own is not None:
            body.remove(own)
        sender, recorded = _origin(bundle)
        code = self.structure.partition("_")[0]
        control = hashlib.sha256(f"{envelope.delivery}\n{self.name}".encode()).hexdigest()[:20].upper()
        fields: _Fields = {3: ["INTEROP"], 4: [sender], 5: [envelope.application], 6: [envelope.facility]}
        fields |= own.fields if own is not None else {}
        fields |= {
            7: [dtm(recorded.replace(".000", ""))],
            9: [(code, self.event, self.structure)],
            10: [control],
            11: ["P"],
            12: [VERSION],
        }
        return Written("MSH", {**fields, 18: [envelope.charset]}, own.lines if own is not None else {})


def _origin(bundle: Resource) -> tuple[str, str]:
    """The sender's facility and the time, of the bundle's Provenance; the bundle's own time without one."""
    resources = [entry.get("resource", {}) for entry in bundle.get("entry", ())]
    found = next((each for each in resources if each.get("resourceType") == "Provenance"), None)
    if found is None:
        return "", bundle.get("timestamp", "")
    whos = [agent.get("who", {}) for agent in found.get("agent", ())]
    sender = next((who["identifier"].get("value", "") for who in whos if "identifier" in who), "")
    return sender, found.get("recorded", "")


# --- Writing -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Written:
    """One segment: its fields' repetitions by number, and the lines that gave them."""

    name: str
    fields: _Fields = field(default_factory=dict)
    lines: dict[int, list[FieldPlan]] = field(default_factory=dict)


def written(segment: Written) -> str:
    """A segment as text."""
    last = max((number for number in segment.fields if value_of(segment, number)), default=0)
    fields = [value_of(segment, number) for number in range(1, last + 1)]
    if segment.name == "MSH":
        fields = [_D.encoding_characters, *fields[2:]]
    return _D.field.join([segment.name, *fields])


def value_of(segment: Written, number: int) -> str:
    """A field as text, '' where it is empty."""
    texts = [_part(value) for value in segment.fields.get(number, ())]
    return _D.repetition.join(texts) if any(texts) else ""


def _part(part: Part, separators: str = _D.component + _D.subcomponent) -> str:
    if isinstance(part, str):
        return escape(part, _D)
    texts = [_part(each, separators[1:]) for each in part]
    while texts and not texts[-1]:
        texts.pop()
    return separators[:1].join(texts) if separators else texts[0] if texts else ""


class _Writer:
    """One run over one bundle."""

    def __init__(self, context: Context) -> None:
        self.unfinished = ""  # the group of which something is there, but not all that it needs
        self._context = context
        self._counts: dict[str, int] = {}

    def group(
        self, plan: GroupPlan, here: Node, variables: Mapping[str, Node], outer: dict[str, int], *, firm: bool = True
    ) -> list[Written] | None:
        """The segments of one instance of a group; None where something it needs is not there.

        ``outer`` counts the lead segments of groups beside this one, for their set ids. ``firm``: it is to be there, so what it
        needs is written though only literals stand in it.
        """
        segments: list[Written] = []
        there: set[str] = set()
        ids: dict[str, int] = {}
        for child in plan.children:
            certain = child.each is not None or child.when is not None or (firm and child.name in (*plan.needed, "MSH"))
            for node, known in self._instances(child, here, variables):
                if isinstance(child, GroupPlan):
                    added = self.group(child, node, known, ids if child.repeats else outer, firm=certain) or []
                else:
                    added = self._segment(child, node, known, outer if child.name == plan.lead else ids, firm=certain)
                segments += added
                if added:
                    there.add(child.name)
        if segments and plan.needed <= there:
            return segments
        if segments:
            lacking = ", ".join(sorted(plan.needed - there))
            self.unfinished = self.unfinished or f"{plan.name} lacks {lacking}"
        return None

    def _instances(
        self, plan: SegmentPlan | GroupPlan, here: Node, variables: Mapping[str, Node]
    ) -> Iterator[tuple[Node, Mapping[str, Node]]]:
        nodes = self._find(plan.each, here, variables, plan.name) if plan.each is not None else [here]
        for node in nodes:
            known = {**variables, plan.name: node} if plan.each is not None and isinstance(plan, GroupPlan) else variables
            if plan.when is None or [each.data for each in self._find(plan.when, node, known, plan.name)] == [True]:
                yield node, known

    def _find(self, expression: Expression, here: Node, variables: Mapping[str, Node], place: str) -> Sequence[Node]:
        try:
            return expression.find(here, variables, self._context.bundled)
        except ValueError:
            message = "An expression does not suit what the bundle holds here; it gives nothing."
            self._context.findings.append(Finding("expression-failed", message, place))
            return []

    def _segment(
        self, plan: SegmentPlan, here: Node, variables: Mapping[str, Node], ids: dict[str, int], *, firm: bool
    ) -> list[Written]:
        self._counts[plan.name] = number = self._counts.get(plan.name, 0) + 1
        self._context.place = f"{plan.name}[{number}]"
        segment = Written(plan.name)
        said = False
        for line in plan.fields:
            for expression in line.expressions:
                nodes = self._find(expression, here, variables, line.target.label)
                self._put(segment.fields, line, nodes)
                said = said or (bool(nodes) and not _constant(expression))
            if line.field in segment.fields:
                segment.lines.setdefault(line.field, []).append(line)
        if not segment.fields or not (said or firm):
            self._counts[plan.name] = number - 1
            return []
        for required in plan.required:
            if required not in segment.fields:
                self._context.note(
                    "field-missing", "A field that HL7 v2 requires has no value.", Target(f"{plan.name}-{required}", "")
                )
        if plan.set_id:
            ids[plan.name] = ids.get(plan.name, 0) + 1
            segment.fields[1] = [str(ids[plan.name])]
        return [segment]

    def _put(self, fields: _Fields, line: FieldPlan, nodes: Sequence[Node]) -> None:
        for node in nodes:
            part = self._value(fields, line, node)
            if part is None:
                continue
            if line.component:
                fields[line.field] = [_with(fields.get(line.field, [""])[0], line, part)]
            elif line.repeats or line.field not in fields:
                fields.setdefault(line.field, []).append(part)

    def _value(self, fields: _Fields, line: FieldPlan, node: Node) -> Part | None:
        """A value as the field's type; that of OBX-5 says its type and its unit in OBX-2 and OBX-6."""
        target = line.target
        if target.datatype == VARIES:
            kind = observed(node)
            target = Target(target.label, kind)
        convert = conversion(node.type, target.datatype)
        part = convert(node, target, self._context) if convert is not None else None
        if convert is None:
            self._context.note("no-conversion", f"A {node.type} does not go into {line.target.datatype}; it is left out.", target)
        if part is not None and line.target.datatype == VARIES:
            fields.setdefault(2, [kind])
            if (unit := unit_of(node)) is not None:
                fields.setdefault(6, [unit])
        return part


def _constant(expression: Expression) -> bool:
    return expression.text.lstrip().startswith("'")


def _with(whole: Part, line: FieldPlan, part: Part) -> Part:
    """A field's value with a component put in."""
    parts: list[Part] = list(whole) if isinstance(whole, tuple) else [whole]
    parts += [""] * (line.component - len(parts))
    if line.subcomponent:
        below = parts[line.component - 1]
        inner: list[Part] = list(below) if isinstance(below, tuple) else [below]
        inner += [""] * (line.subcomponent - len(inner))
        inner[line.subcomponent - 1] = part
        part = tuple(inner)
    parts[line.component - 1] = part
    return tuple(parts)
