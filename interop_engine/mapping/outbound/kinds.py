"""Which FHIR types an expression of FHIRPath gives, as far as the definitions of R4 prove it.

A ``Kind`` names types as ``fhir.definitions`` does ("Patient", "Observation.component"). What cannot be known, such as what a
reference to any resource gives, is open: everything goes, and what is not there gives nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from interop_engine.core.diagnostics import near
from interop_engine.fhir import definitions
from interop_engine.mapping.outbound.grammar import Tree
from interop_engine.mapping.syntax import SyntaxProblem

_SAME = frozenset({"where", "tail", "skip", "take", "distinct"})
_ONE = frozenset({"first", "last", "single"})
_BOOLEAN = frozenset({"exists", "empty", "not", "all", "startsWith", "endsWith", "contains", "is", "allTrue", "anyTrue"})
_TEXT = frozenset({"join", "substring", "upper", "lower", "replace", "toString", "trim", "split"})
_INTEGER = frozenset({"count", "length", "toInteger", "indexOf"})
_TYPED = frozenset({"ofType", "as"})
_CHOOSING = frozenset({"iif", "coalesce"})
FUNCTIONS = sorted({*_SAME, *_ONE, *_BOOLEAN, *_TEXT, *_INTEGER, *_TYPED, *_CHOOSING, "resolve", "select", "extension"})
"""What may be called. Clock, trace and Python's patterns may not: the same bundle gives the same message, in good time."""
_OPERATORS = {
    "EqualityExpression": "boolean",
    "InequalityExpression": "boolean",
    "AndExpression": "boolean",
    "OrExpression": "boolean",
    "ImpliesExpression": "boolean",
    "MembershipExpression": "boolean",
    "AdditiveExpression": "string",
}
_LITERALS = {"StringLiteral": "string", "BooleanLiteral": "boolean", "NumberLiteral": "decimal", "DateTimeLiteral": "dateTime"}
_WITH_CRITERIA = frozenset({"where", "exists", "all", "select"})


@dataclass(frozen=True, slots=True)
class Kind:
    """What an expression gives: types, () where they are open; whether more than one value; the value sets of its codes."""

    types: frozenset[str] = frozenset()
    many: bool = False
    bindings: frozenset[str] = frozenset()

    def __or__(self, other: Kind) -> Kind:
        types = self.types | other.types if self.types and other.types else frozenset[str]()
        return Kind(types, self.many or other.many, self.bindings | other.bindings)


OPEN = Kind()
BUNDLE = Kind(frozenset({"Bundle"}))


def one(type_: str) -> Kind:
    """A single value of a type."""
    return Kind(frozenset({type_}))


