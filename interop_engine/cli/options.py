"""Options that several verbs share, each declared once: by themselves, or in groups that a verb takes as one parameter."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The site's folder.", show_default=False)]
Files = Annotated[list[str], typer.Argument(metavar="FILE", help="HL7 v2 messages or batches; - is standard input.")]
Project = Annotated[Path, typer.Option("--project", metavar="DIR", help="The site's folder.")]
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The API of a running engine, such as http://127.0.0.1:8080.")
]
Json = Annotated[bool, typer.Option("--json", help="Show JSON.")]
Channel = Annotated[str | None, typer.Option("--channel", metavar="NAME", help="Only this channel.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Up to this time.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without this, what would be done to messages found is only counted.")]


@dataclass(frozen=True, slots=True)
class Node:
    """Which node is meant: the one of a site's folder, or a running one by its API."""

    project: Project = Path()
    url: Url = None


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb as typer reads it: a parameter that is a dataclass stands for its fields, each an option of its own."""
    hints = get_type_hints(verb, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}

    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{each.name: given.pop(each.name) for each in dataclasses.fields(group)})
        verb(**given)

    run.__name__, run.__doc__ = verb.__name__, verb.__doc__
    run.__annotations__ = {}  # what typer reads is the signature
    signature = inspect.signature(verb)
    options = [option for each in signature.parameters.values() for option in _options(each.replace(annotation=hints[each.name]))]
    vars(run)["__signature__"] = signature.replace(parameters=options)
    return run


def _options(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    if not dataclasses.is_dataclass(group := parameter.annotation):
        yield parameter
        return
    hints = get_type_hints(group, include_extras=True)
    for each in dataclasses.fields(group):
        yield parameter.replace(name=each.name, default=each.default, annotation=hints[each.name])
