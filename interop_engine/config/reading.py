"""One YAML file of a site read against its model: every mistake at its line and column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from interop_engine.config.variables import fill
from interop_engine.core import yaml
from interop_engine.core.diagnostics import Mark, Mistake, near

_Model = TypeVar("_Model", bound=BaseModel)

_BLOCK, _LIST, _TEXT = "a block of keys is needed here", "a list is needed here", "a text is needed here, not a list or a block"
_WORDS = {  # pydantic's kind of error → what an engineer reads, where its own words speak of Python
    "bool_parsing": "true or false is needed here",
    "bool_type": "true or false is needed here",
    "dict_type": _BLOCK,
    "float_parsing": "this is no number",
    "float_type": "this is no number",
    "int_from_float": "this is no whole number",
    "int_parsing": "this is no whole number",
    "int_type": "this is no whole number",
    "list_type": _LIST,
    "literal_error": "this is none of {expected}",
    "model_attributes_type": _BLOCK,
    "model_type": _BLOCK,
    "string_pattern_mismatch": "this is not of the form {pattern}",
    "string_type": _TEXT,
    "tuple_type": _LIST,
}


@dataclass
class File:
    """A file of the site: its text as written, its data with variables filled in, and what is wrong with it.

    Of one that is not ``readable`` that alone is said, not what it lacks.
    """

    name: str
    text: str
    document: yaml.Document
    data: Any = None
    mistakes: list[Mistake] = field(default_factory=list)
    readable: bool = True

    def mark(self, *path: str | int, key: bool = False) -> Mark:
        """The place of something in it."""
        return self.document.mark(path, key=key)

    def mistake(self, code: str, message: str, *path: str | int, hint: str = "", key: bool = False) -> None:
        """Note a mistake."""
        self.mistakes.append(Mistake(code, message, self.mark(*path, key=key), hint))

    def parse(
        self, model: type[_Model], data: Mapping[str, Any], *path: str | int, beside: tuple[str, ...] = ()
    ) -> _Model | None:
        """The data as the model; None, with the mistakes noted, where it does not fit. ``beside``: keys read by themselves."""
        if not self.readable:
            return None
        try:
            return model.model_validate(_without_nulls(data))
        except ValidationError as error:
            told = set()
            for detail in error.errors():
                if (place := _place(detail)) not in told:  # of a union each branch says what it would have taken
                    told.add(place)
                    self._note(model, detail, path, beside)
            return None

    def _note(self, model: type[BaseModel], detail: Any, path: tuple[str | int, ...], beside: tuple[str, ...]) -> None:
        location = _place(detail)
        place = (*path, *location)
        name = str(location[-1]) if location else ""
        if detail["type"] == "extra_forbidden":
            names = [*_keys(_model_at(model, location[:-1])), *(beside if len(location) == 1 else ())]
            hint = near(name, names) or (f"known here: {', '.join(sorted(names))}" if names else "")
            self.mistake("C101", f'there is no key "{name}" here', *place, hint=hint, key=True)
        elif detail["type"] == "missing":
            self.mistake(
                "C102", f'the key "{name}" is missing', *place[:-1], hint=_example(_model_at(model, location[:-1]), name)
            )
        else:
            hint = _example(_model_at(model, location[:-1]), name)
            self.mistake("C103", f"{'.'.join(str(part) for part in place)}: {_words(detail)}", *place, hint=hint)


def read(root: Path, path: Path, environment: Mapping[str, str]) -> File:
    """Read a file of the site; never raises for what is in it."""
    name = str(path.relative_to(root))
    text = text_of(root, path)
    if isinstance(text, Mistake):
        return File(name, "", yaml.Document(name), {}, [text], readable=False)
    document = yaml.load(text, name)
    data = fill(document, root, environment)
    found = File(name, text, document, data, document.mistakes)
    if not isinstance(data, dict):
        if not found.mistakes:
            found.mistake("C104", "the file holds no keys", hint="see `interop-engine init` for a site to start from")
        found.data, found.readable = {}, False
    return found


def text_of(root: Path, path: Path) -> str | Mistake:
    """What a file of the site holds, or what keeps it from being read."""
    name = str(path.relative_to(root))
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "the user that runs the engine must be able to read it"
        return Mistake("C104", f"the file cannot be read: {error.strerror}", Mark(name, 1, 1), hint)
    try:
        return data.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        mark = Mark(name, before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode()) + 1)
        return Mistake("C104", f"the byte 0x{data[error.start]:02X} is not UTF-8", mark, "save the file as UTF-8")


def _place(detail: Any) -> tuple[str | int, ...]:
    return tuple(part for part in detail["loc"] if isinstance(part, int) or not _is_branch(part))


def _words(detail: Any) -> str:
    known = _WORDS.get(detail["type"])
    return known.format(**detail.get("ctx", {})) if known else detail["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _without_nulls(data: Any) -> Any:
    """A key with nothing behind it counts as not written."""
    if isinstance(data, Mapping):
        return {key: _without_nulls(value) for key, value in data.items() if value is not None}
    return data


def _is_branch(part: str) -> bool:
    # pydantic names the branch of a union in the location; a key of ours never looks like one.
    return "[" in part or part in {"literal['embedded']", "AmqpOptions", "str", "tuple[str, ...]", "dict"}


def _model_at(model: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel] | None:
    for part in location:
        found = model.model_fields.get(str(part))
        annotation = found.annotation if found else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        model = annotation
    return model


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()] if model else []


def _example(model: type[BaseModel] | None, name: str) -> str:
    info = model.model_fields.get(name) if model else None
    if info is None:
        return ""
    example = f" For example {name}: {info.examples[0]}" if info.examples else ""
    return f"{info.description or ''}{example}".strip()
