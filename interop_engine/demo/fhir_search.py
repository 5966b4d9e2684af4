"""Search and references of the stand-in FHIR server: only what hospitals' systems and the demo ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from interop_engine.core.model import Resource

# Search parameters that are references, and the elements they look at (https://hl7.org/fhir/R4/searchparameter-registry.html).
_REFERENCES = {
    "subject": ("subject",),
    "patient": ("subject", "patient"),
    "based-on": ("basedOn",),
    "result": ("result",),
    "specimen": ("specimen",),
    "link": ("link.other",),
    "target": ("target",),
}
_TOKENS = {"code": "code", "status": "status", "category": "category", "identifier": "identifier", "_tag": "meta.tag"}
PARAMETERS = frozenset({"_id", *_REFERENCES, *_TOKENS})


def matches(resource: Resource, parameters: Sequence[tuple[str, str]]) -> bool:
    """Whether a resource meets all parameters; within one, a comma means or. All are of ``PARAMETERS``."""
    return all(_meets(resource, name, value.split(",")) for name, value in parameters)


def _meets(resource: Resource, name: str, wanted: Sequence[str]) -> bool:
    if name == "_id":
        return resource.get("id") in wanted
    bare = name.partition(":")[0]
    if bare in _REFERENCES:
        target = name.partition(":")[2]
        return any(_refers(found, each, target) for found in _elements(resource, _REFERENCES[bare]) for each in wanted)
    tokens = [token for found in _elements(resource, (_TOKENS[bare],)) for token in _tokens(found)]
    return any(_is(token, each) for token in tokens for each in wanted)


def _elements(resource: Resource, paths: Sequence[str]) -> Iterator[Any]:
    for path in paths:
        found: list[Any] = [resource]
        for name in path.split("."):
            found = [below for each in found if isinstance(each, Mapping) for below in _listed(each.get(name))]
        yield from found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _refers(element: Any, wanted: str, target: str) -> bool:
    reference = element.get("reference", "") if isinstance(element, Mapping) else ""
    if "/" in wanted:
        return bool(reference == wanted)
    kind, _, identity = reference.partition("/")
    return identity == wanted and target in ("", kind)


def _tokens(element: Any) -> Iterator[tuple[str, str]]:
    """(system, code) pairs of a code, Coding, CodeableConcept or Identifier."""
    if isinstance(element, str):
        yield "", element
    elif isinstance(element, Mapping):
        for coding in element.get("coding", ()):
            yield coding.get("system", ""), coding.get("code", "")
        if "coding" not in element:
            yield element.get("system", ""), element.get("value", element.get("code", ""))


def _is(token: tuple[str, str], wanted: str) -> bool:
    """``code``, ``system|code``, ``|code`` (no system) or ``system|`` (any code)."""
    system, code = token
    if "|" not in wanted:
        return code == wanted
    wanted_system, _, wanted_code = wanted.partition("|")
    return system == wanted_system and wanted_code in ("", code)


def references(value: Any) -> Iterator[dict[str, Any]]:
    """Every Reference in a resource, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value
        for below in value.values():
            yield from references(below)
    elif isinstance(value, list):
        for below in value:
            yield from references(below)
