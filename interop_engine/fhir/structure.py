"""The structural checks, as closures built from the definitions the first time an element is met.

A check gives None for what is right and, for what is wrong, problems with the path below it, which each level above
completes: a valid resource never pays for a path, and nothing is built that no message uses. Why not msgspec structs or
generated source: docs/decisions/fhir-validation.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from interop_engine.fhir import definitions
from interop_engine.fhir.definitions import PRIMITIVES, ElementDef
from interop_engine.fhir.invariants import RULES, Rule
from interop_engine.fhir.primitives import CHECKS, lexical_kind
from interop_engine.fhir.references import read_reference
from interop_engine.fhir.shortcut import accepts
from interop_engine.fhir.whole import Pointer, Problem, bundle_problems, contained_problems

Problems = list[Problem]
Plain = Callable[[Any], str | None]  # a single primitive: what is wrong
Nested = Callable[[Any, list[Pointer]], Problems | None]  # anything else; pointers collects what only a whole can resolve

_NESTED = "nested"  # in place of a profile: an extension inside an extension
_NULL = "null"  # the code of a null in an array of primitives, until its parent has seen the sibling


# --- Resources ------------------------------------------------------------------------------------------------------


def check_resource(value: Any, pointers: list[Pointer]) -> Problems | None:
    """A resource that stands for itself: its local references are resolved here, a bundle's urn:uuid too."""
    name = value.get("resourceType") if value.__class__ is dict else None
    first = len(pointers)
    known = name.__class__ is str and definitions.is_resource(name)
    if not (known and accepts(value)) and (found := _any_resource(value, pointers)) is not None:
        return found
    found = None
    if "contained" in value or len(pointers) > first:
        local = [pointer for pointer in pointers[first:] if pointer.reading.form == "contained"]
        pointers[first:] = [pointer for pointer in pointers[first:] if pointer.reading.form != "contained"]
        found = list(contained_problems(value, local))
    if name == "Bundle":
        found = [*(found or ()), *bundle_problems(value, pointers[first:])]
        del pointers[first:]
    return found or None


def _any_resource(value: Any, pointers: list[Pointer]) -> Problems | None:
    """A resource without what its surroundings have to say, as it stands in ``contained``."""
    if value.__class__ is not dict:
        return [("", "must be a JSON object", "structure")]
    name = value.get("resourceType")
    if name.__class__ is not str or not definitions.is_resource(name):
        return [(".resourceType", "is not a resource of R4", "structure")]
    return _object(name)(value, pointers)


# --- Objects --------------------------------------------------------------------------------------------------------


@cache
def _object(path: str, profile: str = "") -> Nested:
    """The check of a type's or part's objects. The loop is where the time goes: two look-ups and one call a member."""
    members = _Members(path, nested=profile == _NESTED)
    plain, nested, rare = members.plain.get, members.nested.get, members.rare
    finish = _finish(path, RULES.get(profile or path, ()))

    def check(value: Any, pointers: list[Pointer]) -> Problems | None:
        if value.__class__ is not dict:
            return [("", "must be a JSON object", "structure")]
        bad: Problems | None = None
        stems: dict[str, str] = {}
        for name, member in value.items():
            if (test := plain(name)) is not None:
                if (fault := test(member)) is not None:
                    bad = [*(bad or ()), (f".{name}", fault, "value")]
            elif (nest := nested(name)) is not None:
                if (found := nest(member, pointers)) is not None:
                    bad = [*(bad or ()), *_located(name, found, value)]
            elif (found := rare(name, value, pointers, stems)) is not None:
                bad = [*(bad or ()), *found]
        return finish(value, bad)

    return check


def _finish(path: str, rules: tuple[Rule, ...]) -> Callable[[dict[str, Any], Problems | None], Problems | None]:
    """What is asked of the object as a whole: required members, not empty, the invariants."""
    required = tuple((one.name, one) for one in definitions.elements(path).values() if one.minimum)
    may_be_bare = path in definitions.resources()

    def finish(value: dict[str, Any], bad: Problems | None) -> Problems | None:
        for name, definition in required:
            if name not in value and not _present(definition, value):
                bad = [*(bad or ()), (f".{name}", "is required", "required")]
        if len(value) < 2 and (not value or "id" in value) and not may_be_bare:
            return [*(bad or ()), ("", "may not be empty (ele-1)", "invariant")]
        if bad is None and rules:
            bad = [("", f"{rule.key}: {rule.says}", "invariant") for rule in rules if not rule.holds(dict.get, value)] or None
        return bad

    return finish


