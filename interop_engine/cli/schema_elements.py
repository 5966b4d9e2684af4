"""FHIR R4 as JSON Schema definitions for ``set:`` blocks: which elements a type has, and which of them take one value only.

An element is an expression, a list of them where it repeats, or a block of its own elements. What an expression says is not
looked into: a code of a required value set, or a path, is proposed and never demanded.
"""

from __future__ import annotations

from typing import Any

from interop_engine.fhir import definitions
from interop_engine.fhir.definitions import PRIMITIVES, ElementDef

Schema = dict[str, Any]
EXPRESSION: Schema = {"$ref": "#/$defs/expression"}
ANY: Schema = {"$ref": "#/$defs/value"}

_OURS = frozenset({"id", "meta", "contained", "implicitRules"})  # the engine writes them, or nobody does
_MOST_CODES = 60  # of a value set that are proposed


def resources() -> list[str]:
    """The resources whose elements are described; of others every element is taken.

    Canonical resources (https://hl7.org/fhir/R4/resource.html#canonical), which somebody publishes, are left out: they are of
    systems and rules, and no message of HL7 v2 is about them.
    """
    return sorted(name for name in definitions.resources() if "publisher" not in definitions.elements(name))


class Elements:
    """Collects the definitions that some types need, each once: ``set.X`` the elements of X, ``one.X`` and ``many.X`` a value."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}

    def set_of(self, path: str) -> Schema:
        """A reference to the elements of a type or a part of one."""
        name = f"set.{path}"
        if name not in self.definitions:
            properties: dict[str, Schema] = {}
            self.definitions[name] = {"type": "object", "properties": properties, "additionalProperties": False}
            whole = definitions.is_resource(path)
            for element, definition in definitions.elements(path).items():
                if not (whole and element in _OURS):
                    properties.update(self._properties(path, element, definition))
        return {"$ref": f"#/$defs/{name}"}

    def _properties(self, path: str, element: str, definition: ElementDef) -> dict[str, Schema]:
        if element in ("extension", "modifierExtension"):
            return {element: {"$ref": "#/$defs/extensions"}}
        if not definition.choice:
            return {element: self._value(path, definition)}
        typed = {definitions.choice_name(element, kind): self._of_type(kind, repeats=False) for kind in definition.types}
        return {element: ANY, **(typed if len(typed) <= len(PRIMITIVES) else {})}

    def _value(self, path: str, definition: ElementDef) -> Schema:
        kind = definition.types[0] if definition.types else ""
        if kind == "code" and definition.strength == "required" and (codes := definitions.codes(definition.binding)):
            return self._codes(definition.binding, codes, repeats=definition.repeats)
        return self._of_type(kind if kind in PRIMITIVES else definitions.child_path(path, definition), repeats=definition.repeats)

    def _codes(self, binding: str, codes: frozenset[str], *, repeats: bool) -> Schema:
        if len(codes) > _MOST_CODES:
            return self._of_type("code", repeats=repeats)
        name = f"code.{binding.rpartition('/')[2]}"
        self.definitions.setdefault(
            name, {"anyOf": [{"enum": [f"={code}" for code in sorted(codes)]}, EXPRESSION, {"type": "null"}]}
        )
        return _one_or_many({"$ref": f"#/$defs/{name}"}) if repeats else {"$ref": f"#/$defs/{name}"}

    def _of_type(self, path: str, *, repeats: bool) -> Schema:
        """A value of a type; primitives have no elements to write. What the specification leaves open is left open here."""
        if path in PRIMITIVES:
            return {"$ref": f"#/$defs/{'texts' if repeats else 'text'}"}
        if not definitions.elements(path) or path in ("Resource", "Element", "BackboneElement"):
            return ANY
        one = f"one.{path}"
        if one not in self.definitions:
            self.definitions[one] = {}  # a type may hold itself
            elements = self.set_of(path)
            self.definitions[one] = {"anyOf": [EXPRESSION, _block(elements), elements, {"type": "null"}]}
        if not repeats:
            return {"$ref": f"#/$defs/{one}"}
        self.definitions.setdefault(f"many.{path}", _one_or_many({"$ref": f"#/$defs/{one}"}))
        return {"$ref": f"#/$defs/many.{path}"}


def _one_or_many(value: Schema) -> Schema:
    return {"anyOf": [value, {"type": "array", "items": value}]}


def _block(elements: Schema) -> Schema:
    """``{each: …, when: …, set: {…}}``."""
    properties = {"each": {"$ref": "#/$defs/each"}, "when": {"type": "string"}, "set": elements}
    return {"type": "object", "properties": properties, "required": ["set"], "additionalProperties": False}


def shared() -> dict[str, Schema]:
    """What every type's definitions refer to."""
    return {
        "text": {"anyOf": [EXPRESSION, {"type": "null"}]},
        "texts": {"anyOf": [EXPRESSION, {"type": "array", "items": EXPRESSION}, {"type": "null"}]},
        "extensions": {
            "description": "Extensions by URL, {http://example.org/x: PID-22}, or a list of blocks with url and value.",
            "anyOf": [ANY, {"type": "object", "additionalProperties": EXPRESSION}],
        },
        "value": {
            "anyOf": [
                EXPRESSION,
                {"type": "array", "items": ANY},
                {"type": "object", "additionalProperties": ANY, "description": "The element's own elements."},
                {"type": "null"},
            ]
        },
    }
