"""How ``explain --mapping`` shows a whole mapping on a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interop_engine.cli import output

if TYPE_CHECKING:
    from interop_engine.mapping.outline import Outline, OutlinedPart


def show(whole: Outline) -> None:
    """The mapping's own keys, then each resource and each fragment in use."""
    file = whole.mark.file
    output.table(("", ""), list(whole.keys.items()), title=f"mapping {whole.mapping} ({file})")
    for part in whole.resources:
        _part(part, file, f"{part.name}: {part.type}")
    for part in whole.fragments:
        _part(part, file, f"fragment {part.name}: {part.type}")


def _part(part: OutlinedPart, file: str, title: str) -> None:
    keys = [(output.coloured(f"{key}:", "dim"), value, "") for key, value in part.keys.items()]
    lines = [(each.element, output.noted(each.rule, each.implied), output.place(each.mark, file)) for each in part.lines]
    output.table(("element", "rule", "at"), [*keys, *lines], title=title)
