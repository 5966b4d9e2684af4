"""Conditions, checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import re2

from interop_engine.mapping import expression as syntax
from interop_engine.mapping.goals import COMPARED, RAW, TEXT, Base, Levels
from interop_engine.mapping.resolve import At
from interop_engine.mapping.typed import (
    Compare,
    Condition,
    Convert,
    Count,
    Deleted,
    Exists,
    Junction,
    Matches,
    Node,
    Not,
    Read,
)


class Conditions(Base):
    """Lowers conditions."""

    def condition(self, tree: syntax.Condition, levels: Levels, at: At) -> Condition | None:
        """Lower a condition; None where a mistake was reported."""
        before, self.quiet = self.quiet, True
        try:
            return self._condition(tree, levels, at)
        finally:
            self.quiet = before

    def _condition(self, tree: syntax.Condition, levels: Levels, at: At) -> Condition | None:
        if isinstance(tree, syntax.Not):
            operand = self._condition(tree.operand, levels, at)
            return None if operand is None else Not(operand)
        if isinstance(tree, syntax.Junction):
            operands = [self._condition(operand, levels, at) for operand in tree.operands]
            found = tuple(operand for operand in operands if operand is not None)
            return Junction(tree.operator, found) if len(found) == len(operands) else None
        if isinstance(tree, syntax.Comparison):
            return self._comparison(tree, levels, at, "any")
        return self._test(tree, levels, at)

    def _comparison(self, tree: syntax.Comparison, levels: Levels, at: At, each: Literal["any", "all", ""]) -> Condition | None:
        left = tree.left
        if isinstance(left, syntax.Call) and left.name == "count" and len(left.arguments) == 1:
            return self._count(tree, left.arguments[0], levels, at)
        nodes = [self.node(operand, COMPARED, levels, at) for operand in (left, *tree.right)]
        found = [node.node for node in nodes if node is not None]
        if len(found) < len(nodes):
            return None
        return Compare(tree.operator, found[0], tuple(found[1:]), each or "any")

    def _count(self, tree: syntax.Comparison, counted: syntax.Expression, levels: Levels, at: At) -> Condition | None:
        right = tree.right[0]
        if tree.operator in ("in", "not in") or not isinstance(right, syntax.Text) or not right.value.isdecimal():
            self.report.add("M306", "count(…) is compared with a number", at(tree.column), "count(OBX) > 3")
            return None
        inner = self.node(counted, RAW, levels, at)
        return None if inner is None else Count(tree.operator, inner.node, int(right.value))

    def _test(self, tree: syntax.Test, levels: Levels, at: At) -> Condition | None:
        if tree.name in ("any", "all"):
            assert isinstance(tree.subject, syntax.Comparison)
            found = self._comparison(tree.subject, levels, at, "all" if tree.name == "all" else "any")
            if isinstance(found, Compare) and tree.subject.operator in ("!=", "not in"):
                return replace(found, operator="other" if tree.subject.operator == "!=" else "outside")
            return found
        assert not isinstance(tree.subject, syntax.Comparison | syntax.Test | syntax.Not | syntax.Junction)
        inner = self.node(tree.subject, TEXT if tree.name == "matches" else RAW, levels, at)
        if inner is None:
            return None
        if tree.name == "matches":
            return self._matches(tree, inner.node, at)
        if tree.name == "deleted":
            source = inner.node.source if isinstance(inner.node, Convert) else inner.node
            if not isinstance(source, Read) or not source.field:
                self.report.add("M306", "deleted(…) takes one field", at(tree.column), "deleted(PID-13)")
                return None
            return Deleted(source)
        return Exists(inner.node)

    def _matches(self, tree: syntax.Test, node: Node, at: At) -> Condition | None:
        try:
            re2.compile(tree.pattern)
        except re2.error:
            self.report.add("M306", "the pattern is not a regular expression of RE2", at(tree.column), "no look-around, no \\1")
            return None
        return Matches(node, tree.pattern)
