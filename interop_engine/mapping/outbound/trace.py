"""Lineage of a message made of a bundle: which expression gave each field, and what the bundle holds that the message does not.

As on the way in nothing is believed of what is lost: it is what the bundle could be without, and the message would be the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from interop_engine.mapping.outbound.program import Envelope, Made, MessageProgram, value_of

if TYPE_CHECKING:
    from interop_engine.core.model import Resource
    from interop_engine.mapping.context import Naming

_Path = tuple[str | int, ...]
_Together = Sequence[_Path]  # leaves that stand and fall together
_OURS = frozenset({"resourceType", "id"})
_MOST = 200  # leaves that are each tried alone


@dataclass(frozen=True, slots=True)
class Said:
    """A field of the message, ``OBX[2]-5``. ``rule``: the lines that gave it, as written; '' where the engine did."""

    place: str
    value: str
    rule: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """A message, where its fields come from, and the elements of the bundle that it says nothing of."""

    made: Made
    fields: tuple[Said, ...] = ()
    unread: tuple[str, ...] = ()


def trace(program: MessageProgram, bundle: Resource, naming: Naming, envelope: Envelope) -> Lineage:
    """Make the message of a bundle, and tell where everything comes from and what is lost."""
    made = program.make(bundle, naming, envelope)
    if not made.body:
        return Lineage(made)

    def without(leaves: Iterable[_Path]) -> bytes:
        return program.make(_without(bundle, frozenset(leaves), ()) or {}, naming, envelope).body

    lost = [leaf for element in _elements(bundle) for leaf in _lost(bundle, element, made.body, without)]
    return Lineage(made, tuple(_said(made)), tuple(_named(bundle, lost)))


def _said(made: Made) -> Iterator[Said]:
    counts: Counter[str] = Counter()
    for segment in made.segments:
        counts[segment.name] += 1
        for number in sorted(segment.fields):
            if value := value_of(segment, number):
                rules = (each.text for line in segment.lines.get(number, ()) for each in line.expressions)
                yield Said(f"{segment.name}[{counts[segment.name]}]-{number}", value, ", ".join(rules))


# --- What is lost --------------------------------------------------------------------------------------------------------


def _lost(
    bundle: Resource, element: Sequence[_Together], whole: bytes, without: Callable[[Iterable[_Path]], bytes]
) -> Iterator[_Path]:
    """The leaves of an element that the message has no trace of.

    Of two that say the same (``code.text`` and ``code.coding.display``) neither is lost, though each could be left out: one
    stands in for the other, and is missed where both are gone.
    """
    spare = [leaves for leaves in element if without(leaves) == whole]
    said = {str(_at(bundle, leaf)) for leaves in element if leaves not in spare for leaf in leaves}
    rest = without(chain(*spare)) if spare else whole
    for leaves in spare:
        if rest == whole or without(chain(*(other for other in spare if other is not leaves))) == rest:
            yield from (leaf for leaf in leaves if str(_at(bundle, leaf)) not in said)


def _elements(bundle: Resource) -> Iterable[Sequence[_Together]]:
    """The leaves of each element of a resource, tried one by one.

    In a large bundle: of each element of all resources of a type, those of one name tried together.
    """
    every = list(_leaves(bundle))
    alone = len(every) <= _MOST
    elements: dict[object, dict[object, list[_Path]]] = defaultdict(lambda: defaultdict(list))
    for leaf in every:
        name = _element(bundle, leaf)
        element = leaf[:4] if alone else tuple(name.split(".")[:2])
        elements[element][leaf if alone else name].append(leaf)
    return [list(together.values()) for together in elements.values()]


def _leaves(bundle: Resource) -> Iterator[_Path]:
    """What senders say: not what a bundle says of itself (Provenance), nor what refers within it."""
    there = {f"{r['resourceType']}/{r.get('id')}" for entry in bundle.get("entry", ()) if (r := entry.get("resource"))}
    for number, entry in enumerate(bundle.get("entry", ())):
        resource = entry.get("resource", {})
        for name, value in resource.items() if resource.get("resourceType") != "Provenance" else ():
            if name not in _OURS:
                for path in _below(value, ("entry", number, "resource", name)):
                    if path[-1] != "reference" or _at(bundle, path) not in there:
                        yield path


def _below(value: Any, path: _Path) -> Iterator[_Path]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _below(inner, (*path, key))
    elif value is not None:
        yield path


def _named(bundle: Resource, lost: Sequence[_Path]) -> Iterator[str]:
    """Elements by name, each once: ``Observation.code.coding.display``, with how many resources lose it where several do."""
    resources: dict[str, set[str | int]] = defaultdict(set)
    for path in lost:
        resources[_element(bundle, path)].add(path[1])
    for element, numbers in resources.items():
        yield f"{element} ({len(numbers)}×)" if len(numbers) > 1 else element


def _element(bundle: Resource, path: _Path) -> str:
    names = [str(step) for step in path[3:] if isinstance(step, str)]
    return ".".join((_at(bundle, (*path[:3], "resourceType")), *names))


def _at(value: Any, path: _Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _without(value: Any, gone: frozenset[_Path], here: _Path) -> Any:
    """A value without some leaves, and without what is empty then. None where nothing is left."""
    if here in gone:
        return None
    if isinstance(value, dict):
        return {k: left for k, each in value.items() if (left := _without(each, gone, (*here, k))) is not None} or None
    if isinstance(value, list):
        return [left for n, each in enumerate(value) if (left := _without(each, gone, (*here, n))) is not None] or None
    return value
