"""Conditions → Python: each becomes lines that end with a variable holding its truth."""

from __future__ import annotations

import re2

from interop_engine.mapping.emit_reads import DELETED, Reads
from interop_engine.mapping.typed import (
    Compare,
    Condition,
    Const,
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


class Conditions(Reads):
    """Writes conditions into one function."""

    def condition(self, condition: Condition) -> str:
        """Write a condition; gives the variable that holds its truth."""
        w = self.w
        if isinstance(condition, Not):
            return f"(not {self.condition(condition.operand)})"
        held = w.name("b")
        if isinstance(condition, Junction):
            self._junction(condition, held)
        elif isinstance(condition, Compare):
            self._compare(condition, held)
        elif isinstance(condition, Count):
            w.line(f"{held} = 0")
            self.node(condition.node, lambda _, __: w.line(f"{held} += 1"))
            w.line(f"{held} = {held} {'==' if condition.operator == '=' else condition.operator} {condition.number}")
        elif isinstance(condition, Exists) and (read := self._simple(condition.node)) is not None:
            w.line(f"{held} = False")
            with w.segments(read) as segment:
                there = w.populated(segment, read.field)
                with w.block(f"if {there} and {w.raw(segment, read.field)} != {DELETED}:"):
                    w.mark(segment, read.field)
                    w.line(f"{held} = True")
        elif isinstance(condition, Exists):
            w.line(f"{held} = False")
            self.node(condition.node, lambda _, __: w.line(f"{held} = True"))
        elif isinstance(condition, Matches):
            pattern = self.module.bind(re2.compile(condition.pattern))
            w.line(f"{held} = False")

            def match(_: str, value: str) -> None:
                with w.block(f"if {pattern}.fullmatch({value}):"):
                    w.line(f"{held} = True")

            self.node(condition.node, match)
        else:
            self._deleted(condition, held)
        return held

    def _simple(self, node: Node) -> Read | None:
        """The read of a whole field that does not repeat: it exists where its text is there."""
        if not isinstance(node, Convert) or node.how != "raw":
            return None
        read = node.source
        plain = read.segment and not read.repeats and not read.component and not read.repetition
        return read if plain and read.segment_test is None and read.repetition_test is None else None

    def _junction(self, condition: Junction, held: str) -> None:
        w = self.w
        w.line(f"{held} = {self.condition(condition.operands[0])}")
        for operand in condition.operands[1:]:
            with w.block(f"if {held}:" if condition.operator == "and" else f"if not {held}:"):
                w.line(f"{held} = {self.condition(operand)}")

    def _deleted(self, condition: Deleted, held: str) -> None:
        w, read = self.w, condition.read
        w.line(f"{held} = False")
        with w.segments(read) as segment, self.tested(read.segment_test, segment):
            there = w.populated(segment, read.field)
            w.line(f"{held} = {held} or bool({there}) and is_deleted({segment}, {read.field}, {read.component})")

    def _compare(self, condition: Compare, held: str) -> None:
        w, operator = self.w, condition.operator
        negated = operator in ("!=", "not in")
        right = self._right(condition.right)
        test = {
            "=": "{0} in {1}",
            "!=": "{0} in {1}",
            "in": "{0} in {1}",
            "not in": "{0} in {1}",
            "other": "{0} not in {1}",
            "outside": "{0} not in {1}",
        }.get(operator, f"ordered({{0}}, {operator!r}, {{1}})")
        every = condition.each == "all"
        w.line(f"{held} = {every}")

        def each(_: str, value: str) -> None:
            test_ = test.format(value, right)
            with w.block(f"if not ({test_}):" if every else f"if {test_}:"):
                w.line(f"{held} = {not every}")

        self.node(condition.left, each)
        if negated:
            w.line(f"{held} = not {held}")

    def _right(self, nodes: tuple[Node, ...]) -> str:
        """The texts to compare with: constants as a tuple, paths collected."""
        constants = [node.value for node in nodes if isinstance(node, Const)]
        if len(constants) == len(nodes):
            return repr(tuple(constants))
        var = self.w.name("l")
        self.w.line(f"{var} = {constants!r}")
        for node in nodes:
            if not isinstance(node, Const):
                self.node(node, lambda _, value: self.w.line(f"{var}.append({value})"))
        return var
