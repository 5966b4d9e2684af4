"""A checked mapping → Python source → functions, once at load.

For each resource two functions: ``find_N`` walks the groups, asks ``when:`` and names each instance; ``build_N`` fills them.
Besides, ``fits`` for the mapping's own ``when:`` and one function a fragment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from interop_engine.mapping import helpers
from interop_engine.mapping.emit import Emitter
from interop_engine.mapping.emit_calls import safe
from interop_engine.mapping.instances import ITEM, OTHERWISE
from interop_engine.mapping.typed import Convert, FragmentPlan, KeyPart, MappingPlan, Node, ResourcePlan, reads
from interop_engine.mapping.writer import Module, Writer


@dataclass(frozen=True)
class Compiled:
    """A mapping's functions. ``find`` and ``build`` are by resource; ``indexes`` is how many a run needs."""

    source: str
    fits: Callable[[Any, None], bool] | None
    find: Mapping[str, Callable[..., None]]
    build: Mapping[str, Callable[..., list[dict[str, Any]]]]
    indexes: int


def compile_mapping(plan: MappingPlan) -> Compiled:
    """Write and compile the functions of a mapping."""
    module = Module()
    names = {name: safe(name) for name in plan.resources}
    builds = [_build(module, resource, names[name]) for name, resource in plan.resources.items()]
    fragments = [_fragment(module, fragment) for fragment in plan.fragments.values()]
    _register_parents(module, plan)  # every index must be known before the instances are filed
    finds = [_find(module, plan.resources[name], names[name]) for name in plan.order]
    fits = [_fits(module, plan)] if plan.when is not None else []
    source = "\n\n".join("\n".join(lines) for lines in (*fits, module.literals(), *fragments, *finds, *builds) if lines) + "\n"
    space: dict[str, Any] = {**helpers.NAMES, **module.objects}
    exec(compile(source, f"<mapping {safe(plan.name)}>", "exec"), space)  # noqa: S102 - only our own names and repr of constants
    return Compiled(
        source,
        space["fits"] if fits else None,
        {name: space[f"find_{names[name]}"] for name in plan.order},
        {name: space[f"build_{names[name]}"] for name in plan.resources},
        len(module.indexes),
    )


def _register_parents(module: Module, plan: MappingPlan) -> None:
    for resource in plan.resources.values():
        for part in resource.key if resource.same_as is None else resource.same_as.parts:
            if part.parent:
                module.index(part.parent, part.level)
        if resource.merged_into is not None:
            module.index(resource.merged_into.target, resource.merged_into.level)


def _fits(module: Module, plan: MappingPlan) -> list[str]:
    writer = Writer(module, "def fits(g0, c):", ["g0"])
    writer.marking = False
    writer.deep, writer.routed = "{}.deep({})", False
    writer.here()
    assert plan.when is not None
    held = Emitter(writer, module).condition(plan.when)
    writer.line(f"return {held}")
    return writer.finish()


def _find(module: Module, plan: ResourcePlan, name: str) -> list[str]:
    writer = Writer(module, f"def find_{name}(P, c, R):", ["g0"])
    emitter = Emitter(writer, module)
    writer.line("g0 = P.root")
    at = tuple((number, level) for (target, level), number in module.indexes.items() if target == plan.name)
    with writer.steps(plan.steps), writer.block("for _ in ONE:") if not plan.steps else writer.same():
        writer.here()
        if plan.when is not None:
            held = emitter.condition(plan.when)
            with writer.block(f"if not {held}:"):
                writer.line("continue")
        writer.marks_here()
        levels = f"({', '.join(writer.levels)},)"
        plan_name = module.bind(plan, "plan")
        if plan.same_as is not None:
            parts = _key(writer, emitter, module, plan.same_as.parts, "")
            writer.line(f"P.add_same({plan_name}, {levels}, P.authority(a), ({parts},), {at!r})")
        elif plan.known_as:
            _names(writer, emitter, plan, plan_name)
            writer.line(f"P.add_named({plan_name}, {levels}, names, item, {at!r})")
        else:
            emitter.visits = plan.type == "Patient"
            parts = _key(writer, emitter, module, plan.key, plan_name)
            scope = "P.authority(a)" if any(part.scoped for part in plan.key) else "c.scope.facility"
            writer.line(f"P.add({plan_name}, {levels}, {scope}, ({parts},), {at!r})")
    return writer.finish()


def _names(writer: Writer, emitter: Emitter, plan: ResourcePlan, plan_name: str) -> None:
    writer.line("names = []; item = ''")
    for label, part in plan.known_as.items():
        if label == ITEM:
            writer.line(f"item = {_text(writer, emitter, part.node)}")
            continue
        last = label == OTHERWISE
        with writer.block("if not names:") if last else writer.same():
            writer.line("a = None")
            text = _text(writer, emitter, part.node)
            with writer.block(f"if {text}:"):
                writer.line(f"names.append(({label!r}, P.authority(a), {text}))")
                if last:
                    writer.line(f"P.nameless({plan_name})")


