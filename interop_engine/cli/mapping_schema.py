"""The JSON Schema of mapping files. Its keys are those of the reader, so that neither can forget one of the other."""

from __future__ import annotations

from typing import Any

from interop_engine.cli.schema_elements import EXPRESSION, Elements, resources, shared
from interop_engine.fhir import definitions
from interop_engine.hl7 import dictionary
from interop_engine.hl7.dictionary import GroupDef
from interop_engine.mapping.convert import CONVERSIONS
from interop_engine.mapping.functions import FUNCTIONS
from interop_engine.mapping.outbound.reading import CORRECTION_KEYS, MESSAGE_KEYS, SHAPE_KEYS
from interop_engine.mapping.reading import (
    DIALECT_KEYS,
    FIELD_KEYS,
    FRAGMENT_KEYS,
    MAPPING_KEYS,
    RESOURCE_KEYS,
    UNKNOWNS,
    WRITES,
)

_EXPRESSIONS = {"anyOf": [EXPRESSION, {"type": "array", "items": EXPRESSION}]}
_CONDITION = {"type": "string", "description": "A condition, such as OBX-11 = 'F'."}
_NAME = {"type": "string"}
_NAMES = {"anyOf": [_NAME, {"type": "array", "items": _NAME}]}

_ELEMENTS = {
    "type": "object",
    "description": "FHIR elements, each with the expression that fills it, a list of them, or a nested block.",
    "additionalProperties": {"$ref": "#/$defs/value"},
}
_KEYS: dict[str, dict[str, Any]] = {
    "mapping": {**_NAME, "description": "The mapping's name, as channels say it."},
    "message": {"enum": dictionary.structures(), "description": "The message structure it reads, such as ORU_R01."},
    "events": {**_NAMES, "description": "The trigger events it takes; all of the structure's where it names none."},
    "when": {**_CONDITION, "description": "Only where this condition holds."},
    "bundle": {"enum": ["transaction", "batch"], "description": "The type of the bundle."},
    "use": {**_NAMES, "description": "Files of fragments whose names may be used here."},
    "extends": {**_NAME, "description": "A mapping that this one changes in places."},
    "ignore": {**_EXPRESSIONS, "description": "Paths that are not read on purpose: they are not reported as unread."},
    "resources": {
        "type": "object",
        "description": "The resources it makes, by a name of their own; null takes one away from what it extends.",
        "additionalProperties": {"anyOf": [{"$ref": "#/$defs/resource"}, {"type": "null"}]},
        "minProperties": 1,
    },
    "resource": {"enum": sorted(definitions.resources()), "description": "The FHIR resource type."},
    "each": {"$ref": "#/$defs/each", "description": "The group or segment for each of which there is one."},
    "key": {**_EXPRESSIONS, "description": "What its id follows from: the same key gives the same id, always."},
    "known_as": {
        "type": "object",
        "description": "The numbers it is known by, in place of a key: whichever came first decides the id. "
        "item: tells several under one number apart; otherwise: names what has no number.",
        "additionalProperties": EXPRESSION,
    },
    "same_as": {
        **EXPRESSION,
        "description": "In place of a key: that of another resource whose key has these values, here or in an earlier message.",
    },
    "unknown": {"enum": list(UNKNOWNS), "description": "With known_as: one that is not known yet is new, or parks the message."},
    "write": {"enum": list(WRITES), "description": "replace all of it, merge into what was sent, or only if new."},
    "newer": {**EXPRESSION, "description": "The time that orders its versions; an older one is not sent."},
    "merged_into": {**_NAME, "description": "The resource of this mapping that survives it."},
    "union": {**_NAMES, "description": "List elements that are joined with what was sent before."},
    "set": _ELEMENTS,
    "fragment": {**_NAME, "description": "The fragment's name."},
    "of": {"enum": dictionary.datatypes(), "description": "The HL7 v2 data type it reads, such as XCN."},
    "type": {**_NAME, "description": "The FHIR data type it makes."},
    "to": {"enum": dictionary.structures(), "description": "The message structure it makes."},
    "event": {**_NAME, "description": "The trigger event of the message made, where its structure has several."},
    "dialect": {**_NAME, "description": "The dialect's name, as channels say it."},
    "segments": {
        "type": "object",
        "description": "Segments of the sender's own, by name, then by number of field.",
        "additionalProperties": {"type": "object", "additionalProperties": {"$ref": "#/$defs/field"}},
    },
    "lens": {"type": "array", "items": _NAME, "description": "What is put right: FIELD := EXPRESSION, or drop FIELD."},
    "name": {**_NAME, "description": "The field's name."},
    "repeats": {"type": "boolean", "description": "Whether the field may repeat."},
}


