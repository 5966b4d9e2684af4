"""The files of a site's mappings, read: what each defines, by name, and what it extends."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from interop_engine.core.diagnostics import near
from interop_engine.mapping.dialect import Dialect
from interop_engine.mapping.language import DialectFile, Fragment, FragmentFile, MappingFile, extend
from interop_engine.mapping.outbound.compiler import Outbound
from interop_engine.mapping.outbound.language import CorrectionFile, MessageFile
from interop_engine.mapping.reading import read
from interop_engine.mapping.resolve import Report

_Named = TypeVar("_Named", MappingFile, FragmentFile, DialectFile, MessageFile | CorrectionFile)


@dataclass
class Files:
    """What the files define, by name."""

    mappings: dict[str, MappingFile] = field(default_factory=dict)
    fragments: dict[str, FragmentFile] = field(default_factory=dict)
    dialects: dict[str, DialectFile] = field(default_factory=dict)
    compiled: dict[str, Dialect] = field(default_factory=dict)
    outbound: dict[str, MessageFile | CorrectionFile] = field(default_factory=dict)
    messages: dict[str, Outbound] = field(default_factory=dict)  # those of ``outbound``, compiled
    resolved: dict[str, MappingFile] = field(default_factory=dict)  # each mapping with the lines of what it extends

    def used_by(self, mapping: MappingFile) -> dict[str, Fragment]:
        """The fragments of the files that a mapping uses, by name."""
        used = [self.fragments[name.text] for name in mapping.use if name.text in self.fragments]
        return {name: fragment for file in used for name, fragment in file.fragments.items()}


def read_all(texts: Mapping[str, str], report: Report) -> Files:
    """Read the files: name → text."""
    files = Files()
    for file in sorted(texts):
        found, mistakes = read(texts[file], file)
        report.mistakes += [mistake for mistake in mistakes if found is not None or mistake.code.startswith("Y")]
        if isinstance(found, MappingFile):
            _add(files.mappings, found, "mapping", report)
        elif isinstance(found, FragmentFile):
            _add(files.fragments, found, "file of fragments", report)
        elif isinstance(found, DialectFile):
            _add(files.dialects, found, "dialect", report)
        elif isinstance(found, MessageFile | CorrectionFile):
            _add(files.outbound, found, "mapping", report)
    for name in files.outbound.keys() & files.mappings.keys():
        mark = files.mappings[name].mark
        report.add("M213", f'there are two: mapping "{name}"', files.outbound[name].mark, f"the other is at {mark}")
    return files


def _add(known: dict[str, _Named], found: _Named, what: str, report: Report) -> None:
    if found.name in known:
        report.add("M213", f'there are two: {what} "{found.name}"', found.mark, f"the other is at {known[found.name].mark}")
    elif found.name:
        known[found.name] = found


def extended(name: str, files: Files, report: Report, below: tuple[str, ...]) -> MappingFile | None:
    """A mapping with what it extends; None where that is not to be had. ``below``: the names on the way here."""
    mapping = files.mappings[name]
    base = mapping.extends
    if base is None:
        return mapping
    if base.text in (*below, name):
        report.add("M210", f'"{base.text}" extends itself', base.mark)
        return None
    if base.text not in files.mappings:
        report.add("M210", f'there is no mapping "{base.text}" to extend', base.mark, near(base.text, files.mappings))
        return None
    found = extended(base.text, files, report, (*below, name))
    return None if found is None else extend(found, mapping)


def digest(name: str, files: Files, texts: Mapping[str, str]) -> str:
    """Names the mapping's meaning: its own text, those it extends, and all fragments and dialects."""
    hashed = hashlib.sha256()
    here: str | None = name
    seen: set[str] = set()
    while here in files.mappings and here not in seen:
        mapping = files.mappings[here]
        hashed.update(texts[mapping.mark.file].encode())
        seen.add(here)
        here = mapping.extends.text if mapping.extends else None
    others = {file.mark.file for file in files.fragments.values()} | {file.mark.file for file in files.dialects.values()}
    for other in sorted(others):
        hashed.update(texts[other].encode())
    return hashed.hexdigest()