def _key(writer: Writer, emitter: Emitter, module: Module, key: tuple[KeyPart, ...], plan_name: str) -> str:
    """Write the parts of a key; gives them as source. The first must have a value; only the first CX or EI gives the scope.

    Without ``plan_name`` all may be empty: nothing is named by them, it is looked for.
    """
    writer.line("a = None")
    parts: list[str] = []
    scoped = False
    for number, part in enumerate(key):
        if part.parent:
            index = module.index(part.parent, part.level)
            text = writer.name("k")
            writer.line(f"{text} = P.parent({index}, {writer.levels[part.level]}, {part.parent!r})")
            with writer.block(f"if not {text}:"):
                writer.line("continue")
            parts.append(text)
            continue
        if scoped:
            writer.line("b = a; a = None")
        text = _text(writer, emitter, part.node)
        if scoped and part.scoped:
            writer.line(f"{text} = P.authority(a) + '|' + {text} if {text} else ''")
        if scoped:
            writer.line("a = b")
        scoped = scoped or part.scoped
        if number == 0 and plan_name:
            with writer.block(f"if not {text}:"):
                if emitter.visits and "PID" in part.label:
                    writer.line(f"{text} = P.temporary({plan_name}, {_group(writer)})")
                else:
                    writer.line(f"P.unnamed({plan_name}, {part.label!r})")
        parts.append(text)
    return ", ".join(parts)


def _group(writer: Writer) -> str:
    """The variable of the innermost group."""
    return next(level for level in reversed(writer.levels) if level.startswith("g"))


def _text(writer: Writer, emitter: Emitter, node: Node | None) -> str:
    """Write a node of texts into a variable, '' where it gives none."""
    text = writer.name("k")
    writer.line(f"{text} = ''")
    assert node is not None
    emitter.node(node, lambda _, value: writer.line(f"{text} = {value}"))
    return text


def _build(module: Module, plan: ResourcePlan, name: str) -> list[str]:
    """A function of the instances of a resource, which gives their contents. What they share is read once."""
    levels = _levels(plan)
    writer = Writer(module, f"def build_{name}(every, P, c, R):", levels)
    emitter = Emitter(writer, module)
    writer.line("made = []")
    writer.line("shared = None")
    with writer.block("for i in every:"):
        writer.line(f"{', '.join(levels)}, = i.levels")
        shared_newer = plan.newer is not None and _of_outer(plan.newer, len(levels) - 1)
        if len(levels) > 1:
            with writer.block(f"if {levels[-2]} is not shared:"):
                writer.line(f"shared = {levels[-2]}")
                writer.outer_here()
                if shared_newer:
                    _newer(writer, emitter, plan, "newer")
        writer.here()
        writer.line(f"o = {{'resourceType': {plan.type!r}, 'id': i.id}}")
        writer.line("made.append(o)")
        emitter.body(plan.body, "o", nested=False, clears=plan.write == "merge")
        if shared_newer:
            writer.line("i.newer = newer")
        else:
            _newer(writer, emitter, plan, "i.newer")
    writer.line("return made")
    return writer.finish()


def _newer(writer: Writer, emitter: Emitter, plan: ResourcePlan, target: str) -> None:
    if plan.newer is not None:
        writer.line(f"{target} = ''")
        emitter.node(plan.newer, lambda _, value: writer.line(f"{target} = {value}"))


def _of_outer(node: Node, innermost: int) -> bool:
    """Whether all that a node reads is in single segments of levels further out than ``innermost``."""
    every = [each.source if isinstance(each, Convert) else each for each in reads(node)]
    return all(read.level < innermost and not read.loop and not read.segment_index for read in every)


def _levels(plan: ResourcePlan) -> list[str]:
    return ["g0", *(f"{'s' if step.segment else 'g'}l{number}" for number, step in enumerate(plan.steps, 1))]


def _fragment(module: Module, plan: FragmentPlan) -> list[str]:
    writer = Writer(module, f"def fragment_{safe(plan.name)}(v, P, c):", ["v"])
    emitter = Emitter(writer, module)
    writer.here()
    if plan.when is not None:
        held = emitter.condition(plan.when)
        with writer.block(f"if not {held}:"):
            writer.line("return None")
    writer.line("o = {}")
    incomplete = emitter.body(plan.body, "o", nested=True)
    constants = sum(1 for line in plan.body.lines if line.constant)
    lacking = f"len(o) <= {constants}" if constants < len(plan.body.lines) else "not o"
    with writer.block(f"if {lacking}{f' or {incomplete}' if incomplete else ''}:"):
        writer.line("return None")
    if not plan.is_resource:
        writer.line("return o")
        return writer.finish()
    writer.line("a = None")
    parts = [_text(writer, emitter, part.node) for part in plan.key]
    with writer.block(f"if not {parts[0]}:"):
        writer.line("return None")
    writer.line(f"return P.include({plan.type!r}, {plan.write!r}, P.authority(a), ({', '.join(parts)},), o)")
    return writer.finish()