def json_schema() -> dict[str, Any]:
    """A mapping of messages, of bundles, a correction, a file of fragments, or a dialect."""
    elements = Elements()
    by_type = [_when_type("resource", name, elements.set_of(name)) for name in resources()]
    parts = [_when_type("type", name, elements.set_of(name)) for name in _datatypes()]
    resource = {**_block(RESOURCE_KEYS), "allOf": by_type}
    fragment = {**_block(FRAGMENT_KEYS, "of"), "allOf": [*by_type, *parts]}
    return {
        "anyOf": [
            _block(MAPPING_KEYS, "mapping", one_of=("resources", "extends")),
            _block(MESSAGE_KEYS, "mapping", "to", "set", set={"$ref": "#/$defs/shape"}),
            _block(CORRECTION_KEYS, "mapping", "message", "to", "lens"),
            {**fragment, "required": ["fragment", "of"]},
            {
                "type": "object",
                "properties": {"fragments": {"type": "object", "additionalProperties": {"$ref": "#/$defs/fragment"}}},
                "required": ["fragments"],
                "additionalProperties": False,
            },
            _block(DIALECT_KEYS, "dialect"),
        ],
        "$defs": {
            "expression": _expression(),
            "each": {"anyOf": [{"enum": _groups()}, {"type": ["string", "number"]}]},
            "resource": resource,
            "fragment": fragment,
            "field": _block(
                FIELD_KEYS, type={"enum": dictionary.datatypes(), "description": "The HL7 v2 data type of the field."}
            ),
            "shape": _shape(),
            **shared(),
            **elements.definitions,
        },
    }


def _block(keys: tuple[str, ...], *required: str, one_of: tuple[str, ...] = (), **instead: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "object",
        "properties": {key: instead.get(key, _KEYS[key]) for key in keys},
        "required": list(required),
        "additionalProperties": False,
    }
    if one_of:
        found["anyOf"] = [{"required": [key]} for key in one_of]
    return found


def _when_type(key: str, name: str, elements: dict[str, Any]) -> dict[str, Any]:
    """Where ``key`` names this type, ``set:`` has its elements."""
    named = {"properties": {key: {"const": name}}, "required": [key]}
    return {"if": named, "then": {"properties": {"set": elements}}}


def _datatypes() -> list[str]:
    """The data types of FHIR that a fragment may make."""
    return sorted(
        {kind for _, kind in CONVERSIONS if kind not in definitions.PRIMITIVES and definitions.elements(kind)} | {"Reference"}
    )


def _expression() -> dict[str, Any]:
    """Every field of HL7 v2 is proposed; what else an expression may be is not demanded; ``.1`` is a number to YAML."""
    known = ((name, dictionary.segment(name)) for name in dictionary.segments())
    paths = [f"{name}-{number}" for name, found in known if found for number in found.fields]
    return {
        "description": "An expression: a path such as PID-5, a literal such as =final, -> resource, functions after |.",
        "anyOf": [{"enum": paths}, {"type": ["string", "number"]}],
        "examples": [f"PATH | {name}" for name in FUNCTIONS],
    }


def _groups() -> list[str]:
    """Every group of every structure, by its dotted path."""
    found: dict[str, None] = {}

    def walk(group: GroupDef, above: str) -> None:
        for child in group.groups():
            path = f"{above}.{child.name}" if above else child.name
            found[path] = None
            walk(child, path)

    for name in dictionary.structures():
        if (structure := dictionary.structure(name)) is not None:
            walk(structure, "")
    return sorted(found)


_SHAPE = (
    {"type": "string", "description": "FHIRPath over the value at hand: one for each value it gives."},
    {"type": "string", "description": "FHIRPath that is true or false: only where it is true."},
    {"enum": [True, False, "true", "false"], "description": "Without it nothing of the bundle is sent: it parks."},
)


def _shape() -> dict[str, Any]:
    """The message that a bundle becomes: groups and segments, each with each:, when: and what is below; fields with FHIRPath."""
    path = {"type": ["string", "number"]}
    below = {"anyOf": [{"$ref": "#/$defs/shape"}, {"type": "array", "items": {"$ref": "#/$defs/shape"}}]}
    return {
        "type": "object",
        "properties": dict(zip(SHAPE_KEYS, _SHAPE, strict=True)),
        "patternProperties": {
            r"^[A-Z][A-Z0-9]{2}-\w+(\.\d+)*$": {"anyOf": [path, {"type": "array", "items": path}]},
            r"^[A-Z][A-Z0-9_]*$": below,
        },
        "additionalProperties": False,
    }
