"""Is this resource valid R4? Structure, types, lexical forms, codes, references, invariants — at the speed of the road.

What is not checked: value sets that cannot be enumerated (languages, UCUM, LOINC, SNOMED CT; MIME types and currencies by form),
bindings weaker than required, slicing and profiles, invariants of resources the engine does not write (``invariants.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from interop_engine.core.model import Resource
from interop_engine.fhir import definitions
from interop_engine.fhir.shortcut import holds
from interop_engine.fhir.structure import check_resource
from interop_engine.fhir.whole import bundle_problems, unresolved

MOST_ISSUES = 100  # of one resource; hostile input does not get a report larger than itself


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault. ``path`` as in "Bundle.entry[2].resource.status"; ``code`` is of FHIR's issue-type; no content in either."""

    path: str
    message: str
    code: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def validate(resource: Resource, *, complete: bool = False, lexical: bool = True) -> tuple[Issue, ...]:
    """All faults of a resource, a Bundle with its entries included; () when it is valid.

    ``complete``: the Bundle claims to hold everything it refers to, so that relative references must be among its entries.
    Without it only urn:uuid and contained references must resolve: the rest may be at the server already.

    ``lexical`` False is for what was just made of this program's converters, which make no string that is not what it should
    be: then only structure, codes, references and invariants are asked for, in a quarter of the time. Where one of these is
    wrong, or looks so at first, everything is asked for.
    """
    name = resource.get("resourceType") if isinstance(resource, dict) else None
    root = name if isinstance(name, str) and definitions.is_resource(name) else "Resource"
    try:
        made = not lexical and root != "Resource" and holds(resource)
        found = (
            (list(bundle_problems(resource, ())) or None if root == "Bundle" else None) if made else check_resource(resource, [])
        )
        if found is None and complete and root == "Bundle":
            found = list(unresolved(resource))
    except RecursionError:
        return (Issue(root, "is nested too deeply", "too-costly"),)
    return tuple(Issue(f"{root}{path}", message, code) for path, message, code in (found or ())[:MOST_ISSUES])