@dataclass(frozen=True, slots=True)
class Inference:
    """Walks the tree of an expression. ``at`` gives the column of a name; ``variables`` are what ``%name`` stands for."""

    text: str
    variables: Mapping[str, Kind]

    def of(self, tree: Tree, here: Kind) -> Kind:
        """The kind of an expression over ``here``. Raises SyntaxProblem for what is not there."""
        kind, children = tree["type"], tree.get("children", ())
        match kind:
            case "InvocationExpression":
                return self._invocation(children[1], self.of(children[0], here), here)
            case "InvocationTerm":
                return self._invocation(children[0], here, here, root=True)
            case "IndexerExpression":
                self.of(children[1], here)
                return replace(self.of(children[0], here), many=False)
            case "TermExpression" | "ParenthesizedTerm" | "LiteralTerm":
                return self.of(children[0], here)
            case "ExternalConstantTerm":
                return self._variable(children[0]["children"][0]["text"])
            case "TypeExpression":
                return self.of(children[0], here) if tree["terminalNodeText"] == ["as"] else one("boolean")
            case "UnionExpression":
                hint = "a list takes the values of all its lines, coalesce(a, b) the first that is there"
                raise SyntaxProblem("| is not taken here", max(self.text.find("|"), 0), hint)
        if kind in _OPERATORS:
            for child in children:
                self.of(child, here)
            return one(_OPERATORS[kind])
        if kind in _LITERALS:
            return one(_LITERALS[kind])
        raise SyntaxProblem("this form of FHIRPath is not taken here", 0)

    def _invocation(self, tree: Tree, on: Kind, here: Kind, *, root: bool = False) -> Kind:
        if tree["type"] == "MemberInvocation":
            name = tree["children"][0]["text"].strip("`")
            return on if root and name in on.types else self._member(name, on)
        if tree["type"] == "ThisInvocation":
            return here
        if tree["type"] == "FunctionInvocation":
            call = tree["children"][0]["children"]
            arguments = call[1]["children"] if len(call) > 1 else []
            return self._call(call[0]["text"], arguments, on, here)
        raise SyntaxProblem("this form of FHIRPath is not taken here", 0)

    def _member(self, name: str, on: Kind) -> Kind:
        if not on.types:
            return Kind(many=on.many)
        found = [(path, definition) for path in sorted(on.types) if (definition := _element(path, name)) is not None]
        if not found:
            known = [each for path in on.types for each in definitions.elements(path)]
            paths = " or ".join(sorted(on.types)[:3])
            raise SyntaxProblem(f'{paths} has no element "{name}"', self._column(name), near(name, known))
        kinds = [
            Kind(_types(path, definition), on.many or definition.repeats, frozenset({definition.binding} - {""}))
            for path, definition in found
        ]
        return _any_of(kinds)

    def _variable(self, name: str) -> Kind:
        if name not in self.variables:
            hint = near(name, self.variables) or f"there are: {', '.join(f'%{each}' for each in self.variables)}"
            raise SyntaxProblem(f"there is no %{name} here", self._column(name), hint)
        return self.variables[name]

    def _call(self, name: str, arguments: list[Tree], on: Kind, here: Kind) -> Kind:
        if name not in FUNCTIONS:
            hint = near(name, FUNCTIONS) or f"functions: {', '.join(FUNCTIONS)}"
            raise SyntaxProblem(f'there is no function "{name}"', self._column(name), hint)
        if name in _TYPED:
            return self._cast(arguments, on)
        if name == "is":
            return one("boolean")
        inner = replace(on, many=False) if name in _WITH_CRITERIA else here
        kinds = [self.of(argument, inner) for argument in arguments]
        if name == "resolve":
            return Kind(self._targets(on), on.many)
        if name == "select":
            return replace(kinds[0], many=on.many or kinds[0].many) if kinds else OPEN
        if name in _CHOOSING:
            return _any_of(kinds[1:] if name == "iif" else kinds)
        return _result(name, on)

    def _cast(self, arguments: list[Tree], on: Kind) -> Kind:
        name = arguments[0].get("text", "").rpartition(".")[2].strip("`") if arguments else ""
        if definitions.type_def(name) is None and name not in definitions.PRIMITIVES:
            raise SyntaxProblem(f'there is no FHIR type "{name}"', self._column(name), near(name, definitions.resources()))
        if on.types and name not in on.types and not _abstract(on.types):
            raise SyntaxProblem(f'nothing here is of type "{name}"', self._column(name), f"types: {', '.join(sorted(on.types))}")
        return Kind(frozenset({name}), on.many, on.bindings)

    def _targets(self, on: Kind) -> frozenset[str]:
        """The types of resources that references point to: known where the reference's element says them."""
        marked = {path.removeprefix(_POINTS) for path in on.types if path.startswith(_POINTS)}
        targets = {target for path in marked for target in path.split(",")}
        return frozenset() if not targets or "" in targets else frozenset(targets)

    def _column(self, name: str) -> int:
        return max(self.text.find(name), 0)


_POINTS = "Reference to "
_ANYTHING = frozenset({"Resource", "DomainResource", "Element"})


def plain(kind: Kind) -> frozenset[str]:
    """The types of a kind as ``fhir.definitions`` names them: of a reference without what it points to."""
    return frozenset("Reference" if path.startswith(_POINTS) else path for path in kind.types)


def _types(path: str, definition: definitions.ElementDef) -> frozenset[str]:
    if definition.choice:
        return frozenset(_pointing(definition) if kind == "Reference" else kind for kind in definition.types)
    if definition.types == ("Reference",):
        return frozenset({_pointing(definition)})
    return frozenset() if definition.types[0] == "Resource" else frozenset({definitions.child_path(path, definition)})


def _pointing(definition: definitions.ElementDef) -> str:
    return _POINTS + ",".join(definition.targets)


def _element(path: str, name: str) -> definitions.ElementDef | None:
    found = definitions.element("Reference" if path.startswith(_POINTS) else path, name)
    if found is None and name == "extension":
        return definitions.element("Element", "extension")
    return found


def _abstract(types: Iterable[str]) -> bool:
    return bool(_ANYTHING.intersection(types))


def _any_of(kinds: list[Kind]) -> Kind:
    found = kinds[0] if kinds else OPEN
    for kind in kinds[1:]:
        found = found | kind
    return found


_RESULTS: tuple[tuple[frozenset[str], Callable[[Kind], Kind]], ...] = (
    (_SAME, lambda on: on),
    (_ONE, lambda on: replace(on, many=False)),
    (_BOOLEAN, lambda _: one("boolean")),
    (_TEXT - {"split"}, lambda _: one("string")),
    (_INTEGER, lambda _: one("integer")),
    (frozenset({"split"}), lambda _: Kind(frozenset({"string"}), many=True)),
    (frozenset({"extension"}), lambda _: Kind(frozenset({"Extension"}), many=True)),
)


def _result(name: str, on: Kind) -> Kind:
    return next(made(on) for names, made in _RESULTS if name in names)


def types_of(data: Any) -> str:
    """The type of what an operator or a function made, which has no place in a resource."""
    return {bool: "boolean", int: "integer"}.get(type(data), "string" if isinstance(data, str) else "decimal")
