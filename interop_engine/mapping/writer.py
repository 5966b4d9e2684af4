"""The Python source of a mapping, line by line.

Names are made here; everything else that enters it is ``repr`` of a constant, or an object bound to a name made here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from interop_engine.mapping.typed import Read, Step

EMPTY = "E"  # the empty tuple, in every generated module
ONCE = "ONE"  # a tuple of one: a resource of the whole message has a loop to continue, a segment that is not there is None


class Module:
    """Functions of one mapping, and the objects they use by name."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {EMPTY: (), ONCE: (None,)}
        self._names: dict[int, str] = {}
        self.indexes: dict[tuple[str, int], int] = {}  # (resource, level) → number of its index
        self._shared: dict[str, str] = {}  # source → name of the literals that all resources share

    def bind(self, thing: Any, prefix: str = "f") -> str:
        """The name of an object (a conversion, a table, a compiled pattern) in the module."""
        known = self._names.get(id(thing))
        if known is None:
            known = self._names[id(thing)] = f"{prefix}{len(self._names)}"
            self.objects[known] = thing
        return known

    def constant(self, value: Any) -> str:
        """JSON as source: a fresh object each time, decimals bound by name."""
        if isinstance(value, Decimal):
            return self.bind(value, "d")
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key!r}: {self.constant(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(self.constant(item) for item in value) + "]"
        return repr(value)

    def shared(self, value: Any) -> str:
        """A literal as source; an object is made once, since nobody changes FHIR content."""
        source = self.constant(value)
        if not isinstance(value, dict | list):
            return source
        return self._shared.setdefault(source, f"k{len(self._shared)}")

    def literals(self) -> list[str]:
        """The lines that make what is shared."""
        return [f"{name} = {source}" for source, name in self._shared.items()]

    def index(self, resource: str, level: int) -> int:
        """The number of the index of a resource's instances by their group at ``level``."""
        return self.indexes.setdefault((resource, level), len(self.indexes))


class Writer:
    """Writes one function. ``levels`` are the variables of the scope's levels, the message first."""

    def __init__(self, module: Module, head: str, levels: list[str]) -> None:
        self.module = module
        self.levels = levels
        self._lines: list[str] = [head]
        self._indent = 1
        self._count = 0
        self._head = 1  # where lines that read single segments are inserted
        self._outer: tuple[int, str] | None = None  # where those of outer levels are, and their indentation
        self._shared: frozenset[str] = frozenset()  # the outer levels
        self._once: dict[str, str] = {}  # expressions of outer levels, and the variables that hold them
        self._marks_at = 1  # where lines that mark unconditional reads are inserted
        self._single: dict[tuple[str, str, tuple[str, ...] | None], str] = {}
        self._masks: dict[str, int] = {}
        self._fixed = frozenset(levels)
        self._pad = "    "
        self._listed: dict[str, None] = {}  # segments whose list of fields is at hand from the head on
        self._memories: dict[str, str] = {}  # conversions, and the variables that hold what is remembered of them
        self.deep = "P.deep({}, {})"
        self.routed = True  # whether the message is in groups
        self.conditional = 0
        self.marking = True

    # --- lines -----------------------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Add a line."""
        self._lines.append("    " * self._indent + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """A block under ``head``."""
        self.line(head)
        self._indent += 1
        start = len(self._lines)
        yield
        if len(self._lines) == start:
            self.line("pass")
        self._indent -= 1

    @contextmanager
    def maybe(self) -> Iterator[None]:
        """What is written within may not run: reads are marked where they stand."""
        self.conditional += 1
        yield
        self.conditional -= 1

    def indent(self, by: int) -> None:
        """Indent what follows by more (or fewer) levels."""
        self._indent += by

    def name(self, prefix: str) -> str:
        """A new variable."""
        self._count += 1
        return f"{prefix}{self._count}"

    def here(self) -> None:
        """Single segments are read from here on (the innermost level is open)."""
        self._head = self._marks_at = len(self._lines)
        self._pad = "    " * self._indent
        self._fixed = frozenset(self.levels)

    def outer_here(self) -> None:
        """Single segments of all levels but the innermost are read from here on: once for all instances that share them."""
        self._outer = (len(self._lines), "    " * self._indent)
        self._shared = frozenset(self.levels[:-1])

    def once(self, expression: str, level: str) -> str:
        """An expression of one level only: where that is an outer one, the variable that holds it for all instances."""
        if level not in self._shared:
            return expression
        if expression not in self._once:
            self._once[expression] = self.name("q")
        return self._once[expression]

    def marks_here(self) -> None:
        """Unconditional reads are marked from here on (the condition holds)."""
        self._marks_at = len(self._lines)

    def finish(self) -> list[str]:
        """The function's lines, with those of the head inserted."""
        every = dict.fromkeys((*self._single.values(), *self._listed, *self._masks))
        inner = [var for var in every if not self._is_outer(var)]
        lines = list(self._lines)
        lines[self._marks_at : self._marks_at] = [f"{self._pad}{line}" for line in self._marks(inner)]
        lines[self._head : self._head] = [f"{self._pad}{line}" for line in self._reads(inner)]
        if self._outer is not None:
            at, pad = self._outer
            outer = [var for var in every if self._is_outer(var)]
            once = [f"{var} = {expression}" for expression, var in self._once.items()]
            lines[at:at] = [f"{pad}{line}" for line in (*self._reads(outer), *self._marks(outer), *once)]
        lines[1:1] = [f"    {var} = c.memory[{convert}]" for convert, var in self._memories.items()]
        return lines

    def _is_outer(self, var: str) -> bool:
        """Whether a segment is the same for all instances that share all levels but the innermost."""
        group = next((group for (group, _, _), single in self._single.items() if single == var), var)
        return group in self._shared

    def _reads(self, variables: Sequence[str]) -> list[str]:
        singles = {var: key for key, var in self._single.items()}
        reads = [f"{var} = {self._first(*singles[var])}" for var in variables if var in singles]
        listed = [var for var in variables if var in self._listed]
        return reads + [f"f{var} = E if {var} is None else {var}.fields; n{var} = len(f{var})" for var in listed]

    def _marks(self, variables: Sequence[str]) -> list[str]:
        return [
            f"{f'if {var} is not None: ' if var in self._single.values() else ''}R[{var}.index] |= {self._masks[var]}"
            for var in variables
            if var in self._masks
        ]

    def _first(self, group: str, segment: str, route: tuple[str, ...] | None) -> str:
        """The first segment of a name: of the group itself, or (with a route) of it and all deeper ones."""
        if route is None:
            return f"{group}.segments.get({segment!r}, ONE)[0]"
        everywhere = self.deep.format(group, repr(segment))
        return (
            f"first_by({group}, {route!r}, {segment!r}) or first_of({everywhere})"
            if route and self.routed
            else f"first_of({everywhere})"
        )

    # --- levels ----------------------------------------------------------------------------------------------------

    @contextmanager
    def steps(self, steps: tuple[Step, ...]) -> Iterator[None]:
        """Loops down the steps, each adding a level."""
        before, indent = list(self.levels), self._indent
        for step in steps:
            above = self.levels[-1]
            if step.segment:
                var = self.name("s")
                source = self.deep.format(above, repr(step.name)) if step.deep else f"{above}.segments.get({step.name!r}, E)"
            else:
                var = self.name("g")
                source = f"{above}.groups.get({step.name!r}, E)"
            self.line(f"for {var} in {source}:")
            self._indent += 1
            self.levels.append(var)
        yield
        self._indent = indent
        self.levels[:] = before

    @contextmanager
    def same(self) -> Iterator[None]:
        """No block at all."""
        yield

    @contextmanager
    def level(self, var: str) -> Iterator[None]:
        """One more level, of a value or a segment."""
        self.levels.append(var)
        yield
        self.levels.pop()

    # --- segments --------------------------------------------------------------------------------------------------

    @contextmanager
    def segments(self, read: Read) -> Iterator[str]:
        """Within: one segment of the read, in the variable given; each of them in turn where there are several."""
        level, indent = self.levels[read.level], self._indent
        if level.startswith("s") and not read.deep and not read.loop and not read.segment_index:
            var = level
        elif read.loop or read.segment_index:
            var = self.name("s")
            every = self.deep.format(level, repr(read.segment)) if read.deep else f"{level}.segments.get({read.segment!r}, E)"
            if read.segment_index:
                every = f"{every}[{read.segment_index - 1}:{read.segment_index}]"
            self.line(f"for {var} in {every}:")
            self._indent += 1
        else:
            var = self._first_of(level, read)
            if var not in self._single.values() or not read.field or read.segment_test is not None:
                self.line(f"if {var} is not None:")
                self._indent += 1
        start = len(self._lines)
        yield var
        if len(self._lines) == start and self._indent > indent:
            self.line("pass")
        self._indent = indent

    def _first_of(self, level: str, read: Read) -> str:
        """The variable of a single segment: read once at the head where its group is known there, else here."""
        route = read.route if read.deep else None
        if level not in self._fixed:
            var = self.name("s")
            self.line(f"{var} = {self._first(level, read.segment, route)}")
            return var
        key = (level, read.segment, route)
        if key not in self._single:
            self._single[key] = self.name("s")
        return self._single[key]

    def populated(self, var: str, field: int) -> str:
        """A test whether a field is there, cheap where the segment's fields are at hand; it also holds for no segment."""
        if var in self._single.values() or (var in self._fixed and var.startswith("s")):
            self._listed[var] = None
            return f"n{var} > {field} and f{var}[{field}]"
        return f"{var}.raw({field})"

    def raw(self, var: str, field: int) -> str:
        """The raw text of a field that is known to be populated."""
        return f"f{var}[{field}]" if var in self._listed else f"{var}.raw({field})"

    def value(self, var: str, field: int, *, only: bool) -> str:
        """The first repetition of a field that is known to be populated, made here where nothing needs taking apart.

        ``only``: the field should have no other; where it has, a finding says so.
        """
        whole = f"only({var}, {field}, c)" if only and self.marking else f"{var}.value({field})"
        if var not in self._listed or field <= 2:  # MSH-1 and MSH-2 have no delimiters
            return whole
        delimiters = f"{var}.delimiters"
        return f"Value(f{var}[{field}], {delimiters}) if {delimiters}.repetition not in f{var}[{field}] else {whole}"

    def remembered(self, convert: str) -> str:
        """The variable that holds what is remembered of a conversion (``Context.memory``)."""
        return self._memories.setdefault(convert, f"m{convert}")

    def mark(self, var: str, *fields: int) -> None:
        """Note that fields of a segment are read."""
        if not self.marking:
            return
        mask = 0
        for field in fields:
            mask |= 1 << field
        if not self.conditional and (var in self._fixed or var in self._single.values()):
            self._masks[var] = self._masks.get(var, 0) | mask
        else:
            self.line(f"R[{var}.index] |= {mask}")