def _present(definition: ElementDef, value: dict[str, Any]) -> bool:
    """Whether a required element is there after all: as one form of a choice, or a primitive with only extensions."""
    if definition.choice:
        names = {definitions.choice_name(definition.name, kind) for kind in definition.types}
        return any(name.removeprefix("_") in names for name in value)
    return f"_{definition.name}" in value and definition.types[0] in PRIMITIVES


def _located(name: str, found: Problems, value: dict[str, Any]) -> Problems:
    """Problems of a member with its name before their paths; nulls that a sibling array accounts for are none."""
    siblings = value.get(f"_{name}")
    kept: Problems = []
    for path, message, code in found:
        if code == _NULL:
            index = int(path[1:-1])
            if isinstance(siblings, list) and index < len(siblings) and isinstance(siblings[index], dict):
                continue
        kept.append((f".{name}{path}", message, "structure" if code == _NULL else code))
    return kept


class _Members:
    """The checks of a type's members by JSON name, each made when first met.

    ``plain`` and ``nested`` serve nearly all; the forms of a choice and the siblings of primitives ("_birthDate") are rare.
    """

    def __init__(self, path: str, *, nested: bool) -> None:
        self.path = path
        self.is_nested = nested
        self.plain: dict[str, Plain] = {}
        self.nested: dict[str, Nested] = {}
        self.forms: dict[str, tuple[str, Nested]] = {}  # a form of a choice → its stem, its check
        if path in definitions.resources():
            self.plain["resourceType"] = lambda _value: None

    def rare(self, name: str, value: dict[str, Any], pointers: list[Pointer], stems: dict[str, str]) -> Problems | None:
        """A member that is in neither table: a form, a sibling, one met for the first time, or an unknown one."""
        base = name.removeprefix("_") if isinstance(name, str) else ""
        if base not in self.plain and base not in self.nested and base not in self.forms and not self._make(base):
            known = base.isalnum() and len(base) < 64
            return [
                (f".{name}" if known else "", "is not an element of R4" if known else "holds an unknown element", "structure")
            ]
        stem = self.forms[base][0] if base in self.forms else ""
        if stem and stems.setdefault(stem, base) != base:
            return [(f".{name}", f"excludes {stems[stem]}: a choice takes one form", "structure")]
        if name != base:
            return self._sibling(name, base, value, pointers)
        if (test := self.plain.get(name)) is not None:
            fault = test(value[name])
            return None if fault is None else [(f".{name}", fault, "value")]
        nest = self.forms[name][1] if stem else self.nested[name]
        found = nest(value[name], pointers)
        return None if found is None else _located(name, found, value)

    def _make(self, name: str) -> bool:
        """Make the check of an element; False when the type has none of this name."""
        definition = definitions.element(self.path, name)
        if definition is None or definition.choice:
            return False
        kind = definition.types[0] if definition.types else ""
        stem = next((one for one, known in definitions.elements(self.path).items() if known.choice and name.startswith(one)), "")
        if name not in definitions.elements(self.path):
            self.forms[name] = stem, _lifted(self._plain(definition)) if kind in PRIMITIVES else _complex(self.path, definition)
        elif kind not in PRIMITIVES:
            one = _complex(self.path, definition)
            self.nested[name] = _many(one) if definition.repeats else one
        elif definition.repeats:
            self.nested[name] = _many_plain(self._plain(definition))
        else:
            self.plain[name] = self._plain(definition)
        return True

    def _plain(self, definition: ElementDef) -> Plain:
        return _plain(lexical_kind(self.path, definition, nested=self.is_nested), definition)

    def _sibling(self, name: str, base: str, value: dict[str, Any], pointers: list[Pointer]) -> Problems | None:
        """The id and extensions of a primitive: an object, for an array an array with nulls where there are none."""
        definition = definitions.element(self.path, base)
        if definition is None or definition.types[0] not in PRIMITIVES:
            return [(f".{name}", "only primitives have such a member", "structure")]
        member = value[name]
        if not definition.repeats:
            found = _object("Element")(member, pointers)
            return None if found is None else _located(name, found, {})
        if member.__class__ is not list or not member:
            return [(f".{name}", "must be a JSON array, not empty", "structure")]
        beside = value.get(base)
        if isinstance(beside, list) and len(beside) != len(member):
            return [(f".{name}", f"must be as long as {base}", "structure")]
        if all(one is None for one in member):
            return [(f".{name}", "may not be empty", "structure")]
        bad: Problems = []
        for index, one in enumerate(member):
            if one is not None:
                bad += _located(f"{name}[{index}]", _object("Element")(one, pointers) or [], {})
            elif not isinstance(beside, list):
                bad.append((f".{name}[{index}]", "has neither value nor extension", "structure"))
        return bad or None


