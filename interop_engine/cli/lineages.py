"""How ``explain`` shows where a bundle or a message comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interop_engine.cli import output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from interop_engine.mapping.outbound.trace import Lineage as Written
    from interop_engine.mapping.trace import Lineage, Made


def outlined(label: str, mapping: str, lineage: Lineage, unread: Sequence[str]) -> Mapping[str, Any]:
    """As JSON has it."""
    draft = lineage.draft
    return {
        "file": label,
        "mapping": mapping,
        "made": [_made(each) for each in lineage.made],
        "unread": unread,
        "findings": [str(finding) for finding in draft.findings],
        "unmapped": [{"map": code.map, "system": code.system, "code": code.code} for code in draft.unmapped],
    }


def _made(made: Made) -> dict[str, Any]:
    return {
        "resource": made.resource,
        "object": made.object,
        "rule": made.rule,
        "mark": str(made.mark),
        "fields": made.fields,
        "implied": made.implied,
        "values": made.values,
    }


def show(lineage: Lineage, file: str, unread: Sequence[str]) -> None:
    """A table for each resource, and what was not read. ``file``: the mapping's, which need not be named at each line."""
    from itertools import groupby

    for (resource, thing), lines in groupby(lineage.made, key=lambda each: (each.resource, each.object)):
        rows = [
            (
                name,
                output.brief(value),
                ", ".join(made.fields),
                output.noted(made.rule, made.implied),
                output.place(made.mark, file),
            )
            for made in lines
            for name, value in made.values.items()
            if not (name.startswith("_") and name[1:] in made.values)  # what is said beside the value stands in its line
        ]
        if rows:
            output.table(("element", "value", "from", "rule", "at"), rows, title=f"{resource}: {thing} ({file})")
    if not unread:
        output.write("Every populated field was read.")
        return
    by_segment = groupby((leaf.partition("-") for leaf in unread), key=lambda parts: parts[0])
    unread_rows = [(segment, ", ".join(parts[2] for parts in leaves)) for segment, leaves in by_segment]
    output.table(("segment", "fields"), unread_rows, title="Populated, and read by nothing")


def show_message(lineage: Written, label: str) -> None:
    """A table for a message that was made of a bundle, and what it does not have of it."""
    rows = [(each.place, output.shortened(each.value), each.rule or "(the engine)") for each in lineage.fields]
    output.table(("field", "value", "rule"), rows, title=label)
    if lineage.unread:
        output.table(("element",), [(name,) for name in lineage.unread], title="In the bundle, and not in the message")
    else:
        output.write("The message has all that is in the bundle.")
