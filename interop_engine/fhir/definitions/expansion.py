"""Expand value sets into codes (development time only): https://hl7.org/fhir/R4/valueset.html#expansion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]
Codes = dict[str, set[str]]  # code system → codes


class NotEnumerableError(Exception):
    """The value set includes a code system that is not in the package, or a filter that is not followed here."""


class Terminology:
    """The value sets and code systems of the package, by URL."""

    def __init__(self, resources: Iterable[Json]) -> None:
        self.value_sets: dict[str, Json] = {}
        self.systems: dict[str, Json] = {}
        for resource in resources:
            kept = self.value_sets if resource["resourceType"] == "ValueSet" else self.systems
            kept.setdefault(resource["url"], resource)

    def expand(self, url: str) -> dict[str, tuple[str, ...]] | None:
        """The codes of a value set by code system, sorted; None when they cannot be enumerated."""
        try:
            found = self._value_set(url, ())
        except NotEnumerableError:
            return None
        return {system: tuple(sorted(found[system])) for system in sorted(found)} if found else None

    def concepts(self, system: Json) -> Iterator[Json]:
        """Every concept of a code system, nested ones included, in its order."""
        waiting = list(reversed(system.get("concept", ())))
        while waiting:
            concept = waiting.pop()
            yield concept
            waiting.extend(reversed(concept.get("concept", ())))

    def _value_set(self, url: str, inside: tuple[str, ...]) -> Codes:
        url = url.partition("|")[0]
        definition = self.value_sets.get(url)
        if definition is None or url in inside:
            raise NotEnumerableError(url)
        compose = definition.get("compose", {})
        found: Codes = {}
        for part in compose.get("include", ()):
            for system, codes in self._include(part, (*inside, url)).items():
                found.setdefault(system, set()).update(codes)
        for part in compose.get("exclude", ()):
            for system, codes in self._include(part, (*inside, url)).items():
                found.get(system, set()).difference_update(codes)
        return {system: codes for system, codes in found.items() if codes}

    def _include(self, part: Json, inside: tuple[str, ...]) -> Codes:
        """One include: its code system's codes, and in all its value sets where it names any."""
        parts = [self._value_set(url, inside) for url in part.get("valueSet", ())]
        if "system" in part:
            parts.append({part["system"]: self._system_codes(part)})
        first, *others = parts
        return {
            system: {code for code in codes if all(code in other.get(system, ()) for other in others)}
            for system, codes in first.items()
        }

    def _system_codes(self, part: Json) -> set[str]:
        if "concept" in part:
            return {concept["code"] for concept in part["concept"]}
        system = self.systems.get(part["system"])
        if system is None or system.get("content") != "complete":
            raise NotEnumerableError(part["system"])
        every = list(self.concepts(system))
        found = {concept["code"] for concept in every if not _abstract(concept)}
        for rule in part.get("filter", ()):
            found &= self._filtered(system, every, rule)
        return found

    def _filtered(self, system: Json, every: list[Json], rule: Json) -> set[str]:
        """Codes a filter lets through. Hierarchies are by nesting and, in the v3 code systems, by property subsumedBy."""
        if rule["property"] != "concept" or rule["op"] not in {"is-a", "descendent-of", "is-not-a"}:
            raise NotEnumerableError(f"{system['url']} by {rule['property']} {rule['op']}")
        below = _descendants(every, rule["value"])
        if rule["op"] == "descendent-of":
            return below - {rule["value"]}
        return {concept["code"] for concept in every} - below if rule["op"] == "is-not-a" else below


def _descendants(every: list[Json], top: str) -> set[str]:
    children: dict[str, set[str]] = {}
    for concept in every:
        children.setdefault(concept["code"], set()).update(child["code"] for child in concept.get("concept", ()))
        for value in concept.get("property", ()):
            if value["code"] in {"subsumedBy", "parent"}:
                children.setdefault(value.get("valueCode", ""), set()).add(concept["code"])
    found, waiting = {top}, [top]
    while waiting:
        fresh = children.get(waiting.pop(), set()) - found
        found |= fresh
        waiting.extend(fresh)
    return found


def _abstract(concept: Json) -> bool:
    """Whether a concept may not be used as a code (a grouper)."""
    return any(
        value["code"] in {"notSelectable", "abstract"} and value.get("valueBoolean") is True
        for value in concept.get("property", ())
    )
