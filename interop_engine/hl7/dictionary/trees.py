"""Merges a structure's trees of all versions into one: the newest, with what only older ones had. Development time only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from interop_engine.hl7.dictionary.tables import GROUP_RENAMES, INLINED

Reference = Sequence[Any]  # hl7apy's (kind, ((name, reference, (minimum, maximum), "SEG" or "GRP"), …))


@dataclass
class Node:
    """A segment (``children`` None) or a group while the trees are being merged."""

    name: str
    required: bool
    repeats: bool
    children: list[Node] | None = None
    aliases: list[str] = field(default_factory=list)

    def groups(self) -> Iterator[Node]:
        """The child groups."""
        return (child for child in self.children or () if child.children is not None)

    def names(self) -> set[str]:
        """The segments of this group and of all deeper ones."""
        found = {child.name for child in self.children or () if child.children is None}
        return found.union(*(group.names() for group in self.groups()))

    def lead(self) -> str:
        """The first segment of the group."""
        first = (self.children or [self])[0]
        return first.name if first.children is None else first.lead()

    def child(self, name: str) -> Node | None:
        """The child group of that name, today's or an older one."""
        return next((group for group in self.groups() if name == group.name or name in group.aliases), None)

    def deep(self, name: str) -> Node | None:
        """The first group of that name at any depth."""
        return self.child(name) or next((found for group in self.groups() if (found := group.deep(name))), None)

    def written(self) -> str:
        """Name and cardinality, as in the data files."""
        return (
            self.name
            + {(True, False): "", (False, False): "?", (False, True): "*", (True, True): "+"}[self.required, self.repeats]
        )


def tree(structure: str, reference: Reference) -> Node:
    """One version's tree, group names without the structure's, choices inlined."""
    return Node(structure, required=True, repeats=False, children=_children(structure, reference))


def _children(structure: str, reference: Reference, *, choice: bool = False) -> list[Node]:
    nodes: list[Node] = []
    for written, inner, (minimum, maximum), kind in reference[1]:
        name = written.removeprefix(f"{structure}_")
        required, repeats = minimum > 0 and not choice, maximum != 1
        if kind == "SEG":
            nodes.append(Node(name, required, repeats))
        elif inner[0] == "choice" or name.endswith(INLINED):
            nodes += _children(structure, inner, choice=inner[0] == "choice")
        else:
            nodes.append(Node(name, required, repeats, _children(structure, inner)))
    return nodes


def merge(newest: Node, older: Node) -> None:
    """Give ``newest`` what only ``older`` has: other names of its groups, segments and groups it dropped."""
    _merge(newest, older, newest, ())


def _merge(into: Node, older: Node, root: Node, above: tuple[Node, ...]) -> None:
    assert into.children is not None
    claimed = {group.name for group in older.groups()}
    at = 0  # where the next thing that only the older version has would stand
    for child in older.children or ():
        counterpart = _counterpart(into, child, claimed, root)
        if counterpart is into:  # a wrapper that the newest does without
            _merge(into, child, root, above)
            continue
        if counterpart is None and not _has_place(into, child, above):
            counterpart = Node(child.name, required=False, repeats=child.repeats, children=None if child.children is None else [])
            into.children.insert(at, counterpart)
        if counterpart is None:
            continue
        if child.children is not None:
            if child.name != counterpart.name and child.name not in counterpart.aliases:
                counterpart.aliases.append(child.name)
            _merge(counterpart, child, root, (*above, into))
        if counterpart in into.children:
            at = max(at, _position(into.children, counterpart) + 1)


def _position(children: list[Node], wanted: Node) -> int:
    return next(index for index, child in enumerate(children) if child is wanted)


def _counterpart(into: Node, child: Node, claimed: set[str], root: Node) -> Node | None:
    """The newest version's node for an older one; ``into`` itself for a wrapper that is gone; None where there is none."""
    if child.children is None:
        return next((node for node in into.children or () if node.children is None and node.name == child.name), None)
    if GROUP_RENAMES.get((root.name, child.name)) == "":
        return into
    found = into.child(child.name)
    if found is not None:
        return found
    same = [group for group in into.groups() if group.lead() == child.lead() and group.name not in claimed]
    if same:
        return same[0]
    return into.deep(child.name)


def _has_place(into: Node, child: Node, above: tuple[Node, ...]) -> bool:
    """Whether an older segment (or all segments of an older group) has a place in the group, or just around it."""
    names = {child.name} if child.children is None else child.names()
    direct = {node.name for group in above for node in group.children or () if node.children is None}
    return names <= (into.names() | direct)


def rows(node: Node) -> list[Any]:
    """The tree as the data files hold it."""
    return [_row(child) for child in node.children or ()]


def _row(node: Node) -> Any:
    if node.children is None:
        return node.written()
    return [node.written(), " ".join(node.aliases), *rows(node)]
