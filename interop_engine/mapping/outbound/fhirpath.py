"""Expressions of FHIRPath: read and proven once, when a mapping is loaded; asked of each bundle with its references resolved.

fhirpathpy evaluates. What it gives is kept with its type, so that values convert by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhirpathpy import apply_parsed_path
from fhirpathpy.engine.nodes import ResourceNode
from fhirpathpy.models import models

from interop_engine.core.model import Resource
from interop_engine.mapping.outbound.grammar import Tree, parse
from interop_engine.mapping.outbound.kinds import Inference, Kind, types_of

_R4 = models["r4"]
_evaluate: Any = apply_parsed_path  # untyped, as are its nodes
_Boxed: Any = ResourceNode


@dataclass(frozen=True, slots=True)
class Node:
    """One value: its FHIR type (``Quantity``, ``code``, ``Observation.referenceRange``), its JSON, a primitive's extensions."""

    type: str
    data: Any
    extensions: Sequence[Mapping[str, Any]] = ()


class Bundled:
    """The resources of one bundle, as references name them: ``Type/id``, or the fullUrl."""

    def __init__(self, bundle: Resource) -> None:
        self.bundle = bundle
        self._known: dict[str, Resource] = {}
        for entry in bundle.get("entry", ()):
            resource = entry.get("resource")
            if isinstance(resource, dict):
                self._known[f"{resource.get('resourceType')}/{resource.get('id')}"] = resource
                self._known[entry.get("fullUrl", "")] = resource
        self.options = {"returnRawData": True, "userInvocationTable": {"resolve": {"fn": self._resolve, "arity": {0: []}}}}

    def resource(self, reference: Mapping[str, Any]) -> Resource | None:
        """What a Reference points to, where the bundle has it."""
        return self._known.get(reference.get("reference") or "?")

    def _resolve(self, references: Sequence[Any]) -> list[Any]:
        found = [self.resource(each) for each in references if isinstance(each, dict)]
        return [_Boxed(resource, resource["resourceType"]) for resource in found if resource is not None]


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression, read and proven. ``kind`` is what it gives."""

    text: str
    kind: Kind
    tree: Tree | None  # None for $this, the value at hand

    def find(self, here: Node, variables: Mapping[str, Node], bundled: Bundled) -> list[Node]:
        """The values over ``here``. Raises ValueError where what the bundle holds does not suit the expression."""
        if self.tree is None:
            return [here]
        given = {name: _boxed(node) for name, node in variables.items()}
        try:
            found = _evaluate(_boxed(here), self.tree, given, _R4, bundled.options)
        except Exception:  # noqa: BLE001 - the library raises bare Exception, and its text may hold content
            raise ValueError(self.text) from None
        return [node for each in found if (node := _node(each)) is not None]


def compile_expression(text: str, here: Kind, variables: Mapping[str, Kind]) -> Expression:
    """Read and prove an expression over what is at hand. Raises SyntaxProblem."""
    if text.strip() == "$this":
        return Expression(text, here, None)
    tree = parse(text)
    return Expression(text, Inference(text, variables).of(tree["children"][0], here), tree)


def _boxed(node: Node) -> Any:
    return node.data if "resourceType" in node.data else _Boxed(node.data, node.type)


def _node(found: Any) -> Node | None:
    if not isinstance(found, ResourceNode):
        if isinstance(found, dict) and "resourceType" in found:
            return Node(found["resourceType"], found)
        return Node(types_of(found), found)
    if found.data is None:
        return None
    extensions = found._data.get("extension", ()) if isinstance(found._data, dict) else ()  # noqa: SLF001 - its only way
    return Node(_type(found.path) or types_of(found.data), found.data, extensions)


def _type(path: str | None) -> str:
    """A type by its name in FHIR: ``id`` is System.String there."""
    system, name = (path or "").partition(".")[::2]
    return name[:1].lower() + name[1:] if system == "System" else path or ""
