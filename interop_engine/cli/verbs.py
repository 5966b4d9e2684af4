"""Verbs as ``--help`` shows them: paragraphs as wide as the terminal, and no flag that looks as if it took a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from collections.abc import Callable


class _Shown:
    """What a verb and a family of verbs show alike."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, a flag without the type that typer writes beside it."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the command that this is mixed into
        for each in params:
            if getattr(each, "is_flag", False):
                each.metavar = ""
        return params


class _Verb(_Shown, TyperCommand):
    def __init__(self, *, help: str | None = None, **more: Any) -> None:  # noqa: A002 - typer's name
        paragraphs = (help or "").split("\n\n")
        super().__init__(help="\n\n".join(each.replace("\n", " ") for each in paragraphs), **more)


class Family(_Shown, TyperGroup):
    """Verbs under one name."""


class Verbs(typer.Typer):
    """A family of verbs to be registered in; without a verb its help is shown."""

    def __init__(self, *, cls: type[Family] = Family, **more: Any) -> None:
        """As typer's."""
        super().__init__(cls=cls, no_args_is_help=True, **more)

    def command(self, name: str | None = None, **more: Any) -> Callable[[Any], Any]:
        """As typer's."""
        return super().command(name, cls=_Verb, **more)
