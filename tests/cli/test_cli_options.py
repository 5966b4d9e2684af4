"""Options that several verbs share: declared once, in groups that a verb takes as one parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from interop_engine.cli.app import app
from interop_engine.cli.options import grouped


@dataclass(frozen=True)
class Pair:
    """Two options."""

    first: Annotated[str, typer.Option(metavar="ONE", help="The first.")] = "a"
    second: Annotated[list[str] | None, typer.Option("--other", help="The second.")] = None


@grouped
def verb(name: str, *, pair: Pair, third: int = 3) -> None:
    """What the verb does."""
    typer.echo(f"{name} {pair} {third}")


program = typer.Typer()
program.command()(verb)


def test_a_group_of_options_is_one_parameter_of_the_verb() -> None:
    """Each field is an option by its own name, with its help and default; what was typed comes in the dataclass."""
    runner = CliRunner()
    assert runner.invoke(program, ["n"]).output == f"n {Pair()} 3\n"
    typed = runner.invoke(program, ["n", "--first", "x", "--other", "y", "--other", "z", "--third", "4"])
    assert typed.output == f"n {Pair('x', ['y', 'z'])} 4\n"
    told = runner.invoke(program, ["--help"]).output
    assert all(each in told for each in ("What the verb does.", "--first", "ONE", "The second.", "--third"))


def test_verbs_call_what_they_share_the_same() -> None:
    """An option that stands on several verbs about messages has one meaning: one help and one default."""
    command = typer.main.get_command(app)
    verbs = command.commands["messages"].commands.values()  # type: ignore[attr-defined]
    found: dict[str, set[tuple[object, object]]] = {}
    for each in verbs:
        for option in each.params:
            found.setdefault(option.opts[0], set()).add((option.help, option.default))
    by_verb = {"--to", "--waiting", "messages", "--limit"}  # what they are about differs from verb to verb
    assert {name for name, meanings in found.items() if len(meanings) > 1} <= by_verb
