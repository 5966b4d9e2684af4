"""The tables and concept maps of a site: ``mappings/tables/*.yaml``, ``mappings/terminology/*.csv`` or ``*.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from interop_engine.core.diagnostics import Mark, Mistake
from interop_engine.mapping.convert.tables import CodeTable, data, read_table
from interop_engine.terminology.conceptmap import ConceptMap
from interop_engine.terminology.csv_maps import from_csv
from interop_engine.terminology.fhir_maps import from_json

FOLDER = "tables"


def read_all(texts: Mapping[str, str]) -> tuple[dict[str, CodeTable], dict[str, ConceptMap], list[Mistake]]:
    """All tables and maps by name, and what is wrong with them. A name that stands twice is a mistake."""
    tables: dict[str, CodeTable] = {}
    maps: dict[str, ConceptMap] = {}
    mistakes: list[Mistake] = []
    for file in sorted(texts):
        path, found = PurePosixPath(file), None
        if path.suffix in (".yaml", ".yml") and path.parent.name == FOLDER:
            table, found = read_table(texts[file], file)
            if table is not None:
                twice = table.name in tables
                tables[table.name] = table
                mistakes += [_twice(table.name, file)] if twice else []
        elif path.suffix in (".csv", ".json"):
            read = (
                from_csv(texts[file], file, path.stem, _aliases())
                if path.suffix == ".csv"
                else from_json(texts[file], file, path.stem)
            )
            found = read[1]
            mistakes += [_twice(path.stem, file)] if path.stem in maps else []
            maps[path.stem] = read[0]
        mistakes += found or ()
    return tables, maps, mistakes


def _twice(name: str, file: str) -> Mistake:
    return Mistake("M213", f'there are two tables or maps "{name}"', Mark(file, 1, 1))


def _aliases() -> Mapping[str, str]:
    found: Mapping[str, str] = data("coding-systems.yaml")
    return found
