"""Messages in turn through mappings to one destination: each is mapped with what those before it taught."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from interop_engine.core.model import Known, Park, Question, Sent
from interop_engine.engine.results import kept, share_of, still_to_ask
from interop_engine.fhir import bundle
from tests.support.mappings import SCOPE, message, program

if TYPE_CHECKING:
    from interop_engine.core.model import Resource
    from interop_engine.mapping.context import Scope

HUB = "hub"


@dataclass
class Story:
    """What a destination has after some messages, and how the last one went."""

    scope: Scope = SCOPE
    has: dict[str, Resource] = field(default_factory=dict)  # "Type/id" → what the destination has
    sent: dict[str, Sent] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    park: Park | None = None
    written: tuple[Resource, ...] = ()
    stale: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    asked: int = 0  # how often the journal was asked for the last message

    def tell(self, mapping: str, *segments: str) -> Story:
        """One more message, through a mapping."""
        compiled = program(mapping)
        plan = compiled.identify(message(*segments), self.scope)
        question: Question | None = plan.question
        self.park, self.written, self.stale, self.asked = None, (), (), 0
        while question is not None:
            known, asked = self._known(question), question
            self.asked += 1
            draft = compiled.build(plan, known)
            question = None if draft.park else still_to_ask(draft.resources, known, (HUB,), self.scope, asked)
        findings = (*draft.findings, *(() if draft.park else kept(draft.resources, known, (HUB,), self.scope)))
        self.findings = tuple(finding.code for finding in findings)
        share = draft.park or share_of(draft.resources, known, HUB, self.scope)
        if isinstance(share, Park):
            self.park = share
            return self
        self.written, self.stale = share.resources, share.stale
        self.sent.update({each.object: each for each in share.sent})
        self.has.update({f"{each['resourceType']}/{each['id']}": each for each in share.resources})
        self.aliases.update({alias: f"{item.type}/{item.id}" for item in draft.resources for alias in item.aliases})
        return self

    def all(self, kind: str) -> list[Resource]:
        """What the destination has of a type, in the order in which it came."""
        return [each for each in self.has.values() if each["resourceType"] == kind]

    def _known(self, question: Question) -> Known:
        """The journal's answer: nothing that was not asked for, and content only where it was asked for and is kept."""
        aliases = {alias: thing for alias, thing in self.aliases.items() if alias.partition("\t")[0] in question.aliases}
        whole = {*question.whole, *aliases.values()}
        sent = {}
        for thing in {*question.objects, *whole}:
            if (state := self.sent.get(thing)) is not None:
                content = state.content if thing in whole else None
                sent[HUB, thing] = Sent(HUB, thing, state.digest, state.version, state.rank, content)
        return Known("", sent, aliases)


def values(story: Story, path: str = "value") -> list[str]:
    """The numbers of the observations that the destination has, each with its status."""
    found = []
    for each in story.all("Observation"):
        decoded = bundle.decode(bundle.encode(each))
        found.append(f"{decoded['valueQuantity'][path]} {decoded['status']}")
    return found
