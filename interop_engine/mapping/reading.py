"""YAML documents → the values of ``language``: keys known, forms right, expressions parsed. All mistakes at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from interop_engine.core.diagnostics import Mark, Mistake, near
from interop_engine.core.yaml import Document, Path, load
from interop_engine.hl7 import dictionary
from interop_engine.mapping.expression import SyntaxProblem, parse_condition, parse_expression
from interop_engine.mapping.language import (
    Block,
    DialectFile,
    Fragment,
    FragmentFile,
    Lens,
    ListOf,
    MappingFile,
    Name,
    ResourceRule,
    Rule,
    Source,
    Value,
    When,
)
from interop_engine.mapping.outbound.language import CorrectionFile, MessageFile
from interop_engine.mapping.outbound.reading import CORRECTION_KEYS, message_file

MAPPING_KEYS = ("mapping", "message", "events", "when", "bundle", "use", "extends", "ignore", "resources")
RESOURCE_KEYS = (
    "resource", "each", "when", "key", "known_as", "same_as", "unknown", "write", "newer", "merged_into", "union", "set",
)  # fmt: skip
# What says who a thing is stands in place of each other; how and when to write what is somebody else's is not for same_as.
_IN_PLACE = {"known_as": ("key",), "same_as": ("key", "known_as", "unknown", "write", "newer", "merged_into", "union")}
FRAGMENT_KEYS = ("fragment", "of", "resource", "type", "key", "write", "when", "set")
DIALECT_KEYS = ("dialect", "segments", "lens", "ignore")
FIELD_KEYS = ("name", "type", "repeats")
BLOCK_KEYS = ("each", "when", "set")
WRITES = ("replace", "merge", "if-new")
UNKNOWNS = ("new", "park")
_DROP = re.compile(r"\s*drop\s+")
File = MappingFile | FragmentFile | DialectFile | MessageFile | CorrectionFile


def read(text: str, file: str) -> tuple[File | None, list[Mistake]]:
    """Read one file. None where it is neither a mapping nor fragments nor a dialect (code tables, test cases)."""
    document = load(text, file)
    reader = _Reader(document, text)
    data = document.data
    found: File | None = None
    if isinstance(data, dict):
        if "mapping" in data and "to" in data:
            found = reader.correction(data) if "message" in data else message_file(document)
        elif "mapping" in data:
            found = reader.mapping(data)
        elif "fragments" in data or "fragment" in data:
            found = reader.fragments(data)
        elif "dialect" in data:
            found = reader.dialect(data)
    return found, document.mistakes


class _Reader:
    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._lines = text.splitlines()

    # --- files -----------------------------------------------------------------------------------------------------

    def mapping(self, data: dict[str, Any]) -> MappingFile:
        self._known(data, MAPPING_KEYS, ())
        resources: dict[str, ResourceRule | None] = {}
        for name, body in self._mapping(data.get("resources", {}), ("resources",)).items():
            path = ("resources", name)
            resources[name] = None if body is None else self._resource(name, self._mapping(body, path), path)
        for key in ("mapping",) if data.get("extends") else ("mapping", "resources"):
            if not data.get(key):
                self._mistake("M103", f'"{key}:" is missing or empty', self._document.mark((key,)))
        bundle = self._name(data, ("bundle",))
        self._one_of(bundle, ("transaction", "batch"))
        return MappingFile(
            name=self._text(data, ("mapping",)),
            mark=self._document.mark(("mapping",)),
            message=self._name(data, ("message",)),
            events=self._names(data, ("events",)),
            when=self._when(data, ("when",)),
            bundle=bundle,
            extends=self._name(data, ("extends",)),
            use=self._names(data, ("use",)) or (),
            ignore=self._sources(data, ("ignore",)) or (),
            resources=resources,
        )

    def correction(self, data: dict[str, Any]) -> CorrectionFile:
        self._known(data, CORRECTION_KEYS, ())
        nowhere = Name("", self._document.mark(()))
        lens = [self._lens(text, ("lens", n)) for n, text in enumerate(self._list(data.get("lens"), ("lens",)))]
        return CorrectionFile(
            self._text(data, ("mapping",)),
            self._document.mark(("mapping",)),
            self._name(data, ("message",)) or nowhere,
            self._name(data, ("to",)) or nowhere,
            self._when(data, ("when",)),
            tuple(line for line in lens if line is not None),
        )

    def fragments(self, data: dict[str, Any]) -> FragmentFile:
        fragments: dict[str, Fragment] = {}
        if "fragments" in data:
            self._known(data, ("fragments",), ())
            for name, body in self._mapping(data["fragments"], ("fragments",)).items():
                path = ("fragments", name)
                fragments[name] = self._fragment(name, self._mapping(body, path), path)
        else:
            name = self._text(data, ("fragment",))
            fragments[name] = self._fragment(name, data, ())
        return FragmentFile(PurePosixPath(self._document.file).stem, self._document.mark(()), fragments)

    def dialect(self, data: dict[str, Any]) -> DialectFile:
        self._known(data, DIALECT_KEYS, ())
        segments: dict[str, dict[int, tuple[str, str, bool]]] = {}
        for segment, fields in self._mapping(data.get("segments", {}), ("segments",)).items():
            path: Path = ("segments", segment)
            segments[segment] = {}
            for number, body in self._mapping(fields, path).items():
                place = (*path, number)
                described = self._mapping(body, place)
                self._known(described, FIELD_KEYS, place)
                if not number.isdecimal() or number == "0":
                    self._mistake("M104", f'"{number}" is not the number of a field', self._document.mark(place, key=True))
                    continue
                name = described.get("name") or f"field_{number}"
                repeats = self._flag(described, (*place, "repeats"))
                segments[segment][int(number)] = (name, self._datatype(described, place), repeats)
        lens = [self._lens(text, ("lens", n)) for n, text in enumerate(self._list(data.get("lens"), ("lens",)))]
        return DialectFile(
            self._text(data, ("dialect",)),
            self._document.mark(("dialect",)),
            segments,
            tuple(line for line in lens if line is not None),
            self._sources(data, ("ignore",)) or (),
        )

    def _datatype(self, described: dict[str, Any], place: Path) -> str:
        """The HL7 v2 data type of a field that a dialect describes; text where it says none, or none that there is."""
        name = self._text(described, (*place, "type")) or "ST"
        if dictionary.datatype(name) is not None:
            return name
        mark = self._document.mark((*place, "type"))
        self._mistake("M211", f'there is no HL7 v2 data type "{name}"', mark, near(name, dictionary.datatypes()))
        return "ST"

    # --- parts -----------------------------------------------------------------------------------------------------

    def _resource(self, name: str, body: dict[str, Any], path: Path) -> ResourceRule:
        self._known(body, RESOURCE_KEYS, path)
        write = self._name(body, (*path, "write"))
        self._one_of(write, WRITES)
        unknown = self._name(body, (*path, "unknown"))
        self._one_of(unknown, UNKNOWNS)
        names = self._mapping(body.get("known_as", {}), (*path, "known_as"))
        known_as = {label: self._source(text, (*path, "known_as", label)) for label, text in names.items()}
        for key, others in _IN_PLACE.items():
            for other in others:
                if key in body and other in body:
                    mark = self._document.mark((*path, key), key=True)
                    self._mistake("M105", f'"{key}:" stands in place of "{other}:"', mark, "remove one of them")
        return ResourceRule(
            name=name,
            mark=self._document.mark(path, key=True),
            type=self._name(body, (*path, "resource")),
            each=self._name(body, (*path, "each")),
            when=self._when(body, (*path, "when")),
            key=self._sources(body, (*path, "key")),
            known_as={k: v for k, v in known_as.items() if v is not None} or None,
            same_as=self._source(body["same_as"], (*path, "same_as")) if "same_as" in body else None,
            unknown=unknown,
            write=write,
            newer=self._source(body["newer"], (*path, "newer")) if "newer" in body else None,
            merged_into=self._name(body, (*path, "merged_into")),
            union=self._names(body, (*path, "union")),
            rules=self._rules(body.get("set", {}), (*path, "set")),
        )

    def _fragment(self, name: str, body: dict[str, Any], path: Path) -> Fragment:
        self._known(body, FRAGMENT_KEYS, path)
        mark = self._document.mark(path, key=True) if path else self._document.mark(("fragment",))
        write = self._name(body, (*path, "write"))
        self._one_of(write, WRITES)
        of = self._name(body, (*path, "of"))
        kind = self._name(body, (*path, "resource")) or self._name(body, (*path, "type"))
        if of is None:
            self._mistake("M103", f'fragment "{name}" lacks "of:"', mark, "the HL7 v2 data type it reads, such as XCN")
        if kind is None:
            self._mistake("M103", f'fragment "{name}" lacks "resource:" or "type:"', mark)
        return Fragment(
            name=name,
            mark=mark,
            of=of or Name("", mark),
            type=kind or Name("", mark),
            is_resource="resource" in body,
            key=self._sources(body, (*path, "key")) or (),
            write=write,
            when=self._when(body, (*path, "when")),
            rules=self._rules(body.get("set", {}), (*path, "set")),
        )

    def _rules(self, data: Any, path: Path) -> tuple[Rule, ...]:
        return tuple(
            Rule(element, self._document.mark((*path, element), key=True), self._value(value, (*path, element)))
            for element, value in self._mapping(data, path).items()
        )

    def _value(self, data: Any, path: Path) -> Value | None:
        mark = self._document.mark(path)
        if data is None:
            return None
        if isinstance(data, list):
            self._split_by_yaml(data, path)
            items = [self._value(item, (*path, n)) for n, item in enumerate(data)]
            return ListOf(tuple(item for item in items if item is not None), mark)
        if isinstance(data, dict):
            if "set" not in data:
                return Block(self._rules(data, path), mark)
            self._known(data, BLOCK_KEYS, path)
            each, when = self._name(data, (*path, "each")), self._when(data, (*path, "when"))
            return Block(self._rules(data["set"], (*path, "set")), mark, each, when)
        return self._source(data, path)

    def _split_by_yaml(self, items: list[Any], path: Path) -> None:
        """Notice ``[concat(a, ' ', b)]``, which YAML cuts into three."""
        for n, item in enumerate(items):
            if isinstance(item, str) and not item.startswith("=") and item.count("(") > item.count(")"):
                mark = self._document.mark((*path, n))
                self._mistake(
                    "M106", "YAML split this expression at a comma", mark, "put it in double quotes or on its own - line"
                )
                items[n:] = []
                return

    def _lens(self, text: Any, path: Path) -> Lens | None:
        mark = self._document.mark(path)
        text = text if isinstance(text, str) else ""
        drop = _DROP.match(text)
        left, found, right = ("", drop[0], text[drop.end() :]) if drop else text.partition(":=")
        if not found:
            hint = "PID-3 := PID-2 when not exists(PID-3); drop PID-19"
            self._mistake("M107", "a line of lens: is neither FIELD := EXPRESSION nor drop FIELD", mark, hint)
            return None
        value, has_when, condition = right.partition(" when ")
        begins = len(left) + len(found)
        target = self._parse(value, mark, begins) if drop else self._parse(left, mark, 0)
        source = None if drop else self._parse(value, mark, begins)
        when = None
        if has_when:
            when = self._condition(condition, mark, begins + len(value) + len(has_when))
            if when is None:
                return None
        return Lens(target, source, when) if target and (source or drop) else None

    # --- scalars ---------------------------------------------------------------------------------------------------

    def _source(self, data: Any, path: Path) -> Source | None:
        mark = self._document.mark(path)
        if not isinstance(data, str) or not data.strip():
            self._mistake("M101", "expected an expression", mark, "a path such as PID-5, or =literal")
            return None
        return self._parse(data, mark, 0)

    def _parse(self, text: str, mark: Mark, offset: int) -> Source | None:
        mark = Mark(mark.file, mark.line, mark.column + offset + self._quote(mark))
        try:
            return Source(text, mark, parse_expression(text))
        except SyntaxProblem as problem:
            self._mistake("M101", problem.message, Mark(mark.file, mark.line, mark.column + problem.column), problem.hint)
            return None

    def _condition(self, text: str, mark: Mark, offset: int) -> When | None:
        mark = Mark(mark.file, mark.line, mark.column + offset + self._quote(mark))
        try:
            return When(text, mark, parse_condition(text))
        except SyntaxProblem as problem:
            self._mistake("M102", problem.message, Mark(mark.file, mark.line, mark.column + problem.column), problem.hint)
            return None

    def _quote(self, mark: Mark) -> int:
        """1 where the scalar at ``mark`` stands in YAML's quotes, which the columns of its text do not count."""
        line = self._lines[mark.line - 1] if mark.line <= len(self._lines) else ""
        return 1 if line[mark.column - 1 : mark.column] in ("'", '"') else 0

    def _when(self, data: dict[str, Any], path: Path) -> When | None:
        text = data.get(str(path[-1]))
        if text is None:
            return None
        mark = self._document.mark(path)
        if not isinstance(text, str):
            self._mistake("M102", "expected a condition", mark, "such as OBX-11 = 'F'; quote it where it holds a bracket")
            return None
        return self._condition(text, mark, 0)

    def _sources(self, data: dict[str, Any], path: Path) -> tuple[Source, ...] | None:
        key = str(path[-1])
        if key not in data:
            return None
        value = data[key]
        if not isinstance(value, list):
            one = self._source(value, path)
            return (one,) if one else ()
        self._split_by_yaml(value, path)
        found = [self._source(item, (*path, n)) for n, item in enumerate(value)]
        return tuple(source for source in found if source is not None)

    def _name(self, data: dict[str, Any], path: Path) -> Name | None:
        value = data.get(str(path[-1]))
        if value is None:
            return None
        mark = self._document.mark(path)
        if not isinstance(value, str):
            self._mistake("M104", f'"{path[-1]}:" takes one name', mark)
            return None
        return Name(value, mark)

    def _names(self, data: dict[str, Any], path: Path) -> tuple[Name, ...] | None:
        key = str(path[-1])
        if key not in data:
            return None
        names = []
        for n, value in enumerate(self._list(data[key], path)):
            mark = self._document.mark((*path, n))
            if isinstance(value, str):
                names.append(Name(value, mark))
            else:
                self._mistake("M104", f'"{key}:" takes names', mark)
        return tuple(names)

    def _text(self, data: dict[str, Any], path: Path) -> str:
        found = self._name(data, path)
        return found.text if found else ""

    def _flag(self, data: dict[str, Any], path: Path) -> bool:
        value = data.get(str(path[-1]), "false")
        if value not in ("true", "false"):
            self._mistake("M104", f'"{path[-1]}:" takes true or false', self._document.mark(path))
        return bool(value == "true")

    # --- forms -----------------------------------------------------------------------------------------------------

    def _mapping(self, data: Any, path: Path) -> dict[str, Any]:
        if isinstance(data, dict):
            return data
        if data is not None:
            self._mistake("M104", f'"{path[-1]}:" takes lines of its own (key: value)', self._document.mark(path))
        return {}

    def _list(self, data: Any, path: Path) -> Sequence[Any]:
        if data is None:
            return []
        if isinstance(data, dict):
            self._mistake("M104", f'"{path[-1]}:" takes a list', self._document.mark(path))
            return []
        return data if isinstance(data, list) else [data]

    def _known(self, data: Mapping[str, Any], keys: tuple[str, ...], path: Path) -> None:
        for key in data:
            if key not in keys:
                mark = self._document.mark((*path, key), key=True)
                self._mistake("M100", f'"{key}:" is not a key here', mark, near(key, keys) or f"keys: {', '.join(keys)}")

    def _one_of(self, name: Name | None, allowed: tuple[str, ...]) -> None:
        if name is not None and name.text not in allowed:
            self._mistake("M104", f'"{name.text}" is none of {", ".join(allowed)}', name.mark, near(name.text, allowed))

    def _mistake(self, code: str, message: str, mark: Mark, hint: str = "") -> None:
        self._document.mistakes.append(Mistake(code, message, mark, hint))
