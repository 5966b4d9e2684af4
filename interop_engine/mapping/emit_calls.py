"""Functions and fragments → Python."""

from __future__ import annotations

from interop_engine.mapping.emit_conditions import Conditions
from interop_engine.mapping.emit_reads import Sink
from interop_engine.mapping.primitives import READERS
from interop_engine.mapping.typed import (
    Apply,
    Const,
    Primitive,
    Use,
)


class Calls(Conditions):
    """Writes calls into one function."""

    def _apply(self, node: Apply, sink: Sink, seen: str) -> None:
        w, function = self.w, node.function
        if node.source is None:
            self._concat(node, sink, seen)
            return
        call = self.module.bind(function.call)
        more = "".join(f", {argument!r}" for argument in node.arguments) + (", c" if function.context else "")
        if function.takes in ("text", "coded"):

            def each(element: str, value: str) -> None:
                result = w.name("x")
                w.line(f"{result} = {call}({value}{more})")
                with w.block(f"if {result}:"):
                    if function.takes == "text":
                        self.note_seen(seen)
                    sink(element, result)

            noting, self._noting = self._noting, function.context
            self.node(node.source, each, "" if function.takes == "text" else seen)
            self._noting = noting
            return
        every, result = w.name("l"), w.name("x")
        w.line(f"{every} = []")
        self.node(node.source, lambda _, value: w.line(f"{every}.append({value})"))
        with w.block(f"if {every}:"):
            w.line(f"{result} = {call}({every}{more})")
            with w.block(f"if {result}:"):
                self.note_seen(seen)
                if function.takes == "values":
                    w.line(f"a = ({result}, 'CX')")
                    sink("None", f"{result}.get(1)")
                else:
                    sink("None", result)

    def _concat(self, node: Apply, sink: Sink, seen: str) -> None:
        w = self.w
        texts: list[str] = []
        paths: list[str] = []
        for argument in node.arguments:
            if isinstance(argument, Const):
                texts.append(repr(argument.value))
                continue
            var = w.name("t")
            w.line(f"{var} = ''")
            self.node(argument, lambda _, value, var=var: w.line(f"{var} = {value}"))  # type: ignore[misc]
            texts.append(var)
            paths.append(var)
        with w.block(f"if {' or '.join(paths) or 'True'}:"):
            self.note_seen(seen)
            result = w.name("x")
            w.line(f"{result} = {' + '.join(texts)}")
            sink("None", result)

    def _primitive(self, node: Primitive, sink: Sink, seen: str) -> None:
        w, reader = self.w, self.module.bind(READERS[node.type])

        def each(_: str, value: str) -> None:
            result = w.name("x")
            w.line(f"{result} = {reader}(tidy({value}))")
            bound = f" and {result} in {self.module.bind(node.codes)}" if node.codes is not None else ""
            with w.block(f"if {result} is not None{bound}:"):
                sink(repr(node.element), result)
            with w.block("else:"):
                w.line(f"c.note('not-a-{node.type}', 'The text is no {node.type} that the element takes; it is left out.')")

        self.node(node.source, each, seen)

    def _use(self, node: Use, sink: Sink, seen: str) -> None:
        w = self.w

        def each(_: str, value: str) -> None:
            result = w.name("x")
            w.line(f"{result} = fragment_{safe(node.fragment)}({value}, P, c)")
            with w.block(f"if {result} is not None:"):
                sink(repr(node.element), result)

        self.node(node.source, each, seen)


def safe(name: str) -> str:
    """A fragment's or resource's name as an identifier: letters as they are, all else by number."""
    return "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name)
