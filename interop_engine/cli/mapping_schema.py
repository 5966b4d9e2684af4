"""The JSON Schema of mapping files. Its keys are those of the reader, so that neither can forget one of the other."""

from __future__ import annotations

from typing import Any

from interop_engine.mapping.reading import (
    BLOCK_KEYS,
    DIALECT_KEYS,
    FIELD_KEYS,
    FRAGMENT_KEYS,
    MAPPING_KEYS,
    RESOURCE_KEYS,
    UNKNOWNS,
    WRITES,
)

_EXPRESSION = {"type": "string", "description": "An expression: a path such as PID-5, =literal, or a function call."}
_EXPRESSIONS = {"anyOf": [_EXPRESSION, {"type": "array", "items": _EXPRESSION}]}
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
    "message": {**_NAME, "description": "The message structure it reads, such as ORU_R01."},
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
    "resource": {**_NAME, "description": "The FHIR resource type."},
    "each": {**_NAME, "description": "The group or segment for each of which there is one."},
    "key": {**_EXPRESSIONS, "description": "What its id follows from: the same key gives the same id, always."},
    "known_as": {
        "type": "object",
        "description": "The numbers it is known by, in place of a key: whichever came first decides the id.",
        "additionalProperties": _EXPRESSION,
    },
    "same_as": {
        **_EXPRESSION,
        "description": "In place of a key: the one of another resource whose key has these values, here or in an earlier message.",
    },
    "unknown": {"enum": list(UNKNOWNS), "description": "With known_as: one that is not known yet is new, or parks the message."},
    "write": {"enum": list(WRITES), "description": "replace all of it, merge into what was sent, or only if new."},
    "newer": {**_EXPRESSION, "description": "The time that orders its versions; an older one is not sent."},
    "merged_into": {**_NAME, "description": "The resource of this mapping that survives it."},
    "union": {**_NAMES, "description": "List elements that are joined with what was sent before."},
    "set": _ELEMENTS,
    "fragment": {**_NAME, "description": "The fragment's name."},
    "of": {**_NAME, "description": "The HL7 v2 data type it reads, such as XCN."},
    "type": {**_NAME, "description": "The FHIR data type it makes."},
    "dialect": {**_NAME, "description": "The dialect's name, as channels say it."},
    "segments": {
        "type": "object",
        "description": "Segments of the sender's own, by name, then by number of field.",
        "additionalProperties": {"type": "object", "additionalProperties": {"$ref": "#/$defs/field"}},
    },
    "lens": {"type": "array", "items": _NAME, "description": "What is put right before anything is read: FIELD := EXPRESSION."},
    "name": {**_NAME, "description": "The field's name."},
    "repeats": {"type": "boolean", "description": "Whether the field may repeat."},
}


def json_schema() -> dict[str, Any]:
    """A mapping, a file of fragments, or a dialect."""
    return {
        "anyOf": [
            _block(MAPPING_KEYS, "mapping", "resources"),
            _block(FRAGMENT_KEYS, "fragment", "of"),
            {
                "type": "object",
                "properties": {"fragments": {"type": "object", "additionalProperties": {"$ref": "#/$defs/fragment"}}},
                "required": ["fragments"],
                "additionalProperties": False,
            },
            _block(DIALECT_KEYS, "dialect"),
        ],
        "$defs": {
            "resource": _block(RESOURCE_KEYS),
            "fragment": _block(FRAGMENT_KEYS, "of"),
            "field": _block(FIELD_KEYS),
            "block": _block(BLOCK_KEYS, "set"),
            "value": {
                "anyOf": [
                    _EXPRESSION,
                    {"type": "array", "items": {"$ref": "#/$defs/value"}},
                    {"$ref": "#/$defs/block"},
                    _ELEMENTS,
                    {"type": "null"},
                ]
            },
        },
    }


def _block(keys: tuple[str, ...], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: _KEYS[key] for key in keys},
        "required": list(required),
        "additionalProperties": False,
    }
