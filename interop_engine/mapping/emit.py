"""Nodes and conditions → Python.

A node *pushes*: for each item it gives, the lines that its consumer makes are written where the item is known to be there,
so that no list is made and no absent value is handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from interop_engine.mapping.emit_calls import Calls
from interop_engine.mapping.emit_reads import DELETED, Sink
from interop_engine.mapping.typed import (
    VARIES,
    All,
    Apply,
    Body,
    Const,
    Convert,
    FirstOf,
    Line,
    Nested,
    Node,
    Pick,
    Primitive,
    Read,
    Refs,
    Use,
)

_SCOPED = frozenset({"CX", "EI"})
_COMMON = frozenset({"CWE", "CNE", "CE", "CF", "ID", "IS", "XCN", "XON", "PL", "HD", "DTM", "TS", "DT", "SPS"})
"""Data types of which few values make up most of the traffic: codes, people, places, and the times of one report."""
_VISITS = frozenset({("PV1", 19), ("PID", 18)})


class Emitter(Calls):
    """Writes nodes into one function."""

    # --- nodes -----------------------------------------------------------------------------------------------------

    def node(self, node: Node, sink: Sink, seen: str = "") -> None:
        """Write a node; ``seen`` names a variable that turns true where its source has a value."""
        writers: dict[type, Callable[..., None]] = {
            Const: self._const,
            Convert: self._convert,
            FirstOf: self._first_of,
            Pick: self._pick,
            Apply: self._apply,
            Primitive: self._primitive,
            Use: self._use,
            Refs: self._refs,
            All: self._all,
            Nested: self._nested,
            Read: self._read,
        }
        writers[type(node)](node, sink, seen)

    def _read(self, node: Read, sink: Sink, seen: str) -> None:
        """Segments themselves: exists(OBX), count(OBX)."""
        with self.w.segments(node) as segment, self.tested(node.segment_test, segment):
            self.note_seen(seen)
            sink("None", segment)

    def _const(self, node: Const, sink: Sink, seen: str) -> None:
        self.note_seen(seen)
        sink(repr(node.element), self.module.shared(node.value))

    def _all(self, node: All, sink: Sink, seen: str) -> None:
        for item in node.nodes:
            self.node(item, sink, seen)

    def _convert(self, node: Convert, sink: Sink, seen: str) -> None:
        if node.how == "text" and node.source.datatype == VARIES and node.source.segment and not node.source.component:
            self._words(node, sink, seen)
        elif node.how in ("text", "code"):
            read = replace(node.source, datatype="ID") if node.how == "code" else node.source
            with self.values(read, seen, text=True) as (segment, text):
                if self._noting:
                    self._place(node, segment)
                sink("None", text)
        elif node.how == "raw":
            with self.values(node.source, seen) as (_, value):
                sink("None", value)
        elif node.how == "identity":
            self._identity(node, sink, seen)
        elif node.how == "notes":
            self._notes(node, sink, seen)
        elif node.how == "segment":
            self._by_segment(node, sink, seen)
        else:
            self._by_value(node, sink, seen)

    def _words(self, node: Convert, sink: Sink, seen: str) -> None:
        """OBX-5 as people read it, by OBX-2."""
        w = self.w
        with self.values(node.source, seen) as (segment, value):
            w.mark(segment, 2)
            text = w.name("t")
            w.line(f"{text} = words({segment}, {value})")
            with w.block(f"if {text}:"):
                sink("None", text)

    def _place(self, node: Convert, segment: str) -> None:
        if segment:
            repetition = f"; c.repetition = {self._number}" if self._number else ""
            self.w.line(f"c.segment = {segment}; c.field = {node.source.field}{repetition}")

    def _by_value(self, node: Convert, sink: Sink, seen: str) -> None:
        if self._comes_again(node):
            self._remembered(node, sink, seen)
            return
        w = self.w
        with self.values(node.source, seen) as (segment, value):
            self._place(node, segment)
            result = w.name("x")
            if node.how == "varies":
                w.mark(segment, *node.also)
                choices = self.module.bind(node.choices)
                w.line(f"{result} = varied({choices}, {segment}, {value}, c)")
            else:
                w.line(f"{result} = {self.module.bind(node.function)}({value}, c)")
            with w.block(f"if {result} is not None:"):
                sink(repr(node.element), result)

    def _comes_again(self, node: Convert) -> bool:
        """Whether a conversion is of a whole field that is likely to be the same in many segments and messages."""
        read = node.source
        plain = node.how == "value" and self._is_whole(read) and not (read.repeats and node.primitive)
        return plain and read.datatype in _COMMON and self.w.marking and not self.deleted

    def _remembered(self, node: Convert, sink: Sink, seen: str) -> None:
        w, read = self.w, node.source
        convert, every, result = self.module.bind(node.function), w.name("l"), w.name("x")
        with w.segments(read) as segment, w.block(f"if {w.populated(segment, read.field)}:"):
            w.mark(segment, read.field)
            w.line(f"{every} = {w.remembered(convert)}.get({w.raw(segment, read.field)})")
            with w.block(f"if {every} is None:"):
                w.line(f"{every} = converted({convert}, {segment}, {read.field}, c, repeats={read.repeats})")
            if self._noting:
                self._place(node, segment)
            if seen:
                with w.block(f"if {every}:"):
                    self.note_seen(seen)
            with w.block(f"for {result} in {every}:"), w.block(f"if {result} is not None:"):
                sink(repr(node.element), result)

    def _by_segment(self, node: Convert, sink: Sink, seen: str) -> None:
        w, read = self.w, node.source
        with w.segments(read) as segment, self.tested(read.segment_test, segment):
            result, there = w.name("x"), w.populated(segment, read.field)
            with w.block(f"if {there} and {w.raw(segment, read.field)} != {DELETED}:"):
                w.mark(segment, read.field, *node.also)
                self.note_seen(seen)
                self._place(node, segment)
                call = f"{self.module.bind(node.function)}({segment}, c)"
                if read.segment == "OBX" and read.field == 5 and node.choice:
                    call = f"joined({call}, i, c)"
                if node.many:
                    if node.common:
                        call = self._related(node, segment)
                    with w.block(f"for {result} in {call}:"):
                        sink(repr(node.element), result)
                else:
                    w.line(f"{result} = {call}")
                    with w.block(f"if {result} is not None:"):
                        sink(
                            f"{node.element!r} + {result}[0]" if node.choice else repr(node.element),
                            f"{result}[1]" if node.choice else result,
                        )
            self.note_deleted(f"elif {there}:")

    def _related(self, node: Convert, segment: str) -> str:
        """The list that a segment's fields make, by their texts where those came before."""
        w, convert, every = self.w, self.module.bind(node.function), self.w.name("l")
        field = node.source.field
        key = ", ".join([w.raw(segment, field), *(f"{segment}.raw({other})" for other in node.also)])
        w.line(f"{every} = {w.remembered(convert)}.get(({key},))")
        with w.block(f"if {every} is None:"):
            w.line(f"{every} = related({convert}, {segment}, ({key},), c)")
        return every

    def _notes(self, node: Convert, sink: Sink, seen: str) -> None:
        w, texts = self.w, self.w.name("l")
        w.line(f"{texts} = []")
        with self.values(replace(node.source, datatype="FT"), seen, text=True) as (_, text):
            w.line(f"{texts}.append({text})")
        joined = w.name("t")
        w.line(f"{joined} = tidy('\\n'.join({texts})) if {texts} else ''")
        with w.block(f"if {joined}:"):
            sink(repr(node.element), f"{{'text': {joined}}}")

    def _identity(self, node: Convert, sink: Sink, seen: str) -> None:
        """The text that names the thing: a code with its system, a number; never a display. An authority alone names nothing."""
        w, kind = self.w, node.source.datatype
        if kind in ("CWE", "CE", "CNE", "CF", "XCN", "XON", "EIP"):
            with self.values(node.source) as (_, value):
                text = w.name("t")
                w.line(f"{text} = {'coded_name' if kind[0] == 'C' else 'other_name'}({value})")
                with w.block(f"if {text}:"):
                    self.note_seen(seen)
                    sink("None", text)
            return
        if kind not in _SCOPED:
            with self.values(node.source, seen, text=True) as (_, text):
                sink("None", text)
            return
        visit = self.visits and (node.source.segment, node.source.field) in _VISITS
        with self.values(node.source) as (segment, value):
            text = w.name("t")
            w.line(f"{text} = {value}.text")
            with w.block(f"if {text}:"):
                self.note_seen(seen)
                if not visit:
                    w.line(f"a = ({value}, {kind!r})")
                else:
                    w.line(f"{text} = P.visit({segment}, {node.source.field}, {text})")
                sink("None", text)

    def _first_of(self, node: FirstOf, sink: Sink, seen: str) -> None:
        w, found = self.w, self.w.name("h")
        w.line(f"{found} = False")
        self.node(node.options[0], sink, found)
        for option in node.options[1:]:
            with w.block(f"if not {found}:"), w.maybe():
                self.node(option, sink, found)
        if seen:
            with w.block(f"if {found}:"):
                w.line(f"{seen} = True")

    def _pick(self, node: Pick, sink: Sink, seen: str) -> None:
        w = self.w
        if node.which == "required":
            there = w.name("h")
            w.line(f"{there} = False")

            def noted(element: str, value: str) -> None:
                w.line(f"{there} = True")
                sink(element, value)

            self.node(node.source, noted, seen)
            with w.block(f"if not {there}:"):
                w.line(f"P.missing(c, {node.label!r})")
            return
        chosen = w.name("p")
        w.line(f"{chosen} = None")

        def keep(element: str, value: str) -> None:
            if node.which == "first":
                with w.block(f"if {chosen} is None:"):
                    w.line(f"{chosen} = ({element}, {value})")
            else:
                w.line(f"{chosen} = ({element}, {value})")

        self.node(node.source, keep, seen)
        with w.block(f"if {chosen} is not None:"):
            sink(f"{chosen}[0]", f"{chosen}[1]")

    # --- references ------------------------------------------------------------------------------------------------

    def _refs(self, node: Refs, sink: Sink, seen: str) -> None:
        w = self.w
        index, level = self.module.index(node.target, node.level), w.levels[node.level]
        var, found = w.name("r"), w.once(f"P.references({index}, {level}, {node.target!r})", level)
        if node.single:
            near = next(level for level in reversed(w.levels) if level.startswith("g"))
            one = f"P.one_reference({index}, {level}, {node.target!r}, {near})"
            found = one if found.startswith("P.") else f"{found} if len({found}) < 2 else {one}"
        with w.block(f"for {var} in {found}:"):
            self.note_seen(seen)
            sink(repr(node.element), f"{{'reference': {var}}}")

    # --- bodies ----------------------------------------------------------------------------------------------------

    def body(self, body: Body, target: str, *, nested: bool, clears: bool = False) -> str:
        """Write the lines of a body into the dict ``target``; gives the variable that says whether it is complete, or ''."""
        incomplete = ""
        for line in body.lines:
            needs = line.required and not isinstance(line.node, Const)
            if needs and nested and not incomplete:
                incomplete = self.w.name("q")
                self.w.line(f"{incomplete} = False")
            self._line(line, target, body.path, incomplete if nested else "", clears=clears)
        return incomplete

    def _line(self, line: Line, target: str, path: str, incomplete: str, *, clears: bool) -> None:
        w = self.w
        needs = line.required and not isinstance(line.node, Const)
        there = w.name("h") if needs or clears else ""
        if there:
            w.line(f"{there} = False")
        if clears:
            self.deleted = w.name("h")
            w.line(f"{self.deleted} = False")
        (self._list if line.repeats else self._single)(line, target, there)
        if needs:
            with w.block(f"if not {there}:"):
                label = f"{path}.{line.element or line.stem}"
                w.line(f"{incomplete} = True" if incomplete else f"P.missing(c, {label!r}, {line.text!r})")
        if clears:
            name = line.element or line.stem
            with w.block(f"if {self.deleted} and not {there}:"):
                w.line(f"{target}[{name!r}] = None")
            self.deleted = ""

    def _list(self, line: Line, target: str, there: str) -> None:
        """An element that repeats: every item."""
        w = self.w
        if isinstance(line.node, Const):
            w.line(f"{target}[{line.element!r}] = [{self.module.shared(line.node.value)}]")
            self.note_seen(there)
            return
        every = w.name("l")
        w.line(f"{every} = []")
        self.node(line.node, lambda _, value: w.line(f"{every}.append({value})"))
        with w.block(f"if {every}:"):
            w.line(f"{target}[{line.element!r}] = {every}")
            self.note_seen(there)

    def _single(self, line: Line, target: str, there: str) -> None:
        """An element that takes one value, with the extensions that a conversion to a primitive had to add."""
        w = self.w

        def put(element: str, value: str) -> None:
            name = repr(line.element) if line.element else element
            w.line(f"{target}[{name}] = {value}")
            if self._extends(line.node):
                with w.block("if c.extensions is not None:"):
                    w.line(f"extend({target}, {name}, c)")
            self.note_seen(there)

        self.node(line.node, put)

    def _extends(self, node: Node) -> bool:
        """Whether a conversion below may leave extensions for a primitive."""
        if isinstance(node, Convert):
            return node.primitive
        options = node.options if isinstance(node, FirstOf) else (getattr(node, "source", None),)
        return any(self._extends(option) for option in options if option is not None)

    def _nested(self, node: Nested, sink: Sink, seen: str) -> None:
        w = self.w
        always = node.each is None and not node.steps and node.when is None
        with w.maybe() if not always else _nothing():
            if node.each is not None:
                with self.values(node.each) as (_, value), w.level(value):
                    self._nested_body(node, sink, seen)
            else:
                with w.steps(node.steps):
                    self._nested_body(node, sink, seen)

    def _nested_body(self, node: Nested, sink: Sink, seen: str) -> None:
        w = self.w
        if node.when is not None:
            held = self.condition(node.when)
            w.line(f"if {held}:")
            w.indent(1)
        var = w.name("o")
        w.line(f"{var} = {{}}")
        incomplete = self.body(node.body, var, nested=True)
        if node.body.path == "Period":
            w.line(f"sorted_period({var}, c)")
        constants = sum(1 for line in node.body.lines if line.constant)
        enough = f"len({var}) > {constants}" if constants < len(node.body.lines) else f"{var}"
        with w.block(f"if {enough}:"):
            if incomplete:
                with w.block(f"if {incomplete}:"):
                    w.line(f"P.incomplete(c, {node.body.path!r})")
                w.line("else:")
                w.indent(1)
            self.note_seen(seen)
            sink(repr(node.element), var)
            if incomplete:
                w.indent(-1)
        if node.when is not None:
            w.indent(-1)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