# --- What a member is ----------------------------------------------------------------------------------------------


def _lifted(test: Plain) -> Nested:
    def check(value: Any, _pointers: list[Pointer]) -> Problems | None:
        fault = test(value)
        return None if fault is None else [("", fault, "value")]

    return check


def _many(one: Nested) -> Nested:
    def check(value: Any, pointers: list[Pointer]) -> Problems | None:
        if value.__class__ is not list:
            return [("", "must be a JSON array", "structure")]
        if not value:
            return [("", "may not be empty", "structure")]
        bad: Problems | None = None
        for index, item in enumerate(value):
            if (found := one(item, pointers)) is not None:
                bad = [*(bad or ()), *((f"[{index}]{path}", message, code) for path, message, code in found)]
        return bad

    return check


def _many_plain(test: Plain) -> Nested:
    def one(value: Any, _pointers: list[Pointer]) -> Problems | None:
        fault = test(value)
        if fault is None:
            return None
        return [("", "may not be null", _NULL)] if value is None else [("", fault, "value")]

    return _many(one)


def _plain(kind: str, definition: ElementDef) -> Plain:
    """A primitive's check; of a code with a required binding that it is one of the codes."""
    test = CHECKS[kind]
    allowed = definitions.codes(definition.binding) if definition.strength == "required" else None
    if allowed is None or kind not in {"code", "uri", "string"}:
        return test
    fault = f"is not a code of {definition.binding}"

    def check(value: Any) -> str | None:
        if value.__class__ is str and value in allowed:
            return None
        return test(value) or fault

    return check


def _complex(path: str, definition: ElementDef) -> Nested:
    kind = definition.types[0] if definition.types else ""
    if kind == "Resource":
        return _any_resource if definition.name == "contained" else check_resource
    if kind == "Reference":
        return _reference(definition.targets)
    inside = _NESTED if path == kind == "Extension" else definition.profile
    test = _object(definitions.child_path(path, definition), inside)
    if definition.strength == "required" and kind in {"CodeableConcept", "Coding"}:
        return _bound(test, definition.binding, kind)
    return test


def _bound(test: Nested, binding: str, kind: str) -> Nested:
    """A required binding of a concept: at least one coding is in the value set."""
    allowed = definitions.members(binding)
    if allowed is None:
        return test
    fault = [("", f"has no coding of {binding}", "code-invalid")]

    def check(value: Any, pointers: list[Pointer]) -> Problems | None:
        if (found := test(value, pointers)) is not None:
            return found
        codings = value.get("coding", ()) if kind == "CodeableConcept" else (value,)
        return None if any((one.get("system"), one.get("code")) in allowed for one in codings) else fault

    return check


@cache
def _reference(targets: tuple[str, ...]) -> Nested:
    """A Reference: its form, and its type where it says one, by its text or by ``type``."""
    test = _object("Reference")
    names = " or ".join(targets)

    def check(value: Any, pointers: list[Pointer]) -> Problems | None:
        if (found := test(value, pointers)) is not None:
            return found
        text, declared = value.get("reference"), value.get("type", "")
        kind = declared.rpartition("/")[2]
        if text is not None:
            reading = read_reference(text)
            if not reading.form:
                return [(".reference", "must be Type/id, an absolute URL, a urn or #id", "value")]
            if reading.form in {"uuid", "contained"}:
                pointers.append(Pointer(value, reading, targets))
            elif reading.type_:
                if kind and kind != reading.type_:
                    return [(".type", "is not the type of the reference", "value")]
                kind = reading.type_
        if kind and targets and kind not in targets:
            return [("", f"must refer to {names}", "structure")]
        return None

    return check
