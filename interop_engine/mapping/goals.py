"""What an expression is lowered towards, and what lowering it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from interop_engine.fhir.definitions import ElementDef
from interop_engine.mapping import expression as syntax
from interop_engine.mapping.context import Naming
from interop_engine.mapping.convert.tables import CodeTable
from interop_engine.mapping.language import Fragment, ResourceRule, When
from interop_engine.mapping.resolve import At, Level, Names, Report, Resolver
from interop_engine.mapping.typed import (
    Condition,
    Node,
)

Levels = tuple[Level, ...]


@dataclass(frozen=True)
class Goal:
    """What an expression's items must become."""

    kind: Literal["element", "text", "compared", "identity", "raw"]
    definition: ElementDef | None = None
    path: str = ""
    element: str = ""  # the name written, with its type where that was forced (valueString)


@dataclass(frozen=True)
class Typed:
    """A lowered expression. ``many``: may give several items; ``certain``: gives one always; ``constant``: a literal does."""

    node: Node
    many: bool = False
    certain: bool = False
    constant: bool = False
    label: str = ""


@dataclass(frozen=True)
class Site:
    """What the site defines besides this mapping."""

    names: Names
    tables: Mapping[str, CodeTable] | None
    maps: frozenset[str] | None
    naming: Naming | None


TEXT = Goal("text")
COMPARED = Goal("compared")  # text to compare with: of a code the code, not the words
IDENTITY = Goal("identity")
RAW = Goal("raw")


class Base(ABC):
    """What all parts of the lowering share: one mapping's names, and where mistakes go."""

    def __init__(self, site: Site, report: Report, structure: str) -> None:
        self.site = site
        self.report = report
        self.resolver = Resolver(site.names, report, structure, self.condition)
        self.fragments: Mapping[str, Fragment] = {}
        self.used: set[str] = set()
        self.targets: Mapping[str, tuple[ResourceRule, Levels]] = {}
        self.proven: frozenset[str] = frozenset()  # what the resource's when: says is there
        self.contextless = False  # no channel is known yet: nothing that asks for its tables
        self.quiet = False  # inside a condition a read across groups is no mistake

    @abstractmethod
    def node(self, tree: syntax.Expression, goal: Goal, levels: Levels, at: At) -> Typed | None:
        """Lower an expression; None where a mistake was reported."""

    @abstractmethod
    def condition(self, tree: syntax.Condition, levels: Levels, at: At) -> Condition | None:
        """Lower a condition; None where a mistake was reported."""


def shared_level(one: Levels, other: Levels) -> int:
    """The index of the last level that two scopes have in common."""
    shared = 0
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a is not b and a != b:
            break
        shared = index
    return shared


def replace_types(definition: ElementDef, kinds: tuple[str, ...]) -> ElementDef:
    """The element with fewer types to choose from."""
    return ElementDef(
        definition.name,
        tuple(kind for kind in definition.types if kind in kinds),
        definition.minimum,
        definition.repeats,
        definition.targets,
        definition.binding,
        definition.strength,
        definition.choice,
    )


def proven(when: When | None) -> frozenset[str]:
    """The paths that a condition says are there."""
    if when is None:
        return frozenset()
    waiting = [when.condition]
    found: set[str] = set()
    while waiting:
        tree = waiting.pop()
        if isinstance(tree, syntax.Junction) and tree.operator == "and":
            waiting += tree.operands
        elif isinstance(tree, syntax.Test) and tree.name == "exists" and isinstance(tree.subject, syntax.FieldPath):
            found.add(str(tree.subject))
    return frozenset(found)
